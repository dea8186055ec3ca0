"""Messages, `seq` and the ledger: messages that are put back, dropped or followed up, and crashes in between."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from leads.core.identity import customer_hash, customer_identity, new_lead_id
from leads.core.lead import Lead
from leads.core.messages import Message, bytes_of, encode
from leads.core.outcomes import Delivered
from leads.core.states import State
from leads.ledger import transactions as ledger_module
from leads.ledger.customer_rows import RecentLead
from leads.ledger.queries import todo
from leads.ledger.rows import LeadRecord
from leads.ledger.transactions import Ledger, LedgerBusy
from leads.pipeline.attempt import DeliveryAttempt
from leads.pipeline.delivery import deliver
from leads.platform.storage import Table
from tests.support.dying import dies_after
from tests.support.pipeline import Killed, Pipeline, a_lead, crm, text_of
from tests.support.vendor import DELIVERED, RETRY, Vendor

ENDED = -5
"""A lease that ends at once. Storage's Date header has whole seconds."""


# --- The claim ----------------------------------------------------------------------------------------------------------


def test_a_second_stage_waits_while_the_customer_is_claimed(routed: Pipeline, vendor: Vendor) -> None:
    first = routed.post()
    second_stage = routed.post(a_lead(action="PLT"))
    seen: list[State] = []

    def answer(call: object) -> dict[str, str]:
        if not seen:
            seen.append(State.WAITING)
            for message in routed.messages():
                deliver(routed.app, text_of(message))
                routed.queue.delete(message)
        return DELIVERED

    vendor.answer = answer
    message = routed.queue.receive(1, 30)[0]
    deliver(routed.app, text_of(message))
    routed.queue.delete(message)
    assert vendor.keys() == [first], "the second one was put back"
    assert len(routed.pending()) == 1
    routed.advance(11)
    assert routed.delivery(second_stage).state is State.DELIVERED
    assert vendor.calls[1].customer_record == first, "it lands on the record that the first lead made"


def test_a_claim_whose_worker_died_ends_with_its_lease(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = routed.post()
    message = routed.queue.receive(1, 1)[0]
    _deliver_killing(routed, message)
    deliver(routed.app, text_of(message))
    assert vendor.records == {}, "the claim still runs: put back"
    assert len(routed.pending()) == 1
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    routed.queue.delete(message)
    routed.advance(11)
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.records == {lead: 1}


@pytest.mark.parametrize("policy", ["resend", "hold"])
def test_where_the_vendor_has_no_key_an_attempt_that_was_cut_off_is_an_unknown_outcome(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    pipeline.offer(crm(vendor.url, keyless=True), policies={"unknown": policy})
    lead = pipeline.post()
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    (message,) = pipeline.messages()
    _deliver_and_die_before_it_is_settled(pipeline, message)
    assert vendor.records == {lead: 1}, "it has arrived, and nobody knows"
    deliver(pipeline.app, text_of(message))
    pipeline.queue.delete(message)
    delivery = pipeline.delivery(lead)
    assert [(attempt.outcome, attempt.code) for attempt in delivery.attempts] == [("unknown", "cut_off")]
    assert vendor.keys() == [lead], "nothing is sent before the policy has been asked"
    pipeline.advance(13)
    delivery = pipeline.delivery(lead)
    assert delivery.state is (State.DELIVERED if policy == "resend" else State.HELD)
    assert delivery.possibly_twice is (policy == "resend")
    assert vendor.keys() == [lead] * (2 if policy == "resend" else 1)


def test_a_cut_off_attempt_is_remembered_over_the_customers_other_leads(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url, keyless=True))
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    lead = pipeline.post()
    (message,) = pipeline.messages()
    _deliver_and_die_before_it_is_settled(pipeline, message)
    other = pipeline.post(a_lead(action="PLT"))
    pipeline.run()
    assert pipeline.delivery(other).attempts[0].outcome == "delivered"
    deliver(pipeline.app, text_of(message))
    assert pipeline.delivery(lead).possibly_twice


def test_an_outcome_whose_claim_was_lost_is_merged_and_the_other_claim_stays(
    routed: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled worker continues after its lease. Its result counts, and the newer attempt's result stays."""
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    lead, other = routed.post(), routed.post(a_lead(action="PLT"))
    entered: list[str] = []

    def answer(call: object) -> dict[str, str]:
        if not entered:
            entered.append("stalled")
            second.run()
        return DELIVERED

    vendor.answer = answer
    message = routed.queue.receive(1, 30)[0]
    deliver(routed.app, text_of(message))
    assert routed.delivery(lead).state is State.DELIVERED
    assert routed.delivery(other).state is State.DELIVERED
    assert set(vendor.records) == {lead, other}


# --- Follow-ups and leftovers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_to_settle", [0, 1])
def test_where_two_attempts_overlapped_the_customers_row_remembers_what_both_left(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch, first_to_settle: int
) -> None:
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    ledger, scope, now, lead = routed.app.ledger, "contoso.crm|crm", routed.clock.now(), Lead(email="ada@example.com")
    key = customer_hash(customer_identity(lead, ""))
    begun = []
    for name in ("one", "two"):
        record = LeadRecord(new_lead_id(now, lead), now, lead)
        known = ledger.customer(key, scope)
        seen = RecentLead(name, record.lead_id, now, claim=name)
        begun.append((name, record, ledger.claim(record, key, scope, known, seen)))
    for name, record, claim in begun if first_to_settle == 0 else begun[::-1]:
        ledger.settle(record, lambda current: None, claim, Delivered("record", memory={name: "kept"}))
    customer = ledger.customer(key, scope)
    assert customer is not None and not customer.claim
    assert {"one": "kept", "two": "kept"}.items() <= customer.memory.items()


def test_the_same_message_twice_is_sent_once(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    text = text_of(routed.queue.receive(1, 30)[0])
    for _ in range(3):
        deliver(routed.app, text)
    assert vendor.keys() == [lead]
    assert not routed.pending()


def test_a_leftover_of_an_earlier_try_is_dropped(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead = routed.post()
    text = text_of(routed.queue.receive(1, 30)[0])
    deliver(routed.app, text)
    deliver(routed.app, text)
    assert vendor.keys() == [lead], "seq 0 came again after seq 1 was put"
    assert [message.seq for message in routed.pending()] == [1]


def test_two_chains_of_one_lead_become_one(routed: Pipeline, vendor: Vendor) -> None:
    """The worker died after putting the follow-up and before writing the row, so both messages exist."""
    vendor.answers(RETRY, RETRY, DELIVERED)
    lead = routed.post()
    routed.run()
    routed.queue.put(encode(Message(lead, "crm", 1)), 10)
    routed.advance(13)
    assert len(routed.pending()) == 1
    assert routed.pending()[0].seq == 2
    routed.advance(80)
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.keys() == [lead] * 3


def test_a_parked_lead_ignores_the_message_it_was_parked_by_and_obeys_the_next(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.refuses()
    lead = routed.post()
    text = text_of(routed.queue.receive(1, 30)[0])
    deliver(routed.app, text)
    vendor.works()
    routed.app.connections.reopen(routed.app.connections.stored()[0].id)
    vendor.calls.clear()
    deliver(routed.app, text)
    assert vendor.calls == []
    vendor.refuses()
    for _ in range(2):
        deliver(routed.app, encode(Message(lead, "crm", 1, probe=True)))
    assert vendor.keys() == [lead], "that message has parked it in its turn"
    vendor.works()
    deliver(routed.app, encode(Message(lead, "crm", 2, probe=True)))
    assert vendor.keys() == [lead, lead]


def test_a_message_about_a_lead_that_nobody_knows_is_dropped(routed: Pipeline, vendor: Vendor) -> None:
    routed.queue.put(encode(Message("20260101000000000-0123456789ab-c", "crm", 3)))
    assert routed.run() == 1
    assert vendor.calls == []


def test_a_row_that_somebody_removed_by_hand_stops_no_lead(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead = routed.post()
    routed.run()
    ledger = routed.app.ledger.table
    for row in ledger.query("RowKey ge 'todo;' and RowKey lt 'todo<'"):
        ledger.client.delete_entity(row)
    routed.advance(13)
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_lead_that_somebody_removed_by_hand_keeps_no_connection_paused_and_no_alarm_on(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.refuses()
    routed.post()
    routed.run()
    ledger = routed.app.ledger.table
    for row in ledger.query("RowKey ge 'lead;' and RowKey lt 'lead<'"):
        ledger.client.delete_entity(row)
    routed.clock.time += timedelta(hours=2)
    routed.tick()
    assert len(routed.app.alarms.active()) == 2
    vendor.works()
    routed.tick(3)
    assert routed.app.alarms.active() == []
    assert not any(connection.paused for connection in routed.app.connections.stored())


# --- Crashes between two writes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("outcome", ["delivered", "retry", "parked"])
def test_a_crash_after_any_write_loses_nothing_and_doubles_nothing(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, number: int, outcome: str
) -> None:
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    if outcome == "parked":
        vendor.refuses()
    elif outcome == "retry":
        vendor.answers(RETRY, DELIVERED)
    lead = routed.post()
    message = routed.queue.receive(1, 30)[0]
    dies_after(number, lambda: deliver(routed.app, text_of(message)))
    deliver(routed.app, text_of(message))  # the host brings it back
    routed.queue.delete(message)
    vendor.works()
    routed.tick(3)
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.records == {lead: 1}


def test_a_crash_between_the_follow_up_and_the_ledger_keeps_the_lead(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead = routed.post()
    message = routed.queue.receive(1, 30)[0]
    monkeypatch.setattr(ledger_module, "CLAIM_LEASE_SECONDS", ENDED)
    _deliver_and_die_before_it_is_settled(routed, message)
    assert [pending.seq for pending in routed.pending()] == [1]
    routed.advance(13)
    deliver(routed.app, text_of(message))  # the host brings it back when its lease ends
    routed.queue.delete(message)
    routed.advance(13)
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.records == {lead: 1}
    routed.advance(61)
    assert not routed.pending()
    assert vendor.records == {lead: 1}


# --- Storage and messages that are not as they should be ------------------------------------------------------------------


def test_with_the_tables_down_the_message_is_put_back_for_a_minute(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = routed.post()
    with monkeypatch.context() as outage:
        outage.setattr(Table, "write", _raise_no_connection)
        routed.run()
        due = [(when - routed.clock.now()).total_seconds() for when, _ in routed.queue.delayed]
        assert due == [60]
    assert vendor.calls == []
    routed.advance(61)
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_row_that_others_change_all_the_while_is_left_to_them_for_a_moment(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = routed.post()
    with monkeypatch.context() as contention:
        contention.setattr(Ledger, "settle", _raise_busy)
        routed.run()
    [(due, _)] = routed.queue.delayed
    assert 2 <= (due - routed.clock.now()).total_seconds() <= 10
    routed.advance(11)
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_request_that_storage_refuses_for_what_it_says_is_left_to_the_host(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed.post()
    refusal = HttpResponseError("too large")
    refusal.status_code = 400
    monkeypatch.setattr(Table, "write", lambda *_: (_ for _ in ()).throw(refusal))
    with pytest.raises(HttpResponseError):
        routed.run()


def test_a_message_of_a_newer_release_is_put_back_with_an_alarm(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    text = json.dumps({"v": 2, "lead_id": "x", "something": "else"})
    routed.queue.put(text)
    routed.run()
    assert [pending for _, pending in routed.queue.delayed] == [text]
    assert "event=message_too_new" in caplog.text


@pytest.mark.parametrize("text", ["no json", "[1]", '{"v":1}', '{"v":1,"lead_id":"../x","seq":0}', '{"v":1,"seq":"a"}'])
def test_a_message_that_is_none_of_ours_is_kept_as_unreadable(routed: Pipeline, text: str) -> None:
    routed.queue.put(text)
    routed.run()
    routed.drain_poison()
    assert routed.app.poison.depth() == 0
    kept = _the_only_unreadable(routed)
    assert routed.app.ledger.body(kept) == text.encode()


# --- Poison ---------------------------------------------------------------------------------------------------------------


def poison(pipeline: Pipeline, stored: str) -> None:
    """As the host does after `maxDequeueCount`: copy the stored text unchanged."""
    pipeline.app.poison.put(stored)


def test_a_lead_from_the_poison_queue_is_tried_alone_after_1_6_and_24_hours_then_dead_lettered(
    routed: Pipeline, vendor: Vendor
) -> None:
    lead = routed.post()
    message = routed.queue.receive(1, 30)[0]
    stored = message.content
    routed.queue.delete(message)
    for hours in (1, 6, 24):
        poison(routed, stored)
        routed.drain_poison()
        assert routed.app.poison.depth() == 0
        delivery = routed.record(lead).deliveries[""]
        assert delivery.state is State.CRASHED
        routed.clock.time += timedelta(hours=hours, minutes=-1)
        routed.watch()
        assert not routed.messages()
        routed.clock.time += timedelta(minutes=2)
        routed.watch()
        redriven = routed.messages()
        assert len(redriven) == 1
        stored = redriven[0].content
        routed.queue.delete(redriven[0])  # it crashes its worker each time
    poison(routed, stored)
    routed.drain_poison()
    assert routed.record(lead).deliveries[""].state is State.DEAD_LETTER


def test_a_crashed_lead_that_gets_through_later_is_delivered(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    message = routed.queue.receive(1, 30)[0]
    routed.queue.delete(message)
    poison(routed, message.content)
    routed.drain_poison()
    routed.clock.time += timedelta(hours=1, minutes=1)
    routed.tick()
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.records == {lead: 1}


def test_a_fan_out_that_crashed_in_the_middle_comes_back_for_each_destination(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url), crm(vendor.url, name="second"))
    lead = pipeline.post()
    [message] = pipeline.messages()
    pipeline.queue.delete(message)
    with monkeypatch.context() as crash:
        crash.setattr(pipeline.queue, "put", _raise_killed)
        with pytest.raises(Killed):
            deliver(pipeline.app, text_of(message))
    poison(pipeline, message.content)
    pipeline.drain_poison()
    assert [(d.destination, d.state) for d in pipeline.record(lead).deliveries.values()] == [
        ("crm", State.CRASHED),
        ("second", State.CRASHED),
    ]
    pipeline.advance(3660)
    pipeline.tick(2)
    assert pipeline.record(lead).state is State.DELIVERED
    assert vendor.keys() == [lead, lead]


def test_crashed_leads_come_back_one_at_a_time(routed: Pipeline, vendor: Vendor) -> None:
    for number in range(3):
        routed.post(a_lead(f"c{number}@example.com"))
    for message in routed.messages():
        poison(routed, message.content)
        routed.queue.delete(message)
    routed.drain_poison()
    routed.clock.time += timedelta(hours=2)
    routed.watch()
    assert len(routed.messages()) == 1


def test_poison_of_a_lead_that_has_been_delivered_is_only_removed(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    message = routed.queue.receive(1, 30)[0]
    deliver(routed.app, text_of(message))
    poison(routed, message.content)
    routed.drain_poison()
    assert routed.delivery(lead).state is State.DELIVERED
    assert routed.app.poison.depth() == 0


@pytest.mark.parametrize(
    "stored", ["%%% not base64 %%%", b64encode(b"\xff\xfe\x00").decode(), b64encode(b"{").decode()]
)
def test_poison_that_can_not_be_read_is_kept_byte_for_byte(routed: Pipeline, stored: str) -> None:
    poison(routed, stored)
    routed.drain_poison()
    kept = _the_only_unreadable(routed)
    assert routed.app.ledger.body(kept) == bytes_of(stored)
    assert routed.app.poison.depth() == 0


def test_poison_stays_on_its_queue_until_the_ledger_has_it(routed: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(routed, b64encode(b"{").decode())
    with monkeypatch.context() as outage:
        outage.setattr(Table, "write", _raise_no_connection)
        with pytest.raises(ServiceRequestError):
            routed.drain_poison()
    assert routed.app.poison.depth() == 1


# --- Helpers --------------------------------------------------------------------------------------------------------------


def _deliver_killing(pipeline: Pipeline, message: object) -> None:
    """The process dies during `send`. The guard around destinations must not catch this."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DeliveryAttempt, "_send", _raise_killed)
        deliver(pipeline.app, text_of(message))


def _deliver_and_die_before_it_is_settled(pipeline: Pipeline, message: object) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Ledger, "settle", _raise_killed)
        deliver(pipeline.app, text_of(message))


def _raise_killed(*_: object, **__: object) -> dict[str, str]:
    raise Killed


def _raise_busy(*_: object, **__: object) -> LeadRecord:
    raise LedgerBusy


def _raise_no_connection(*_: object, **__: object) -> list[str]:
    raise ServiceRequestError("no connection")


def _the_only_unreadable(pipeline: Pipeline) -> str:
    (found,) = todo(pipeline.app.ledger, State.UNREADABLE)
    return found.lead_id
