"""The intake during outages: fast answers without detail, and 202 only for stored leads."""

from __future__ import annotations

import json
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import azure.functions as func
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from leads.app import App, get_app
from leads.core.identity import is_lead_id
from leads.core.lead_parsing import parse_body, parse_kept
from leads.core.messages import decode
from leads.core.states import State
from leads.ledger.queries import todo
from leads.pipeline import http
from leads.pipeline.http import ABOUT_INTAKE, FOR_EVERY_OFFER, FOR_ONE_OFFER, answer_intake
from leads.pipeline.intake import MAX_BODY_BYTES, accept
from leads.platform.settings import Settings
from leads.platform.storage import StorageError
from tests.support.in_time import in_time
from tests.support.logs import logged
from tests.support.pipeline import a_lead, at_once, text_of
from tests.support.process_app import forget_app
from tests.support.proxy import Answer, Break, Fault, Proxy, Request, Rule
from tests.support.tcp import tcp_server

KEY = "c2VjcmV0LWtleS1vZi1ub2JvZHk="
LEAD = json.dumps(a_lead()).encode()
LARGE = json.dumps(a_lead(Notes="n" * 100_000)).encode()
UNREADABLE = b'{"UserDetails": {"Email": "ada@example.com",,}'
BODIES = {"lead": LEAD, "large lead": LARGE, "unreadable body": UNREADABLE}
PRIVATE = (
    KEY,
    "ada@example.com",
    "O'Neil",
    "16175555555",
    "127.0.0.1",
    "localhost",
    "AccountKey",
    "Traceback",
    "azure.",
)


# --- Storage that fails -----------------------------------------------------------------------------------------------


@contextmanager
def refusing() -> Iterator[int]:
    """A port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """A socket that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield listening.getsockname()[1]


@contextmanager
def full() -> Iterator[int]:
    """A socket with a full backlog. Connecting never succeeds, as behind a firewall that drops packets."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
            waiting.append(one)
        try:
            yield listening.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


def answering(serve: Callable[[socket.socket], None]) -> AbstractContextManager[int]:
    """A server that calls this for each connection after the first bytes of the request."""

    def talk(connection: socket.socket) -> None:
        while connection.recv(65536):
            serve(connection)

    return tcp_server(talk)


def answer_500(connection: socket.socket) -> None:
    body = b"<Error><Code>InternalError</Code></Error>"
    connection.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def answer_busy(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")


def answer_garbage(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    connection.close()


def drop(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


OUTAGES: dict[str, Callable[[], AbstractContextManager[int]]] = {
    "refuses": refusing,
    "never answers": silent,
    "can not be reached": full,
    "answers 500": lambda: answering(answer_500),
    "answers 503 for two minutes": lambda: answering(answer_busy),
    "answers something else": lambda: answering(answer_garbage),
    "drops the connection": lambda: answering(drop),
}


def at(port: int) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName=example;AccountKey={KEY};"
        f"QueueEndpoint=http://127.0.0.1:{port}/example;TableEndpoint=http://127.0.0.1:{port}/example;"
    )


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], App]]:
    """Gives the process this storage, as in the function app."""

    def configure(connection_string: str) -> App:
        monkeypatch.setenv("LeadsStorage", connection_string)
        forget_app()
        return get_app()

    yield configure
    forget_app()


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline covers the whole answer, so that the tests do not wait for real hangs."""
    monkeypatch.setattr(http, "INTAKE_SECONDS", 0.5)


def request(body: bytes = LEAD, method: str = "POST", **route: str) -> func.HttpRequest:
    return func.HttpRequest(
        method=method,
        url="https://example.azurewebsites.net/api/leads/contoso.crm?code=key",
        headers={"Content-Type": "application/json"},
        params={"code": "key"},
        route_params=route,
        body=body,
    )


def posted(body: bytes = LEAD, **route: str) -> tuple[int, dict[str, Any], func.HttpResponse]:
    response = answer_intake(request(body, **route), "")
    return response.status_code, json.loads(response.get_body()), response


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.usefixtures("short_deadline")
def test_storage_that_fails_is_answered_503_by_the_deadline_and_leaks_nothing(
    outage: str, kind: str, configured: Callable[[str], App], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    with OUTAGES[outage]() as port:
        configured(at(port))
        with in_time():
            status, body, response = posted(BODIES[kind])
    assert status == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.mimetype == "application/problem+json"
    assert body == {
        "type": "about:blank",
        "title": "Temporarily unavailable",
        "status": 503,
        "detail": "The lead could not be stored. Send it again.",
    }
    logged = [record.getMessage() for record in caplog.records if record.name == "leads"]
    assert len([line for line in logged if line.startswith("event=intake_unavailable ")]) == 1
    assert not [private for private in PRIVATE for line in logged if private in line]


@pytest.mark.parametrize("outage", ["never answers", "answers 503 for two minutes"])
@pytest.mark.usefixtures("short_deadline")
def test_a_sender_without_a_body_does_not_wait_for_storage_that_fails(
    outage: str, configured: Callable[[str], App], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    with OUTAGES[outage]() as port:
        configured(at(port))
        with in_time():
            assert posted(b"")[0] == 400
    assert [line["what"] for line in logged(caplog, "storage_unavailable")] == ["empty bodies"]


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("outage", ["refuses", "answers 500", "drops the connection"])
def test_a_lead_that_could_not_be_stored_is_a_storage_error(outage: str, kind: str) -> None:
    with OUTAGES[outage]() as port:
        app = App(Settings.model_validate({"LeadsStorage": at(port)}))
        with pytest.raises(StorageError):
            accept(app.incoming, BODIES[kind])


@pytest.mark.usefixtures("short_deadline")
def test_a_queue_that_does_not_answer_blocks_no_other_request(configured: Callable[[str], App]) -> None:
    with silent() as port:
        configured(at(port))
        with in_time():
            at_once(*[posted] * 8)


@pytest.mark.parametrize(
    "connection_string",
    [
        "",
        "nonsense",
        "AccountName=example",
        "AccountName=example;AccountKey=;",
        f"AccountName=example;AccountKey={KEY[:5]};",
    ],
    ids=["none", "no connection string", "half of one", "a blank key", "a key that is no key"],
)
@pytest.mark.parametrize("kind", BODIES)
def test_a_wrong_setting_is_answered_503_without_saying_which(
    connection_string: str, kind: str, configured: Callable[[str], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LeadsStorage", connection_string)
    forget_app()
    status, body, response = posted(BODIES[kind])
    assert status == 503
    assert "Retry-After" in response.headers
    assert "LeadsStorage" not in json.dumps(body)


# --- One request a lead -----------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(fresh_storage: str, configured: Callable[[str], App]) -> Iterator[Proxy]:
    """An empty account behind a proxy that counts requests. Queue and ledger exist already."""
    with Proxy(fresh_storage) as proxy:
        configured(proxy.connection_string)
        posted()
        posted(LARGE)
        proxy.forget()
        yield proxy


@pytest.mark.storage("azurite")
def test_a_lead_costs_one_storage_request(proxied: Proxy) -> None:
    for number in range(5):
        assert posted(json.dumps(a_lead(f"c{number}@example.com")).encode())[0] == 202
    assert proxied.counts() == {"queue put": 5}


@pytest.mark.storage("azurite")
def test_a_large_lead_costs_one_more_and_is_stored_before_the_message_names_it(proxied: Proxy) -> None:
    assert posted(LARGE)[0] == 202
    assert [entry.service for entry in proxied.journal] == ["table", "queue"]


@pytest.mark.storage("azurite")
def test_what_needs_no_storage_asks_none(proxied: Proxy) -> None:
    answer_intake(request(method="GET"), "")
    answer_intake(request(method="PUT"), "")
    posted(b"x" * (MAX_BODY_BYTES + 1))
    assert proxied.journal == []


class Once(Rule):
    """Does this to the first request, before or after storage carries it out."""

    def __init__(self, fault: Fault, *, late: bool = False) -> None:
        self._fault: Fault | None = fault
        self._late = late

    def before(self, request: Request) -> Fault | None:
        return None if self._late else self._take()

    def after(self, request: Request) -> Fault | None:
        return self._take() if self._late else None

    def _take(self) -> Fault | None:
        fault, self._fault = self._fault, None
        return fault


@pytest.mark.storage("azurite")
@pytest.mark.parametrize("fault", [Answer(500), Answer(503), Break()], ids=str)
@pytest.mark.parametrize("late", [False, True], ids=["before storage acts", "after it has acted"])
def test_one_hiccup_of_the_queue_costs_no_lead(fault: Fault, late: bool, proxied: Proxy) -> None:
    proxied.rule = Once(fault, late=late)
    status, body, _ = posted()
    assert status == 202
    found = [decode(text_of(message)).lead_id for message in get_app().queue.receive(32, 30)]
    assert body["lead_id"] in found


@pytest.mark.storage("azurite")
def test_a_large_lead_whose_body_was_not_kept_is_not_put_on_the_queue(proxied: Proxy) -> None:
    class NoTables(Rule):
        def before(self, request: Request) -> Fault | None:
            return Answer(500) if request.service == "table" else None

    proxied.rule = NoTables()
    assert posted(LARGE)[0] == 503
    assert {entry.service for entry in proxied.journal} == {"table"}


# --- The answers ------------------------------------------------------------------------------------------------------


@pytest.fixture
def app(fresh_storage: str, configured: Callable[[str], App]) -> App:
    return configured(fresh_storage)


@pytest.mark.parametrize("kind", ["lead", "large lead"])
def test_202_names_the_lead_and_where_to_ask_for_it_once_it_is_on_the_queue(app: App, kind: str) -> None:
    status, body, response = posted(BODIES[kind], offer="contoso.crm")
    assert (status, response.mimetype) == (202, "application/json")
    assert set(body) == {"lead_id", "status_url"}
    assert is_lead_id(body["lead_id"])
    assert body["status_url"] == f"https://example.azurewebsites.net/api/status/{body['lead_id']}"
    message = decode(text_of(app.queue.receive(1, 30)[0]))
    assert (message.lead_id, message.offer) == (body["lead_id"], "contoso.crm")


def test_a_large_lead_within_a_wrapper_is_kept_without_it(app: App) -> None:
    status, _, _ = posted(b'{"headers": {"Authorization": "x"}, "body": ' + LARGE + b"}")
    assert status == 202
    message = decode(text_of(app.queue.receive(1, 30)[0]))
    kept = app.ledger.body(message.lead_id)
    assert kept is not None
    assert parse_kept(kept) == parse_body(LARGE)
    assert b"Authorization" not in kept


def test_the_address_of_a_leads_state_has_the_apps_own_name(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSITE_HOSTNAME", "contoso-leads.azurewebsites.net")
    forget_app()
    _, body, _ = posted()
    assert body["status_url"] == f"https://contoso-leads.azurewebsites.net/api/status/{body['lead_id']}"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (UNREADABLE, 400, "body"),
        (b"lead=ada@example.com", 400, "body"),
        (b"\xff\xfe\x00", 400, "body"),
        (b"[1]", 422, "body"),
        (b"null", 422, "body"),
        (b"{}", 422, "body"),
        (b'{"headers": {}, "body": {"from": "ada@example.com"}}', 422, "body"),
        (b"[" * 100_000, 422, "body"),
        (b'{"a":' * 50_000, 422, "body"),
    ],
    ids=[
        "broken JSON",
        "a form",
        "bytes",
        "a list",
        "null",
        "an empty object",
        "a wrapper of no lead",
        "deep lists",
        "deep objects",
    ],
)
def test_what_can_not_be_read_is_kept_first_and_then_answered_with_the_field_and_its_id(
    app: App, body: bytes, status: int, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    answered, problem, response = posted(body)
    assert (answered, response.mimetype) == (status, "application/problem+json")
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["field"] == field
    assert problem["title"]
    assert problem["detail"]
    assert "example.com" not in json.dumps(problem)
    record = app.ledger.read(problem["lead_id"])
    assert record is not None
    assert record.state is State.UNREADABLE
    assert [item.lead_id for item in todo(app.ledger, State.UNREADABLE)] == [record.lead_id]
    assert logged(caplog, "lead_unreadable")
    assert record.deliveries[""].reason == problem["detail"]
    assert app.ledger.body(problem["lead_id"]) == body
    assert app.queue.depth() == 0


@pytest.mark.parametrize("body", [b"", b"  \r\n"])
def test_an_empty_body_is_answered_400_and_nothing_is_kept(app: App, body: bytes) -> None:
    status, problem, _ = posted(body)
    assert (status, problem["field"]) == (400, "body")
    assert "lead_id" not in problem


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 1024 * 1024])
def test_a_body_above_256_kib_is_answered_413_with_the_limit(app: App, size: int) -> None:
    status, problem, response = posted(b"x" * size)
    assert (status, problem["status"], problem["field"]) == (413, 413, "body")
    assert str(MAX_BODY_BYTES) in problem["detail"]
    assert response.mimetype == "application/problem+json"
    assert app.queue.depth() == 0


def test_a_body_of_just_256_kib_is_accepted_and_kept_whole(app: App) -> None:
    body = json.dumps(a_lead(Notes="")).encode()
    body = body.replace(b'"Notes": ""', b'"Notes": "%s"' % (b"n" * (MAX_BODY_BYTES - len(body))))
    assert len(body) == MAX_BODY_BYTES
    status, answer, _ = posted(body)
    assert status == 202
    assert app.ledger.body(answer["lead_id"]) == body


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_is_answered_405_with_those_there_are(method: str) -> None:
    response = answer_intake(request(method=method), "")
    assert response.status_code == 405
    assert response.headers["Allow"] == "POST, GET, HEAD"
    assert json.loads(response.get_body())["detail"] == f"Leads are sent with POST, not {method}."
    assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_asking_the_address_what_it_is_gets_words(method: str) -> None:
    response = answer_intake(request(b"", method), "")
    assert (response.status_code, response.mimetype) == (200, "text/plain")
    assert response.get_body().decode() == ABOUT_INTAKE + FOR_EVERY_OFFER


def test_an_address_says_which_offer_it_is_for_so_that_a_mistyped_id_is_seen() -> None:
    body = answer_intake(request(b"", "GET", offer="contoso.crn"), "").get_body().decode()
    assert body.endswith(FOR_ONE_OFFER.format("contoso.crn"))
    assert "add its id" not in body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200), offer=st.text(st.characters(), max_size=20))
@example(body=LEAD, offer="\udcff")
@example(body=LEAD, offer="a/b%2Fc\\d#e?f\x00")
@example(body=LEAD, offer="x" * 8_000)
@example(body=b"{}", offer="")
@example(body=UNREADABLE, offer="\ud800")
def test_any_bytes_at_any_address_are_accepted_or_answered_in_words(app: App, body: bytes, offer: str) -> None:
    status, answer, _ = posted(body, offer=offer)
    assert status in {202, 400, 422}
    if status == 202:
        messages = app.queue.receive(32, 30)
        assert [decode(text_of(message)).lead_id for message in messages] == [answer["lead_id"]]
        for message in messages:
            app.queue.delete(message)
    elif body.strip():
        assert app.ledger.body(answer["lead_id"]) == body
