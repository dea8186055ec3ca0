"""Each change and each view of personal data leaves a row and an event that say who asked for it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.ledger.audit import AUDIT_TABLE, Audit, AuditEntry, AuditKind
from leads.operations.access import LEVEL_OF_KEY, SHELL, AccessLevel, caller_with_key
from leads.operations.audit import AuditFilter, carry_out, kind_of, list_audit
from leads.operations.operation import Operation
from leads.operations.problems import NotFound
from leads.operations.table import OPERATIONS
from leads.operations.wire import read_request
from leads.platform.storage import StorageError
from tests.cli.test_transport import BODIES
from tests.support.command_line import Run
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, deliver

ONLY_READS = {
    *("validate_offer", "validate_destination", "preview_lead", "reconcile_rows"),
    *("export_leads", "show_customer"),
}
"""Operations that use POST because of their body, and change nothing."""


def request_of(operation: Operation[Any, Any], lead_id: str = "a.b", **more: Any) -> Any:
    segments = {part[1:-1]: "a.b" for part in operation.path.split("/") if part.startswith("{")}
    segments |= {"lead_id": lead_id} if "lead_id" in segments else {}
    body = json.dumps(BODIES.get(operation.name, {}) | more).encode()
    return read_request(operation, segments, {}, {}, body)


def named(name: str) -> Operation[Any, Any]:
    return next(operation for operation in OPERATIONS if operation.name == name)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whatever_is_no_reading_is_a_change(operation: Operation[Any, Any]) -> None:
    assert operation.changes is (operation.method != "GET" and operation.name not in ONLY_READS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("function", LEVEL_OF_KEY)
def test_changes_and_views_of_personal_data_are_noted_and_nothing_else(
    operation: Operation[Any, Any], function: str
) -> None:
    caller = caller_with_key(function)
    views = operation.personal and caller.level is AccessLevel.PERSONAL
    expected = AuditKind.CHANGE if operation.changes else AuditKind.PERSONAL_DATA if views else None
    assert kind_of(operation, request_of(operation), caller) is expected


@pytest.mark.parametrize("name", ["replay_leads", "replay_lead", "import_rows", "erase_customer", "export_leads"])
def test_a_dry_run_is_not_noted(name: str) -> None:
    assert kind_of(named(name), request_of(named(name), dry_run=True), SHELL) is None


def test_a_change_leaves_a_row_and_an_event_with_who_asked_for_it(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    operation = named("set_offer")
    carry_out(operation, pipeline.app, request_of(operation), caller_with_key("operate"))
    (row,) = pipeline.app.storage.table(AUDIT_TABLE).query("PartitionKey eq 'audit'")
    told = {"operation": "set_offer", "about": "a.b", "level": "operate", "by": "key", "who": "key"}
    assert {name: row[name] for name in ("kind", *told)} == told | {"kind": "change"}
    assert row["at"] == pipeline.clock.now()
    assert logged(caplog, "change_made") == [told]


def test_a_view_of_personal_data_leaves_a_row_and_an_event(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.offer({"name": "table", "type": "azure_table"})
    lead = deliver(pipeline)
    operation = named("show_person")
    carry_out(operation, pipeline.app, request_of(operation, lead), SHELL)
    (entry,) = pipeline.app.audit.newest(9)[0]
    assert (entry.kind, entry.operation, entry.about, entry.who) == ("personal_data", "show_person", lead, "shell")
    (event,) = logged(caplog, "personal_data_viewed")
    assert (event["about"], event["level"]) == (lead, "personal")


@pytest.mark.parametrize("name", ["set_offer", "show_person"])
def test_what_can_not_be_noted_is_not_done(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object) -> None:
        raise StorageError("no")

    monkeypatch.setattr(Audit, "note", fail)
    operation = named(name)
    with pytest.raises(StorageError):
        carry_out(operation, pipeline.app, request_of(operation), SHELL)
    assert pipeline.app.offers.all() == []


@pytest.mark.parametrize("given", ["ada@example.com", "Oberfragerin"])
def test_a_value_that_is_not_an_id_is_not_kept(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture, given: str
) -> None:
    """The account is searched for people when the test ends."""
    operation = named("show_person")
    with pytest.raises(NotFound):
        carry_out(operation, pipeline.app, request_of(operation, given), SHELL)
    (entry,) = pipeline.app.audit.newest(9)[0]
    assert (entry.operation, entry.about) == ("show_person", "")
    assert given not in caplog.text


def some(pipeline: Pipeline, count: int) -> list[AuditEntry]:
    """`count` entries a minute apart, newest first."""
    at = pipeline.clock.now()
    entries = [
        AuditEntry(at - timedelta(minutes=n), AuditKind.CHANGE, "set_offer", f"offer.{n}", "operate", "key", "key")
        for n in range(count)
    ]
    for entry in entries[::2] + entries[1::2]:
        pipeline.app.audit.note(entry)
    return entries


def test_entries_are_listed_newest_first_a_page_at_a_time(pipeline: Pipeline) -> None:
    entries, found, cursor = some(pipeline, 7), [], ""
    for size in (3, 3, 1):
        page = pipeline.ask(list_audit, AuditFilter(limit=3, cursor=cursor))
        assert len(page.entries) == size
        found += [line.about for line in page.entries]
        cursor = page.cursor or ""
    assert (found, cursor) == ([entry.about for entry in entries], "")
    assert pipeline.ask(list_audit, AuditFilter(limit=7)).cursor is None


def test_a_row_of_a_later_release_ends_no_list(pipeline: Pipeline) -> None:
    some(pipeline, 2)
    table = pipeline.app.storage.table(AUDIT_TABLE)
    table.write([("create", {"PartitionKey": "audit", "RowKey": f"{'0' * 17}-{'0' * 12}", "kind": "new"}, {})])
    assert len(pipeline.ask(list_audit, AuditFilter()).entries) == 2


def test_an_entry_is_kept_for_a_year_and_removed_by_watch_then(pipeline: Pipeline) -> None:
    some(pipeline, 250)
    pipeline.clock.time = (pipeline.clock.time + timedelta(days=365)).replace(minute=0, second=30)
    pipeline.watch()
    kept = pipeline.app.audit.newest(1000)[0]
    assert kept
    assert all(pipeline.clock.time - entry.at <= timedelta(days=365) for entry in kept)
    assert len(kept) == sum(pipeline.clock.time - timedelta(days=365) <= one for one in (entry.at for entry in kept))
    pipeline.clock.time += timedelta(hours=8)
    pipeline.watch()
    assert pipeline.app.audit.newest(1000) == ([], "")


def test_the_shell_leaves_rows_and_lists_them(run: Run, pipeline: Pipeline) -> None:
    pipeline.offer({"name": "table", "type": "azure_table"})
    lead = new_lead_id(pipeline.clock.now(), Lead())
    run("replay", lead)
    pipeline.clock.time += timedelta(seconds=1)
    run("offers", "remove", "contoso.crm", "--yes")
    listed = json.loads(run("audit", "--json").out)["entries"]
    assert [(entry["operation"], entry["about"], entry["level"], entry["who"]) for entry in listed] == [
        ("remove_offer", "contoso.crm", "personal", "shell"),
        ("replay_lead", lead, "personal", "shell"),
    ]
    assert "remove_offer" in run("audit", "--limit", "1").out
    assert "--cursor" in run("audit", "--limit", "1").err


def test_rights_on_the_storage_give_the_level_personal(run: Run) -> None:
    assert json.loads(run("whoami", "--json").out) == {
        "level": "personal",
        "name_of_level": AccessLevel.PERSONAL.in_words,
        "by": "shell",
        "personal_data": True,
    }
    told = run("whoami").out
    assert "everything, personal data included" in told and told.endswith("shown\n") and "not shown" not in told
    assert run("audit").out == "No entries: nobody changed anything or viewed personal data.\n"
