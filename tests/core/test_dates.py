"""Times as lists and tables of leads write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.dates import EARLIEST, DateOrder, is_ambiguous, orders_shown, read_date
from tests.support.strategies import moments

AT = datetime(2025, 11, 15, 20, 2, 52, tzinfo=UTC)
SEVEN = (
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y, %I:%M:%S %p",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y, %I:%M:%S %p",
    "%Y-%m-%d %H:%M:%S",
    "%d-%m-%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
)


@pytest.mark.parametrize("form", SEVEN)
def test_each_form_that_occurs_is_read(form: str) -> None:
    assert read_date(AT.strftime(form)) == AT


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-11-15T20:02:52Z", AT),
        ("2025-11-15T20:02:52.1234567Z", AT),
        ("2025-11-15T22:02:52+02:00", AT),
        ("2025-11-15 15:02:52 -0500", AT),
        ("11/15/2025 8:02:52 PM", AT),
        ("15.11.2025 20:02:52", AT),
        ("11/15/2025 12:00:00 AM", AT.replace(hour=0, minute=0, second=0)),
        ("11/15/2025 12:00 PM", AT.replace(hour=12, minute=0, second=0)),
        (" 11/15/2025 ", AT.replace(hour=0, minute=0, second=0)),
        ("1/5/2025 9:05", datetime(2025, 1, 5, 9, 5, tzinfo=UTC)),
        # A browser's toLocaleString since ICU 72, and a browser that adds direction marks.
        ("11/15/2025, 8:02:52\u202fPM", AT),
        ("\u200e11\u200e/\u200e15\u200e/\u200e2025 \u200e8\u200e:\u200e02\u200e:\u200e52\u200e \u200ePM", AT),
        ("11/15/2025\u00a08:02:52 p.m.", AT),
        ("Nov 15, 2025", AT.replace(hour=0, minute=0, second=0)),
        ("Sep 03, 2026", datetime(2026, 9, 3, tzinfo=UTC)),
        ("September 3, 2026 8:02 PM", datetime(2026, 9, 3, 20, 2, tzinfo=UTC)),
        ("Sept. 3 2026, 20:02", datetime(2026, 9, 3, 20, 2, tzinfo=UTC)),
        ("Thu, 03 Sep 2026 20:02:52 GMT", datetime(2026, 9, 3, 20, 2, 52, tzinfo=UTC)),
        ("Thu Sep 03 2026 20:02:52 GMT+0200", datetime(2026, 9, 3, 18, 2, 52, tzinfo=UTC)),
        ("3-Sep-2026", datetime(2026, 9, 3, tzinfo=UTC)),
        # Excel's days since 1899-12-30 (Microsoft Support, "DATEVALUE function").
        ("45976", AT.replace(hour=0, minute=0, second=0)),
        ("45976.8353240741", AT),
        ("45976,8353240741", AT),
    ],
)
def test_others_that_are_plain_are_read(text: str, moment: datetime) -> None:
    assert read_date(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "1763236972", "11/15/25", "2025-11/15", "٠١/٠٢/٢٠٢٥"),
        *("Smarch 3, 2026", "Sep 31, 2026", "3 Sep 26", "2026 Sep", "459760", "4597", "36525", "45976.", "45976.5.1"),
        *("2025-13-01", "02/30/2025", "15-15-2025", "01/01/1999", "0001-01-01T00:00:00Z"),
        *("11/15/2025 25:00:00", "11/15/2025 13:00 PM", "11/15/2025 20:02:52 +99:99"),
    ],
)
def test_what_is_no_moment_is_none(text: str) -> None:
    assert read_date(text) is None


@pytest.mark.parametrize("separator", "/-")
def test_only_what_is_read_either_way_hangs_on_the_order(separator: str) -> None:
    def read(text: str, order: DateOrder | None) -> datetime | None:
        return read_date(text.replace("/", separator), order)

    assert read("03/04/2026", DateOrder.MONTH) == datetime(2026, 3, 4, tzinfo=UTC)
    assert read("03/04/2026", DateOrder.DAY) == datetime(2026, 4, 3, tzinfo=UTC)
    assert read("15/04/2026", None) == read("15/04/2026", DateOrder.DAY) == datetime(2026, 4, 15, tzinfo=UTC)
    assert read("04/15/2026", None) == read("04/15/2026", DateOrder.MONTH) == datetime(2026, 4, 15, tzinfo=UTC)
    for order in (*DateOrder, None):
        assert read_date("03.04.2026", order) == datetime(2026, 4, 3, tzinfo=UTC)
        assert read_date("2026-04-03", order) == datetime(2026, 4, 3, tzinfo=UTC)


def test_a_date_of_the_other_order_is_none() -> None:
    assert read_date("15/04/2026", DateOrder.MONTH) is None
    assert read_date("04/15/2026", DateOrder.DAY) is None


def test_without_an_order_slashes_have_the_month_first_and_dashes_the_day() -> None:
    assert read_date("03/04/2026") == datetime(2026, 3, 4, tzinfo=UTC)
    assert read_date("03-04-2026") == datetime(2026, 4, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("texts", "orders"),
    [
        (["03/04/2026", "15/04/2026"], {DateOrder.DAY: 1}),
        (["03/04/2026", "04/15/2026", "04-25-2026"], {DateOrder.MONTH: 1}),
        (["02/09/2026", "15/09/2026", "02/09/2026", "09/15/2026"], {DateOrder.DAY: 1, DateOrder.MONTH: 3}),
        (["03/04/2026", "x", "15.04.2026", "25/25/2026"], {}),
        ([], {}),
    ],
)
def test_the_orders_that_a_list_shows_are_told_with_the_first_date_of_each(
    texts: list[str], orders: dict[DateOrder, int]
) -> None:
    assert orders_shown(texts) == orders


@pytest.mark.parametrize(
    ("texts", "either"),
    [
        (["03/04/2026", "x", "15.04.2026"], True),
        (["03-04-2026"], True),
        (["03/04/2026", "15/04/2026"], False),
        (["04/04/2026", "2026-03-04", "03.04.2026"], False),
        ([], False),
    ],
)
def test_a_file_that_does_not_tell_the_order_is_known(texts: list[str], either: bool) -> None:
    assert is_ambiguous(texts) is either


@given(
    moments,
    st.sampled_from([*SEVEN, "%b %d, %Y %I:%M:%S %p", "%d %B %Y %H:%M:%S"]),
    st.sampled_from(" \u202f\u00a0\u2009"),
)
def test_what_was_written_is_read_back(moment: datetime, form: str, space: str) -> None:
    moment = moment.replace(microsecond=0)
    order = DateOrder.DAY if form.startswith("%d") else DateOrder.MONTH
    assert read_date(moment.strftime(form).replace(" ", space), order) == moment


@given(moments, st.sampled_from(".,"))
def test_excels_serial_days_are_read_back(moment: datetime, point: str) -> None:
    days = (moment - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1)
    found = read_date(f"{days:.10f}".replace(".", point))
    assert found is not None
    assert abs(found - moment) <= timedelta(seconds=1)


@given(
    st.lists(st.dates(date(2000, 1, 1), date(2150, 1, 1)), min_size=1),
    st.sampled_from(["%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y"]),
)
def test_a_list_that_is_written_one_way_is_read_that_way_or_known_to_tell_neither(days: list[date], form: str) -> None:
    texts = [day.strftime(form) for day in days]
    shown = orders_shown(texts)
    assert len(shown) <= 1
    if shown:
        assert [read_date(text, next(iter(shown))) for text in texts] == [
            datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days
        ]
    else:
        assert is_ambiguous(texts) or all(day.day == day.month for day in days)


@given(st.text() | st.from_regex(r"[0-9/.:, TZAPM+-]{0,30}|[A-Za-z]{3,9},? [0-9A-Za-z,. :+-]{0,30}"))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    for order in (*DateOrder, None):
        found = read_date(text, order)
        assert found is None or EARLIEST <= found <= datetime.max.replace(tzinfo=UTC)
