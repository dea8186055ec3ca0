"""A year of 50 made-up offers, from one lead a week to 300 a day: false alarms are rare, and a stop is found soon."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.support.made_up_year import FalseAlarm, MadeUpOffer, false_alarms, make_offers, stops

SEED = 2


@pytest.fixture(scope="module")
def year() -> list[tuple[MadeUpOffer, list[FalseAlarm]]]:
    return [(offer, false_alarms(offer)) for offer in make_offers(SEED)]


def test_no_offer_has_more_than_one_false_alarm_in_a_year(
    year: list[tuple[MadeUpOffer, list[FalseAlarm]]], record_property: Callable[[str, object], None]
) -> None:
    alarms = [len(alarms) for _, alarms in year]
    record_property("summary", f"silence: {sum(alarms)} false alarms of {len(year)} offers in a year")
    assert max(alarms) <= 1
    assert sum(alarms) <= len(year) / 5


def test_a_stop_is_found_within_a_day_or_twelve_gaps(
    year: list[tuple[MadeUpOffer, list[FalseAlarm]]], record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(SEED)
    found = [stop for offer, alarms in year for stop in stops(offer, alarms, rng, 3)]
    late = [stop for stop in found if stop.hours > 24 and not stop.is_doubted and stop.gaps > 12]
    record_property("summary", f"silence: {len(found)} stops, {len(late)} found after more than 24 hours and 12 gaps")
    assert len(found) > 100
    assert len(late) <= 0.03 * len(found)
    assert all(stop.hours <= 24 or stop.gaps <= (36 if stop.is_doubted else 24) for stop in found)
