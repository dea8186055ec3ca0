"""The retry schedule of a failed delivery. Pure: no clock, no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

SCHEDULE: Final = (10, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)
"""Seconds before the first, second, … retry. The last delay repeats until the budget is spent."""

BUDGET: Final = 7 * 86_400
"""Seconds that a lead may spend on retries while its connection works for others. After that it is dead-lettered."""

JITTER: Final = 0.2
"""Share by which a delay is randomly lengthened or shortened, so that leads which failed together are not retried together."""

LONGEST_RETRY_AFTER: Final = 86_400
"""Seconds. A longer Retry-After is cut to this, so that a vendor's mistake can't delay a lead for months."""


def delay(step: int, after: float | None = None, uniform: Callable[[float, float], float] = random.uniform) -> int:
    """Whole seconds until the next try.

    `step` is the number of failed tries before this one. The caller increases it only if the connection has worked for others
    since. `after` is the vendor's Retry-After in seconds: the least delay. `uniform` gives a random
    number between two. Raises ValueError if `step` is negative.
    """
    if step < 0:
        raise ValueError("step must be 0 or more: it counts failed tries")
    seconds = SCHEDULE[min(step, len(SCHEDULE) - 1)] * uniform(1 - JITTER, 1 + JITTER)
    # A NaN from a broken header compares false here and is ignored.
    if after is not None and after > seconds:
        seconds = max(seconds, min(after, LONGEST_RETRY_AFTER))
    return round(seconds)


def exhausted(spent: float) -> bool:
    """Whether `spent` seconds are more than a lead's retry budget."""
    return spent > BUDGET
