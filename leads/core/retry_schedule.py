"""When a delivery that did not work is tried again. Pure: no clock, no I/O."""

from __future__ import annotations

import random
from typing import Final, Protocol

SCHEDULE: Final = (10, 60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)
"""Seconds before the first, second, … next try; the last one repeats until the budget is spent."""

BUDGET: Final = 7 * 86_400
"""Seconds that a lead may spend on tries of its own before it is dead-lettered."""

JITTER: Final = 0.2
"""Share by which a delay is lengthened or shortened, so that leads which failed together come back apart."""

LONGEST_RETRY_AFTER: Final = 86_400
"""Seconds: a vendor's Retry-After counts up to here, so that a mistaken one can't park a lead for months."""


class Uniform(Protocol):
    """What `delay` needs of the `random` module or of a `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float: ...


def delay(step: int, after: float | None = None, rng: Uniform = random) -> int:
    """Whole seconds until the next try.

    `step` counts the tries that failed before this one, from 0; the caller advances it only where the
    connection has otherwise worked since. `after` is the vendor's Retry-After in seconds, a floor.
    Raises ValueError if `step` is negative.
    """
    if step < 0:
        raise ValueError("step must be 0 or more: it counts failed tries")
    seconds = SCHEDULE[min(step, len(SCHEDULE) - 1)] * rng.uniform(1 - JITTER, 1 + JITTER)
    # Written so that a NaN from a broken header compares false and is left out.
    if after is not None and after > seconds:
        seconds = max(seconds, min(after, LONGEST_RETRY_AFTER))
    return round(seconds)


def exhausted(spent: float) -> bool:
    """Whether `spent` seconds of a lead's own tries are more than its budget."""
    return spent > BUDGET
