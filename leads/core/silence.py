"""Decides whether an offer's silence is unusually long. Pure: no clock, no I/O.

A silence is measured in expected leads, by the weekdays and hours at which the offer usually gets leads.
docs/explanation/silence.md has the reason for each number, and the false and late alarms of a simulated year.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, chain
from math import sqrt
from statistics import median
from typing import Final

from leads.core.clock import midnight

LEADS_NEEDED: Final = 20
WEEKS_NEEDED: Final = 2
"""An offer with fewer real leads in a year, or a shorter history, is not judged."""
USUAL_HOURS: Final = 22.5
"""No shorter silence is unusual, however many leads an offer gets."""
PROMISED_GAPS: Final = 12
"""A stop is found before this many leads are missing."""
ERRORS_ALLOWED: Final = 2.0
RHYTHM_ERROR: Final = 0.08
"""Relative error of the expected leads, besides the statistical error of the leads that the rhythm is learned from."""
DOUBT: Final = 2
"""Factor for the expected leads after an alarm that may have been a false one."""

WEEKS: Final = 12
WEEKS_AT_MOST: Final = 52
ENOUGH_LEADS: Final = 40
"""The rhythm is learned from the last `WEEKS`, and from earlier ones until there are this many leads."""
SLOW: Final = 0.5
SLOW_GAPS: Final = 12
SLOW_DAYS: Final = 3
"""A quiet season: over the last `SLOW_GAPS` leads and `SLOW_DAYS`, fewer than `SLOW` times the expected leads came."""
YEAR_END: Final = ((12, 18), (1, 3))
YEAR_END_SHARE: Final = 0.5
"""From the first to the last of these days, this share of the usual leads is expected (month, day)."""
_NO_LEADS: Final = (0,) * 24

Days = Mapping[date, Sequence[int]]
"""An offer's real leads: the 24 hours of each day (UTC) that had any."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long an offer has been silent. `expected`: the leads that usually come in that time; None if set hours decide."""

    since: datetime
    hours: float
    expected: float | None
    is_unusual: bool


def judge(days: Days, now: datetime, *, is_doubted: bool = False) -> Silence | None:
    """The silence since an offer's last lead, judged by its history; None if the history is too short.

    `is_doubted`: an earlier alarm of this offer may have been a false one, so the silence has to be longer.
    """
    last = last_lead_at(days, now)
    if last is None:
        return None
    weeks = _weeks_before(last.date(), days)
    if (
        len(weeks) < WEEKS_NEEDED
        or not any(map(_leads_of, weeks))
        or _leads_of_a_year(last.date(), days) < LEADS_NEEDED
    ):
        return None
    rhythm = _Rhythm.of(chain.from_iterable(_usual(weeks)))
    expected = rhythm.expected(last, now) * _pace(rhythm, last, days)
    hours = _hours(last, now)
    is_unusual = hours >= USUAL_HOURS and expected >= rhythm.bar * (DOUBT if is_doubted else 1)
    return Silence(last, hours, expected, is_unusual)


def judge_by_hours(since: datetime, now: datetime, usual_hours: float) -> Silence:
    """The silence since `since`. It is unusual after `usual_hours`."""
    hours = _hours(since, now)
    return Silence(since, hours, None, hours >= usual_hours)


def last_lead_at(days: Days, now: datetime) -> datetime | None:
    """The end of the last hour with a lead, at most `now`; None if there never was a lead."""
    for day in sorted(days, reverse=True):
        for hour in reversed(range(24)):
            began = midnight(day) + timedelta(hours=hour)
            if days[day][hour] and began <= now:
                return min(began + timedelta(hours=1), now.astimezone(UTC))
    return None


def _hours(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds() / 3600)


# --- What is learned ----------------------------------------------------------------------------------------------------

_Week = list[tuple[date, Sequence[int]]]


def _weeks_before(end: date, days: Days) -> list[_Week]:
    """The whole weeks before a day from which the rhythm is learned, the last week first."""
    first = min(days)
    weeks: list[_Week] = []
    leads = 0
    while len(weeks) < WEEKS or (leads < ENOUGH_LEADS and len(weeks) < WEEKS_AT_MOST):
        begin = end - timedelta(days=7)
        if begin < first:
            break
        week = [(day, days.get(day, _NO_LEADS)) for day in (begin + timedelta(days=number) for number in range(7))]
        weeks.append(week)
        leads += _leads_of(week)
        end = begin
    return weeks


def _usual(weeks: list[_Week]) -> list[_Week]:
    """The weeks without campaigns, outages and quiet seasons."""
    middle = median(map(_leads_of, weeks))
    usual = [week for week in weeks if _is_usual(_leads_of(week), middle)]
    return usual if any(map(_leads_of, usual)) else weeks


def _is_usual(leads: int, middle: float) -> bool:
    """Whether a week's leads are near the median: within a factor, or within three standard deviations of chance."""
    return 0.6 * middle <= leads <= middle / 0.6 or abs(sqrt(leads) - sqrt(middle)) <= 1.5


def _leads_of(week: _Week) -> int:
    return sum(sum(leads) for _, leads in week)


def _leads_of_a_year(last: date, days: Days) -> int:
    begin = last - timedelta(weeks=WEEKS_AT_MOST)
    return sum(sum(leads) for day, leads in days.items() if begin <= day <= last)


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """An offer's usual leads.

    `weekdays`: the leads of a Monday, a Tuesday … `by_hour`: the share of a day's leads that has come by hour 0, 1 … 24.
    `learned_from`: the number of leads behind these figures.
    """

    weekdays: Sequence[float]
    by_hour: Sequence[float]
    learned_from: int

    @classmethod
    def of(cls, days: Iterable[tuple[date, Sequence[int]]]) -> "_Rhythm":
        days = list(days)
        weekdays, weeks = [0.0] * 7, len(days) / 7
        for day, leads in days:
            weekdays[day.weekday()] += sum(leads)
        hours = [sum(leads) for leads in zip(*(leads for _, leads in days), strict=True)]
        total = sum(hours)
        # A weekday or hour without leads so far can still get some. So half an average weekday is added to each weekday, and one
        # lead to each hour.
        half_a_day = total / weeks / 14
        scale = total / weeks / (total + 7 * half_a_day)
        seen = list(accumulate((leads + 1 for leads in hours), initial=0))
        return cls([(leads + half_a_day) * scale for leads in weekdays], [leads / seen[-1] for leads in seen], total)

    @property
    def bar(self) -> float:
        """The expected leads at which a silence is unusual: `PROMISED_GAPS`, less a margin for the error of the expectation."""
        error = sqrt(1 / self.learned_from + RHYTHM_ERROR**2)
        return PROMISED_GAPS / (1 + ERRORS_ALLOWED * error)

    def expected(self, start: datetime, end: datetime) -> float:
        """The expected number of leads in a time span."""
        leads, begin = 0.0, start
        while begin < end:
            day_begins = midnight(begin.date())
            until = min(end, day_begins + timedelta(days=1))
            share = self._by(_hours(day_begins, until)) - self._by(_hours(day_begins, begin))
            leads += self.weekdays[begin.weekday()] * _share_at(begin.date()) * share
            begin = until
        return leads

    def _by(self, hour: float) -> float:
        whole = min(int(hour), 23)
        return self.by_hour[whole] + (self.by_hour[whole + 1] - self.by_hour[whole]) * (hour - whole)


def _share_at(day: date) -> float:
    month_and_day = (day.month, day.day)
    return YEAR_END_SHARE if month_and_day >= YEAR_END[0] or month_and_day <= YEAR_END[1] else 1.0


def _pace(rhythm: _Rhythm, last: datetime, days: Days) -> float:
    """The share of the expected leads that came recently, if that shows a quiet season; else 1."""
    first = min(days)
    leads, day = 0, last.date()
    while day >= first:
        leads += sum(days.get(day, _NO_LEADS))
        if leads > SLOW_GAPS and (last.date() - day).days >= SLOW_DAYS:
            pace = (leads - 1) / rhythm.expected(midnight(day), last)
            return pace if pace < SLOW else 1.0
        day -= timedelta(days=1)
    return 1.0
