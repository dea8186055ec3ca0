"""Delivering leads beside a bare loop of the same storage calls: leads a second, and processor time."""

import itertools
import time
from collections.abc import Callable, Iterator

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result
from benchmarks.rounds import Measure, compare
from benchmarks.side import FLOOR, OURS, Side, accounts, running
from benchmarks.typical import message

ONLY_QUEUES = ("--no-http", "--no-timers")


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Two rows."""
    with (
        accounts(2) as (first, second),
        running(OURS, first, *ONLY_QUEUES) as ours,
        running(FLOOR, second, *ONLY_QUEUES) as floor,
    ):
        drain_ours, drain_floor = (draining(side, effort.delivered_leads) for side in (ours, floor))
        for warm_up in (drain_ours, drain_floor):
            warm_up()
        speed, work = compare(drain_ours, drain_floor, effort, tell)
    return [
        compared_result("delivery, leads/s", speed, Target("≥", 0.85)),
        compared_result("own CPU a delivery, ms", work, Target("≤", 1.3)),
    ]


def draining(side: Side, leads: int) -> Measure:
    """Leads a second and milliseconds of processor time a lead, from a full queue to an empty one."""
    numbers = itertools.count()

    def measure() -> list[float]:
        side.pause()
        side.put(messages(numbers, leads))
        cpu, started = side.cpu_seconds(), time.perf_counter()
        side.go_on()
        side.wait_until_empty()
        seconds = time.perf_counter() - started
        return [leads / seconds, (side.cpu_seconds() - cpu) / leads * 1000]

    return measure


def messages(numbers: Iterator[int], count: int) -> list[str]:
    """Messages of so many new customers' first leads."""
    return [message(number)[1] for number in itertools.islice(numbers, count)]
