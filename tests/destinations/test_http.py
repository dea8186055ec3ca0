"""The HTTP layer against faults of vendors and networks, and against attackers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.core import clock
from leads.destinations import http
from leads.destinations.http import Answer, Failure, HttpClient, NoAnswer
from leads.platform.address_guard import is_public
from tests.fakes.tls import (
    Authority,
    Behaviour,
    answer,
    cut_in_the_middle,
    drip,
    drip_the_body,
    endless,
    gzip_bomb,
    hang_up,
    never_answer,
    raw_server,
    reset_in_the_middle,
)
from tests.support.in_time import in_time

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def client(authority: Authority) -> HttpClient:
    """A client to which this machine is allowed and the tests' authority is trusted."""
    return HttpClient(4, LOOPBACK, authority.bundle)


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_complete_and_the_request_is_as_asked_for(client: HttpClient, authority: Authority) -> None:
    with raw_server(authority.server_context(), answer("201 Created", b'{"id":1}', "X-Thing: a")) as server:
        got = client.request("POST", server.url, headers={"X-Own": "b"}, body="é")
        assert (got.status, got.json(), got.headers["x-thing"]) == (201, {"id": 1}, "a")
    request = server.requests[0]
    assert request.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"X-Own: b\r\n" in request
    assert request.endswith("\r\n\r\né".encode())


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many", "500 Error", "503 Unavailable"])
def test_a_status_is_never_an_exception(client: HttpClient, authority: Authority, status: str) -> None:
    with raw_server(authority.server_context(), answer(status, b"<html>oops</html>")) as server:
        got = client.request("GET", server.url)
    assert got.status == int(status[:3])
    assert got.json() is None


def test_an_answer_may_be_as_long_as_the_caller_allows(client: HttpClient, authority: Authority) -> None:
    with raw_server(authority.server_context(), answer("200 OK", b"x" * 200)) as server:
        assert len(client.request("GET", server.url, at_most=200).body) == 200
        with pytest.raises(NoAnswer, match=Failure.ANSWER_TOO_LARGE):
            client.request("GET", server.url, at_most=199)


def test_no_redirect_is_followed(client: HttpClient, authority: Authority) -> None:
    with raw_server(authority.server_context(), answer("302 Found", b"", "Location: https://127.0.0.1:1/x")) as server:
        assert client.request("POST", server.url, body=b"{}").status == 302
    assert len(server.requests) == 1


def test_a_connection_is_used_again(client: HttpClient, authority: Authority) -> None:
    seen: list[int] = []

    def behave(sock: socket.socket, _: bytes) -> None:
        seen.append(sock.getpeername()[1])
        for _number in range(3):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            if not sock.recv(65_536):
                return

    with raw_server(authority.server_context(), behave) as server:
        for _ in range(3):
            assert client.request("GET", server.url).status == 200
    assert len(seen) == 1


# --- No answer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behave", "failure"),
    [
        (hang_up, Failure.CONNECTION_LOST),
        (cut_in_the_middle, Failure.CONNECTION_LOST),
        (reset_in_the_middle, Failure.CONNECTION_LOST),
        (endless, Failure.ANSWER_TOO_LARGE),
        (gzip_bomb, Failure.ANSWER_TOO_LARGE),
    ],
)
def test_after_a_failure_behind_the_first_byte_the_vendor_may_have_acted(
    client: HttpClient, authority: Authority, behave: Behaviour, failure: Failure
) -> None:
    with raw_server(authority.server_context(), behave) as server, pytest.raises(NoAnswer) as no:
        client.request("POST", server.url, body=b"{}")
    assert (no.value.failure, no.value.sent) == (failure, True)
    assert len(server.requests) == 1, "it is sent once"


def test_a_vendor_that_never_answers_is_timed_out(client: HttpClient, authority: Authority) -> None:
    with raw_server(authority.server_context(), never_answer) as server, pytest.raises(NoAnswer) as no:
        client.request("POST", server.url, body=b"{}", read_seconds=0.3)
    assert (no.value.failure, no.value.sent) == (Failure.TIMEOUT, True)


@pytest.mark.parametrize("behave", [drip, drip_the_body])
def test_an_answer_that_drips_ends_with_the_whole_requests_limit(
    client: HttpClient, authority: Authority, behave: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.5)
    with raw_server(authority.server_context(), behave) as server, in_time(), pytest.raises(NoAnswer) as no:
        client.request("POST", server.url, body=b"{}")
    assert no.value.failure is Failure.TIMEOUT


def test_many_quick_requests_leave_no_thread_behind(client: HttpClient, authority: Authority) -> None:
    with raw_server(authority.server_context(), answer()) as server:
        client.request("GET", server.url)
        before = threading.active_count()
        for _ in range(30):
            client.request("GET", server.url)
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize(
    ("url", "failure"),
    [
        ("https://no-such-host.invalid/", Failure.NO_SUCH_HOST),
        ("https://127.0.0.1:1/", Failure.CONNECTION_REFUSED),
        ("https://a..b/", Failure.NO_SUCH_HOST),
    ],
)
def test_after_a_failure_before_the_first_byte_nothing_was_sent(client: HttpClient, url: str, failure: Failure) -> None:
    with pytest.raises(NoAnswer) as no:
        client.request("POST", url, body=b"{}")
    assert (no.value.failure, no.value.sent) == (failure, False)


def test_tls_is_verified(authority: Authority, client: HttpClient) -> None:
    strict = HttpClient(1, LOOPBACK)
    with raw_server(authority.server_context(), answer()) as server, pytest.raises(NoAnswer) as unknown:
        strict.request("POST", server.url, body=b"{}")
    with raw_server(authority.server_context("other.example.com"), answer()) as server, pytest.raises(NoAnswer) as name:
        client.request("POST", server.url, body=b"{}")
    with raw_server(None, answer()) as server, pytest.raises(NoAnswer) as plain:
        client.request("POST", server.url, body=b"{}")
    for no in (unknown, name, plain):
        assert (no.value.failure, no.value.sent) == (Failure.TLS, False)


def test_only_https_is_spoken(client: HttpClient) -> None:
    with pytest.raises(NoAnswer):
        client.request("GET", "http://127.0.0.1:1/")


def test_no_log_line_at_any_level_holds_the_address_a_header_or_the_body(
    client: HttpClient, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with raw_server(authority.server_context(), answer("503 Busy", b"secret-answer")) as server:
        url = server.url + "/secret-path?code=secret-code"
        client.request("POST", url, headers={"X-Key": "secret-header"}, body=b"secret-body")
        with pytest.raises(NoAnswer):
            client.request("POST", "https://127.0.0.1:1/secret-path?code=secret-code", body=b"secret-body")
    malformed = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno header at all\r\nA: secret-answer\r\n\r\n"
    with raw_server(authority.server_context(), lambda sock, _: sock.sendall(malformed)) as server:
        client.request("POST", server.url + "/secret-path?code=secret-code", body=b"secret-body")
    assert "secret-" not in caplog.text


def test_neither_error_nor_its_causes_hold_the_address_or_the_body(client: HttpClient) -> None:
    with pytest.raises(NoAnswer) as no:
        client.request("POST", "https://127.0.0.1:1/?code=secret-code", body=b"marker@example.com")
    assert no.value.__cause__ is None
    assert no.value.__suppress_context__
    assert str(no.value) == "connection_refused"


# --- The address guard ------------------------------------------------------------------------------------------------


NOT_A_VENDORS = """127.0.0.1 127.9.9.9 10.0.0.1 172.16.5.4 192.168.1.1 169.254.169.254 168.63.129.16 100.64.0.1 0.0.0.0 224.0.0.1
255.255.255.255 192.0.2.1 198.18.0.1 ::1 :: fe80::1 fd00::1 fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254
::ffff:10.0.0.1 ::ffff:168.63.129.16 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1:: 2001:0:7f00:1:: ::7f00:1
::ffff:0:7f00:1 2001:db8::1 2001:20::1 fec0::1 5f00::1 3fff::1 100::1 fd00:ec2::254 4000::1 192.0.0.9 192.88.99.1 240.0.0.1"""


@pytest.mark.parametrize("address", NOT_A_VENDORS.split())
def test_addresses_that_are_not_a_vendors(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "20.50.2.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_may_be_a_vendors(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_judged_as_itself(address: object) -> None:
    assert is_public(ip_address(f"::ffff:{address}")) == is_public(ip_address(str(address)))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::1]"]
)
def test_the_address_that_is_dialled_is_what_counts(authority: Authority, host: str) -> None:
    guarded = HttpClient(1, (), authority.bundle)
    with raw_server(authority.server_context(), answer()) as server, pytest.raises(NoAnswer) as no:
        guarded.request("POST", server.url.replace("127.0.0.1", host), body=b"{}")
    assert server.requests == []
    assert no.value.failure in {Failure.ADDRESS_REFUSED, Failure.NO_SUCH_HOST}


def test_open_and_closed_ports_of_a_private_network_give_the_same_failure(authority: Authority) -> None:
    guarded = HttpClient(1, (), authority.bundle)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        for port in (listening.getsockname()[1], 1):
            with pytest.raises(NoAnswer, match="address_refused"):
                guarded.request("GET", f"https://127.0.0.1:{port}/")
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_http_without_tls_is_refused(client: HttpClient) -> None:
    with raw_server(None, answer()) as server, pytest.raises(NoAnswer, match="address_refused"):
        client.request("GET", server.url.replace("https:", "http:"))
    assert server.requests == []


def test_a_name_that_changes_its_address_after_it_was_looked_at_gets_no_further(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    guarded = HttpClient(1, (), authority.bundle)
    with raw_server(authority.server_context("vendor.example.com"), answer()) as server, pytest.raises(NoAnswer) as no:
        guarded.request("POST", server.url.replace("127.0.0.1", "vendor.example.com"), body=b"{}")
    assert no.value.failure is Failure.ADDRESS_REFUSED
    assert server.requests == []


# --- Retry-After ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("0", 0), ("-5", 0), ("1.5", 1.5), ("", None), ("soon", None), ("9" * 400, None)],
)
def test_retry_after_in_seconds(text: str, seconds: float | None) -> None:
    got = Answer(429, {"retry-after": text}, b"").retry_after
    assert got == seconds or (seconds is None and got == float("inf"))


def test_retry_after_as_a_date() -> None:
    header = format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)
    assert Answer(503, {"retry-after": header}, b"").retry_after == pytest.approx(90, abs=3)


@given(st.text())
@example("Mon, 01 Jan 2024 00:00:00 +99999999999999999999")
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
def test_any_retry_after_is_a_number_or_none(text: str) -> None:
    got = Answer(429, {"retry-after": text}, b"").retry_after
    assert got is None or got >= 0 or got != got


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # the machine's proxy must not be asked
    yield
