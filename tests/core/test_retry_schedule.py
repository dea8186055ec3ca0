"""The retry schedule: delays, jitter and budget."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core import retry_schedule

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def middle_of(a: float, b: float) -> float:
    """No jitter: always the middle of the range."""
    return (a + b) / 2


@pytest.mark.parametrize(
    ("step", "seconds"),
    [
        (0, 10),
        (1, MINUTE),
        (2, 5 * MINUTE),
        (3, 30 * MINUTE),
        (4, 2 * HOUR),
        (5, 6 * HOUR),
        (6, 12 * HOUR),
        (7, DAY),
        (8, DAY),
        (1_000, DAY),
    ],
)
def test_each_try_waits_longer_and_then_a_day(step: int, seconds: int) -> None:
    assert retry_schedule.delay(step, uniform=middle_of) == seconds


@given(st.integers(0, 20), st.integers())
def test_jitter_stays_within_a_fifth(step: int, seed: int) -> None:
    middle = retry_schedule.delay(step, uniform=middle_of)
    assert 0.8 * middle <= retry_schedule.delay(step, uniform=random.Random(seed).uniform) <= 1.2 * middle


def test_leads_that_failed_together_come_back_apart() -> None:
    assert len({retry_schedule.delay(7) for _ in range(50)}) > 40


def test_retry_after_is_a_floor() -> None:
    assert retry_schedule.delay(0, after=90, uniform=middle_of) == 90
    assert retry_schedule.delay(2, after=90, uniform=middle_of) == 5 * MINUTE


@pytest.mark.parametrize("after", [DAY + 1, 365 * DAY, math.inf])
def test_retry_after_counts_up_to_a_day(after: float) -> None:
    assert retry_schedule.delay(0, after=after, uniform=middle_of) == DAY


def test_capped_retry_after_does_not_shorten_the_schedule() -> None:
    assert retry_schedule.delay(7, after=2 * DAY, uniform=max) == round(1.2 * DAY)


@pytest.mark.parametrize("after", [0, -5, -math.inf, math.nan])
def test_senseless_retry_after_is_left_out(after: float) -> None:
    assert retry_schedule.delay(0, after=after, uniform=middle_of) == 10


@given(st.integers(0, 100), st.none() | st.floats())
def test_every_delay_is_whole_seconds_within_sane_bounds(step: int, after: float | None) -> None:
    seconds = retry_schedule.delay(step, after)
    assert type(seconds) is int
    # A queue message can be hidden for 7 days at most.
    assert 8 <= seconds <= 1.2 * DAY


def test_negative_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step must be 0 or more"):
        retry_schedule.delay(-1)


def test_budget_is_seven_days() -> None:
    assert not retry_schedule.exhausted(7 * DAY)
    assert retry_schedule.exhausted(7 * DAY + 1)
