"""Taking leads: over HTTP, in storage requests, and the app's own part of the work."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result, result
from benchmarks.rounds import Measure, compare
from benchmarks.side import FLOOR, OURS, Side, accounts, running, tally, wait_until
from benchmarks.typical import body
from leads.ledger.incoming import IncomingLeads
from leads.pipeline.intake import accept
from tests.support.proxy import Proxy

ONLY_HTTP = ("--no-queues", "--no-timers")
REPEATS = 8
"""How many times as many bodies the pure intake reads as are posted: it takes microseconds for each."""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Three rows."""
    with accounts(3) as (first, second, third):
        with running(OURS, first, *ONLY_HTTP) as ours, running(FLOOR, second, *ONLY_HTTP) as floor:
            bodies = [body(number) for number in range(effort.intake_leads)]
            for side in (ours, floor):
                side.post(bodies)
            compared = compare(_posting(ours, bodies), _posting(floor, bodies), effort, tell)[0]
        counted = _requests(third, effort)
    return [compared_result("intake, leads/s over HTTP", compared, Target("≥", 0.95)), counted, _own_work(effort, tell)]


def _posting(side: Side, bodies: Sequence[bytes]) -> Measure:
    def measure() -> list[float]:
        seconds = side.post(bodies)
        side.clear()
        return [len(bodies) / seconds]

    return measure


def _requests(storage: str, effort: Effort) -> Result:
    leads = effort.counted_leads
    with Proxy(storage) as proxy, running(OURS, proxy.connection_string, *ONLY_HTTP) as side:
        proxy.forget()
        side.post([body(number) for number in range(leads)])
        wait_until(lambda: proxy.counts().total() >= leads, "counting")
        requests = tally(proxy).total
    return result("intake, storage requests a lead", requests / leads, Target("=", 1, "ours"), floor=1)


def _own_work(effort: Effort, tell: Callable[[str], None]) -> Result:
    """The whole of `accept` with a queue that does nothing; its log line is I/O and left out."""
    bodies = [body(number) for number in range(effort.intake_leads)] * REPEATS
    queue: Any = SimpleNamespace(put=lambda _: None)
    ledger: Any = None
    incoming = IncomingLeads(lambda: queue, lambda: ledger)

    def ours() -> None:
        for raw in bodies:
            accept(incoming, raw)

    def floor() -> None:
        for raw in bodies:
            json.dumps(json.loads(raw))

    logger = logging.getLogger("leads")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        compared = compare(_timed(ours, len(bodies)), _timed(floor, len(bodies)), effort, tell)[0]
    finally:
        logger.setLevel(level)
    return compared_result("own CPU at intake, µs a lead", compared, Target("≤", 8))


def _timed(work: Callable[[], None], leads: int) -> Measure:
    def measure() -> list[float]:
        started = time.process_time()
        work()
        return [(time.process_time() - started) / leads * 1e6]

    return measure
