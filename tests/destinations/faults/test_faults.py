"""What can go wrong between the app and any vendor: the outcome is right, the lead ends there once, and nothing leaks.

Each destination type gets the whole table by being its module in `subjects`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BufferedIOBase
from typing import Any

import pytest

from leads.core.states import State
from leads.destinations import http
from leads.platform import storage
from tests.destinations.faults.subjects import SECRETS, SUBJECTS, Subject, running
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import LOSE_ANSWER, Broken, Fault, Request, Response
from tests.fakes.tls import Authority, make_authority
from tests.support.pipeline import Pipeline, pipeline_over_tls

PATIENCE_SECONDS = 1.0
"""How long the app waits for a vendor here."""

CUSTOMER = {
    "FirstName": "Zwingel",
    "LastName": "O'Neil-Marker",
    "Email": "o'neil.marker+tag@example.com",
    "Phone": "+4915199988877",
    "Company": "Marker & Söhne",
    "Title": "Oberfragerin",
    "Country": "Germany",
}
NOTE = "Bitte rufen Sie mich <b>bald</b> an; {company}"
PERSONAL = [value for name, value in CUSTOMER.items() if name != "Country"] + [NOTE]
FOREIGN_HOST = "collector.example.com"


def lead(action: str = "INS") -> dict[str, Any]:
    return {
        "UserDetails": CUSTOMER,
        "LeadSource": "AzureMarketplace",
        "ActionCode": action,
        "OfferTitle": "Contoso CRM",
        "Description": NOTE,
    }


# --- The table ----------------------------------------------------------------------------------------------------------


def _answer(status: int, body: bytes = b"<html>sorry</html>", **headers: str) -> Response:
    return Response(status, body, {"Content-Type": "text/html"} | {n.replace("_", "-"): v for n, v in headers.items()})


def _half(wire: BufferedIOBase, whole: bytes) -> None:
    wire.write(whole[: len(whole) - max(1, len(whole) // 5)])


def _hang(wire: BufferedIOBase, whole: bytes) -> None:
    time.sleep(PATIENCE_SECONDS * 2)


def _drip(wire: BufferedIOBase, whole: bytes) -> None:
    wire.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(int(PATIENCE_SECONDS * 30)):
        wire.write(b"x")
        time.sleep(0.1)


def _huge(wire: BufferedIOBase, whole: bytes) -> None:
    wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    for _ in range(40):
        wire.write(b" " * 65_536)


@contextmanager
def _refused(subject: Subject, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ExitStack() as stack:
        for server in subject.servers:
            stack.enter_context(server.refusing_connections())
        yield


@contextmanager
def _foreign_certificate(subject: Subject, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ExitStack() as stack:
        for server in subject.servers:
            stack.enter_context(server.with_certificate_of(authority))
        yield


@contextmanager
def _no_such_host(subject: Subject, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ports = {server.port for server in subject.servers}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if port in ports:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, port, *args, **options)

    with _refused(subject, authority, monkeypatch), pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield


Trouble = Callable[[Subject, Authority, pytest.MonkeyPatch], AbstractContextManager[None]]


@dataclass(frozen=True)
class Case:
    """A fault, and what it means: `outcome` unless `differs` says otherwise for a type. `acts`: the vendor has the lead.

    `wait_seconds`: how long the vendor asks us to wait.
    `unclear`: the app can't know whether the vendor acts, so that without a key the outcome is unknown.
    """

    name: str
    trouble: Fault | Trouble
    outcome: str = "retry"
    acts: bool = False
    wait_seconds: int = 0
    unclear: bool = False
    differs: tuple[tuple[str, str], ...] = ()

    def outcome_for(self, subject: Subject) -> str:
        usual = "unknown" if self.unclear and not subject.has_key else self.outcome
        return dict(self.differs).get(subject.config["type"], usual)


ANY_200 = (("webhook", "delivered"), ("salesforce_web_to_lead", "delivered"))
"""These answers have no meaning besides their status."""

# A fault that only the endpoint can know is retried while the connection's check passes.
CASES = [
    Case("connection refused", _refused),
    Case("no such host", _no_such_host),
    Case("a certificate of somebody else", _foreign_certificate, "misconfigured"),
    Case("no answer, not acted", Broken(acts=False, say=_hang), unclear=True),
    Case("no answer, acted", Broken(acts=True, say=_hang), acts=True, unclear=True),
    Case("connection closed, not acted", Broken(acts=False), unclear=True),
    Case("connection closed, acted", LOSE_ANSWER, acts=True, unclear=True),
    Case(
        "answer breaks off, acted",
        Broken(acts=True, say=_half),
        acts=True,
        unclear=True,
        differs=(("webhook", "delivered"),),
    ),
    Case("429 with Retry-After", _answer(429, Retry_After="40"), wait_seconds=40),
    Case("429 without", _answer(429)),
    Case("500 in HTML", _answer(500), differs=(("salesforce_web_to_lead", "unknown"),)),
    Case("502 in HTML", _answer(502), differs=(("salesforce_web_to_lead", "unknown"),)),
    Case("503 with Retry-After", _answer(503, Retry_After="40"), wait_seconds=40),
    Case("200 that is no answer", _answer(200, b"<html>Welcome</html>"), differs=ANY_200),
    Case(
        "200 with broken JSON",
        _answer(200, b'{"value": [', Content_Type="application/json"),
        differs=ANY_200,
    ),
    Case(
        "redirect to elsewhere",
        _answer(302, b"", Location=f"https://{FOREIGN_HOST}/"),
        "misconfigured",
        differs=(("webhook", "retry"), ("azure_table", "retry"), ("salesforce_web_to_lead", "unknown")),
    ),
    Case("an answer that drips", Broken(acts=False, say=_drip), unclear=True),
    Case("an answer without end", Broken(acts=False, say=_huge), unclear=True),
]


# --- The run ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(params=sorted(SUBJECTS))
def type_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def vendors_storage(type_name: str, request: pytest.FixtureRequest) -> str:
    """For the Azure Table destination, a real account is the vendor, and the faults happen on the way there."""
    return next(request.getfixturevalue("_unused_accounts")) if type_name == "azure_table" else ""


@pytest.fixture
def subject(
    type_name: str, authority: Authority, vendors_storage: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    monkeypatch.setattr(http, "TOTAL_SECONDS", PATIENCE_SECONDS)
    for name in ("read_timeout", "connection_timeout"):
        monkeypatch.setitem(storage.TABLE_TIMEOUTS, name, PATIENCE_SECONDS)
    with running(SUBJECTS[type_name](authority, monkeypatch, vendors_storage)) as made:
        yield made


@pytest.fixture
def pipeline(subject: Subject, fresh_storage: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    made.offer(subject.config)
    return made


@contextmanager
def trouble(case: Case, subject: Subject, foreign: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fault lasts until the block ends: for whatever stores a lead, and for the check where nothing is stored before."""
    if callable(case.trouble):
        with case.trouble(subject, foreign, monkeypatch):
            yield
        return

    def decide(request: Request) -> Fault:
        return case.trouble if subject.is_write(request) or not case.acts else None  # type: ignore[return-value]

    subject.vendor.fault = decide
    try:
        yield
    finally:
        subject.vendor.fault = lambda request: None


def test_who_refuses_connections_for_a_while_serves_once_afterwards(authority: Authority) -> None:
    with Dataverse(authority) as environment:
        serving = servers_under_way()
        with environment.refusing_connections(), environment.entra.refusing_connections():
            assert servers_under_way() == serving - 2
        assert servers_under_way() == serving
    assert servers_under_way() == serving - 2


def servers_under_way() -> int:
    return len([thread for thread in threading.enumerate() if "serve_forever" in thread.name])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_has_the_right_outcome_and_the_lead_ends_there_once(
    case: Case,
    subject: Subject,
    pipeline: Pipeline,
    foreign: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    with trouble(case, subject, foreign, monkeypatch):
        lead_id = pipeline.post(lead())
        pipeline.run()
        (attempt,) = pipeline.delivery(lead_id).attempts
        assert attempt.outcome == case.outcome_for(subject), attempt
        assert attempt.next_at is None or attempt.next_at - attempt.at >= timedelta(seconds=case.wait_seconds)
        assert len(subject.records() if case.acts else ()) == (1 if case.acts else 0)
    if attempt.outcome != "delivered":
        healed(pipeline, lead_id)
        twice = case.acts and not subject.has_key
        assert len(subject.records()) == (2 if twice else 1), "once; twice only without a key after an unclear answer"
        assert pipeline.delivery(lead_id).possibly_twice is (attempt.outcome == "unknown")
    nothing_leaks(subject, pipeline, lead_id, caplog)


def healed(pipeline: Pipeline, lead_id: str) -> None:
    """The lead is delivered within minutes, without a person's action."""
    for _ in range(4):
        pipeline.tick()
        if pipeline.delivery(lead_id).state is State.DELIVERED:
            return
    raise AssertionError(pipeline.delivery(lead_id))


def nothing_leaks(subject: Subject, pipeline: Pipeline, lead_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the customer nor a secret is in any log line of any logger, any reason or code, or any address."""
    kept = [
        caplog.text,
        *(str(record.exc_info) for record in caplog.records),
        repr(pipeline.delivery(lead_id)),
        repr(pipeline.app.connections.stored()),
        *(request.target for server in subject.servers for request in server.journal),
    ]
    everything = "\n".join(kept)
    secrets = [subject.secret(which) for which in SECRETS]
    for value in [*PERSONAL, *secrets, *SECRETS.values()]:
        for form in (value, value.replace("'", "''"), value.encode("unicode_escape").decode()):
            assert form not in everything, form
    for server in subject.servers:
        for request in server.journal:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            assert not token or len(token) < 20 or token not in caplog.text


def test_an_expired_token_is_renewed_within_the_attempt(subject: Subject, pipeline: Pipeline) -> None:
    if not subject.has_tokens:
        pytest.skip("this type has no tokens")
    pipeline.post(lead())
    pipeline.run()
    subject.expire_tokens()
    lead_id = pipeline.post(lead("PLT"))
    pipeline.run()
    assert [attempt.outcome for attempt in pipeline.delivery(lead_id).attempts] == ["delivered"]
    assert len(subject.records()) == 2


def test_a_revoked_secret_pauses_the_connection_and_the_new_one_heals_it(
    subject: Subject, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    if not subject.has_secret:
        pytest.skip("this type has no secret")
    caplog.set_level("DEBUG")
    pipeline.post(lead())
    pipeline.run()
    subject.accept_secret("after")
    leads = [pipeline.post(lead(action)) for action in ("PLT", "Create", "StartTestDrive")]
    pipeline.run()
    before = len(subject.vendor.journal)
    pipeline.tick(6)
    assert all(pipeline.delivery(lead_id).state is not State.DELIVERED for lead_id in leads)
    assert len(subject.vendor.journal) - before <= 40
    subject.set_secret("after")
    pipeline.tick(12)
    assert {pipeline.delivery(lead_id).state for lead_id in leads} == {State.DELIVERED}
    assert len(subject.records()) == 4
    nothing_leaks(subject, pipeline, leads[0], caplog)


def test_whatever_a_customer_writes_arrives_as_text(subject: Subject, pipeline: Pipeline) -> None:
    hostile = "O'Neil\" or 1 eq 1; {email} {{x}} \u2028 --batch\r\nX-Evil: 1 </notetext> \\u0000 =1+1"
    body = lead() | {"Description": hostile, "UserDetails": CUSTOMER | {"Company": hostile, "LastName": hostile}}
    lead_id = pipeline.post(body)
    pipeline.run()
    assert pipeline.delivery(lead_id).state is State.DELIVERED
    (record,) = subject.records()
    kept = pipeline.record(lead_id).lead
    assert kept is not None
    for text in (kept.description, kept.company):
        assert any(form in record for form in (text, repr(text)[1:-1], text.replace("'", "\\'")))
    assert not [request for request in subject.vendor.journal if "x-evil" in request.headers]
