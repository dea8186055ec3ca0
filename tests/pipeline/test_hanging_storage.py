"""Hanging storage: each delivery ends at its deadline, waits for no other delivery, and loses no lead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import azure.functions as func
import pytest

from leads.app import App, get_app
from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead_parsing import parse_body
from leads.core.messages import Message, encode
from leads.core.states import State
from leads.destinations import bounded_calls
from leads.operations import http as manage
from leads.operations.http import answer_with_key
from leads.operations.table import OPERATIONS
from leads.pipeline import delivery, http, settling
from leads.pipeline.delivery import deliver
from leads.pipeline.http import answer_status
from leads.platform.settings import Settings
from leads.platform.steps import carry_out
from leads.platform.storage import TABLE_TIMEOUTS, Storage, StorageError
from leads.watch import poison, tick
from tests.support.in_time import in_time
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.process_app import forget_app
from tests.support.proxy import Delay, Fault, Proxy, Request, Rule
from tests.support.vendor import Vendor

pytestmark = pytest.mark.storage("azurite")

THREADS = 24
TRIES = 2
SHORT = TABLE_TIMEOUTS | {"read_timeout": 0.7, "retry_total": TRIES - 1}
LONG = 30
"""Longer than the tries of one call, and shorter than those of all threads in sequence."""


class Hang(Rule):
    """Never answers requests to tables."""

    def before(self, request: Request) -> Fault | None:
        return Delay(1000) if request.service == "table" else None


@pytest.fixture
def hanging(fresh_storage: str) -> Iterator[Proxy]:
    with Proxy(fresh_storage, Hang()) as proxy:
        yield proxy


@pytest.fixture
def app(hanging: Proxy) -> App:
    settings = Settings.model_validate(
        {"LeadsStorage": hanging.connection_string, "PYTHON_THREADPOOL_THREAD_COUNT": "32"}
    )
    return App(settings, SHORT)


def in_all_threads(work: Callable[[int], object]) -> int:
    """Call it in all threads at once. Returns how many of them have ended."""
    pool = ThreadPoolExecutor(THREADS)
    done, _ = wait([pool.submit(work, number) for number in range(THREADS)], LONG)
    pool.shutdown(wait=False, cancel_futures=True)
    return len(done)


def a_message(number: int) -> str:
    now, lead = clock.now(), parse_body(json.dumps(a_lead(f"customer{number}@example.com")).encode())
    return encode(Message(new_lead_id(now, lead), received_at=now, lead=lead))


def test_all_deliveries_put_their_messages_back_within_one_time_out(app: App, hanging: Proxy) -> None:
    assert in_all_threads(lambda number: deliver(app, a_message(number))) == THREADS
    assert app.queue.depth() == THREADS
    assert len(asked_of(hanging, "LeadOffers")) <= TRIES, "more than one thread has asked for the offers"


@pytest.mark.parametrize(
    ("ask", "table"),
    [
        (lambda app: app.offers.all(), "LeadOffers"),
        (lambda app: app.connections.get("one"), "LeadConnections"),
        (lambda app: app.tombstones.cover("somebody", clock.now()), "LeadLedger"),
    ],
    ids=["offers", "connections", "tombstones"],
)
def test_what_all_threads_use_one_of_them_asks_for(
    app: App, hanging: Proxy, ask: Callable[[App], object], table: str
) -> None:
    assert in_all_threads(lambda _: ask(app)) == THREADS
    assert 1 <= len(asked_of(hanging, table)) <= TRIES


def asked_of(proxy: Proxy, table: str) -> list[Request]:
    return [request for request in proxy.journal if request.target == table]


# --- Wherever it hangs --------------------------------------------------------------------------------------------------

PATIENT = TABLE_TIMEOUTS | {"read_timeout": 600}
DEADLINE = 4.0


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "DELIVERY_SECONDS", DEADLINE)
    monkeypatch.setattr(delivery, "PUT_BACK_SECONDS", DEADLINE / 4)
    monkeypatch.setattr(bounded_calls, "SEND_SECONDS", DEADLINE / 4)
    monkeypatch.setattr(settling, "SETTLE_SECONDS", DEADLINE / 4)


class HangAt(Rule):
    """Never answers requests of one kind."""

    def __init__(self, kind: Callable[[Request], bool]) -> None:
        self._kind = kind

    def before(self, request: Request) -> Fault | None:
        return Delay(1000) if self._kind(request) else None


@pytest.mark.usefixtures("short_deadline")
@pytest.mark.parametrize(
    ("hangs", "sent"),
    [
        (lambda request: request.target == "LeadOffers", 0),
        (lambda request: request.target == "LeadConnections", 0),
        (lambda request: request.name == "table create LeadLedger", 0),
        (lambda request: request.operation == "batch", 1),
    ],
    ids=["offers", "connections", "the claim", "settling"],
)
def test_a_delivery_puts_its_message_back_before_its_deadline_wherever_storage_hangs(
    fresh_storage: str, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, hangs: Callable[[Request], bool], sent: int
) -> None:
    with Proxy(fresh_storage) as proxy:
        settings = Settings.model_validate({"LeadsStorage": proxy.connection_string})
        pipeline = Pipeline(proxy.connection_string, monkeypatch, storage=Storage(settings, PATIENT))
        pipeline.offer(crm(vendor.url))
        lead = pipeline.post()
        proxy.rule = HangAt(hangs)
        with in_time():
            pipeline.run()
        assert [message.lead_id for message in pipeline.pending()] == [lead]
        proxy.rule = Rule()
        pipeline.advance(61)
        assert pipeline.delivery(lead).state is State.DELIVERED
        assert len(vendor.calls) == sent + 1


@pytest.mark.usefixtures("short_deadline")
def test_where_nothing_of_storage_answers_the_message_is_left_to_the_host(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(fresh_storage, HangAt(lambda _: True)) as proxy:
        app = App(Settings.model_validate({"LeadsStorage": proxy.connection_string}), PATIENT)

        with in_time(), pytest.raises(StorageError):
            deliver(app, a_message(1))


@pytest.fixture
def hanging_account(hanging: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The process's app. Its tables hang far longer than any deadline."""
    monkeypatch.setenv("LeadsStorage", hanging.connection_string)
    monkeypatch.setattr(App.__init__, "__defaults__", (PATIENT,))
    forget_app()
    yield get_app()
    forget_app()


def test_who_asks_where_a_lead_stands_is_told_that_storage_does_not_say(
    hanging_account: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "STATUS_SECONDS", 0.5)
    lead_id = new_lead_id(clock.now(), parse_body(json.dumps(a_lead()).encode()))
    request = func.HttpRequest("GET", "http://localhost/api/status", route_params={"lead_id": lead_id}, body=b"")
    with in_time():
        check(answer_status(request))


def test_who_manages_the_app_is_told_that_storage_does_not_say(
    hanging_account: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manage, "OPERATIONS", [replace(operation, seconds=0.5) for operation in OPERATIONS])
    request = func.HttpRequest("GET", "http://localhost/api/manage", route_params={"path": "offers"}, body=b"")
    with in_time():
        check(answer_with_key(request, "manage"))


def check(answer: func.HttpResponse) -> None:
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def test_watch_ends_before_its_deadline(hanging_account: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "WATCH_SECONDS", 1.0)
    with in_time(), pytest.raises(StorageError):
        tick.watch(hanging_account)


def test_the_poison_queue_is_left_before_its_deadline_and_that_is_said(
    hanging_account: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hanging_account.poison.put("cmVhZGFibGU=")
    monkeypatch.setattr(poison, "DRAIN_SECONDS", 1.0)
    monkeypatch.setattr(poison, "RECORD_SECONDS", 0.1)
    with in_time():
        carry_out(
            poison.poison_step(
                hanging_account.poison, hanging_account.incoming, hanging_account.ledger, hanging_account.tombstones
            )
        )
    assert [event["what"] for event in logged(caplog, "step_overran")] == ["poison"]
    assert hanging_account.poison.depth() == 1
