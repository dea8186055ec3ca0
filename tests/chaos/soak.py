"""Thousands of leads through one process, from the post to the vendor, and what it holds meanwhile: `make soak`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from leads.core import clock
from tests.chaos.case import Case
from tests.chaos.storm import fast_clock
from tests.chaos.workers import ForkServer, Worker
from tests.support.pipeline import a_lead
from tests.support.vendor import DELIVERED, RETRY, Call, Vendor
from tools.azurite import Azurite

CUSTOMERS = 500
SAMPLES = 12
WAITING_AT_MOST = 100
FUNCTION_THREADS = 24
THREADS_KEPT = FUNCTION_THREADS + 2
"""Of the functions, the host's loop and its log; how soon all are there hangs on the load."""
CONNECTIONS_KEPT = 2 * FUNCTION_THREADS
"""Each of the functions' threads may keep a connection to queues and one to tables."""
FAILS_EVERY = 50
"""One call in so many fails, so that retries, connections and `watch` are part of it."""


@dataclass(frozen=True)
class Sample:
    """What the process holds after so many leads: bytes of memory, threads, open files, connections by state."""

    leads: int
    memory: int
    threads: int
    files: int
    connections: Counter[str]

    def __str__(self) -> str:
        open_ones = ", ".join(f"{count} {state}" for state, count in sorted(self.connections.items()))
        return f"{self.leads:6} leads: {self.memory / 2**20:6.1f} MiB, {self.threads} threads, {self.files} files, {open_ones}"


def soak(case: Case, leads: int, say: Callable[[str], None] = lambda line: None) -> list[Sample]:
    """Deliver so many leads by one worker and look at it again and again; the last sample is taken when it has nothing to do."""
    case.arguments = ()
    case.env = {"PYTHON_THREADPOOL_THREAD_COUNT": str(FUNCTION_THREADS)}
    case.offer("crm")
    vendor = case.vendors["crm"]
    sent = Counter[str]()

    def answer(call: Call) -> dict[str, str]:
        sent[call.key] += 1
        return RETRY if len(sent) % FAILS_EVERY == 0 and sent[call.key] == 1 else DELIVERED

    vendor.answer = answer
    worker = case.start()
    feeder = threading.Thread(target=_feed, args=(worker, vendor, leads), daemon=True)
    feeder.start()
    samples = []
    for number in range(1, SAMPLES + 1):
        wanted = leads * number // SAMPLES
        case.wait_until(lambda wanted=wanted: len(vendor.records) >= wanted, f"{wanted} leads", 120 + leads)  # type: ignore[misc]
        samples.append(_sample(worker.pid, len(vendor.records)))
        say(str(samples[-1]))
    feeder.join()
    case.wait_until(lambda: case.app.queue.depth() == 0, "an empty queue")
    time.sleep(2)
    samples.append(_sample(worker.pid, leads))
    say(f"{samples[-1]}, idle")
    return samples


def _feed(worker: Worker, vendor: Vendor, leads: int) -> None:
    for number in range(leads):
        while number - len(vendor.records) > WAITING_AT_MOST:
            time.sleep(0.02)
        body = json.dumps(a_lead(f"c{number % CUSTOMERS}@example.com", Description=f"lead {number}")).encode()
        while worker.post(body).status != 202:
            time.sleep(0.1)


def _sample(pid: int, leads: int) -> Sample:
    process = psutil.Process(pid)
    states = Counter(connection.status for connection in process.net_connections("tcp"))
    return Sample(leads, process.memory_info().rss, process.num_threads(), process.num_fds(), states)


def faults(samples: list[Sample]) -> list[str]:
    """What grows or stays open that should not: empty if all is well. The first third is warming up."""
    warm, end = samples[: SAMPLES // 3 + 1], samples[-1]
    found = []
    leads = end.leads - warm[-1].leads
    growth = end.memory - warm[-1].memory
    # Python's allocator never gives all back, so some pages are allowed; what leaks does so by the lead.
    if growth > 8 * 2**20 + 500 * leads:
        found.append(f"memory has grown by {growth / 2**20:.1f} MiB in {leads} leads")
    # The SDK starts threads for the parts of a batch and ends them: only what is there in the end is kept.
    if end.threads > (most := max(THREADS_KEPT, *(sample.threads for sample in warm))):
        found.append(f"threads have grown from {most} to {end.threads}")
    if end.files > (most := max(sample.files for sample in warm)) + CONNECTIONS_KEPT:
        found.append(f"open files have grown from {most} to {end.files}")
    if end.connections["CLOSE_WAIT"]:
        found.append(f"{end.connections['CLOSE_WAIT']} connections are left half open")
    return found


def main() -> int:
    """The exit status is 0 only where memory, threads and connections stay flat."""
    leads = int(os.environ.get("N") or 20_000)
    fast = fast_clock()
    clock.now = fast.now
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    with (
        Azurite(accounts=1) as azurite,
        ForkServer() as forks,
        Case(azurite.account_connection_strings[0], forks, fast) as case,
    ):
        found = faults(soak(case, leads, say))
    print("\n".join(found) or "Memory, threads and connections stay flat.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
