"""The effect of each outcome on lead, queue and connection."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from leads.core.retry_schedule import BUDGET
from leads.core.states import State
from leads.pipeline.delivery import deliver
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, a_lead, crm, text_of
from tests.support.vendor import DELIVERED, KEY_REFUSED, LOST_ANSWER, MISCONFIGURED, REJECTED, RETRY, UNKNOWN, Vendor


def test_delivered_settles_the_lead_and_leaves_the_queue_empty(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    assert routed.run() == 1
    delivery = routed.delivery(lead)
    assert (delivery.state, delivery.record_id) == (State.DELIVERED, lead)
    assert vendor.keys() == [lead]
    assert routed.queue.depth() == 0
    assert not routed.pending()


def test_an_idempotency_key_is_the_same_until_the_vendor_has_refused_it(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, LOST_ANSWER, KEY_REFUSED, DELIVERED)
    lead = routed.post()
    routed.run()
    for seconds in (15, 90, 400):
        routed.advance(seconds)
    assert routed.delivery(lead).state is State.DELIVERED
    first, after_outage, after_lost_answer, after_refusal = [call.idempotency_key for call in vendor.calls]
    assert first == after_outage == after_lost_answer != after_refusal
    routed.post(a_lead(action="PLT"))
    routed.run()
    assert vendor.calls[-1].idempotency_key == after_refusal


def test_the_log_says_of_which_stage_a_lead_is_and_where_it_stands(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    lead = routed.post(a_lead(action="PLT"))
    routed.run()
    (said,) = logged(caplog, "lead_attempted")
    assert {name: said[name] for name in ("lead_id", "offer", "destination", "stage", "state")} == {
        "lead_id": lead,
        "offer": "contoso.crm",
        "destination": "crm",
        "stage": "contact_requested",
        "state": "delivered",
    }


def test_the_log_says_of_a_lead_that_goes_nowhere_that_it_is_settled(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    routed.offer(crm(vendor.url), policies={"dnc": "skip"})
    lead = routed.post(a_lead(action="DNC"))
    routed.run()
    (said,) = logged(caplog, "lead_settled")
    assert (said["lead_id"], said["offer"], said["stage"]) == (lead, "contoso.crm", "cross_listed")
    assert (said["destination"], said["state"]) == ("", "skipped")
    assert not vendor.calls


def test_the_vendor_gets_the_whole_lead_and_what_is_known_of_it(routed: Pipeline, vendor: Vendor) -> None:
    routed.post(a_lead(email="Ada+crm@Example.com", action="PLT", PartnerTier="gold"))
    routed.run()
    call = vendor.calls[0]
    assert call.stage == "contact_requested"
    assert call.lead["last_name"] == "O'Neil"
    assert call.lead["email"] == "Ada+crm@Example.com"
    assert call.lead["extra"] == {"PartnerTier": "gold"}


def test_retry_comes_back_by_the_schedule_and_is_then_delivered(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead = routed.post()
    routed.run()
    delivery = routed.delivery(lead)
    assert delivery.state is State.RETRY
    assert delivery.next_at is not None
    assert timedelta(seconds=8) <= delivery.next_at - routed.clock.now() <= timedelta(seconds=12)
    routed.advance(13)
    delivery = routed.delivery(lead)
    assert delivery.state is State.DELIVERED
    assert [attempt.outcome for attempt in delivery.attempts] == ["retry", "delivered"]
    assert vendor.keys() == [lead, lead]


def test_a_vendors_retry_after_is_a_floor(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers({"outcome": "retry", "code": "429", "after": 120}, DELIVERED)
    lead = routed.post()
    routed.run()
    routed.advance(119)
    assert routed.delivery(lead).state is State.RETRY
    routed.advance(2)
    assert routed.delivery(lead).state is State.DELIVERED


def test_rejected_is_dead_lettered_with_its_reason_and_not_sent_again(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(REJECTED)
    lead = routed.post()
    routed.run()
    delivery = routed.delivery(lead)
    assert delivery.state is State.DEAD_LETTER
    assert delivery.reason == "the field is not accepted"
    assert delivery.attempts[0].code == "bad-field"
    routed.tick(3)
    assert len(vendor.calls) == 1


def test_misconfigured_pauses_the_connection_and_parks_the_lead(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    first, second = routed.post(), routed.post(a_lead("bob@example.com"))
    routed.run()
    assert routed.delivery(first).state is State.PARKED
    assert routed.delivery(second).state is State.PARKED
    assert len(vendor.calls) == 1, "the second lead finds the connection paused"
    connection = routed.app.connections.stored()[0]
    assert connection.paused
    assert connection.reason == "the secret has expired: make a new one"


def test_misconfigured_though_the_check_passes_is_a_retry_of_this_lead(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(MISCONFIGURED, DELIVERED)
    lead = routed.post()
    routed.run()
    assert routed.delivery(lead).state is State.RETRY
    assert routed.delivery(lead).reason == "the secret has expired"
    assert vendor.checks == 1
    assert not any(connection.paused for connection in routed.app.connections.stored())
    routed.advance(13)
    assert routed.delivery(lead).state is State.DELIVERED


@pytest.mark.parametrize(
    "checked",
    [{"ok": False, "code": "503", "transient": True}, {"nobody": "expects this"}],
    ids=["out of reach", "a fault in its code"],
)
def test_misconfigured_is_not_believed_while_the_check_can_not_tell(
    checked: dict[str, object], routed: Pipeline, vendor: Vendor
) -> None:
    vendor.answers(MISCONFIGURED, DELIVERED)
    vendor.checked = checked
    lead = routed.post()
    routed.run()
    assert routed.delivery(lead).state is State.RETRY
    assert not any(connection.paused for connection in routed.app.connections.stored())
    routed.advance(13)
    assert routed.delivery(lead).state is State.DELIVERED


@pytest.mark.parametrize("second_answer", [DELIVERED, UNKNOWN])
def test_unknown_is_resent_once_and_marked_possibly_twice(
    routed: Pipeline, vendor: Vendor, second_answer: dict[str, str]
) -> None:
    vendor.answers(UNKNOWN, second_answer)
    lead = routed.post()
    routed.run()
    routed.advance(13)
    delivery = routed.delivery(lead)
    assert delivery.possibly_twice
    assert delivery.state is (State.DELIVERED if second_answer is DELIVERED else State.HELD)
    routed.tick(2)
    assert len(vendor.calls) == 2


def test_unknown_that_pauses_its_connection_is_resent_once_as_well(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(UNKNOWN)
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(5)]
    routed.run()
    assert State.PARKED in {routed.delivery(lead).state for lead in leads}
    routed.tick(6)
    assert {routed.delivery(lead).state for lead in leads} == {State.HELD}
    assert sorted(vendor.keys()) == sorted(leads * 2)


def test_unknown_is_held_for_a_person_where_the_policy_says_so(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url, keyless=True), policies={"unknown": "hold"})
    vendor.answers(LOST_ANSWER)
    lead = pipeline.post()
    pipeline.run()
    pipeline.tick(2)
    assert pipeline.delivery(lead).state is State.HELD
    assert len(vendor.calls) == 1


def test_a_lost_answer_makes_no_second_record(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(LOST_ANSWER, DELIVERED)
    lead = routed.post()
    routed.run()
    assert routed.delivery(lead).state is State.RETRY
    routed.advance(13)
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.keys() == [lead, lead]
    assert vendor.records == {lead: 1}


def test_a_fault_in_the_destinations_code_is_a_retry_whose_code_names_the_place_and_not_the_data(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.answers({"outcome": "raise", "text": "ada@example.com"}, DELIVERED)
    lead = routed.post()
    routed.run()
    attempt = routed.delivery(lead).attempts[0]
    assert attempt.outcome == "retry"
    assert attempt.code.startswith("RuntimeError at recording.py:")
    assert "example.com" not in attempt.code
    routed.advance(13)
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_lead_that_fails_while_others_pass_climbs_the_schedule_and_is_dead_lettered_after_seven_days(
    routed: Pipeline, vendor: Vendor
) -> None:
    bad = routed.post(a_lead("bad@example.com"))
    vendor.answer = lambda call: RETRY if call.key == bad else DELIVERED
    routed.run()
    waits: list[float] = []
    for number in range(30):
        delivery = routed.delivery(bad)
        if delivery.state is State.DEAD_LETTER:
            break
        assert delivery.next_at is not None
        waits.append((delivery.next_at - routed.clock.now()).total_seconds())
        routed.post(a_lead(f"good{number}@example.com"))
        routed.run()
        routed.advance(waits[-1] + 1)
    else:
        pytest.fail("the lead was never dead-lettered")
    assert len(waits) >= 13
    for wait, expected in zip(waits, [10, 60, 300, 1800, 7200, 21600, 43200, 86400, 86400], strict=False):
        assert 0.8 * expected - 1 <= wait <= 1.2 * expected + 1
    assert BUDGET * 0.9 <= sum(waits) <= BUDGET + 2 * 1.2 * 86_400
    assert "seven days" in routed.delivery(bad).reason


def test_an_outage_of_two_weeks_costs_no_lead(routed: Pipeline, vendor: Vendor) -> None:
    vendor.fails()
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(8)]
    routed.run()
    for _ in range(14):
        routed.tick()
        routed.advance(86_400)
    vendor.works()
    routed.tick(4)
    assert [routed.delivery(lead).state for lead in leads] == [State.DELIVERED] * 8
    assert vendor.records == dict.fromkeys(leads, 1)


def test_the_time_in_which_its_connection_was_paused_is_not_the_leads_own(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    first = routed.post(a_lead("first@example.com"))
    routed.clock.time += timedelta(seconds=1)
    second = routed.post(a_lead("second@example.com"))
    for message in reversed(routed.messages()):
        deliver(routed.app, text_of(message))
        routed.queue.delete(message)
    assert len(routed.delivery(second).attempts) == 1
    routed.clock.time += timedelta(days=8)
    vendor.works()
    vendor.answer = lambda call: RETRY if call.key == second else DELIVERED
    routed.tick(2)
    assert routed.delivery(first).state is State.DELIVERED
    assert routed.delivery(second).attempts[-1].outcome == "retry"
    assert routed.delivery(second).state is State.RETRY
