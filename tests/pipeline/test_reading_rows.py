"""Each row of a list or table becomes a lead, or is refused with a reason."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.cli.csv_file import read_csv
from leads.core import clock
from leads.core.identity import customer_of, new_lead_id, partition_of
from leads.core.lead import Lead, Stage
from leads.core.lead_parsing import parse_record
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.vendors.azure_table.rows import from_entity, to_entity
from leads.pipeline.importing import BadRow, Candidate, Reading, Row, read_row
from tests.support.strategies import json_values, leads, moments

COLUMNS = ["First name", "Last name", "Email", "ActionCode", "Offer name", "CreatedTime", "Notes"]
HOSTILE = [
    "=HYPERLINK(\"http://example.com\")", "@SUM(1+1)", "+1 425 555 0100", "-1", "'; DROP TABLE leads; --", "O'Neil",
    "ada+test@example.com", "\u202egro.elpmaxe", "\x00\x07", "Zoë 🎈", "a\nb\r\nc", '"""', "${jndi:ldap://x}", "{{7*7}}",
    "../../etc/passwd", "NULL", "0", " ", "\ufeff", "x" * 40_000, "{\"FirstName\": \"Ada\"}", "[" * 500, "%00", "\u2028",
    "11/15/2025 20:02:52", "31/02/2026", "1e999", "true", "ＦＵＬＬ", "\ud7ff", "a;b,c\td", "MSFT_TEST_636573304831318844",
]  # fmt: skip
READING = Reading({}, time=datetime(2026, 1, 1, tzinfo=UTC))
NOW = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def read(record: dict[str, Any], **more: Any) -> Candidate | BadRow:
    try:
        return read_row(Row(2, record, **more), READING)
    except BadRow as bad:
        return bad


def test_a_file_of_hostile_rows_is_read_row_by_row() -> None:
    chosen = random.Random(1)
    rows = [[chosen.choice(HOSTILE) for _ in COLUMNS] for _ in range(600)]
    out = io.StringIO()
    csv.writer(out).writerows([COLUMNS, *rows])
    file = read_csv(out.getvalue().encode())
    assert [list(row.values()) for _, row in file.rows] == rows
    found = [read(record) for _, record in file.rows]
    taken = [one for one in found if isinstance(one, Candidate)]
    assert 25 < len(taken) < len(found), "some are leads, some have a time that is none"
    assert {type(one) for one in found} == {Candidate, BadRow}
    for candidate in taken:
        assert candidate.lead_id[-1] == customer_of(candidate.lead, candidate.lead_id)[0]
    for bad in found:
        assert not isinstance(bad, BadRow) or not any(text in str(bad) for text in HOSTILE if len(text) > 3)


@given(st.dictionaries(st.sampled_from(COLUMNS) | st.text(max_size=8), json_values, max_size=8))
def test_any_row_is_a_lead_that_gets_the_same_id_each_time_or_is_refused(record: dict[str, Any]) -> None:
    found, again = read(record), read(record)
    if isinstance(found, Candidate):
        assert found == again
        assert partition_of(found.lead_id) == customer_of(found.lead, found.lead_id)[0]
    else:
        assert str(found) == str(again) != ""


@pytest.mark.parametrize(
    ("created", "day"),
    [
        ("11/28/2026 08:00:00", "20261128"),
        ("28/11/2026 08:00:00", "20261128"),
        ("09/11/2026 08:00:00", "20260911"),
        ("10/12/2026 08:00:00", "20261012"),
        ("12/10/2026 08:00:00", "20261012"),
        ("01/12/2026 08:00:00", "20260112"),
        ("12/01/2025 08:00:00", "20251201"),
    ],
)
def test_a_row_that_was_copied_or_changed_long_after_its_time_is_read_in_the_usual_order(
    created: str, day: str
) -> None:
    found = read({"Email": "ada@example.com", "CreatedTime": created}, written_at=datetime(2026, 11, 29, tzinfo=UTC))
    assert isinstance(found, Candidate)
    assert found.lead_id[:8] == day


entities = st.dictionaries(
    st.sampled_from(
        ["CustomerInfo", "CreatedTime", "ActionCode", "LeadSource", "Extra", "CustomerKey", "Extra_2", "Description"]
    )
    | st.text(max_size=6),
    st.text(max_size=30) | st.integers() | st.booleans() | moments | st.binary(max_size=8),
    max_size=8,
)


@given(entities, moments, st.text(min_size=1, max_size=40))
def test_any_row_of_a_table_is_a_lead_or_is_refused(entity: dict[str, Any], written_at: datetime, key: str) -> None:
    found = read(from_entity(entity), key=key, written_at=written_at)
    assert isinstance(found, Candidate) or str(found)


@given(leads, moments, st.sampled_from(list(Stage)))
def test_a_row_that_this_app_writes_is_read_as_the_lead_that_it_was(lead: Lead, at: datetime, stage: Stage) -> None:
    at = at.replace(microsecond=0)
    lead_id = new_lead_id(at, lead)
    outgoing = OutgoingLead(lead_id, lead, "contoso.crm", "table", stage, at)
    entity = to_entity(outgoing, Customer(customer_of(lead, lead_id)))
    record = from_entity(entity)
    again = parse_record(record)
    told = {
        name: getattr(again, name)
        for name in ("first_name", "last_name", "email", "phone", "company", "description", "action")
    }
    assert told == {name: getattr(lead, name) for name in told}
    assert again.customer_extra == lead.customer_extra
    found = read(record, key=lead_id, written_at=at + timedelta(seconds=1))
    if isinstance(found, Candidate) and customer_of(again, lead_id) == customer_of(lead, lead_id):
        assert found.lead_id == lead_id
