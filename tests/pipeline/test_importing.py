"""Import and reconcile: missing leads are imported, and known leads are recognised."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.data.tables import TableClient

from leads.core.states import State
from leads.ledger.incoming import IncomingLeads
from leads.ledger.queries import arrivals, newest
from leads.offers.model import read_offer
from leads.offers.table import OFFERS_TABLE, Offers
from leads.operations.imports import (
    ImportedFromTable,
    JudgedRows,
    RowsToImport,
    TableToImport,
    import_rows,
    import_table,
)
from leads.operations.leads import ShowLead, show_lead
from leads.operations.problems import Invalid
from leads.pipeline.importing import Verdict
from tests.support.command_line import Run, one_line
from tests.support.logs import logged
from tests.support.pipeline import Killed, Pipeline, a_lead, crm
from tests.support.vendor import REJECTED, Vendor

FORM = "%m/%d/%Y %H:%M:%S"
SHARE = 1 if os.environ.get("WHOLE_SIZE") else 20
"""A tenth of the leads in the example, because Azurite scans the whole table for each query."""


def a_row(
    email: str = "ada@example.com", action: str = "INS", at: datetime | None = None, created: str = "", **more: str
) -> dict[str, str]:
    """The row of `a_lead` as Partner Center could list it, with other columns and fields."""
    row = {
        "First name": "Ada",
        "Email address": email,
        "Offer name": "Contoso CRM",
        "ActionCode": action,
        "Stage": "Open",
    }
    created = f"{at:{FORM}}" if at else created
    return row | ({"Created date": created} if created else {}) | more


def rows(*records: dict[str, str], **wanted: Any) -> RowsToImport:
    numbered = [{"number": number, "record": record} for number, record in enumerate(records, 2)]
    columns = {"Created date": "created_time"}
    return RowsToImport.model_validate({"rows": numbered, "columns": columns, **wanted})


def verdicts(found: JudgedRows) -> list[Verdict]:
    return [row.verdict for row in found.rows]


def import_all(pipeline: Pipeline, **wanted: Any) -> ImportedFromTable:
    """All steps of an import of a table, with their sums."""
    total = ImportedFromTable(next="", imported=0, known=0, bad=[], unknown_columns=[])
    while total.next is not None:
        asked = TableToImport.model_validate({**wanted, "after": total.next})
        step = pipeline.ask(import_table, asked)
        total.imported, total.known, total.next = total.imported + step.imported, total.known + step.known, step.next
        total.bad += step.bad
    return total


# Rows of a list


def test_a_row_is_delivered_as_imported_with_its_own_time(routed: Pipeline, vendor: Vendor) -> None:
    at = routed.clock.now() - timedelta(days=30)
    found = routed.ask(import_rows, rows(a_row(at=at)))
    assert verdicts(found) == [Verdict.MISSING]
    routed.run()
    lead = found.rows[0].lead_id
    shown = routed.ask(show_lead, ShowLead(lead_id=lead))
    assert (shown.state, shown.imported, shown.received_at) == (State.DELIVERED, "send", at)
    assert vendor.calls[0].lead["email"] == "ada@example.com"


def test_a_dry_run_says_the_same_and_takes_nothing_in(routed: Pipeline) -> None:
    wanted = rows(a_row(at=routed.clock.now()), a_row(at=routed.clock.now(), email="grace@example.com"))
    dry = routed.ask(import_rows, wanted.model_copy(update={"dry_run": True}))
    assert routed.queue.depth() == 0
    assert routed.ask(import_rows, wanted) == dry
    assert routed.queue.depth() == 2


def test_what_was_delivered_is_recognised_and_not_sent(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    routed.run()
    for hours in (-34, 0, 20):
        found = routed.ask(
            import_rows, rows(a_row(at=routed.clock.now() + timedelta(hours=hours) - timedelta(hours=1)))
        )
        assert [(row.verdict, row.lead_id, row.state) for row in found.rows] == [(Verdict.KNOWN, lead, State.DELIVERED)]
    assert routed.run() == 0
    assert len(vendor.calls) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"action": "PLT"},
        {"email": "ada+two@example.com"},
        {"hours": 37},
        {"Offer name": "Fabrikam ERP"},
    ],
)
def test_another_action_customer_day_or_offer_is_another_lead(
    routed: Pipeline, vendor: Vendor, other: dict[str, Any]
) -> None:
    routed.offer(crm(vendor.url), offer_id="fabrikam.erp", titles=["Fabrikam ERP"])
    routed.post()
    routed.run()
    at = routed.clock.now() - timedelta(hours=other.pop("hours", 0))
    assert verdicts(routed.ask(import_rows, rows(a_row(at=at, **other)))) == [Verdict.MISSING]
    routed.run()
    assert len(vendor.calls) == 2


def test_a_lead_that_is_still_on_the_queue_is_recognised_when_it_is_delivered(routed: Pipeline, vendor: Vendor) -> None:
    routed.post()
    found = routed.ask(import_rows, rows(a_row(at=routed.clock.now())))
    assert verdicts(found) == [Verdict.MISSING], "no list sees what is on the queue"
    routed.run()
    assert len(vendor.calls) == 1
    assert {routed.record(lead).state for lead in (found.rows[0].lead_id,)} <= {State.DUPLICATE, State.DELIVERED}


def test_the_lead_itself_coming_after_its_import_is_recognised(routed: Pipeline, vendor: Vendor) -> None:
    routed.ask(import_rows, rows(a_row(at=routed.clock.now() - timedelta(hours=2))))
    routed.run()
    late = routed.post()
    routed.run()
    assert routed.delivery(late).state is State.DUPLICATE
    assert len(vendor.calls) == 1


def test_imported_twice_or_listed_twice_it_is_one_lead(routed: Pipeline, vendor: Vendor) -> None:
    at = routed.clock.now() - timedelta(days=40)
    wanted = rows(a_row(at=at), a_row(at=at))
    assert verdicts(routed.ask(import_rows, wanted)) == [Verdict.MISSING, Verdict.TWICE]
    routed.ask(import_rows, wanted)
    routed.run()
    assert verdicts(routed.ask(import_rows, wanted)) == [Verdict.KNOWN, Verdict.TWICE]
    assert routed.run() == 0
    assert len(vendor.calls) == 1


def test_leads_without_a_person_stay_apart(routed: Pipeline, vendor: Vendor) -> None:
    at = routed.clock.now() - timedelta(days=40)
    shared = {"Email": "", "Offer name": "Contoso CRM", "Created date": f"{at:{FORM}}"}
    anonymous = [shared | {"Notes": note} for note in ("a", "b")]
    assert verdicts(routed.ask(import_rows, rows(*anonymous))) == [Verdict.MISSING] * 2
    routed.run()
    assert len(vendor.calls) == 2


def test_only_recorded_leads_are_not_sent_and_known_ever_after(routed: Pipeline, vendor: Vendor) -> None:
    at = routed.clock.now() - timedelta(hours=3)
    lead = routed.ask(import_rows, rows(a_row(at=at), policy="record")).rows[0].lead_id
    routed.run()
    assert (routed.record(lead).state, routed.delivery(lead).reason) == (State.SKIPPED, "imported: only recorded")
    again = routed.post()
    routed.run()
    assert routed.delivery(again).state is State.DUPLICATE
    assert not vendor.calls


def test_only_recorded_leads_do_not_wait_for_a_paused_connection(routed: Pipeline, vendor: Vendor) -> None:
    [config] = routed.app.offers.all()[0].destinations
    routed.app.connections.pause_by_person(routed.app.destination(config).connection, "recording", "maintenance")
    lead = routed.ask(import_rows, rows(a_row(at=routed.clock.now()), policy="record")).rows[0].lead_id
    routed.run()
    assert routed.record(lead).state is State.SKIPPED


def test_imports_are_neither_counted_as_arrivals_nor_held_back_by_the_daily_ceiling(
    routed: Pipeline, vendor: Vendor
) -> None:
    routed.offer(crm(vendor.url), policies={"daily_ceiling": 1})
    now = routed.clock.now()
    routed.ask(import_rows, rows(*[a_row(f"a{number}@example.com", at=now - timedelta(days=1)) for number in range(3)]))
    routed.run()
    assert len(vendor.calls) == 3
    assert list(arrivals(routed.app.ledger, now - timedelta(days=2), now + timedelta(days=1))) == []


def test_an_imported_lead_without_an_offer_waits_for_one(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.ask(import_rows, rows(a_row(at=pipeline.clock.now() - timedelta(days=9))))
    pipeline.run()
    pipeline.offer(crm(vendor.url))
    pipeline.tick()
    assert len(vendor.calls) == 1


def test_bad_rows_are_told_and_the_others_are_taken_in(routed: Pipeline) -> None:
    now = routed.clock.now()
    records = (
        a_row(at=now),
        a_row(created="soon"),
        a_row("b@example.com"),
        a_row("c@example.com", at=now + timedelta(days=3)),
        {"Email address": " ", "Created date": ""},
        a_row("d@example.com", at=now, Notes="x" * 300_000),
    )
    found = routed.ask(import_rows, rows(*records))
    assert verdicts(found) == [Verdict.MISSING, *[Verdict.BAD] * 5]
    reasons = [row.reason for row in found.rows[1:]]
    assert reasons[0].startswith("created_time can't be read")
    assert reasons[1].startswith("has no time; name its column with --map")
    assert reasons[2:] == ["created_time is in the future", "is empty", "has more than 262144 bytes"]
    assert routed.queue.depth() == 1


def test_rows_without_a_time_get_the_one_that_is_given(routed: Pipeline) -> None:
    found = routed.ask(import_rows, rows(a_row(), time="2026-10-01"))
    routed.run()
    assert routed.record(found.rows[0].lead_id).received_at == datetime(2026, 10, 1, tzinfo=UTC)


def test_unknown_columns_are_named_and_kept_with_the_lead(routed: Pipeline, vendor: Vendor) -> None:
    found = routed.ask(import_rows, rows(a_row(at=routed.clock.now(), Notes="", Budget="9")))
    assert found.unknown_columns == ["Budget", "Stage"]
    routed.run()
    assert vendor.calls[0].lead["extra"] == {"Stage": "Open", "Budget": "9"}


def test_columns_are_mapped_or_left_out(routed: Pipeline, vendor: Vendor) -> None:
    columns = {"When": "created_time", "Firma": "company", "Stage": ""}
    record = a_row(When=f"{routed.clock.now():{FORM}}", Firma="Beispiel GmbH")
    found = routed.ask(import_rows, rows(record, columns=columns))
    routed.run()
    assert found.unknown_columns == []
    assert (vendor.calls[0].lead["company"], vendor.calls[0].lead.get("extra", {})) == ("Beispiel GmbH", {})
    with pytest.raises(ValueError, match="'Firma' can't be 'firm'; the fields are first_name"):
        rows(record, columns={"Firma": "firm"})


def test_columns_called_offer_and_action_are_what_people_mean_by_them(routed: Pipeline, vendor: Vendor) -> None:
    """An offer by its id, too."""
    at = routed.clock.now() - timedelta(days=40)
    record = {"Email": "ada@example.com", "Action": "PLT", "Offer": "Contoso.CRM", "CreatedTime": f"{at:{FORM}}"}
    found = routed.ask(import_rows, rows(record, columns={}))
    assert found.unknown_columns == []
    routed.run()
    assert (vendor.calls[0].stage, vendor.calls[0].lead["email"]) == ("contact_requested", "ada@example.com")


@pytest.mark.parametrize("policy", ["send", "record"])
def test_an_offer_that_is_misspelt_or_not_yet_saved_is_refused_before_its_leads_wait_for_it(
    routed: Pipeline, vendor: Vendor, policy: str
) -> None:
    nameless = a_row(at=routed.clock.now()) | {"Offer name": ""}
    wanted = rows(nameless, offer="contoso.new", policy=policy)
    with pytest.raises(Invalid, match=r"no offer has the id contoso\.new"):
        routed.ask(import_rows, wanted)
    assert routed.run() == 0
    another_instances = Offers(routed.app.storage.table(OFFERS_TABLE))
    another_instances.save(read_offer({"id": "contoso.new", "destinations": [crm(vendor.url)]}))
    assert verdicts(routed.ask(import_rows, wanted)) == [Verdict.MISSING]


def test_killed_in_the_middle_and_run_again_each_lead_is_there_once(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = routed.clock.now() - timedelta(days=50)
    wanted = rows(*[a_row(f"a{number}@example.com", at=at) for number in range(20)])
    put, count = IncomingLeads.put, iter(range(100))

    def dies(*arguments: Any) -> None:
        if next(count) == 7:
            raise Killed
        put(*arguments)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(IncomingLeads, "put", dies)
        routed.ask(import_rows, wanted)
    routed.step()
    routed.ask(import_rows, wanted)
    routed.run()
    assert sorted(Counter(call.lead["email"] for call in vendor.calls).values()) == [1] * 20


def test_what_is_on_the_queue_is_logged_although_storage_refuses_one_of_the_leads(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at = routed.clock.now()
    put, count = IncomingLeads.put, iter(range(100))

    def refused(*arguments: Any) -> None:
        if next(count) == 2:
            raise ServiceResponseError("refused")
        put(*arguments)

    monkeypatch.setattr(IncomingLeads, "put", refused)
    with pytest.raises(ServiceResponseError):
        routed.ask(import_rows, rows(*[a_row(f"a{number}@example.com", at=at) for number in range(5)]))
    assert len({event["lead_id"] for event in logged(caplog, "lead_imported")}) == routed.queue.depth() == 4


# Another table


@pytest.fixture
def old(fresh_storage: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> TableClient:
    """A table in another account, as far as the app can tell. Its rows have real timestamps."""
    pipeline.clock.time = datetime.now(UTC)
    monkeypatch.setenv("LEADS_SECRET_OLD_STORAGE", fresh_storage)
    client = TableClient.from_connection_string(fresh_storage, "OldLeads")
    client.create_table()
    return client


SOURCE = {"source": {"table": "OldLeads", "connection_string": "env:LEADS_SECRET_OLD_STORAGE"}}


def microsofts(key: int, created: str, email: str = "ada@example.com", **more: Any) -> dict[str, Any]:
    """A row as Microsoft's own connector writes it."""
    return {
        "PartitionKey": "20261115",
        "RowKey": f"0f8fad5b-d9cb-469f-a165-{key:012}",
        "CreatedTime": created,
        "LeadSource": "AzureMarketplace",
        "ActionCode": "INS",
        "ProductId": "contoso.crm",
        "OfferDisplayName": "Contoso CRM",
        "CustomerInfo": json.dumps({"FirstName": "Ada", "Email": email, "Country": "USA"}),
        "Description": "Campaigns: ",
    } | more


def test_microsofts_rows_are_imported_once_with_their_time(routed: Pipeline, vendor: Vendor, old: TableClient) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    old.create_entity(microsofts(1, f"{at:{FORM}}"))
    assert import_all(routed, **SOURCE).imported == 1
    routed.run()
    assert vendor.calls[0].lead["country"] == "USA"
    assert [received.received_at for received in [routed.record(vendor.keys()[0])]] == [at]
    again = import_all(routed, **SOURCE)
    assert (again.imported, again.known) == (0, 1)


@pytest.mark.parametrize(
    "form", ["%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%d-%m-%Y %H:%M:%S", "%m/%d/%Y, %I:%M:%S %p"]
)
def test_the_time_shortly_before_the_row_was_written_is_meant(
    routed: Pipeline, vendor: Vendor, old: TableClient, form: str
) -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    old.create_entity(microsofts(1, at.strftime(form)))
    import_all(routed, **SOURCE)
    routed.run()
    assert routed.record(vendor.keys()[0]).received_at == at


def test_a_row_without_a_time_has_that_of_the_table(routed: Pipeline, vendor: Vendor, old: TableClient) -> None:
    old.create_entity(microsofts(1, ""))
    import_all(routed, **SOURCE)
    routed.run()
    assert abs(routed.record(vendor.keys()[0]).received_at - datetime.now(UTC)) < timedelta(hours=1)


def test_only_the_rows_of_a_time_span(routed: Pipeline, vendor: Vendor, old: TableClient) -> None:
    now = datetime.now(UTC)
    for days in (1, 5, 9):
        old.create_entity(microsofts(days, f"{now - timedelta(days=days):{FORM}}", f"a{days}@example.com"))
    assert import_all(routed, **SOURCE, since="6d", until="2d").imported == 1
    routed.run()
    assert vendor.calls[0].lead["email"] == "a5@example.com"


def test_a_row_that_this_app_has_written_keeps_its_id(pipeline: Pipeline, vendor: Vendor, old: TableClient) -> None:
    """An app that has lost its ledger writes the same rows under the same keys."""
    pipeline.offer({"name": "table", "type": "azure_table"})
    lead = pipeline.post(a_lead(Description="long " * 10_000, Tier="gold"))
    pipeline.run()
    row = TableClient.from_connection_string(
        pipeline.app.settings.storage_connection_string, "MarketplaceLeads"
    ).get_entity(f"{pipeline.clock.now():%Y%m%d}", lead)
    original = pipeline.record(lead).lead
    old.create_entity(row)
    assert import_all(pipeline, **SOURCE).known == 1, "it is there"
    old.update_entity({**row, "OfferDisplayName": "Renamed"})
    pipeline.offer(crm(vendor.url), offer_id="*", titles=[])
    assert import_all(pipeline, **SOURCE).known == 1, "whatever offer the row would go to"
    old.update_entity(row)
    for name in ("LeadLedger", "MarketplaceLeads"):
        TableClient.from_connection_string(pipeline.app.settings.storage_connection_string, name).delete_table()
    pipeline.offer(crm(vendor.url))
    assert import_all(pipeline, **SOURCE).imported == 1
    pipeline.run()
    assert vendor.keys() == [lead]
    assert original is not None
    assert pipeline.record(lead).lead == original.model_copy(
        update={"product_id": "", "created_time": row["CreatedTime"], "lead_source": original.lead_source}
    )


def test_a_row_that_this_app_has_written_goes_to_the_offer_that_its_address_named(
    pipeline: Pipeline, vendor: Vendor, old: TableClient
) -> None:
    table = {
        "name": "table",
        "type": "azure_table",
        "settings": {"table": "OldLeads", "connection_string": "env:LEADS_SECRET_OLD_STORAGE"},
    }
    pipeline.offer(table)
    lead = pipeline.post(a_lead(OfferTitle="a name that no offer has"), "contoso.crm")
    pipeline.run()
    pipeline.app.ledger.table.client.delete_table()
    with Vendor() as other:
        pipeline.offer(crm(other.url), offer_id="*", titles=[])
        pipeline.offer(crm(vendor.url))
        import_all(pipeline, **SOURCE)
        pipeline.run()
        assert (vendor.keys(), other.keys()) == ([lead], [])


def test_many_rows_go_in_steps_and_to_begin_anew_does_no_harm(
    routed: Pipeline, vendor: Vendor, old: TableClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = f"{datetime.now(UTC):{FORM}}"
    monkeypatch.setattr("leads.operations.imports.ROWS_AT_ONCE", 10)
    old.submit_transaction([("create", microsofts(number, at, f"a{number}@example.com")) for number in range(25)])
    step = routed.ask(import_table, TableToImport.model_validate(SOURCE))
    assert (step.imported, bool(step.next)) == (10, True)
    assert import_all(routed, **SOURCE).imported == 25, "none of them is in the ledger yet"
    routed.run()
    assert len(vendor.calls) == len(set(vendor.keys())) == 25


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"source": {"table": "NoSuchTable"}}, "source.table: the account has no table NoSuchTable"),
        (
            {"source": {"connection_string": "env:LEADS_SECRET_MISSING"}},
            "source: The app setting LEADS_SECRET_MISSING is missing or empty",
        ),
        ({**SOURCE, "offer": "contoso.cmr"}, r"offer: no offer has the id contoso\.cmr"),
        ({**SOURCE, "after": "{}"}, "after: is not the next of a previous step"),
    ],
)
def test_a_table_that_can_not_be_read_is_said(
    routed: Pipeline, old: TableClient, wanted: dict[str, Any], problem: str
) -> None:
    with pytest.raises(Invalid, match=problem):
        routed.ask(import_table, TableToImport.model_validate(wanted))


# At the shell


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., str]:
    def write(records: list[dict[str, str]]) -> str:
        file = tmp_path / "leads.csv"
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(dict.fromkeys(name for record in records for name in record)))
            writer.writeheader()
            writer.writerows(records)
        return str(file)

    return write


def test_seven_weeks_of_silence(run: Run, routed: Pipeline, vendor: Vendor, csv_file: Callable[..., str]) -> None:
    """The publisher's list has 3,000 leads. The app has 1,100 of them; 40 of these have reached a later stage since."""
    listed, came, advanced = (number // SHARE for number in (3000, 1100, 40))
    began = routed.clock.now()
    arrived = [f"a{number}@example.com" for number in range(came)]
    lost = [f"b{number}@example.com" for number in range(listed - came)]
    for email in arrived:
        routed.post(a_lead(email))
    routed.run()
    further, same = arrived[:advanced], arrived[advanced:]
    records = [a_row(email, "PLT", at=began + timedelta(days=1)) for email in further]
    records += [a_row(email, at=began + timedelta(minutes=5)) for email in same]
    records += [a_row(email, at=began + timedelta(days=number % 49)) for number, email in enumerate(lost)]
    routed.clock.time += timedelta(days=50)
    options = (csv_file(records), "--map", "Created date=created_time")

    ran = run("reconcile", *options, "--import", "--json")
    told = json.loads(ran.out)
    missing = {records[row["number"] - 2]["Email address"] for row in told["rows"] if row["verdict"] == "missing"}
    assert missing == {*further, *lost}, "exactly those that never arrived"
    assert (ran.status, ran.err.splitlines()[-1]) == (0, f"{len(missing)} imported")
    routed.run()

    stages = Counter((call.lead["email"], call.stage) for call in vendor.calls)
    assert stages == Counter(
        [(email, "initial_interest") for email in (*arrived, *lost)]
        + [(email, "contact_requested") for email in further]
    ), "each stage once"
    records_of = {
        email: {call.customer_record or call.key for call in vendor.calls if call.lead["email"] == email}
        for email in further
    }
    assert {len(found) for found in records_of.values()} == {1}, "each customer once"
    ran = run("reconcile", *options)
    said = f"{listed} rows: 0 never arrived, {listed} known already"
    assert (ran.status, ran.out.splitlines()[-1]) == (0, said)


def test_reconcile_tells_what_arrived_and_is_not_delivered(
    run: Run, routed: Pipeline, vendor: Vendor, csv_file: Callable[..., str]
) -> None:
    vendor.answers(REJECTED)
    lead = routed.post()
    routed.run()
    ran = run("reconcile", csv_file([a_row(at=routed.clock.now())]), "--map", "Created date=created_time")
    assert ran.status == 5
    assert ran.out.splitlines()[1].split() == ["row", "2", lead, "dead_letter"]
    assert ran.out.splitlines()[-1] == "1 row: 0 never arrived, 1 known already (1 of them not delivered)"


def test_reconcile_knows_what_was_dealt_with_when_the_leads_own_row_is_gone(
    run: Run, routed: Pipeline, csv_file: Callable[..., str]
) -> None:
    lead = routed.post()
    routed.run()
    table = routed.app.ledger.table.client
    for entity in list(table.query_entities("RowKey lt 'b' or RowKey gt 'd'")):
        table.delete_entity(entity)
    ran = run("reconcile", csv_file([a_row(at=routed.clock.now())]), "--map", "Created date=created_time", "--json")
    assert ran.status == 0
    assert json.loads(ran.out)["rows"][0] | {"reason": ""} == {
        "number": 2, "verdict": "known", "lead_id": lead, "state": None, "reason": "",
    }  # fmt: skip


def test_the_shell_imports_a_file_and_names_what_it_did_not_understand(
    run: Run, routed: Pipeline, vendor: Vendor, csv_file: Callable[..., str]
) -> None:
    at = routed.clock.now() - timedelta(days=9)
    file = csv_file([a_row(at=at), a_row("b@example.com", created="soon")])
    options = ("import", "csv", file, "--map", "Created date=created_time")
    dry = run(*options, "--dry-run")
    assert dry.out.splitlines()[-1] == "2 rows: 1 would be imported, 0 known already, 1 bad"
    assert routed.queue.depth() == 0
    ran = run(*options)
    assert ran.status == 5
    assert ran.out.splitlines() == [
        "row 3: created_time can't be read as a time; write it as 2026-01-31 14:00:00, in UTC",
        "2 rows: 1 imported, 0 known already, 1 bad",
    ]
    assert ran.err.splitlines()[0] == "Unknown columns, kept with the lead: Stage"
    routed.run()
    assert len(vendor.calls) == 1
    assert "ada@example.com" not in ran.out + ran.err


def test_what_can_not_be_meant_is_said_in_a_line(run: Run, csv_file: Callable[..., str]) -> None:
    file = csv_file([a_row(created="10/28/2026 09:00:00")])
    assert one_line(run("import", "csv", file, "--map", "Datum=created_time"), 2).startswith(
        "--map: the file has no column Datum"
    )
    assert one_line(run("import", "csv", file, "--map", "Stage"), 2) == "--map: Stage is not COLUMN=FIELD"
    assert one_line(run("import", "csv", file, "--map", "Stage=state"), 2).startswith(
        "columns: 'Stage' can't be 'state'"
    )
    assert one_line(run("import", "csv", csv_file([{"x": "1", "y": "2"}])), 2).startswith(
        "FILE: none of its columns is known (x, y)"
    )
    assert one_line(run("import", "table", "--connection", "secret"), 2).startswith("source.connection_string")


def test_days_first_are_told_from_the_whole_file(run: Run, routed: Pipeline, csv_file: Callable[..., str]) -> None:
    file = csv_file([a_row(created="03/04/2026"), a_row("b@example.com", created="25/04/2026")])
    run("import", "csv", file, "--map", "Created date=created_time")
    routed.run()
    times = {lead.received_at for lead in newest(routed.app.ledger)}
    assert times == {datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 4, 25, tzinfo=UTC)}


def test_where_the_file_does_not_tell_the_order_of_its_dates_that_is_said(
    run: Run, csv_file: Callable[..., str]
) -> None:
    options = (csv_file([a_row(created="03/04/2026")]), "--map", "Created date=created_time")
    for command in (("import", "csv", "--dry-run"), ("reconcile",), ("reconcile", "--json")):
        assert "--dates dmy" in run(*command, *options).err
        assert "--dates dmy" not in run(*command, *options, "--dates", "mdy").err


def test_each_kind_of_row_that_is_not_shown_is_counted(
    run: Run, routed: Pipeline, vendor: Vendor, csv_file: Callable[..., str]
) -> None:
    emails = [f"a{number}@example.com" for number in range(51)]
    vendor.answers(*[REJECTED] * 51)
    for email in emails:
        routed.post(a_lead(email))
    routed.run()
    lost = [a_row(f"b{email}", at=routed.clock.now()) for email in emails]
    file = csv_file([a_row(email, at=routed.clock.now()) for email in emails] + lost)
    ran = run("reconcile", file, "--map", "Created date=created_time")
    assert ran.out.count("and 1 more: --json has them all") == 2
