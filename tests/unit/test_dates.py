"""Times as lists and tables of leads write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.dates import EARLIEST, DateOrder, is_either_way, order_of, read_date
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
    ],
)
def test_others_that_are_plain_are_read(text: str, moment: datetime) -> None:
    assert read_date(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "1763236972", "11/15/25", "2025-11/15", "٠١/٠٢/٢٠٢٥"),
        *("2025-13-01", "02/30/2025", "15-15-2025", "01/01/1999", "0001-01-01T00:00:00Z"),
        *("11/15/2025 25:00:00", "11/15/2025 13:00 PM", "11/15/2025 20:02:52 +99:99"),
    ],
)
def test_what_is_no_moment_is_none(text: str) -> None:
    assert read_date(text) is None


def test_only_what_is_read_either_way_hangs_on_the_order() -> None:
    assert read_date("03/04/2026", DateOrder.MONTH) == datetime(2026, 3, 4, tzinfo=UTC)
    assert read_date("03/04/2026", DateOrder.DAY) == datetime(2026, 4, 3, tzinfo=UTC)
    for order in DateOrder:
        assert read_date("15/04/2026", order) == datetime(2026, 4, 15, tzinfo=UTC)
        assert read_date("04/15/2026", order) == datetime(2026, 4, 15, tzinfo=UTC)
        assert read_date("03-04-2026", order) == datetime(2026, 4, 3, tzinfo=UTC)
        assert read_date("2026-04-03", order) == datetime(2026, 4, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["03/04/2026", "15/04/2026"], DateOrder.DAY),
        (["03/04/2026", "04/15/2026"], DateOrder.MONTH),
        (["03/04/2026", "x", "15.04.2026"], DateOrder.MONTH),
        ([], DateOrder.MONTH),
    ],
)
def test_the_order_is_learned_from_the_whole_file(texts: list[str], order: DateOrder) -> None:
    assert order_of(texts) is order


@pytest.mark.parametrize(
    ("texts", "either"),
    [
        (["03/04/2026", "x", "15.04.2026"], True),
        (["03/04/2026", "15/04/2026", "04/15/2026"], True),
        (["03/04/2026", "15/04/2026"], False),
        (["04/04/2026", "2026-03-04", "03.04.2026"], False),
        ([], False),
    ],
)
def test_a_file_that_does_not_tell_the_order_is_known(texts: list[str], either: bool) -> None:
    assert is_either_way(texts) is either


@given(moments, st.sampled_from(SEVEN))
def test_what_was_written_is_read_back(moment: datetime, form: str) -> None:
    moment = moment.replace(microsecond=0)
    order = DateOrder.DAY if "%d/%m" in form else DateOrder.MONTH
    assert read_date(moment.strftime(form), order) == moment


@given(st.text() | st.from_regex(r"[0-9/.:, TZAPM+-]{0,30}"))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    found = read_date(text)
    assert found is None or EARLIEST <= found < datetime(9999, 12, 31, tzinfo=UTC) + timedelta(days=1)
