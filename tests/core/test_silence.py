"""Unusual silences, judged by the offer's rhythm or by configured hours."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.silence import DOUBT, LEADS_NEEDED, USUAL_HOURS, Silence, judge, judge_by_hours, last_lead_at

MONDAY = date(2026, 3, 2)
HOUR = timedelta(hours=1)


def at(day: date, hour: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def leads_at(*hours: int) -> list[int]:
    return [hours.count(hour) for hour in range(24)]


def a_rhythm(weeks: int, workday: list[int], weekend: list[int] | None = None) -> dict[date, list[int]]:
    """This number of weeks since `MONDAY`."""
    days = (MONDAY + timedelta(days=number) for number in range(7 * weeks))
    kinds = {day: (workday if weekend is None or day.weekday() < 5 else weekend) for day in days}
    return {day: leads for day, leads in kinds.items() if any(leads)}


def hours_until_alarm(days: dict[date, list[int]], *, is_doubted: bool = False) -> float:
    """The shortest silence after the last of these days that raises an alarm. Longer silences raise one as well (see
    below)."""

    def silence_after(hours: int) -> Silence:
        silence = judge(days, at(max(days)) + hours * HOUR, is_doubted=is_doubted)
        assert silence is not None
        return silence

    hours = bisect_right(range(24 * 400), False, lo=24, key=lambda hours: silence_after(hours).is_unusual)
    return silence_after(hours).hours


# --- By history ---------------------------------------------------------------------------------------------------------


def test_a_busy_offer_is_silent_after_less_than_a_day() -> None:
    assert USUAL_HOURS <= hours_until_alarm(a_rhythm(8, [4] * 24)) < 24


def test_an_offer_with_two_leads_a_day_is_silent_within_six_days() -> None:
    assert 4 * 24 < hours_until_alarm(a_rhythm(12, leads_at(9, 15))) < 6 * 24


def test_an_offer_with_a_lead_a_week_is_silent_within_twelve_weeks() -> None:
    weekly = {MONDAY + timedelta(weeks=week): leads_at(12) for week in range(30)}
    assert 6 * 7 * 24 < hours_until_alarm(weekly) < 12 * 7 * 24


def test_a_weekend_without_leads_is_nothing_unusual_for_an_offer_that_never_has_any_then() -> None:
    days = a_rhythm(8, [1] * 24, weekend=[0] * 24)
    friday = max(days)
    assert friday.weekday() == 4
    monday = judge(days, at(friday + timedelta(days=3)))
    assert monday is not None
    assert monday.hours == 48
    assert not monday.is_unusual
    assert hours_until_alarm(days) < 72


def test_a_night_counts_for_less_than_the_day() -> None:
    by_day = a_rhythm(8, leads_at(*range(8, 20)))
    end = at(max(by_day), 20)
    night, day = (judge(by_day, end + hours * HOUR) for hours in (12, 24))
    assert night is not None
    assert day is not None
    assert night.expected is not None
    assert day.expected is not None
    assert night.expected < day.expected / 4


def test_a_campaign_makes_no_later_silence_unusual() -> None:
    usual = a_rhythm(12, leads_at(9, 15))
    campaign = {day: [5] * 24 for day in sorted(usual)[40:45]}
    assert hours_until_alarm(usual | campaign) == pytest.approx(hours_until_alarm(usual), rel=0.1)


def test_an_outage_in_the_past_does_not_put_off_the_next_alarm() -> None:
    usual = a_rhythm(12, leads_at(9, 15))
    outage = sorted(usual)[30:51]
    interrupted = {day: leads for day, leads in usual.items() if day not in outage}
    assert hours_until_alarm(interrupted) == pytest.approx(hours_until_alarm(usual), rel=0.2)


def test_in_a_quiet_season_a_silence_has_to_be_longer() -> None:
    usual = a_rhythm(10, leads_at(*range(6, 22, 2)))
    season = {max(usual) + timedelta(days=number): leads_at(11, 17) for number in range(1, 10)}
    assert hours_until_alarm(usual | season) > 2.5 * hours_until_alarm(usual)


def test_around_the_turn_of_the_year_it_has_to_be_longer_from_the_first_day_on() -> None:
    until_december = {day + timedelta(days=226): leads for day, leads in a_rhythm(9, leads_at(*range(8, 18))).items()}
    assert max(until_december) == date(2026, 12, 17) - timedelta(days=2)
    into_the_season = {day + timedelta(days=2): leads for day, leads in until_december.items()}
    assert hours_until_alarm(into_the_season) > 1.5 * hours_until_alarm(a_rhythm(9, leads_at(*range(8, 18))))


def test_after_an_alarm_that_may_have_been_none_it_has_to_be_longer() -> None:
    days = a_rhythm(12, leads_at(9, 15))
    assert hours_until_alarm(days, is_doubted=True) == pytest.approx(DOUBT * hours_until_alarm(days), rel=0.1)


def test_a_new_offer_is_not_judged() -> None:
    thirteen_days = dict(sorted(a_rhythm(2, [9] * 24).items())[:13])
    assert judge(thirteen_days, at(MONDAY + timedelta(days=100))) is None


def test_an_offer_with_fewer_than_twenty_leads_in_a_year_is_not_judged() -> None:
    rare = {MONDAY + timedelta(weeks=2 * number): leads_at(12) for number in range(LEADS_NEEDED)}
    first = min(rare)
    later = at(MONDAY + timedelta(weeks=100))
    assert judge(rare, later) is not None
    assert judge({day: leads for day, leads in rare.items() if day != first}, later) is None


# --- By hours -----------------------------------------------------------------------------------------------------------


def test_set_hours_alone_decide_where_somebody_has_set_them() -> None:
    since = at(MONDAY, 6)
    assert not judge_by_hours(since, since + 47 * HOUR, 48).is_unusual
    assert judge_by_hours(since, since + 48 * HOUR, 48) == Silence(since, 48.0, None, is_unusual=True)


def test_a_silence_begins_with_the_end_of_the_hour_of_the_last_lead() -> None:
    days = {MONDAY: leads_at(7, 9), MONDAY - timedelta(days=3): leads_at(23)}
    assert last_lead_at(days, at(MONDAY, 12)) == at(MONDAY, 10)
    assert last_lead_at(days, at(MONDAY, 9) + HOUR / 4) == at(MONDAY, 9) + HOUR / 4
    assert last_lead_at(days, at(MONDAY, 8)) == at(MONDAY, 8)
    assert last_lead_at(days, at(MONDAY, 5)) == at(MONDAY - timedelta(days=2))
    assert last_lead_at(days, at(MONDAY - timedelta(days=4))) is None


# --- Whatever the history -----------------------------------------------------------------------------------------------

day_of_leads = st.lists(st.integers(0, 3) | st.sampled_from([0, 0, 0, 10**6]), min_size=24, max_size=24)
histories = st.dictionaries(
    st.integers(0, 400).map(lambda number: MONDAY + timedelta(days=number)), day_of_leads, max_size=60
) | st.builds(a_rhythm, st.integers(1, 14), day_of_leads, st.none() | day_of_leads)
moments = st.integers(0, 24 * 60 * 900).map(lambda minutes: at(MONDAY) + timedelta(minutes=minutes))


@given(histories, moments, st.booleans())
def test_any_history_can_be_judged_or_is_too_short(days: dict[date, list[int]], now: datetime, doubted: bool) -> None:
    silence = judge(days, now, is_doubted=doubted)
    if sum(map(sum, days.values())) < LEADS_NEEDED:
        assert silence is None
    if silence is not None:
        assert silence.since <= now
        assert silence.hours >= 0
        assert silence.expected is not None
        assert silence.expected >= 0


@given(histories, moments, st.booleans(), st.integers(0, 24 * 400))
def test_a_longer_silence_is_never_less_of_an_alarm(
    days: dict[date, list[int]], now: datetime, doubted: bool, hours: int
) -> None:
    stopped = {
        day: [count if at(day, hour) <= now else 0 for hour, count in enumerate(leads)] for day, leads in days.items()
    }
    silence = judge(stopped, now, is_doubted=doubted)
    if silence is None or silence.since == now:
        return
    longer = judge(stopped, now + hours * HOUR, is_doubted=doubted)
    assert longer is not None
    assert longer.since == silence.since
    assert (longer.hours, longer.expected, longer.is_unusual) >= (silence.hours, silence.expected, silence.is_unusual)
