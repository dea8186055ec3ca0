"""One unreadable row or message stops nothing: it is kept and reported, and all others are handled."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from leads.core.identity import new_lead_id
from leads.core.lead_parsing import parse_body
from leads.core.messages import Message, encode
from leads.core.states import State
from leads.health.alarms import ALARMS_TABLE
from leads.health.connections import CONNECTIONS_TABLE
from leads.health.lead_counts import COUNTS_TABLE
from leads.ledger.rows import LeadRecord, lead_key
from leads.ledger.todo_rows import todo_key
from leads.operations.doctor import examine_deployment
from leads.operations.export import Export, export_leads
from leads.operations.findings import Level
from leads.operations.leads import LeadFilter, list_leads
from leads.operations.operation import Nothing
from leads.operations.problems import Unreadable, as_problem
from leads.operations.replay import BulkReplayFilter, replay_leads
from leads.operations.status import show_status
from leads.platform.row_reading import UnreadableRow
from leads.platform.storage import make_table
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, a_lead
from tests.support.vendor import REJECTED, Vendor

OF_A_NEWER_RELEASE = {"state": "teleported", "to_crm": json.dumps({"destination": "crm", "state": "teleported"})}
DAMAGES: dict[str, dict[str, Any]] = {
    "a state of a newer release": OF_A_NEWER_RELEASE,
    "a text in place of a time": {"received_at": "yesterday"},
    "text that is not JSON": {"state": 5, "to_crm": "{"},
}


def damage(pipeline: Pipeline, table: str, key: tuple[str, str], columns: dict[str, Any]) -> None:
    client = pipeline.app.storage.table(table).client
    make_table(client)
    client.upsert_entity({"PartitionKey": key[0], "RowKey": key[1], **columns})


def poison(pipeline: Pipeline, text: str) -> None:
    pipeline.app.poison.put(b64encode(text.encode()).decode())


@pytest.fixture
def waiting(routed: Pipeline, vendor: Vendor) -> tuple[Pipeline, str, str]:
    """Two dead letters of two customers. The first will be damaged, the second stays intact."""
    vendor.answers(REJECTED)
    bad, good = routed.post(a_lead("bad@example.com")), routed.post(a_lead("good@example.com"))
    routed.run()
    vendor.works()
    return routed, bad, good


@pytest.mark.parametrize("columns", DAMAGES.values(), ids=DAMAGES)
def test_a_row_that_can_not_be_read_ends_no_list_tick_or_export(
    columns: dict[str, Any], waiting: tuple[Pipeline, str, str], caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, bad, good = waiting
    delivery = pipeline.delivery(bad)
    damage(pipeline, "LeadLedger", lead_key(bad), columns)
    damage(pipeline, "LeadLedger", todo_key(bad, delivery), {"updated_at": "yesterday"})
    damage(pipeline, CONNECTIONS_TABLE, ("connection", "0123456789abcdef"), {"opened_at": "yesterday"})
    damage(pipeline, ALARMS_TABLE, ("alarm", "leads_wait_long;x"), {"event": "leads_wait_long", "fields": "{"})
    damage(pipeline, ALARMS_TABLE, ("empty_body", "x"), {"event": "body_empty", "at": "yesterday"})
    damage(pipeline, COUNTS_TABLE, ("month", f"{pipeline.clock.now():%Y-%m};x"), {"real_01": "many"})
    assert [lead.lead_id for lead in pipeline.ask(list_leads, LeadFilter()).leads] == [good]
    assert [lead["lead_id"] for lead in pipeline.ask(export_leads, Export()).leads] == [good]
    pipeline.ask(show_status, Nothing())
    pipeline.tick(20)  # counts, retention and erasure run
    assert [fields["offer"] for fields in logged(caplog, "leads_need_a_person")] == ["contoso.crm"]
    reported = {fields["what"] for fields in logged(caplog, "rows_unreadable")}
    assert reported == {
        *("lead", "undelivered lead", "connection", "alarm", "note of an empty body", "month of an offer"),
    }
    found = [one.says for one in examine_deployment(pipeline.app, Nothing()).findings if one.level is Level.WRONG]
    assert [says for says in found if "1 row (lead) can't be read by this release" in says]
    assert [says for says in found if "1 row (connection) can't be read by this release" in says]


def test_a_lead_whose_row_can_not_be_read_waits_for_the_release_that_wrote_it(
    waiting: tuple[Pipeline, str, str], vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, bad, good = waiting
    was = dict(pipeline.app.storage.table("LeadLedger").client.get_entity(*lead_key(bad)))
    damage(pipeline, "LeadLedger", lead_key(bad), OF_A_NEWER_RELEASE)
    with pytest.raises(UnreadableRow) as caught:
        pipeline.app.ledger.read(bad)
    assert isinstance(as_problem(caught.value), Unreadable)
    many = BulkReplayFilter.model_validate({"offer": "contoso.crm"})
    plans = pipeline.ask(replay_leads, many).deliveries
    assert {one.lead_id: bool(one.kept) for one in plans} == {bad: True, good: False}
    again = encode(Message(bad, "crm", 5))
    pipeline.queue.put(again)
    poison(pipeline, again)
    pipeline.run()
    pipeline.drain_poison()
    assert [message.lead_id for message in pipeline.pending() if message.lead_id == bad] == [bad]
    assert pipeline.app.poison.depth() == 1, "the host's own copy would have ended after seven days"
    damage(pipeline, "LeadLedger", lead_key(bad), {name: was[name] for name in OF_A_NEWER_RELEASE})
    pipeline.advance(301)
    assert pipeline.delivery(bad).state is State.DELIVERED
    assert "example.com" not in caplog.text


STRANGE = (
    '"ahead":1e400',
    '"ahead":"x"',
    '"received_at":"0001-01-01T00:00:00+00:00","lead":{"email":"ada@example.com"}',
    '"destination":"a/b"',
    '"only":["a/b"]',
)


@pytest.mark.parametrize("strange", STRANGE)
def test_a_message_that_nobody_foresaw_is_kept_and_ends_nothing(
    strange: str, routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    lead = parse_body(json.dumps(a_lead()).encode())
    lead_id = new_lead_id(routed.clock.now(), lead)
    pill = f'{{"v":1,"lead_id":"{lead_id}","seq":3,{strange}}}'
    routed.queue.put(pill)
    poison(routed, pill)
    poison(routed, encode(Message(lead_id, received_at=routed.clock.now(), lead=lead)))
    routed.run()
    routed.drain_poison()
    assert routed.record(lead_id).state is State.CRASHED, "a real lead, behind it"
    kept = routed.ask(list_leads, LeadFilter(state=State.UNREADABLE)).leads
    assert [routed.app.ledger.body(one.lead_id) for one in kept] == [pill.encode()] * 2
    routed.tick()
    assert routed.app.poison.depth() == 0


def test_a_fault_with_one_poison_message_keeps_no_other_from_the_ledger(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lead = parse_body(json.dumps(a_lead()).encode())
    first, second = (new_lead_id(routed.clock.now(), lead) for _ in range(2))
    for lead_id in (first, second):
        poison(routed, encode(Message(lead_id, received_at=routed.clock.now(), lead=lead)))
    real = routed.app.ledger.settle

    def settle(record: LeadRecord, *args: Any, **more: Any) -> LeadRecord:
        if record.lead_id == first:
            raise KeyError("ada@example.com")
        return real(record, *args, **more)

    monkeypatch.setattr(routed.app.ledger, "settle", settle)
    routed.drain_poison()
    assert routed.record(second).state is State.CRASHED
    assert routed.app.poison.depth() == 1
    (event,) = logged(caplog, "step_failed")
    assert event["why"].startswith("KeyError at test_bad_rows.py:")
    assert "example.com" not in caplog.text
