"""From the 202 to the destination's row, one lead a second, with the shipped host.json."""

import random
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, result
from benchmarks.side import OURS, Side, accounts, app_on, running
from benchmarks.typical import body

WARM_UP = 3


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Two rows."""
    with accounts(1) as (storage,), running(OURS, storage) as side:
        accepted = _post_paced(side, effort, tell)
        side.wait_until_empty()
        rows = app_on(storage).storage.table("MarketplaceLeads")
        arrived = {row["RowKey"]: _written_at(row) for row in rows.client.list_entities()}
    seconds = [arrived[lead_id] - answered for lead_id, answered in accepted.items()]
    percentiles = quantiles(seconds, n=100, method="inclusive")
    note = f"slowest of {len(seconds)}: {max(seconds):.2f} s"
    return [
        result("from 202 to the row, s, median", percentiles[49], Target("≤", 1, "ours")),
        result("from 202 to the row, s, 99th percentile", percentiles[98], Target("≤", 3, "ours"), note=note),
    ]


def _written_at(row: Any) -> float:
    """The row's Timestamp, which storage gives it, as Unix time."""
    return float(row.metadata["timestamp"].timestamp())


def _post_paced(side: Side, effort: Effort, tell: Callable[[str], None]) -> dict[str, float]:
    """When each lead was answered, by its id. Random moments within each second, so that no poll keeps step."""
    accepted: dict[str, float] = {}
    for number in range(-WARM_UP, effort.paced_leads):
        second_ends = time.monotonic() + effort.pace_seconds
        time.sleep(random.uniform(0, effort.pace_seconds))
        lead_id = side.post_alone(body(number + WARM_UP))
        if number >= 0:
            accepted[lead_id] = time.time()
        if number % 10 == 0:
            tell(f"lead {number} of {effort.paced_leads}")
        time.sleep(max(0.0, second_ends - time.monotonic()))
    return accepted
