"""The times at which a timer fires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devhost.errors import StartError
from devhost.ncrontab import next_time

NOON = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)  # a Wednesday
MOMENTS = st.integers(1_600_000_000, 2_200_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * * *", "2026-03-04 12:00:01"),
        ("*/20 * * * * *", "2026-03-04 12:00:20"),
        ("0 * * * * *", "2026-03-04 12:01:00"),
        ("0 */5 * * * *", "2026-03-04 12:05:00"),
        ("*/5 * * * *", "2026-03-04 12:05:00"),
        ("30 10,20 * * * *", "2026-03-04 12:10:30"),
        ("0 0 9-17/4 * * *", "2026-03-04 13:00:00"),
        ("0 0 0 * * *", "2026-03-05 00:00:00"),
        ("0 30 9 * * 1-5", "2026-03-05 09:30:00"),
        ("0 0 0 * * 0", "2026-03-08 00:00:00"),
        ("0 0 0 1 * *", "2026-04-01 00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 0 13 * 5", "2026-03-13 00:00:00"),
        ("7 7 7 7 7 */7", "2030-07-07 07:07:07"),
        ("0 0 0 8 3 2/5", "2033-03-08 00:00:00"),
        ("5/20 * * * * *", "2026-03-04 12:00:05"),
    ],
)
def test_the_next_time_after_noon(expression: str, expected: str) -> None:
    assert next_time(expression, NOON) == datetime.fromisoformat(f"{expected}+00:00")


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("* * * *", "six fields"),
        ("60 * * * * *", "second"),
        ("* 5-3 * * * *", "minute"),
        ("* * */0 * * *", "hour"),
        ("* * * 0 * *", "day"),
        ("* * * * 13 *", "month"),
        ("* * * * * 8", "day-of-week"),
        ("* * * * * mon", "names"),
        ("* * * * * 7", "day-of-week 7"),
        ("* * * * * 1-7/2", "day-of-week 7"),
        ("* * * L * *", "names"),
        ("00:05:00", "six fields"),
    ],
)
def test_a_wrong_schedule_is_named(expression: str, named: str) -> None:
    with pytest.raises(StartError, match=named):
        next_time(expression, NOON)


def test_a_day_that_never_comes_is_an_error_not_a_loop() -> None:
    with pytest.raises(StartError, match="never fires"):
        next_time("0 0 0 30 2 1", NOON)


@given(
    MOMENTS,
    st.integers(1, 59),
    st.integers(0, 23),
)
def test_the_next_time_lies_ahead_and_nothing_that_matches_is_skipped(moment: datetime, step: int, hour: int) -> None:
    following = next_time(f"0 */{step} {hour} * * *", moment)
    assert following > moment

    def matches(time: datetime) -> bool:
        return time.second == 0 and time.minute % step == 0 and time.hour == hour

    assert matches(following)
    minute = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    assert not any(
        matches(minute + timedelta(minutes=n)) for n in range(60 * 24) if minute + timedelta(minutes=n) < following
    )


@given(st.text(alphabet="0123456789*/,- ", max_size=30))
def test_any_text_is_a_schedule_or_a_start_error(text: str) -> None:
    try:
        next_time(text, NOON)
    except StartError as error:
        assert "schedule" in str(error)
