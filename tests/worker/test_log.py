"""What the host is handed to log, of a lead's whole way and of a quiet hour: events alone, and nobody's data."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from azure.storage.queue import QueueClient

from devhost.runtime import LoadedApp
from leads.core.identity import customer_hash
from leads.ledger.transactions import LEDGER_TABLE
from leads.platform.events import Event
from tests.fakes.https_server import Response
from tests.fakes.tls import Authority
from tests.fakes.webhook import Receiver
from tests.support.account import Account
from tests.support.markers import found_in
from tests.support.pipeline import TestClock, a_lead
from tests.support.process_app import forget_app
from tests.support.worker_log import WorkerLog, deliver_visible, leads_queue, tick, worker_log

EMAIL = "Marker+tag@example.com"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


LOGGED = {
    *("lead_accepted", "lead_routed", "lead_attempted", "lead_settled", "lead_dead_lettered", "lead_imported"),
    *("lead_emptied", "lead_unreadable", "connection_checked", "leads_need_a_person"),
}
"""Of all that is logged on the way, what has to be among it."""


@dataclass
class Journey:
    """Drives the app's functions as the host does, and remembers the ledger's keys."""

    app: LoadedApp
    storage: str
    queue: QueueClient
    receiver: Receiver
    clock: TestClock
    log: WorkerLog
    keys: set[str] = field(default_factory=set)

    def post(self, action: str = "INS") -> str:
        answer = self.app.invoke_http("accept_lead", body=json.dumps(a_lead(EMAIL, action)).encode())
        assert answer.status == 202
        return str(answer.json()["lead_id"])

    def deliver(self) -> list[str]:
        """Deliver until nothing is visible; gives the messages."""
        texts = deliver_visible(self.app, self.queue)
        self.keys |= {row["RowKey"] for table, row in Account(self.storage).rows() if table == LEDGER_TABLE}
        return texts

    def manage(self, method: str, path: str, body: Any = None) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        url, params = f"http://localhost/api/manage/{path}", {"path": path}
        answer = self.app.invoke_http("manage", method, url, body=sent, params=params)
        assert answer.status < 300, answer.body
        return answer.json() if answer.body else None

    def tick_at(self, *minutes: int) -> None:
        """Both timers, at these minutes of the coming hours."""
        for minute in minutes:
            self.clock.time = (self.clock.time + timedelta(hours=1)).replace(minute=minute)
            tick(self.app)


@pytest.fixture
def journey(
    function_app: LoadedApp, fresh_storage: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Journey]:
    settings = {
        "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
        "LEADS_CA_BUNDLE": authority.bundle,
        "LEADS_SECRET_HOOK": SECRET,
    }
    for name, value in (settings | {"LEADS_PERSONAL_DATA_OVER_HTTP": "true"}).items():
        monkeypatch.setenv(name, value)
    clock = TestClock(datetime.now(UTC))
    monkeypatch.setattr("leads.core.clock.now", clock.now)
    forget_app()
    with (
        Receiver(authority, [SECRET], real_time=False) as receiver,
        leads_queue(fresh_storage) as queue,
        worker_log() as log,
    ):
        made = Journey(function_app, fresh_storage, queue, receiver, clock, log)
        hook = {"url": receiver.url, "secret": "env:LEADS_SECRET_HOOK"}
        destinations = [{"name": "table", "type": "azure_table"}, {"name": "hook", "type": "webhook", "settings": hook}]
        made.manage("PUT", "offers/contoso.crm", {"titles": ["Contoso CRM"], "destinations": destinations})
        log.take()  # what the fixture's own clients have logged, too
        yield made


def spellings(email: str) -> Iterator[str]:
    """The address as it could stand in an address, a header or a body."""
    for text in (email, email.lower(), email.upper()):
        encoded = quote(text, safe="")
        yield from (text, encoded, encoded.lower(), quote(encoded, safe=""), text.replace("+", " "))
        for before in range(3):  # where in three bytes it begins; the outer characters hold bits of what is beside it
            yield base64.b64encode(b"\0" * before + text.encode()).decode().rstrip("=")[before + 1 : -1]


@pytest.mark.parametrize(
    "written",
    [
        EMAIL.upper(),
        f"/Customers(RowKey='{quote(EMAIL.lower())}')",
        "q=" + quote(quote(EMAIL)),
        *(base64.b64encode(f"{before}{EMAIL}, and more".encode()).decode() for before in ("", "a", "ab")),
        *(base64.b64encode(f"{before}{EMAIL}".encode()).decode() for before in ("", "a", "ab")),
    ],
)
def test_an_address_is_recognised_however_it_is_written(written: str) -> None:
    assert any(spelling in written for spelling in spellings(EMAIL))


def test_of_a_leads_whole_way_only_events_are_logged_and_nothing_leads_back_to_the_person(journey: Journey) -> None:
    journey.post()
    (first, *_) = journey.deliver()
    journey.post()
    journey.post("PLT")
    journey.deliver()
    journey.receiver.fault = lambda request: Response(503)
    journey.post("Create")
    journey.deliver()
    journey.receiver.fault = lambda request: Response(400)
    journey.post("StartTestDrive")
    journey.deliver()
    journey.receiver.fault = lambda request: None
    row = {"Email": EMAIL, "First name": "Ada", "Offer": "Contoso CRM", "Action": "INS", "created_time": "2026-01-31"}
    journey.manage("POST", "import/rows", {"rows": [{"number": 2, "record": row}]})
    journey.deliver()
    for method, path, body in (
        ("GET", "status", None),
        ("GET", "leads", None),
        ("GET", "doctor", None),
        ("POST", "offers/contoso.crm/validate", None),
        ("POST", "access", {"email": EMAIL}),
        ("POST", "erasures", {"email": EMAIL}),
    ):
        journey.manage(method, path, body)
    journey.app.invoke_queue("deliver_lead", first)
    with QueueClient.from_connection_string(journey.storage, "leads-poison") as poison:
        poison.create_queue()
        poison.send_message(base64.b64encode(first.encode()).decode())
        poison.send_message(f"no message of ours, but about {EMAIL}")
    journey.tick_at(0, 3, 15)
    journey.deliver()

    lines = journey.log.take()
    assert {line.logger for line in lines} == {"leads"}
    assert {line.text.removeprefix("event=").partition(" ")[0] for line in lines} >= LOGGED
    for line in lines:
        head, _, fields = line.text.partition(" ")
        assert head.removeprefix("event=") in {event.value for event in Event}
        assert isinstance(json.loads(fields), dict) and "\n" not in line.text
    logged = "\n".join(line.text for line in lines)
    assert found_in(logged) == []
    assert [spelling for spelling in spellings(EMAIL) if spelling in logged] == []
    hashed = customer_hash(f"email:{EMAIL.lower()}")
    assert {f"gone;{hashed}"} <= journey.keys
    assert [
        key for key in (hashed, hashed.upper(), *journey.keys) if key in logged or quote(key, safe="") in logged
    ] == []


@pytest.mark.storage("memory")
def test_timers_that_find_nothing_to_do_log_nothing(journey: Journey) -> None:
    journey.tick_at(1)  # the destinations are asked whether they work
    journey.log.take()
    journey.clock.time = journey.clock.time.replace(minute=0)
    for _ in range(40):
        journey.clock.time += timedelta(minutes=1)
        tick(journey.app)
    assert journey.log.take() == []


def test_an_app_without_an_offer_logs_nothing_of_its_own_accord(function_app: LoadedApp) -> None:
    with worker_log() as log:
        tick(function_app)
    assert log.take() == []
