"""Made-up offers over a year, and how the silence alarm does on them: false alarms, and how soon a stop is found.

python -m tests.support.made_up_year [SEEDS] [YEARS]
"""

from __future__ import annotations

import math
import random
import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, pairwise

from leads.core.silence import judge

BEGIN = date(2026, 1, 1)
FEWEST, MOST = 1 / 7, 300.0
"""Leads a day, from an offer with one a week to one with hundreds a day."""
BANK_HOLIDAYS = {(1, 1), (4, 3), (4, 6), (5, 1), (5, 25), (7, 3), (9, 7), (11, 26)}
TICK = timedelta(minutes=15)
DOUBTED = timedelta(days=365)


@dataclass(frozen=True)
class MadeUpOffer:
    """An offer's year. `expected`: the mean of each day without campaigns. `hours`: the distribution over a day. `days`: the
    leads."""

    per_day: float
    expected: list[float]
    hours: list[float]
    days: dict[date, list[int]]

    def missed(self, start: datetime, end: datetime) -> float:
        """The leads that would have come between two moments."""
        seen = [0.0, *accumulate(self.hours)]
        total, hour = 0.0, start
        while hour < end:
            step = min(end - hour, timedelta(hours=1))
            total += (
                self.expected[(hour.date() - BEGIN).days] * (seen[hour.hour + 1] - seen[hour.hour]) * (step / TICK / 4)
            )
            hour += step
        return total


def make_offers(seed: int, years: int = 1, count: int = 50) -> list[MadeUpOffer]:
    """Offers from the rarest to the busiest, with different rhythms, growth, holidays and campaigns."""
    rng = random.Random(seed)
    return [_make_offer(rng, FEWEST * (MOST / FEWEST) ** (number / (count - 1)), years) for number in range(count)]


def _make_offer(rng: random.Random, per_day: float, years: int) -> MadeUpOffer:
    weekend = rng.uniform(0.15, 0.8)
    weekdays = [rng.uniform(0.85, 1.15) for _ in range(5)] + [weekend * rng.uniform(0.8, 1.2), weekend]
    night, noon = rng.uniform(0.05, 0.6), rng.uniform(0, 24)
    hours = [night + (1 - night) * (0.5 + 0.5 * math.cos((hour - noon) / 12 * math.pi)) ** 1.5 for hour in range(24)]
    growth = math.exp(rng.uniform(math.log(0.7), math.log(2)))
    quiet, quiet_from = rng.uniform(0.2, 0.5), rng.randint(19, 23)
    at_home = rng.uniform(0.3, 1)
    length = 365 * years
    expected = []
    # Half a year more than is simulated, to measure stops near the end.
    for number in range(length + 183):
        day = BEGIN + timedelta(days=number)
        level = weekdays[day.weekday()]
        if (day.month, day.day) in BANK_HOLIDAYS:  # a Sunday, for the share of customers in that region
            level = min(level, at_home * weekdays[6] + (1 - at_home) * level)
        december = date(day.year if day.month > 6 else day.year - 1, 12, quiet_from)
        level *= quiet if 0 <= (day - december).days < 14 else 1
        expected.append(per_day * level * 7 / sum(weekdays) * growth ** ((number - length / 2) / 365))
    boosts = [1.0] * length
    for _ in range(rng.randint(2, 4) * years):
        begin, boost = rng.randrange(length), rng.uniform(2, 4)
        for number in range(begin, min(length, begin + rng.randint(2, 7))):
            boosts[number] = max(boosts[number], boost)
    days = {}
    for number, boost in enumerate(boosts):
        if leads := _poisson(rng, expected[number] * boost):
            came = rng.choices(range(24), hours, k=leads)
            days[BEGIN + timedelta(days=number)] = [came.count(hour) for hour in range(24)]
    return MadeUpOffer(per_day, expected, [hour / sum(hours) for hour in hours], days)


def _poisson(rng: random.Random, mean: float) -> int:
    if mean > 30:
        return _poisson(rng, mean / 2) + _poisson(rng, mean / 2)
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


# --- How the alarm does -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FalseAlarm:
    at: datetime
    heard_at: datetime
    raises_doubt: bool


@dataclass(frozen=True)
class Stop:
    """When leads stopped, and how much had passed when the alarm was raised."""

    per_day: float
    hours: float
    gaps: float
    is_doubted: bool


def false_alarms(offer: MadeUpOffer) -> list[FalseAlarm]:
    """The alarms of an offer that always gets leads."""
    found: list[FalseAlarm] = []
    for last, heard_at in pairwise(_hours_with_leads(offer)):
        if heard_at - last < timedelta(hours=22):
            continue
        days = _until(offer, heard_at)
        doubted = _is_doubted(found, last)
        # As if the next lead came at the end of its hour.
        at = _first_alarm(days, last, heard_at + timedelta(hours=1), is_doubted=doubted)
        if at is not None:
            ended = heard_at + timedelta(hours=1)
            found.append(FalseAlarm(at, ended, ended - last < 2 * (at - last)))
    return found


def stops(offer: MadeUpOffer, alarms: list[FalseAlarm], rng: random.Random, count: int) -> Iterator[Stop]:
    """Let an offer's leads stop at random moments, each in a separate simulation, once the offer can be judged."""
    length = (max(offer.days) - BEGIN).days
    for _ in range(count):
        at = _midnight(BEGIN) + timedelta(minutes=rng.randrange(30 * 24 * 60, length * 24 * 60))
        days = _until(offer, at)
        doubted = _is_doubted(alarms, at)
        if judge(days, at) is not None:
            found = _first_alarm(days, at, at + timedelta(days=182), is_doubted=doubted)
            assert found is not None, f"not found in half a year: {offer.per_day} leads a day"
            yield Stop(offer.per_day, (found - at) / timedelta(hours=1), offer.missed(at, found), doubted)


def _first_alarm(days: dict[date, list[int]], after: datetime, until: datetime, *, is_doubted: bool) -> datetime | None:
    """The tick at which the alarm is raised. An unusual silence stays unusual, so a binary search finds the tick."""
    begin = after.replace(minute=0, second=0, microsecond=0)

    def is_unusual(tick: int) -> bool:
        silence = judge(days, begin + tick * TICK, is_doubted=is_doubted)
        return silence is not None and silence.is_unusual

    ticks = range((until - begin) // TICK + 1)
    return begin + bisect_right(ticks, False, key=is_unusual) * TICK if is_unusual(ticks[-1]) else None


def _is_doubted(alarms: list[FalseAlarm], now: datetime) -> bool:
    return any(alarm.raises_doubt and alarm.heard_at <= now < alarm.heard_at + DOUBTED for alarm in alarms)


def _until(offer: MadeUpOffer, end: datetime) -> dict[date, list[int]]:
    """The leads before a moment."""
    days = {day: leads for day, leads in offer.days.items() if day <= end.date()}
    if today := days.get(end.date()):
        days[end.date()] = [*today[: end.hour], *(0 for _ in range(24 - end.hour))]
    return days


def _hours_with_leads(offer: MadeUpOffer) -> Iterator[datetime]:
    for day in sorted(offer.days):
        for hour, leads in enumerate(offer.days[day]):
            if leads:
                yield _midnight(day) + timedelta(hours=hour)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# --- Many years ---------------------------------------------------------------------------------------------------------


def main(seeds: int, years: int) -> None:
    alarms_a_year: list[int] = []
    found: list[Stop] = []
    for seed in range(seeds):
        rng = random.Random(seed)
        for offer in make_offers(seed, years):
            alarms = false_alarms(offer)
            ends = [_midnight(BEGIN) + timedelta(days=365 * year) for year in range(1, years + 1)]
            alarms_a_year += [sum(end - timedelta(days=365) <= alarm.at < end for alarm in alarms) for end in ends]
            found += stops(offer, alarms, rng, 10)
    print(f"{len(alarms_a_year)} offers and years: {sum(alarms_a_year) / len(alarms_a_year):.3f} false alarms each,")
    for most in range(max(alarms_a_year) + 1):
        print(f"  {most}: {alarms_a_year.count(most)}")
    for doubted in (False, True):
        these = [stop for stop in found if stop.is_doubted is doubted]
        print(f"{len(these)} stops{' of offers in doubt' if doubted else ''}")
        for gaps in (12, 13, 15, 18, 24):
            late = sum(stop.hours > 24 and stop.gaps > gaps for stop in these)
            print(f"  not found within 24 hours or {gaps} gaps: {late} ({late / max(1, len(these)):.2%})")


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] + ["2", "1"][len(sys.argv) - 1 :])))
