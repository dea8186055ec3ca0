"""A table that hangs costs each delivery one time-out, never its neighbours' too, and no lead its place on the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from leads import clock
from leads.app import App
from leads.delivery import deliver
from leads.identity import new_lead_id
from leads.lead import parse_body
from leads.messages import Message, encode
from leads.settings import Settings
from leads.storage import TABLE_TIMEOUTS
from tests.support.pipeline import a_lead
from tests.support.proxy import Delay, Fault, Proxy, Request, Rule

THREADS = 24
TRIES = 2
SHORT = TABLE_TIMEOUTS | {"read_timeout": 0.7, "retry_total": TRIES - 1}
LONG = 30
"""Far more than the tries of one call, and less than those of all threads one after the other."""


class Hang(Rule):
    """Never answers what is asked of tables."""

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
    """Do it in all threads at once. Returns how many of them have ended, in whatever way."""
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
