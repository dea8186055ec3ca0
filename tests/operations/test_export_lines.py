"""Export: each lead as a line, safe in a spreadsheet, whole in JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.lead import Lead
from leads.core.lead_parsing import parse_record
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord
from leads.operations.export import COLUMNS, as_object, csv_header, csv_line, safe_cell

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n@x", "＝1", "−1", "|calc", "\0=1"]


def record_of(**fields: Any) -> LeadRecord:
    lead = Lead(**fields)
    lead_id = "20260131120000000-0123456789ab-c"
    return LeadRecord(
        lead_id, NOW, lead, offer="contoso.crm", deliveries={"crm": Delivery("crm", State.DELIVERED, record_id="r1")}
    )


def cells_of(record: LeadRecord) -> dict[str, str]:
    text = csv_header() + csv_line(as_object(record))
    (row,) = csv.DictReader(io.StringIO(text))
    return row


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(formula: str) -> None:
    for field in ("first_name", "company", "description", "phone"):
        cell = cells_of(record_of(**{field: formula}))[field]
        assert cell == "'" + formula.replace("\0", "")
    assert cells_of(record_of(extra={formula: formula}))["extra"][0] == "{"


@given(st.text())
def test_a_cell_never_begins_as_a_formula_does_and_what_is_harmless_stays_as_it_is(text: str) -> None:
    cell = safe_cell(text)
    assert not re.match(r"[=+\-@\t\r\n|]", cell.lstrip() if cell[:1] != "'" else cell)
    assert cell.removeprefix("'") == text.removeprefix("'") if cell != text else cell == text


@given(st.text(), st.text(), st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=3))
def test_a_line_of_csv_holds_what_the_lead_says(name: str, description: str, extra: dict[str, str]) -> None:
    row = cells_of(record_of(first_name=name, description=description, extra=extra))
    assert row["first_name"] in {name.replace("\0", ""), "'" + name.replace("\0", "")}
    assert json.loads(row["extra"] or "{}") == extra
    assert row["deliveries"] == '[{"destination": "crm", "state": "delivered", "record_id": "r1", "reason": ""}]'


def test_a_line_of_json_reads_as_the_same_lead() -> None:
    lead = Lead(
        first_name="Ada", email="ada@example.com", company="=Works", lead_source="AzureMarketplace-INS|a.b", title="T",
        action_code="INS", description="{}", customer_extra={"k": "v"},
    )  # fmt: skip
    line = json.loads(json.dumps(as_object(record_of(**lead.model_dump()))))
    again = parse_record(
        {name: line[name] for name in lead.to_wire() if name != "customer_extra"}
        | {"UserDetails": line["customer_extra"]}
    )
    assert again == lead
    assert tuple(line) == COLUMNS
