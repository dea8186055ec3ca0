"""Storage requests a lead, from the post to the deleted message, counted by a proxy; one lead at a time.

One at a time is the dearest way: under load one `get` brings up to 16 messages.
"""

import itertools
from collections.abc import Callable, Iterator

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, result
from benchmarks.side import OURS, Side, Tally, accounts, app_on, post_one, running, tally, wait_until
from benchmarks.typical import OFFER_SETTINGS, body
from leads import destinations
from tests.support.proxy import Answer, Fault, Proxy, Request, Rule

FLOOR_REQUESTS = 4
"""put, get, upsert, delete"""


class RefuseRows(Rule):
    """The destination's table answers 507, which the table client does not try again by itself."""

    active = False

    def before(self, request: Request) -> Fault | None:
        return Answer(507) if self.active and request.target == "MarketplaceLeads" else None


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Four rows."""
    with accounts(2) as (first, second):
        rule = RefuseRows()
        with Proxy(first, rule) as proxy, running(OURS, proxy.connection_string, "--no-timers") as side:
            case = _Case(proxy, side, effort.counted_leads, tell)
            case.post(body(next(case.numbers)))
            delivered = [
                case.count("a customer's first lead", Target("≤", 6, "ours"), case.first_leads()),
                case.count("a later stage", Target("≤", 8, "ours"), case.later_stages()),
                case.count("a first failure", Target("≤", 7, "ours"), case.failures(rule)),
            ]
        _pause_connection(second)
        with Proxy(second) as proxy, running(OURS, proxy.connection_string, "--no-timers") as side:
            case = _Case(proxy, side, effort.counted_leads, tell)
            case.post(body(next(case.numbers)))
            return [*delivered, case.count("a parked lead", Target("≤", 4, "ours"), case.first_leads())]


def _pause_connection(storage: str) -> None:
    config = OFFER_SETTINGS["destinations"][0]
    connection = destinations.connection_of(config["type"], {})
    app_on(storage).connections.pause(connection, config["type"], "paused for the benchmark")


class _Case:
    """Posts leads one by one and counts what each of them costs."""

    def __init__(self, proxy: Proxy, side: Side, leads: int, tell: Callable[[str], None]) -> None:
        self._proxy = proxy
        self._connection = side.connect()
        self._leads = leads
        self._tell = tell
        self.numbers = itertools.count()

    def post(self, raw: bytes) -> Tally:
        """One lead, until its message is deleted."""
        self._proxy.forget()
        post_one(self._connection, raw)
        wait_until(lambda: self._proxy.counts()["queue delete"] > 0, "counting")
        return tally(self._proxy)

    def count(self, what: str, target: Target, tallies: Iterator[Tally]) -> Result:
        """The dearest lead decides; what comes with time rather than with leads is told apart."""
        counted = list(tallies)
        dearest = max(counted, key=lambda one: one.total)
        refreshes = sum(one.refreshes for one in counted)
        countings = sum(one.countings for one in counted)
        polls = sum(one.empty_polls for one in counted)
        steps = ", ".join(f"{number} {name}" for name, number in sorted(dearest.requests.items()))
        note = (
            f"{steps}; over {len(counted)} leads also {polls} empty polls and {refreshes} requests for the offers' "
            f"and connections' tables and {countings} for the offer's daily count"
        )
        self._tell(f"{what}: {dearest.total}")
        return result(f"storage requests, {what}", dearest.total, target, floor=FLOOR_REQUESTS, note=note)

    def first_leads(self) -> Iterator[Tally]:
        for _ in range(self._leads):
            yield self.post(body(next(self.numbers)))

    def later_stages(self) -> Iterator[Tally]:
        for _ in range(max(1, self._leads // 2)):
            number = next(self.numbers)
            self.post(body(number))
            yield self.post(body(number, "PLT"))
            yield self.post(body(number, "Create"))

    def failures(self, rule: RefuseRows) -> Iterator[Tally]:
        """Each between leads that get through: failures in a row are an outage, which pauses the connection."""
        for _ in range(min(self._leads, 15)):  # their second tries come after 8 s and would be counted too
            rule.active = True
            yield self.post(body(next(self.numbers)))
            rule.active = False
            self.post(body(next(self.numbers)))
