"""How long the leads of a quick vendor take while those of a slow one wait on the same queue, beside how long they take alone."""

import random
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, result
from benchmarks.side import OURS, Side, accounts, app_on, running, wait_until
from benchmarks.typical import OFFER, body
from leads.offers.model import read_offer
from leads.pipeline.intake import accept
from tests.support.pipeline import crm
from tests.support.vendor import DELIVERED, Call, Vendor

SLOW_OFFER = "contoso.slow"
RECORDING = ("--with", "tests.support.recording")


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Two rows."""
    arrived: dict[str, float] = {}

    def take(call: Call) -> dict[str, Any]:
        arrived.setdefault(call.key, time.monotonic())
        return DELIVERED

    def take_slowly(_: Call) -> dict[str, Any]:
        time.sleep(effort.slow_seconds)
        return DELIVERED

    with accounts(2) as (first, second), Vendor(take) as quick, Vendor(take_slowly) as slow:
        offer = {"id": OFFER, "titles": ["Contoso CRM"], "destinations": [crm(quick.url)]}
        with (
            running(OURS, first, *RECORDING, offer=offer) as alone,
            running(OURS, second, *RECORDING, offer=offer) as beside,
        ):
            _let_wait(second, slow, effort)
            tell(f"{len(slow.calls)} slow calls under way")
            began = time.monotonic()
            waits = _post_in_turns((alone, beside), arrived, effort, tell)
            per_second = len(slow.calls) / (time.monotonic() - began)
    without, with_neighbour = (quantiles(seconds, n=100, method="inclusive") for seconds in waits)
    what = f"a quick vendor's leads beside {effort.slow_leads} at {effort.slow_seconds:g} s a call, s"
    note = f"slow calls begun: {per_second:.2f} a second; slowest quick lead: {max(waits[1]):.2f} s"
    return [
        result(f"{what}, median", with_neighbour[49], Target("≤", 2), floor=without[49]),
        result(f"{what}, 95th percentile", with_neighbour[94], Target("≤", 2), floor=without[94], note=note),
    ]


def _let_wait(storage: str, slow: Vendor, effort: Effort) -> None:
    """Put the slow vendor's leads on the queue, ahead of all others."""
    app = app_on(storage)
    app.offers.save(read_offer({"id": SLOW_OFFER, "destinations": [crm(slow.url)]}))
    for number in range(effort.slow_leads):
        accept(app.incoming, body(number), SLOW_OFFER)
    wait_until(lambda: bool(slow.calls), "the first slow call")


def _post_in_turns(
    sides: tuple[Side, Side], arrived: dict[str, float], effort: Effort, tell: Callable[[str], None]
) -> list[list[float]]:
    """Seconds from the answer to a lead until it arrives, on each side. Random moments, so that no poll keeps step."""
    accepted: list[dict[str, float]] = [{}, {}]
    for number in range(effort.quick_leads):
        for side, own in zip(sides, accepted, strict=True):
            time.sleep(random.uniform(0, effort.pace_seconds))
            lead_id = side.post_alone(body(effort.slow_leads + number))
            own[lead_id] = time.monotonic()
        if number % 10 == 0:
            tell(f"lead {number} of {effort.quick_leads}")
    leads = accepted[0].keys() | accepted[1].keys()
    wait_until(lambda: leads <= arrived.keys(), "the quick vendor's leads")
    return [[max(0.0, arrived[lead] - since) for lead, since in own.items()] for own in accepted]
