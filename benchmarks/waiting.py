"""Whether a lead costs more while many others wait."""

import itertools
from collections.abc import Callable, Iterator

from benchmarks.delivery import ONLY_QUEUES, messages
from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result
from benchmarks.rounds import Measure, compare
from benchmarks.side import OURS, Side, Tally, accounts, running, tally, wait_until
from leads.platform.storage import LEADS_QUEUE
from tests.support.proxy import Proxy, Request, Rule


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Two rows."""
    with (
        accounts(2) as (first, second),
        Proxy(first) as many_proxy,
        Proxy(second) as few_proxy,
        running(OURS, many_proxy.connection_string, *ONLY_QUEUES) as many,
        running(OURS, few_proxy.connection_string, *ONLY_QUEUES) as few,
    ):
        tell(f"putting {effort.waiting_many} messages")
        of_many = _delivering(many, first, many_proxy, effort.waiting_many, effort)
        of_few = _delivering(few, second, few_proxy, effort.waiting, effort)
        for warm_up in (of_many, of_few):
            warm_up()
        requests, cpu = compare(of_many, of_few, effort, tell)
    target = Target("≤", 1.05)
    numbers = f"{effort.waiting_many:,} waiting against {effort.waiting:,}"
    return [
        compared_result(f"storage requests a delivery, {numbers}", requests, target),
        compared_result(f"own CPU a delivery, ms, {numbers}", cpu, target),
    ]


def _delivering(side: Side, storage: str, proxy: Proxy, waiting: int, effort: Effort) -> Measure:
    """Fill the queue up to `waiting`, then measure some deliveries in the middle of the work."""
    numbers = itertools.count()
    first = effort.waiting_begun
    last = first + effort.waiting_window
    direct = Side(side.host, storage)

    def measure() -> list[float]:
        side.pause()
        _fill_up(direct, numbers, waiting)
        proxy.forget()
        proxy.rule = window_of = _Window(side, proxy, first, last)
        side.go_on()
        wait_until(lambda: len(window_of.ends) == 2, "delivering")
        side.pause()
        (before, cpu), (after, cpu_after) = window_of.ends
        leads = after.leads - before.leads
        return [(after.total - before.total) / leads, (cpu_after - cpu) / leads * 1000]

    return measure


class _Window(Rule):
    """What was passed on, and the processor time until then, at the deliveries of these two numbers.

    Taken at the delivery itself: whoever asks now and then could find that both have passed.
    """

    def __init__(self, side: Side, proxy: Proxy, first: int, last: int) -> None:
        self.ends: list[tuple[Tally, float]] = []
        self._side, self._proxy, self._numbers = side, proxy, (first, last)

    def after(self, request: Request) -> None:
        if request.name == f"queue delete {LEADS_QUEUE}" and self._proxy.counts()["queue delete"] in self._numbers:
            self.ends.append((tally(self._proxy), self._side.cpu_seconds()))


def _fill_up(side: Side, numbers: Iterator[int], waiting: int) -> None:
    side.put(messages(numbers, max(0, waiting - side.waiting())))
