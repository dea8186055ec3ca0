"""Lists with fewer fields than the leads: a missing field is not a difference, so that no lead is delivered twice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from leads.core.states import State
from leads.ledger.queries import newest
from leads.operations.imports import JudgedRows, RowsToImport, import_rows, reconcile_rows
from leads.operations.problems import Invalid
from leads.pipeline.importing import Verdict
from tests.support.command_line import Run, one_line
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import Vendor

WORDS = [("Contact me", "PLT"), ("GET IT NOW", "INS"), ("Get it now", "Create"), ("Test drive", "StartTestDrive")]


def a_row(at: datetime, **cells: str) -> dict[str, str]:
    """A row with an address, a time and little else."""
    return {"Email": "ada@example.com", "CreatedTime": f"{at:%Y-%m-%d %H:%M:%S}"} | cells


def rows(*records: dict[str, str], **wanted: Any) -> RowsToImport:
    numbered = [{"number": number, "record": record} for number, record in enumerate(records, 2)]
    return RowsToImport.model_validate({"rows": numbered, **wanted})


def verdicts(found: JudgedRows) -> list[Verdict]:
    return [row.verdict for row in found.rows]


@pytest.mark.parametrize(
    ("action", "cells"),
    [
        ("PLT", {"Offer name": "Contoso CRM"}),
        ("XYZ", {"Offer name": "Contoso CRM"}),
        ("PLT", {"Action": "PLT"}),
        ("PLT", {}),
        ("XYZ", {"Offer name": "Contoso CRM", "Call to action": "Free Trial"}),
        *[(code, {"Offer name": "Contoso CRM", "Call to action": word}) for word, code in WORDS],
    ],
)
def test_a_delivered_lead_is_known_although_its_row_says_less(
    routed: Pipeline, vendor: Vendor, action: str, cells: dict[str, str]
) -> None:
    """A default offer takes rows that name no offer. That is not a different offer either."""
    routed.offer(crm(vendor.url), offer_id="*", titles=[])
    lead = routed.post(a_lead(action=action))
    routed.run()
    wanted = rows(a_row(routed.clock.now() - timedelta(hours=9), **cells))
    found = routed.ask(reconcile_rows, wanted)
    assert [(row.verdict, row.lead_id, row.state) for row in found.rows] == [(Verdict.KNOWN, lead, State.DELIVERED)]
    assert verdicts(routed.ask(import_rows, wanted)) == [Verdict.KNOWN]
    assert routed.run() == 0
    assert len(vendor.calls) == 1


@pytest.mark.parametrize(
    "cells", [{"Action": "INS"}, {"Call to action": "Contact me"}, {"Call to action": "Test drive"}]
)
def test_another_action_is_another_lead(routed: Pipeline, cells: dict[str, str]) -> None:
    routed.post(a_lead(action="Create"))
    routed.run()
    row = a_row(routed.clock.now(), **{"Offer name": "Contoso CRM"}, **cells)
    assert verdicts(routed.ask(import_rows, rows(row))) == [Verdict.MISSING]


@pytest.mark.parametrize("action", ["PLT", "XYZ"])
def test_a_lead_that_was_recorded_without_its_action_is_not_sent_when_it_comes(
    routed: Pipeline, vendor: Vendor, action: str
) -> None:
    row = a_row(routed.clock.now() - timedelta(hours=3), **{"Offer name": "Contoso CRM"})
    routed.ask(import_rows, rows(row, policy="record"))
    routed.run()
    lead = routed.post(a_lead(action=action))
    routed.run()
    assert routed.delivery(lead).state is State.DUPLICATE
    assert not vendor.calls


@pytest.mark.parametrize(("word", "code"), WORDS)
def test_a_lead_that_was_recorded_by_the_words_for_its_action_is_not_sent_when_it_comes(
    routed: Pipeline, vendor: Vendor, word: str, code: str
) -> None:
    row = a_row(routed.clock.now(), **{"Offer name": "Contoso CRM", "Call to action": word})
    routed.ask(import_rows, rows(row, policy="record"))
    routed.run()
    lead = routed.post(a_lead(action=code))
    routed.post(a_lead("grace@example.com", action=code))
    routed.run()
    assert routed.delivery(lead).state is State.DUPLICATE
    assert [call.lead["email"] for call in vendor.calls] == ["grace@example.com"]


@pytest.mark.parametrize("cells", [{}, {"Call to action": "Get it now"}])
def test_a_row_that_was_taken_for_missing_is_recognised_when_it_is_delivered(
    routed: Pipeline, vendor: Vendor, cells: dict[str, str]
) -> None:
    """The lead itself is still on the queue when the list is compared."""
    routed.post()
    row = a_row(routed.clock.now(), **{"Offer name": "Contoso CRM"}, **cells)
    assert verdicts(routed.ask(import_rows, rows(row))) == [Verdict.MISSING]
    routed.run()
    assert len(vendor.calls) == 1


def test_what_customers_rows_remember_is_found_without_an_action_or_offer(routed: Pipeline) -> None:
    routed.post()
    routed.run()
    table = routed.app.ledger.table.client
    for entity in list(table.query_entities("RowKey lt 'b' or RowKey gt 'd'")):
        table.delete_entity(entity)
    at = routed.clock.now()
    wanted = rows(a_row(at), a_row(at, **{"Call to action": "Get it now"}), a_row(at, Action="PLT"))
    found = routed.ask(reconcile_rows, wanted)
    assert verdicts(found) == [Verdict.KNOWN, Verdict.KNOWN, Verdict.MISSING]


@pytest.mark.parametrize(
    ("word", "source", "stage"),
    [
        ("Contact me", "", "contact_requested"),
        ("Get it now", "", "initial_interest"),
        ("Get it now", "Azure Marketplace", "initial_interest"),
        ("Get it now", "Azure portal", "purchase"),
        ("Test drive", "AppSource", "trial"),
        ("Free Trial", "AppSource", "unknown"),
    ],
)
def test_words_for_an_action_give_its_stage(
    routed: Pipeline, vendor: Vendor, word: str, source: str, stage: str
) -> None:
    cells = {"Offer name": "Contoso CRM", "Call to action": word, "Lead Source": source}
    routed.ask(import_rows, rows(a_row(routed.clock.now(), **cells)))
    routed.run()
    assert [call.stage for call in vendor.calls] == [stage]


def test_a_row_that_names_no_offer_is_not_only_recorded_because_that_would_protect_nothing(routed: Pipeline) -> None:
    wanted = (a_row(routed.clock.now()), a_row(routed.clock.now(), Offer="contoso.crm", Email="b@example.com"))
    found = routed.ask(import_rows, rows(*wanted, policy="record"))
    assert verdicts(found) == [Verdict.BAD, Verdict.MISSING]
    assert (
        found.rows[0].reason
        == "names no offer, so the app would still send its lead later; name the offer with --offer"
    )
    assert (
        verdicts(routed.ask(import_rows, rows(*wanted, policy="record", offer="contoso.crm"))) == [Verdict.MISSING] * 2
    )


def test_over_http_too_dates_in_two_orders_and_rows_without_an_address_are_refused(routed: Pipeline) -> None:
    mixed = [{"Email": "a@example.com", "CreatedTime": text} for text in ("02/09/2025", "15/09/2025", "09/16/2025")]
    with pytest.raises(
        Invalid, match="rows: the date of row 3 can only have the day first, that of row 4 can only have the month"
    ):
        routed.ask(import_rows, rows(*mixed))
    with pytest.raises(Invalid, match="rows: the date of row 3 can only have the day first, and mdy says otherwise"):
        routed.ask(import_rows, rows(*mixed[:2], dates="mdy"))
    with pytest.raises(Invalid, match="rows: no column holds an e-mail address"):
        routed.ask(import_rows, rows({"Company": "Example Works", "CreatedTime": "2025-09-02"}))
    assert routed.queue.depth() == 0
    routed.ask(import_rows, rows(*mixed[:2]))
    routed.run()
    assert {lead.received_at.month for lead in newest(routed.app.ledger)} == {9}


# --- At the shell -------------------------------------------------------------------------------------------------------

ANALYTICS = [
    *(
        "Referral ID",
        "Creation Date",
        "Updated Date",
        "PartnerID",
        "Customer Country",
        "Customer City",
        "Customer Name",
    ),
    *(
        "Lead Type",
        "Lead Source",
        "Call to action",
        "Referral program",
        "Business profile ID",
        "Offer ID",
        "Offer name",
    ),
    *("Lead currency", "Lead value", "Lead value (USD)", "Status", "Status Reason"),
]
REFERRALS = [
    *("Engagement ID", "Referral ID", "Deal Name", "Customer Name", "Customer City", "Customer Country"),
    *("Customer Contact First Name", "Customer Contact Last Name", "Customer Contact Phone number"),
    *("Customer Contact Email Address", "LeadCreationDateTime", "Call to action", "Offer name"),
]


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., str]:
    def write(*rows: list[str]) -> str:
        file = tmp_path / "leads.csv"
        with file.open("w", newline="") as out:
            csv.writer(out).writerows(rows)
        return str(file)

    return write


def test_the_documented_columns_of_referrals_are_known(
    run: Run, routed: Pipeline, vendor: Vendor, csv_file: Callable[..., str]
) -> None:
    at = routed.clock.now().replace(microsecond=0)
    lead = routed.post(a_lead(action="PLT"))
    routed.run()
    person = ["Grace", "Hopper", "+1 425 555 0100", "grace@example.com"]
    file = csv_file(
        REFERRALS,
        ["e1", "r1", "", "Example Works", "Paris", "FR", *person, f"{at:%b %d, %Y}", "Test drive", "Contoso CRM"],
        [
            "e2",
            "r2",
            "",
            "",
            "",
            "",
            "Ada",
            "O'Neil",
            "",
            "ada@example.com",
            f"{at:%m/%d/%Y, %I:%M:%S\u202f%p}",
            "Contact me",
        ],
    )
    ran = run("reconcile", file, "--offer", "contoso.crm", "--import", "--json")
    assert [(row["verdict"], row["lead_id"]) for row in json.loads(ran.out)["rows"]][1] == ("known", lead)
    routed.run()
    sent = vendor.calls[1].lead
    assert {
        name: sent[name] for name in ("first_name", "last_name", "phone", "email", "company", "country", "action_code")
    } == {
        **dict(zip(("first_name", "last_name", "phone", "email"), person, strict=True)),
        "company": "Example Works",
        "country": "FR",
        "action_code": "StartTestDrive",
    }
    assert len(vendor.calls) == 2


def test_a_list_without_addresses_is_refused_with_what_it_would_need(run: Run, csv_file: Callable[..., str]) -> None:
    file = csv_file(
        ANALYTICS, ["r1", "09/02/2026", *[""] * 4, "Example Works", *[""] * 5, "contoso.crm", "Contoso CRM"]
    )
    for command in (("reconcile",), ("import", "csv", "--only-record")):
        said = one_line(run(*command, file), 2)
        assert said.startswith(
            "FILE: none of its columns holds an e-mail address, which identifies a customer (Referral ID, "
        )
        assert said.endswith(
            "--map 'COLUMN=email' names one. Partner Center's analytics have none: download the list of Referrals > Leads"
        )


def test_a_list_without_actions_says_what_that_means(run: Run, routed: Pipeline, csv_file: Callable[..., str]) -> None:
    at = f"{routed.clock.now():%Y-%m-%d}"
    without = csv_file(["Email", "Offer name", "CreatedTime"], ["a@example.com", "Contoso CRM", at])
    assert "No column says what the customers did" in run("reconcile", without).err
    with_actions = csv_file(
        ["Email", "Offer name", "CreatedTime", "Action"], ["a@example.com", "Contoso CRM", at, "INS"]
    )
    assert "No column says what the customers did" not in run("reconcile", with_actions).err


def test_dates_in_two_orders_are_refused_and_not_guessed(run: Run, csv_file: Callable[..., str]) -> None:
    dates = ["02/09/2026", "15/09/2026", "09/16/2026"]
    file = csv_file(["Email", "CreatedTime"], *([f"a{number}@example.com", date] for number, date in enumerate(dates)))
    both = (
        "FILE: the date of row 3 can only have the day first, that of row 4 can only have the month first; "
        "write all dates one way, such as 2026-01-31"
    )
    assert one_line(run("import", "csv", file), 2) == both
    assert one_line(run("import", "csv", file, "--dates", "dmy"), 2) == both


def test_days_of_a_spreadsheet_are_times(run: Run, routed: Pipeline, csv_file: Callable[..., str]) -> None:
    run("import", "csv", csv_file(["Email", "Action", "CreatedTime"], ["a@example.com", "INS", "45976.5"]))
    routed.run()
    assert [lead.received_at for lead in newest(routed.app.ledger)] == [datetime(2025, 11, 15, 12, tzinfo=UTC)]


def test_a_workbook_is_named_and_nothing_of_it_is_printed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "leads.xlsx"
    file.write_bytes(b"PK\x03\x04\x14\x00\x06\x00" + bytes(range(256)))
    for command in (("reconcile",), ("import", "csv")):
        assert one_line(run(*command, str(file)), 2) == (
            "FILE: is an Excel workbook (.xlsx) or another ZIP archive; "
            "save it as CSV (in Excel: Save As > CSV UTF-8), and name that file"
        )
