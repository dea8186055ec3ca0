"""Storage that is away, full or half away, clocks that are wrong, and messages that nobody expects, with real workers."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from devhost.clock import Clock
from devhost.supervisor import Supervisor
from leads.core.messages import decode
from leads.core.states import State
from leads.ledger import queries
from tests.chaos.case import LEASE_SECONDS, LONG_LEASE_SECONDS, Case
from tests.chaos.workers import ForkServer, Worker
from tests.support import proxy
from tests.support.app_folder import app_folder
from tests.support.pipeline import a_lead
from tests.support.proxy import Break, Fault, Proxy, Request, Rule, Service
from tests.support.running_app import Answer
from tests.support.vendor import DELIVERED, RETRY, Call
from tools.azurite import Azurite


@pytest.fixture
def case(case: Case) -> Case:
    case.mode, case.lease_seconds = (), LONG_LEASE_SECONDS
    return case


def post(worker: Worker, **changes: Any) -> Answer:
    return worker.post(json.dumps(a_lead(**changes)).encode())


def all_delivered(case: Case) -> bool:
    return len(case.vendors["crm"].records) == len(case.accepted) and case.is_finished()


def assert_each_sent_once(case: Case) -> None:
    calls = case.vendors["crm"].keys()
    assert sorted(calls) == sorted(case.accepted)


# --- Storage is away, or full -------------------------------------------------------------------------------------------


class Outage(Rule):
    """A service that fails in one way, while `is_on`; with `only_writes`, what is there can still be read."""

    def __init__(self, service: Service, fault: Fault, *, only_writes: bool = False) -> None:
        self.is_on = False
        self._service = service
        self._fault = fault
        self._only_writes = only_writes

    def before(self, request: Request) -> Fault | None:
        spared = self._only_writes and request.verb == "GET"
        return self._fault if self.is_on and request.service == self._service and not spared else None


TABLES_AWAY: dict[str, Callable[[], Outage]] = {
    "tables answer 503": lambda: Outage("table", proxy.Answer(503)),
    "tables answer 429": lambda: Outage("table", proxy.Answer(429)),
    "tables break the connection": lambda: Outage("table", Break()),
    "tables are full": lambda: Outage("table", proxy.Answer(507), only_writes=True),
    "tables fail to write": lambda: Outage("table", proxy.Answer(500), only_writes=True),
}
QUEUES_AWAY: dict[str, Callable[[], Outage]] = {
    "queues answer 503": lambda: Outage("queue", proxy.Answer(503)),
    "queues break the connection": lambda: Outage("queue", Break()),
    "queues are full": lambda: Outage("queue", proxy.Answer(507), only_writes=True),
    "queues fail to write": lambda: Outage("queue", proxy.Answer(500), only_writes=True),
}


ENDS_THE_HOST = {"queues break the connection"}


@pytest.mark.parametrize("what", TABLES_AWAY)
def test_without_tables_leads_are_accepted_and_wait(what: str, case: Case) -> None:
    case.arguments = ("--no-timers",)
    case.offer("crm")
    outage = TABLES_AWAY[what]()
    worker = case.start(outage)
    case.accepted.append(post(worker, Description="before").json()["lead_id"])
    case.wait_until(lambda: all_delivered(case), "the lead before the outage")
    outage.is_on = True
    for number in range(4):
        answer = post(worker, email=f"a{number}@example.com")
        assert answer.status == 202
        case.accepted.append(answer.json()["lead_id"])
    time.sleep(2)
    assert case.vendors["crm"].keys() == case.accepted[:1], "nothing is sent that could not be recorded"
    outage.is_on = False
    case.wait_until(lambda: all_delivered(case), "the leads of the outage")
    assert_each_sent_once(case)


@pytest.mark.parametrize("what", QUEUES_AWAY)
def test_without_queues_the_sender_is_told_at_once_and_nothing_else_is_lost(what: str, case: Case) -> None:
    case.arguments = ("--no-timers", "--time", "retry=0.4")
    case.lease_seconds = LEASE_SECONDS  # a host that ends takes the messages that it has in hand with it
    case.offer("crm")
    case.vendors["crm"].answer = lambda call: DELIVERED if len(case.vendors["crm"].calls) > 3 else RETRY
    outage = QUEUES_AWAY[what]()
    with Supervisor(lambda: case.start(outage)) as supervisor:
        for number in range(3):
            case.accepted.append(post(supervisor.host, email=f"a{number}@example.com").json()["lead_id"])
        outage.is_on = True
        for _ in range(2):
            answer = post(supervisor.host, Description="in the outage")
            assert (answer.status, answer.json()["title"]) == (503, "Temporarily unavailable")
            assert int(answer.headers["retry-after"]) > 0
        if what in ENDS_THE_HOST:
            case.wait_until(lambda: len(supervisor.hosts) > 1, "the host's end, and another one in its place")
        outage.is_on = False
        case.wait_until(lambda: all_delivered(case), "the leads that were accepted before")
        assert post(supervisor.host, Description="after the outage").status == 202
    assert (len(supervisor.hosts) > 1) is (what in ENDS_THE_HOST)


def test_azurite_stopped_and_started_in_mid_load(tmp_path: Path, forks: ForkServer, fast_clock: Clock) -> None:
    with Azurite(tmp_path, accounts=1) as azurite:
        (account,) = azurite.account_connection_strings
        with Case(account, forks, fast_clock) as case, ExitStack() as stack:
            case.arguments, case.mode = ("--no-timers",), ()
            case.offer("crm")
            proxies = [stack.enter_context(Proxy(account)) for _ in range(2)]
            kept = [stack.enter_context(Supervisor(partial(case.start, None, proxy))) for proxy in proxies]
            refused = 0
            for number in range(24):
                if number == 12:
                    azurite.stop()
                if number == 14:
                    azurite.restart()
                answer = post(kept[number % 2].host, email=f"a{number}@example.com")
                assert answer.status in {202, 503}
                if answer.status == 202:
                    case.accepted.append(answer.json()["lead_id"])
                refused += answer.status == 503
            assert refused >= 2
            assert len(case.accepted) >= 20
            case.wait_until(lambda: all_delivered(case), "every accepted lead")
            assert set(case.vendors["crm"].keys()) == set(case.accepted)


# --- Clocks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, -1])
def test_a_worker_whose_clock_is_an_hour_off_harms_nobody(hours: int, case: Case) -> None:
    """Leases go by storage's clock. A wrong clock may call a retry overdue; its second message is told from the first."""
    case.arguments = ()
    case.offer("crm")
    seen: set[str] = set()

    def fail_first(call: Call) -> dict[str, Any]:
        first = call.key not in seen and len(seen) < 4
        seen.add(call.key)
        return RETRY if first else DELIVERED

    case.vendors["crm"].answer = fail_first
    right = case.start(None, Proxy(case.connection_string))
    wrong = case.start(None, Proxy(case.connection_string), CHAOS_CLOCK_OFFSET=str(hours * 3600))
    for number in range(8):
        for action in ("INS", "PLT", "Create"):
            worker = (right, wrong)[len(case.accepted) % 2]
            answer = post(worker, email=f"a{number}@example.com", action=action)
            case.accepted.append(answer.json()["lead_id"])
    case.wait_until(lambda: all_delivered(case), "every lead of both workers")
    assert not any(case.unsettled_calls().values()), "no call but those that the ledger tells of"
    assert len(case.vendors["crm"].calls) == len(case.accepted) + 4
    for number in range(8):
        calls = [call for call in case.vendors["crm"].calls if call.lead["email"] == f"a{number}@example.com"]
        assert len({call.customer_record for call in calls if call.customer_record}) == 1, "one customer, one record"


# --- Messages -----------------------------------------------------------------------------------------------------------

V1_OF_INTAKE = (
    '{"v":1,"lead_id":"20260131235959999-0123456789ab-9","seq":0,"received_at":"2026-01-31T23:59:59.999000+00:00",'
    '"lead":{"first_name":"Ada","last_name":"O\'Neil","email":"ada@example.com","phone":"16175555555","country":"USA",'
    '"company":"Example Works","title":"Engineer","lead_source":"AzureMarketplace","action_code":"INS",'
    '"offer_title":"Contoso CRM","description":"Please call"}}'
)
"""A message as version 1 writes it. Frozen: a later release has to read it, whatever its own messages look like."""
V1_OF_A_RETRY = '{"v":1,"lead_id":"20260131235959999-0123456789ab-9","seq":1,"destination":"crm"}'
V1_LEAD = "20260131235959999-0123456789ab-9"


def put_raw(case: Case, text: str) -> None:
    QueueClient.from_connection_string(case.connection_string, "leads").send_message(text, time_to_live=-1)


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


def test_a_message_of_version_1_is_delivered_and_so_is_its_retry(case: Case) -> None:
    case.offer("crm")
    case.app.queue.put("{}")
    case.app.queue.delete(case.app.queue.receive(1, 1)[0])
    case.vendors["crm"].answers(RETRY, DELIVERED)
    put_raw(case, encoded(V1_OF_INTAKE))
    case.accepted.append(V1_LEAD)
    case.start()
    case.wait_until(lambda: bool(case.vendors["crm"].calls), "the first try")
    put_raw(case, encoded(V1_OF_A_RETRY))
    case.wait_until(lambda: all_delivered(case), "the lead of the previous release")
    assert case.vendors["crm"].calls[0].lead["last_name"] == "O'Neil"
    assert len(case.vendors["crm"].calls) == 2


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ("this is not base64!", b"this is not base64!"),
        (encoded("this is not JSON"), b"this is not JSON"),
        (encoded('{"v":1,"seq":0}'), b'{"v":1,"seq":0}'),
        (b64encode(b"\xff\xfe not UTF-8").decode(), b"\xff\xfe not UTF-8"),
    ],
    ids=["not base64", "not JSON", "no lead id", "not UTF-8"],
)
def test_what_can_not_be_read_is_kept_for_a_person(stored: str, kept: bytes, case: Case, tmp_path: Path) -> None:
    case.arguments = ("--no-http", "--app-dir", str(app_folder(tmp_path, queues={"maxDequeueCount": 1})))
    case.offer("crm")
    lead_id = case.post()
    put_raw(case, stored)
    case.start()
    case.wait_until(
        lambda: len(list(queries.undelivered(case.app.ledger))) == 1, "the unreadable message in the ledger"
    )
    (found,) = queries.undelivered(case.app.ledger)
    assert found.state is State.UNREADABLE
    assert case.app.ledger.body(found.lead_id) == kept
    case.wait_until(lambda: all_delivered(case), "its neighbour")
    assert case.vendors["crm"].keys() == [lead_id]


def test_a_message_of_a_newer_release_waits_for_it(case: Case) -> None:
    case.arguments = ("--no-http",)
    case.offer("crm")
    lead_id = case.post()
    newer = V1_OF_INTAKE.replace('"v":1', '"v":2')
    put_raw(case, encoded(newer))
    worker = case.start()
    case.wait_until(lambda: case.vendors["crm"].keys() == [lead_id] and "message_too_new" in worker.log, "both handled")
    worker.kill()
    waiting: list[str] = []

    def is_back() -> bool:
        waiting.extend(b64decode(message.content).decode() for message in case.app.queue.receive(32, 1))
        return newer in waiting

    case.wait_until(is_back, "the newer message is on the queue again")
    assert case.app.poison.depth() == 0
    with pytest.raises(Exception, match="version 2"):
        decode(newer)
