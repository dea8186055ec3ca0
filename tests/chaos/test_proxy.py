"""The proxy does to requests what it says. If it did not, every test that breaks storage by it would show nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from azure.core.exceptions import AzureError, HttpResponseError
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from tests.support.proxy import EMPTY_POLL, Answer, Break, Cut, Delay, Fault, Kill, Proxy, Request, Rule

Way = Literal["before", "after"]


class Do(Rule):
    """One fault, to requests of which something is true."""

    def __init__(self, fault: Fault, way: Way, when: Callable[[Request], bool] = lambda request: True) -> None:
        self._fault, self._way, self._when = fault, way, when

    def before(self, request: Request) -> Fault | None:
        return self._fault if self._way == "before" and self._when(request) else None

    def after(self, request: Request) -> Fault | None:
        return self._fault if self._way == "after" and self._when(request) else None


@pytest.fixture
def proxy(fresh_storage: str) -> Iterator[Proxy]:
    with QueueClient.from_connection_string(fresh_storage, "leads") as direct:
        direct.create_queue()
    with Proxy(fresh_storage) as running:
        yield running


@pytest.fixture
def queue(proxy: Proxy) -> Iterator[QueueClient]:
    """A client behind the proxy that asks once."""
    with QueueClient.from_connection_string(proxy.connection_string, "leads", retry_total=0) as client:
        yield client


def arrived(storage: str) -> int:
    """How many messages storage has, asked without the proxy."""
    with QueueClient.from_connection_string(storage, "leads") as direct:
        return direct.get_queue_properties().approximate_message_count or 0


@pytest.mark.parametrize(("way", "messages"), [("before", 0), ("after", 1)])
def test_a_process_is_killed_before_storage_hears_of_its_request_or_after_it_has_acted(
    way: Way, messages: int, proxy: Proxy, queue: QueueClient, fresh_storage: str
) -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        proxy.protect(victim.pid, Do(Kill(), way))
        with pytest.raises(AzureError):
            queue.send_message("a lead")
        assert victim.wait(10) == -signal.SIGKILL
    assert proxy.killed.is_set()
    assert proxy.killed_at is not None and proxy.killed_at.name == "queue put leads"
    assert arrived(fresh_storage) == messages


@pytest.mark.parametrize(
    ("fault", "way", "status", "messages"),
    [
        (Break(), "before", None, 0),
        (Break(), "after", None, 1),
        (Cut(), "after", None, 1),
        (Answer(429), "before", 429, 0),
        (Answer(500), "before", 500, 0),
        (Answer(503), "after", 503, 1),
        (Answer(507), "before", 507, 0),
    ],
    ids=str,
)
def test_a_request_fails_before_storage_has_acted_or_after_it(
    fault: Fault, way: Way, status: int | None, messages: int, proxy: Proxy, queue: QueueClient, fresh_storage: str
) -> None:
    proxy.rule = Do(fault, way)
    with pytest.raises(AzureError) as failed:
        queue.send_message("a lead")
    assert (failed.value.status_code if isinstance(failed.value, HttpResponseError) else None) == status
    assert arrived(fresh_storage) == messages


@pytest.mark.parametrize("way", ["before", "after"])
def test_a_request_is_delayed(way: Way, proxy: Proxy, queue: QueueClient, fresh_storage: str) -> None:
    proxy.rule = Do(Delay(0.3), way)
    started = time.monotonic()
    queue.send_message("a lead")
    assert time.monotonic() - started >= 0.3
    assert arrived(fresh_storage) == 1


def test_one_service_fails_alone(proxy: Proxy, queue: QueueClient) -> None:
    proxy.rule = Do(Answer(503), "before", lambda request: request.service == "table")
    queue.send_message("a lead")
    with (
        TableClient.from_connection_string(proxy.connection_string, "Rows", retry_total=0) as table,
        pytest.raises(HttpResponseError),
    ):
        table.create_table()


def test_requests_are_numbered_named_and_counted(proxy: Proxy, queue: QueueClient) -> None:
    """Empty polls hang on chance, so they are no steps; what only reads and what renews a lease is no change.

    What storage refuses has no effect.
    """
    assert queue.receive_message() is None
    queue.send_message("a lead")
    message = queue.receive_message()
    assert message is not None
    renewed = queue.update_message(message, visibility_timeout=30)
    with TableClient.from_connection_string(proxy.connection_string, "Rows") as table:
        table.create_table()
        row = {"PartitionKey": "1", "RowKey": "lead;1"}
        table.submit_transaction([("create", row), ("upsert", row | {"RowKey": "todo;1"})])
        for refused in (lambda: table.create_entity(row), lambda: table.submit_transaction([("create", row)])):
            with pytest.raises(AzureError):
                refused()
        table.get_entity("1", "lead;1")
        assert len(list(table.list_entities())) == 2
    queue.delete_message(renewed)
    assert [(each.number, each.step, each.change, each.effect, each.name) for each in proxy.journal] == [
        (1, 0, 0, 0, "queue get leads"),
        (2, 1, 1, 1, "queue put leads"),
        (3, 2, 2, 2, "queue get leads"),
        (4, 3, 0, 0, "queue update leads"),
        (5, 4, 3, 3, "table create table Tables"),
        (6, 5, 4, 4, "table batch (POST lead, PATCH todo)"),
        (7, 6, 5, 0, "table create Rows"),
        (8, 7, 6, 0, "table batch (POST lead)"),
        (9, 8, 0, 0, "table get Rows"),
        (10, 9, 0, 0, "table query Rows"),
        (11, 10, 7, 5, "queue delete leads"),
    ]
    assert proxy.counts()[EMPTY_POLL] == 1
    assert proxy.counts()["queue get"] == 1
