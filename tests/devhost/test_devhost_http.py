"""The HTTP side, over real connections to one devhost that all these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from devhost.process import DevhostProcess
from tests.devhost.conftest import SAMPLE_APP, Devhost

HOST_KEY = "the-host-key"


@pytest.fixture(scope="module")
def devhost() -> Iterator[DevhostProcess]:
    unused = {"WORK_QUEUE": "work", "TICK_SCHEDULE": "0 0 0 1 1 *", "RECORDER": "http://127.0.0.1:9/"}
    with Devhost(SAMPLE_APP, "--no-queues", "--no-timers", "--function-key", HOST_KEY, env=unused) as process:
        yield process


def test_a_request_reaches_the_function_whole_and_its_answer_comes_back(devhost: DevhostProcess) -> None:
    answer = requests.post(
        f"{devhost.base_url}/api/echo/a/b%20c/d%2Fe?x=1&X=2&y=a+b&code=k&empty=",
        data=b"\xff\x00body",
        headers={"X-Custom": "one", "Content-Type": "application/weird"},
        timeout=120,
    )
    assert answer.status_code == 202
    assert answer.headers["X-Echo"] == "yes"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.cookies["a"] == "b"
    seen = answer.json()
    assert seen["method"] == "POST"
    assert seen["url"] == f"{devhost.base_url}/api/echo/a/b%20c/d%2Fe?x=1&X=2&y=a+b&code=k&empty="
    assert seen["route"] == {"rest": "a/b c/d%2Fe"}
    assert seen["params"] == {"x": "1,2", "y": "a b", "code": "k"}
    assert seen["headers"]["x-custom"] == "one"
    assert seen["length"] == 6


def test_the_invocation_has_no_trace_because_there_is_no_application_insights(devhost: DevhostProcess) -> None:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    seen = requests.get(f"{devhost.base_url}/api/echo", headers=headers, timeout=120).json()
    assert seen["trace"] == ""
    assert seen["headers"]["traceparent"] == headers["traceparent"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/things/x", 200, "x"),
        ("GET", "/api/things/special", 200, "special"),
        ("GET", "/api/things/x/parts/7", 200, "7"),
        ("GET", "/api/things/x/parts", 200, "no part"),
        ("HEAD", "/api/things/x", 200, ""),
        ("POST", "/api/things/x", 404, ""),
        ("HEAD", "/api/things/x/parts", 404, ""),
        ("OPTIONS", "/api/things/x", 404, ""),
        ("GET", "/things/x", 404, ""),
        ("GET", "/api/nothing", 404, ""),
    ],
)
def test_the_most_specific_route_of_the_method_answers_and_what_has_none_is_not_found(
    devhost: DevhostProcess, method: str, path: str, status: int, text: str
) -> None:
    answer = requests.request(method, devhost.base_url + path, headers={"x-functions-key": HOST_KEY}, timeout=120)
    assert (answer.status_code, answer.text) == (status, text)
    assert status == 404 or answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_functions_own_key_opens_it_and_no_other(devhost: DevhostProcess) -> None:
    for name, status in (("thing", 200), ("parts", 401)):
        headers = {"x-functions-key": devhost.function_keys[name]}
        assert requests.get(f"{devhost.base_url}/api/things/x", headers=headers, timeout=120).status_code == status


def test_a_function_that_fails_answers_500_with_nothing_in_it(devhost: DevhostProcess) -> None:
    answer = requests.get(f"{devhost.base_url}/api/fail", timeout=120)
    assert (answer.status_code, answer.content) == (500, b"")
    assert devhost.says("ERROR fail azure.functions")
    assert devhost.says("ValueError: as asked")


def test_a_large_body_arrives_whole(devhost: DevhostProcess) -> None:
    answer = requests.post(f"{devhost.base_url}/api/echo", data=b"x" * 3_000_000, timeout=120)
    assert answer.json()["length"] == 3_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_an_encoded_body_is_left_as_it_is(devhost: DevhostProcess, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    answer = requests.post(f"{devhost.base_url}/api/echo", data=b"not encoded", headers=headers, timeout=120)
    assert (answer.status_code, answer.json()["length"]) == (202, 11)
