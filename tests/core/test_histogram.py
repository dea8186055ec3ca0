"""Percentiles of a histogram, compared with exact percentiles."""

from __future__ import annotations

import json
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.histogram import SHORTEST, Histogram

durations = st.lists(st.floats(-10, 10**9, allow_nan=False), min_size=1, max_size=200)


def of(seconds: list[float]) -> Histogram:
    found = Histogram()
    for each in seconds:
        found.add(each)
    return found


def nearest_rank(seconds: list[float], percent: float) -> float:
    return sorted(seconds)[max(0, ceil(len(seconds) * percent / 100) - 1)]


@given(durations, st.sampled_from([1, 50, 95, 100]))
def test_a_percentile_is_within_5_percent_of_that_of_the_durations(seconds: list[float], percent: float) -> None:
    exact = max(SHORTEST, nearest_rank(seconds, percent))
    assert exact / 1.05 <= of(seconds).percentile(percent) <= exact * 1.05


@given(durations, durations)
def test_histograms_are_stored_and_added_up_without_a_loss(one: list[float], other: list[float]) -> None:
    total = Histogram.from_wire(json.loads(json.dumps(of(one).to_wire())))
    total.add_all(of(other))
    assert total == of(one + other)
    assert total.count == len(one) + len(other)


def test_without_a_duration_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no duration"):
        Histogram().percentile(50)
