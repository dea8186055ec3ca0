"""A host without storage: it ends itself, stays up, or does not start."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests
from azure.storage.queue import QueueClient

from devhost.storage import TRIES, Account, Service, StorageError, StorageGone
from devhost.supervisor import Supervisor
from devhost.times import Times
from tests.devhost.conftest import SAMPLE_APP, Devhost, Gate, Recorder, Start, task, until
from tests.support.account import named_parts
from tests.support.proxy import Answer, Fault, Proxy, Request, Rule

QUICK = ("--time", "retry=0.02")


def port_of(connection_string: str, service: str) -> int:
    return urlsplit(named_parts(connection_string)[f"{service}Endpoint"]).port or 0


def through(gate: Gate, service: str, connection_string: str) -> str:
    """The account with one of its services behind a gate."""
    return connection_string.replace(f":{port_of(connection_string, service)}/", f":{gate.port}/")


@pytest.fixture
def blob_gate(fresh_storage: str) -> Iterator[Gate]:
    with Gate(port_of(fresh_storage, "Blob")) as gate:
        yield gate


@pytest.fixture
def queue_gate(fresh_storage: str) -> Iterator[Gate]:
    with Gate(port_of(fresh_storage, "Queue")) as gate:
        yield gate


@pytest.mark.parametrize("breaks", [False, True], ids=["refuses", "breaks"])
def test_where_storage_has_no_connections_an_idle_host_ends_itself(
    breaks: bool, start_devhost: Start, fresh_storage: str, queue_gate: Gate
) -> None:
    assert 20 < Times.retry * sum(2**number for number in range(TRIES - 1)) < 40
    devhost = start_devhost(*QUICK, env={"LeadsStorage": through(queue_gate, "Queue", fresh_storage)})
    queue_gate.breaks = breaks
    queue_gate.close()
    if breaks:
        queue_gate.open()
    assert devhost.wait() == 1
    assert "devhost: ends itself: queue work: storage does not answer" in devhost.log
    assert not devhost.ready_file.exists()


def test_where_the_storage_of_its_timers_has_no_connections_it_ends_itself_too(
    start_devhost: Start, fresh_storage: str, blob_gate: Gate
) -> None:
    settings = {"AzureWebJobsStorage": through(blob_gate, "Blob", fresh_storage)}
    devhost = start_devhost(*QUICK, "--no-queues", "--time", "timer_lease=15", env=settings)
    blob_gate.close()
    assert devhost.wait() == 1
    assert "devhost: ends itself: the lock of tick: storage does not answer" in devhost.log


def test_a_host_without_queues_and_timers_stays_up_and_serves(
    start_devhost: Start, fresh_storage: str, queue_gate: Gate, blob_gate: Gate
) -> None:
    away = through(blob_gate, "Blob", through(queue_gate, "Queue", fresh_storage))
    for gate in (queue_gate, blob_gate):
        gate.close()
    devhost = start_devhost(
        *QUICK, "--no-queues", "--no-timers", env={"LeadsStorage": away, "AzureWebJobsStorage": away}
    )
    assert requests.get(f"{devhost.base_url}/api/echo", timeout=120).status_code == 202


def test_where_only_the_queues_storage_is_away_the_host_comes_up_and_serves(
    start_devhost: Start, fresh_storage: str, queue_gate: Gate
) -> None:
    queue_gate.close()
    settings = {"LeadsStorage": through(queue_gate, "Queue", fresh_storage)}
    devhost = start_devhost("--time", "retry=0.3", env=settings)
    assert requests.get(f"{devhost.base_url}/api/echo", timeout=120).status_code == 202


def test_with_a_timer_the_port_does_not_open_until_the_hosts_own_storage_is_there(
    app_environment: dict[str, str], fresh_storage: str, blob_gate: Gate
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    blob_gate.breaks = True
    env = {**app_environment, "AzureWebJobsStorage": through(blob_gate, "Blob", fresh_storage)}
    arguments = (*QUICK, "--in-process", "--port", str(port))
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(lambda: Devhost(SAMPLE_APP, *arguments, env=env, timeout=120))
        until(lambda: blob_gate.broken > 2 * TRIES)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        blob_gate.breaks = False
        with starting.result() as devhost:
            assert requests.get(f"{devhost.base_url}/api/echo", timeout=120).status_code == 202


class Busy(Rule):
    """Answers 503 while it `is_on`."""

    is_on = True
    answered = 0

    def before(self, request: Request) -> Fault | None:
        self.answered += self.is_on
        return Answer(503) if self.is_on else None


def test_where_storage_answers_503_the_host_stays_up_and_recovers(
    start_devhost: Start, fresh_storage: str, work_queue: QueueClient, recorder: Recorder
) -> None:
    busy = Busy()
    with Proxy(fresh_storage, busy) as storage:
        devhost = start_devhost(*QUICK, env={"LeadsStorage": storage.connection_string})
        until(lambda: busy.answered > 2 * TRIES)
        assert devhost.says("cannot poll queue work: storage answered 503 ServerBusy")
        busy.is_on = False
        work_queue.send_message(task("after"))
        assert recorder.wait_for("ended", name="after")


def test_storage_that_only_hangs_is_not_storage_that_is_gone() -> None:
    async def call(server: socket.socket) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
            there = Account("leads", f"http://127.0.0.1:{server.getsockname()[1]}", b"secret")
            await Service(session, there, 0.001).call("GET", "/leads")

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StorageError) as caught:
        asyncio.run(call(silent))
    assert not isinstance(caught.value, StorageGone)


def test_storage_may_go_and_come_under_load(
    app_environment: dict[str, str], fresh_storage: str, queue_gate: Gate, work_queue: QueueClient, recorder: Recorder
) -> None:
    """The host ends itself and is restarted, as on the platform. Its messages come back after their lease."""
    for number in range(40):
        work_queue.send_message(task(f"{number}", seconds=0.1))
    env = {**app_environment, "LeadsStorage": through(queue_gate, "Queue", fresh_storage)}
    arguments = ("--in-process", "--lease-seconds", "5", "--time", "retry=0.1")
    with Supervisor(lambda: Devhost(SAMPLE_APP, *arguments, env=env)) as supervisor:
        recorder.wait_for("ended", 8)
        queue_gate.close()
        until(lambda: len(supervisor.hosts) > 1)
        queue_gate.open()
        until(lambda: len({seen["name"] for seen in recorder.of("ended")}) == 40)
        until(lambda: work_queue.get_queue_properties().approximate_message_count == 0)
        assert "devhost: ends itself: queue work: storage does not answer" in supervisor.hosts[0].log
