"""The rows with counts of leads."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from leads.health.lead_counts import Day, columns_of, read_month

hours = st.lists(st.integers(0, 10**6), min_size=24, max_size=24)
counted_days = st.dictionaries(st.dates(date(2026, 2, 1), date(2026, 2, 28)), st.builds(Day, hours, hours), max_size=3)


@given(counted_days)
def test_what_was_counted_is_read_as_it_was_written(days: dict[date, Day]) -> None:
    row = {"PartitionKey": "month", "RowKey": "2026-02;contoso.crm"}
    for day, counted in days.items():
        row |= columns_of(day, counted)
    assert dict(read_month("2026-02", row)) == days


def test_a_day_reads_as_the_leads_of_its_24_hours() -> None:
    counted = Day(real=[0] * 9 + [2] + [0] * 14)
    assert columns_of(date(2026, 11, 3), counted) == {
        "real_03": "0 0 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "test_03": "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
    }
