"""Limits of the web server in front of the host, bodies of requests, and the form of answers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from devhost.functions import HttpResult
from devhost.kestrel import Limits
from tests.devhost.conftest import until
from tests.devhost.raw import answer, ask, connected, head
from tests.devhost.stub import KEYS, Served, function, serve

FAILED = "open failed: Exception binding parameter 'req': "


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(settings={"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000"}) as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_was_called_before(served: Served) -> None:
    served.calls.clear()


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "devhost.http"]


def test_a_chunked_body_reaches_the_function_as_none_with_its_header_and_the_connection_serves_on(
    served: Served,
) -> None:
    with connected(served.base_url) as client:
        client.sendall(head("POST /api/open", "Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\n\r\n")
        assert answer(client)[0].status == 200
        client.sendall(head("POST /api/open", "Content-Length: 2") + b"hi")
        answer(client)
    assert [call["body"] for call in served.calls] == [b"", b"hi"]
    assert served.calls[0]["headers"]["transfer-encoding"] == "chunked"
    assert "content-length" not in served.calls[0]["headers"]


def test_a_body_as_large_as_the_setting_allows_arrives_and_one_byte_more_is_a_failed_function(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    response, _ = ask(served.base_url, "POST /api/open", "Content-Length: 1000", body=b"x" * 1000)
    assert (response.status, len(served.calls)) == (200, 1)
    response, body = ask(served.base_url, "POST /api/open", "Content-Length: 1001")  # nothing of it is sent
    assert (response.status, body, len(served.calls)) == (500, b"", 1)
    assert failures(caplog) == [FAILED + "request body too large"]


@pytest.mark.parametrize(("path", "status"), [("/api/closed", 401), ("/api/nothing", 404)])
def test_a_large_body_for_nobody_is_not_read(
    served: Served, path: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    response, _ = ask(served.base_url, f"POST {path}", "Content-Length: 1001")
    assert (response.status, failures(caplog)) == (status, [])


@pytest.mark.parametrize("setting", [{}, {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "2 MB"}])
def test_a_body_may_have_100_mib_where_no_setting_says_otherwise(setting: dict[str, str]) -> None:
    with serve(settings=setting) as server:
        response, _ = ask(server.base_url, "POST /api/open", f"Content-Length: {100 * 1024**2 + 1}")
        assert response.status == 500


def test_a_body_that_stalls_is_a_failed_function(caplog: pytest.LogCaptureFixture) -> None:
    assert Limits().body_seconds == 5
    with serve(limits=Limits(body_seconds=0.1)) as server:
        response, body = ask(server.base_url, "POST /api/open", "Content-Length: 100", body=b"x" * 20)
        assert (response.status, body, server.calls) == (500, b"", [])
    assert failures(caplog) == [FAILED + "request body came too slowly"]


@pytest.mark.parametrize("leave", [socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)])
def test_a_client_that_leaves_midway_makes_a_failed_function(
    served: Served, leave: Callable[[socket.socket], None], caplog: pytest.LogCaptureFixture
) -> None:
    with connected(served.base_url) as client:
        client.sendall(head("POST /api/open", "Content-Length: 100") + b"x" * 20)
        leave(client)
        until(lambda: failures(caplog) == [FAILED + "unexpected end of request content"])
    assert served.calls == []


def test_a_head_that_stalls_is_answered_408() -> None:
    assert Limits().head_seconds == 30
    with serve(limits=Limits(head_seconds=0.1)) as server, connected(server.base_url) as client:
        client.sendall(b"POST /api/open HTTP/1.1\r\nHost: loc")
        assert answer(client)[0].status == 408


def test_a_connection_may_rest_between_requests_longer_than_a_head_may_take() -> None:
    with serve(limits=Limits(head_seconds=1)) as server, connected(server.base_url) as client:
        for number in range(2):
            client.sendall(head("GET /api/open"))
            assert answer(client)[0].status == 200
            if number == 0:
                client.settimeout(1.5)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                client.settimeout(120)


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("GET " + "/api/open/".ljust(8150, "x"), [], 200),
        ("GET " + "/api/open/".ljust(8192, "x"), [], 414),
        ("GET /api/open", ["X: " + "x" * 31_000], 200),
        ("GET /api/open", ["X: " + "x" * 33_000], 431),
        ("GET /api/open", [f"X{number}: x" for number in range(99)], 200),
        ("GET /api/open", [f"X{number}: x" for number in range(100)], 431),  # and Host
        ("GET /api/open/\udcff?code=secret-key", [], 400),
        ("GET /api/open/a%00b", [], 400),
        ("GET /api/open", ["X-Odd: \udcff"], 400),
    ],
    ids=["8150", "8192", "31 kB", "33 kB", "100 headers", "101 headers", "odd path", "zero", "odd header"],
)
def test_kestrel_refuses_what_is_too_long_too_much_or_unreadable(
    served: Served, line: str, headers: list[str], status: int
) -> None:
    assert ask(served.base_url, line, *headers)[0].status == status
    assert bool(served.calls) == (status == 200)


def test_a_client_that_waits_for_100_continue_gets_it(served: Served) -> None:
    with connected(served.base_url) as client:
        client.sendall(head("POST /api/open", "Content-Length: 2", "Expect: 100-continue"))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hi")
        answer(client)
    assert served.calls[0]["body"] == b"hi"


def test_an_answer_is_always_chunked(served: Served) -> None:
    response, body = ask(served.base_url, "GET /api/open")
    assert (response.headers["Transfer-Encoding"], response.headers["Content-Length"]) == ("chunked", None)
    assert body == b"done"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_content_loses_its_body(status: int) -> None:
    with serve(result=HttpResult(status, {}, b"lost")) as server, connected(server.base_url) as client:
        client.sendall(head("GET /api/open", "Connection: close"))
        received = b"".join(iter(lambda: client.recv(10_000), b""))
    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert received.endswith(b"\r\n\r\n")
    assert b"lost" not in received
    assert received.count(b"\r\n\r\n") == 1


@pytest.mark.parametrize(
    "result",
    [
        HttpResult(200, {"X-Name": "Zoë"}),
        HttpResult(200, {"X-Name": "a\r\nX-Other: b"}),
        HttpResult(200, {"X-Näme": "a"}),
        HttpResult(200, cookies=("a=ü",)),
    ],
)
def test_a_header_that_cannot_be_sent_is_a_failed_function(
    result: HttpResult, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(result=result) as server:
        response, body = ask(server.base_url, "GET /api/open")
    assert (response.status, body) == (500, b"")
    assert failures(caplog) == ["open failed: Invalid non-ASCII or control character in header"]


def test_headers_arrive_whatever_their_language_and_repeated_ones_joined(served: Served) -> None:
    ask(served.base_url, "GET /api/open", "X-Name: Zoë", "X-Twice: 1", "X-Twice: 2")
    headers = served.calls[0]["headers"]
    assert (headers["x-name"], headers["x-twice"]) == ("Zoë", "1,2")


def test_the_home_page_is_there_unless_a_setting_disables_it(served: Served) -> None:
    response, body = ask(served.base_url, "GET /")
    assert (response.status, b"Azure Functions" in body) == (200, True)
    with serve(settings={"AzureWebJobsDisableHomepage": "True"}) as server:
        response, body = ask(server.base_url, "GET /")
        assert (response.status, body) == (204, b"")


def test_a_function_whose_route_begins_with_admin_is_in_error_and_the_others_serve(
    caplog: pytest.LogCaptureFixture,
) -> None:
    functions = [function("bad", "admin/x"), function("worse", "Runtime"), function("good", "good")]
    with serve(functions=functions) as server:
        statuses = [ask(server.base_url, f"GET /api/{path}")[0].status for path in ("admin/x", "runtime", "good")]
    assert statuses == [404, 404, 200]
    why = "function is in error: The specified route conflicts with one or more built in routes."
    assert failures(caplog) == [f"The 'bad' {why}", f"The 'worse' {why}"]


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/admin/host/ping", "", 200),
        ("/admin/warmup", "", 200),
        ("/admin/instance/http-health", "", 200),
        ("/admin/host/status", "", 401),
        ("/admin/host/status", KEYS.functions["closed"], 401),
        ("/Admin/host/status", KEYS.host, 403),
        ("/admin/host/status", KEYS.master, 404),  # devhost serves nothing there
        ("/api/../admin/host/status", "", 401),
    ],
)
def test_the_hosts_own_addresses_open_to_the_master_key(served: Served, path: str, key: str, status: int) -> None:
    headers = [f"x-functions-key: {key}"] if key else []
    assert ask(served.base_url, f"GET {path}", *headers)[0].status == status


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?code=the-host-key", [], 200),
        ("?CODE=the-host-key", [], 200),
        ("?code=the-host-key", ["x-functions-key:"], 401),
        ("?code=the-host-key", ["x-functions-key: wrong"], 401),
        ("?code=wrong", ["x-functions-key: the-host-key"], 200),
        ("?code=the-host-key&code=wrong", [], 200),
        ("?code=wrong&code=the-host-key", [], 401),
        ("?code=&code=the-host-key", [], 401),
        ("", ["x-functions-key: the-host-key", "x-functions-key: wrong"], 200),
        ("", ["x-functions-key: wrong", "x-functions-key: the-host-key"], 401),
    ],
)
def test_a_header_goes_before_the_query_and_the_first_before_the_second(
    served: Served, query: str, headers: list[str], status: int
) -> None:
    assert ask(served.base_url, f"GET /api/closed{query}", *headers)[0].status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/open/../closed", 401),
        ("/api/open/%2e%2e/closed", 401),
        ("/api/./open", 200),
        ("/api/open//x", 404),
        ("/api/open/a//b", 200),
    ],
)
def test_dots_bypass_no_key_and_slashes_are_not_joined(served: Served, path: str, status: int) -> None:
    assert ask(served.base_url, f"GET {path}")[0].status == status
