"""What a Marketo instance allows, shared by four worker processes: never exceeded, and used.

In real time, at the vendor's own pace and with leases of half a second: a machine that stalls for as long fails them. The same by
a simulated clock is in tests/destinations/test_rate_limiter.py.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from leads.app import App
from leads.core import clock
from leads.destinations.http import HttpClient, NoAnswer
from leads.destinations.rate_limiter import ALLOWANCES_TABLE, RateLimit, RateLimited, RateLimiter
from leads.offers.model import read_offer
from leads.pipeline.intake import accept
from leads.platform.settings import Settings
from leads.platform.storage import Storage
from tests.chaos.workers import ForkServer
from tests.fakes.marketo import Marketo
from tests.fakes.tls import make_authority
from tests.support.pipeline import a_lead

pytestmark = pytest.mark.real_time
WORKERS = 4
CALLS, SECONDS, AT_ONCE = 50, 20.0, 5
LEADS = 2 * CALLS + 1
SECONDS_TO_DELIVER = 100


def test_four_workers_at_full_speed_use_the_allowance_and_never_exceed_it(
    forks: ForkServer, accounts: Iterator[str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """With the real numbers: 50 calls in 20 s, 5 at once."""
    authority, storage = make_authority(tmp_path), next(accounts)
    app = App(Settings.model_validate({"LeadsStorage": storage}))
    with Marketo(authority) as marketo:
        marketo.latency = 0.05
        app.offers.save(read_offer(_offer(marketo)))
        for number in range(LEADS):
            accept(app.incoming, json.dumps(a_lead(f"c{number}@example.com")).encode())
        env = {
            "LeadsStorage": storage,
            "AzureWebJobsStorage": "",
            "LEADS_CA_BUNDLE": authority.bundle,
            "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
            "LEADS_SECRET_MARKETO": "the secret",
            "PYTHON_THREADPOOL_THREAD_COUNT": "32",
        }
        workers = [forks.start(["--in-process", "--no-http", "--no-timers"], env) for _ in range(WORKERS)]
        try:
            deadline = time.monotonic() + SECONDS_TO_DELIVER
            while len(marketo.persons) < LEADS:
                assert time.monotonic() < deadline, f"{len(marketo.persons)} of {LEADS}\n{workers[0].log[-3000:]}"
                time.sleep(0.1)
        finally:
            for worker in workers:
                worker.kill()
    calls = sorted(marketo.arrivals)
    used = SECONDS / (calls[2 * CALLS] - calls[CALLS])
    summary = f"Marketo: {marketo.most_in(SECONDS)} calls in 20 s, {marketo.most_at_once} at once, {used:.1%} used"
    record_property("summary", summary)
    assert marketo.most_in(SECONDS) <= CALLS
    assert marketo.most_at_once <= AT_ONCE
    assert used >= 0.95, summary
    assert not app.connections.stored() or not app.connections.stored()[0].paused


def _offer(marketo: Marketo) -> dict[str, Any]:
    destination = {"name": "crm", "type": "marketo", "settings": marketo.settings("env:LEADS_SECRET_MARKETO")}
    return {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [destination]}


# --- With kills and wrong clocks, on a smaller scale ----------------------------------------------------------------------

SMALL = RateLimit(at_once=5, calls=10, seconds=1.0, longest_call=1.0, lease=0.5)
SECONDS_OF_KILLS = 6.0


def test_workers_that_are_killed_and_clocks_that_are_wrong_never_lead_to_too_many_calls(
    accounts: Iterator[str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    authority, storage = make_authority(tmp_path), next(accounts)
    spawning, kills, rng = multiprocessing.get_context("forkserver"), 0, random.Random(7)
    spawning.set_forkserver_preload([__name__, "azure.data.tables"])
    with Marketo(authority) as marketo:
        marketo.latency = 0.02

        def start(number: int) -> Any:
            hours = (0, 1, -1, 0)[number]
            given = (storage, f"{marketo.url}/rest/v1/leads/describe.json", authority.bundle, hours)
            process = spawning.Process(target=_call_without_end, args=given, daemon=True)
            process.start()
            return process

        processes = [start(number) for number in range(WORKERS)]
        ends = time.monotonic() + SECONDS_OF_KILLS
        while time.monotonic() < ends:
            time.sleep(1)
            victim = rng.randrange(WORKERS)
            os.kill(processes[victim].pid, signal.SIGKILL)
            processes[victim].join(10)
            processes[victim] = start(victim)
            kills += 1
        before, deadline = len(marketo.arrivals), time.monotonic() + 30
        while len(marketo.arrivals) < before + 3 * SMALL.calls:
            assert time.monotonic() < deadline, "slots of killed workers come back"
            time.sleep(0.1)
        for process in processes:
            process.kill()
            process.join(10)
    summary = (
        f"{kills} kills: {marketo.most_in(SMALL.seconds)} calls in {SMALL.seconds} s, {marketo.most_at_once} at once"
    )
    record_property("summary", f"rate limit, {summary}, {len(marketo.arrivals)} calls")
    assert marketo.most_in(SMALL.seconds) <= SMALL.calls
    assert marketo.most_at_once <= SMALL.at_once


def _call_without_end(storage: str, url: str, bundle: str, hours: int) -> None:
    """A worker that calls as fast as it may, in eight threads. Its time of day is wrong by so many hours."""
    wrong = timedelta(hours=hours)
    clock.now = lambda: datetime.now(UTC) + wrong
    real = time.time
    time.time = lambda: real() + wrong.total_seconds()
    settings = Settings.model_validate({"LeadsStorage": storage, "LEADS_CA_BUNDLE": bundle})
    http = HttpClient(8, (ip_network("127.0.0.0/8"),), settings.ca_bundle)
    limiter = RateLimiter(Storage(settings).table(ALLOWANCES_TABLE), "marketo;small", SMALL)

    def call() -> None:
        while True:
            try:
                with limiter.slot(5) as slot:
                    slot.call(lambda: http.request("GET", url))
            except (RateLimited, NoAnswer):
                continue

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
