"""Connections pause, are probed with one lead, open again, and share their state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from leads.core.outcomes import Outcome
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.health.connection import FAILURES_UNTIL_PAUSE, Connection
from leads.pipeline.delivery import deliver
from leads.platform import slots
from tests.support.pipeline import Pipeline, a_lead, at_once, crm, text_of
from tests.support.recording import Recording
from tests.support.vendor import DELIVERED, MISCONFIGURED, REJECTED, RETRY, Call, Vendor


def connection(pipeline: Pipeline) -> Connection:
    return pipeline.app.connections.stored()[0]


def test_five_failures_in_a_row_pause_and_the_sixth_lead_is_not_sent(routed: Pipeline, vendor: Vendor) -> None:
    vendor.fails()
    for number in range(7):
        routed.post(a_lead(f"c{number}@example.com"))
        routed.run()
    assert len(vendor.calls) == 5
    assert connection(routed).paused
    assert connection(routed).reason == "5 attempts in a row failed: 503"


def test_what_only_the_vendor_finds_wrong_is_told_once_it_pauses_the_connection(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.answer = lambda call: MISCONFIGURED  # while the check passes
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(6)]
    routed.run()
    assert connection(routed).reason == "5 attempts in a row failed: the secret has expired"
    assert "the secret has expired" in {routed.delivery(lead).reason for lead in leads}
    vendor.works()
    routed.tick(4)
    assert {(routed.delivery(lead).state, routed.delivery(lead).reason) for lead in leads} == {(State.DELIVERED, "")}


def test_a_check_that_raises_stops_neither_its_lead_nor_other_connections(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Vendor() as other:
        routed.offer(crm(other.url), offer_id="contoso.other", titles=["Other"])
        other.refuses()
        waiting = routed.post(a_lead("other@example.com", OfferTitle="Other"))
        routed.run()
        other.works()
        vendor.refuses()
        monkeypatch.setattr(Recording, "check", broken_for(vendor.url, Recording.check))
        leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(6)]
        routed.run()
        assert {routed.delivery(lead).state for lead in leads} <= {State.RETRY, State.PARKED}
        routed.tick(2)
        assert routed.delivery(waiting).state is State.DELIVERED
    assert not routed.app.poison.depth()


def broken_for(url: str, check: Callable[[Recording], CheckResult]) -> Callable[[Recording], CheckResult]:
    def checked(destination: Recording) -> CheckResult:
        if destination.settings.url == url:
            raise KeyError("LogicalName")
        return check(destination)

    return checked


def test_a_success_in_between_begins_the_count_anew(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED, *[RETRY] * 4, DELIVERED, *[RETRY] * 4, DELIVERED)
    for number in range(12):
        routed.post(a_lead(f"c{number}@example.com"))
        routed.run()
    assert len(vendor.calls) == 12
    assert not connection(routed).paused


def test_leads_whose_turn_did_not_come_pause_nothing_and_spend_nothing(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(*[{"outcome": "retry", "code": "turn", "ours": True}] * 12, DELIVERED)
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(6)]
    routed.run()
    routed.advance(13)
    assert len(vendor.calls) == 12
    assert not routed.app.connections.stored()
    assert {routed.delivery(lead).step for lead in leads} == {0}
    routed.advance(13)
    assert {routed.delivery(lead).state for lead in leads} == {State.DELIVERED}


def test_the_apps_own_storage_that_fails_within_a_send_is_not_held_against_the_connection(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: object) -> Outcome:
        raise ServiceRequestError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Recording, "send", send)
        leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(FAILURES_UNTIL_PAUSE + 1)]
        routed.run()
    assert {routed.delivery(lead).state for lead in leads} == {State.RETRY}
    assert not routed.app.connections.stored()


def test_one_lead_alone_pauses_its_connection_even_if_each_try_is_on_a_new_instance(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.fails()
    routed.post()
    routed.run()
    for _ in range(4):
        routed.app.__dict__.pop("connections")  # a new instance knows only the table
        routed.advance(13)
    routed.app.__dict__.pop("connections")
    routed.advance(13)
    assert connection(routed).paused
    assert len(vendor.calls) <= 6


def test_another_instance_stops_within_ten_seconds(routed: Pipeline, second: Pipeline, vendor: Vendor) -> None:
    second.post(a_lead("early@example.com"))
    second.run()
    vendor.refuses()
    routed.post()
    routed.run()
    calls = len(vendor.calls)
    routed.clock.time += timedelta(seconds=11)
    lead = second.post(a_lead("later@example.com"))
    second.run()
    assert second.delivery(lead).state is State.PARKED
    assert len(vendor.calls) == calls


def test_a_paused_connection_is_checked_each_minute_and_no_lead_is_sent_while_the_check_fails(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.refuses()
    lead = routed.post()
    routed.run()
    sent, checked = len(vendor.calls), vendor.checks
    routed.tick(5)
    assert len(vendor.calls) == sent
    assert vendor.checks == checked + 5
    assert routed.delivery(lead).state is State.PARKED


@pytest.mark.parametrize(("after", "minutes"), [(150, 3), (86_400, 15)])
def test_a_paused_connection_is_left_alone_for_as_long_as_its_vendor_asks_up_to_a_quarter_of_an_hour(
    routed: Pipeline, vendor: Vendor, after: int, minutes: int
) -> None:
    vendor.answer = lambda call: RETRY | {"after": after}
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(6)]
    routed.run()
    sent = len(vendor.calls)
    vendor.works()
    routed.tick(minutes - 1)
    assert (len(vendor.calls), vendor.checks) == (sent, 0)
    routed.tick(3)
    assert {routed.delivery(lead).state for lead in leads} == {State.DELIVERED}


def test_the_reason_follows_what_the_check_says_now(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    routed.post()
    routed.run()
    paused_at = routed.clock.now()
    vendor.checked = {"ok": False, "problem": "the application is not in this directory", "code": "700016"}
    routed.tick()
    assert connection(routed).reason == "the application is not in this directory"
    assert connection(routed).since == paused_at


def test_a_fault_in_the_code_of_a_check_keeps_no_other_connection_from_healing(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    with Vendor() as other:
        pipeline.offer(crm(vendor.url))
        pipeline.offer(crm(other.url), offer_id="contoso.erp", titles=["Contoso ERP"])
        for refusing in (vendor, other):
            refusing.refuses()
        broken, healed = pipeline.post(), pipeline.post(a_lead(OfferTitle="Contoso ERP"))
        pipeline.run()
        for faulty, working in ((vendor, other), (other, vendor)):
            faulty.checked = {"nobody": "expects this"}
            working.works()
            pipeline.tick(2)
        assert pipeline.delivery(healed).state is pipeline.delivery(broken).state is State.DELIVERED


def test_one_lead_goes_first_and_the_rest_follow_when_it_got_through(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(6)]
    routed.run()
    sent = len(vendor.calls)
    vendor.works()
    routed.advance(60)
    routed.watch()
    routed.run()
    assert len(vendor.calls) == sent + 1, "one lead proves the connection"
    assert not connection(routed).paused
    routed.tick()
    assert [routed.delivery(lead).state for lead in leads] == [State.DELIVERED] * 6
    assert vendor.records == dict.fromkeys(leads, 1)


def test_a_send_that_began_before_the_pause_does_not_end_it(routed: Pipeline, vendor: Vendor) -> None:
    slow, refused = routed.post(a_lead("slow@example.com")), routed.post(a_lead("refused@example.com"))
    slow_message, refused_message = routed.messages()

    def answer(call: Call) -> dict[str, Any]:
        if call.key == slow:
            routed.clock.time += timedelta(seconds=1)
            deliver(routed.app, text_of(refused_message))
            return DELIVERED
        vendor.checked = {"ok": False, "problem": "nothing is left of today's allowance", "code": "limit"}
        return MISCONFIGURED

    vendor.answer = answer
    deliver(routed.app, text_of(slow_message))
    assert routed.delivery(slow).state is State.DELIVERED
    assert routed.delivery(refused).state is State.PARKED
    assert connection(routed).paused
    vendor.works()
    routed.tick()
    assert routed.delivery(refused).state is State.DELIVERED
    assert not connection(routed).paused


def test_if_the_first_one_fails_another_one_is_tried_next_time(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(3)]
    routed.run()
    vendor.calls.clear()
    vendor.checked, vendor.answer = {"ok": True}, lambda call: RETRY
    paused = connection(routed)
    routed.tick(6)
    assert sorted(vendor.keys()[:3]) == sorted(leads)
    assert vendor.keys()[3] == vendor.keys()[0], "after the last one the first one's turn comes again"
    still = connection(routed)
    assert (still.paused, still.since, still.reason) == (True, paused.since, paused.reason)


def test_a_probe_that_is_rejected_does_not_open_the_connection(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    for number in range(2):
        routed.post(a_lead(f"c{number}@example.com"))
    routed.run()
    vendor.checked = {"ok": True}
    vendor.answers(REJECTED, DELIVERED)
    routed.tick()
    assert connection(routed).paused
    routed.tick()
    assert not connection(routed).paused


def test_what_waits_for_a_try_hours_ahead_is_sent_within_minutes_of_the_return(
    routed: Pipeline, vendor: Vendor
) -> None:
    bad = routed.post(a_lead("bad@example.com"))
    vendor.answer = lambda call: RETRY if call.key == bad else DELIVERED
    routed.run()
    for number in range(5):  # use up the schedule until the next retry is hours away
        routed.post(a_lead(f"g{number}@example.com"))
        routed.run()
        next_at = routed.delivery(bad).next_at
        assert next_at is not None
        routed.advance((next_at - routed.clock.now()).total_seconds() + 1)
    next_at = routed.delivery(bad).next_at
    assert next_at is not None and (next_at - routed.clock.now()).total_seconds() > 3600
    vendor.refuses()
    routed.post(a_lead("late@example.com"))
    routed.run()
    vendor.works()
    routed.tick(3)
    assert routed.delivery(bad).state is State.DELIVERED


def test_a_retry_whose_message_was_lost_is_sent_once_it_is_an_hour_overdue(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead = routed.post()
    routed.run()
    routed.queue.delayed.clear()
    routed.clock.time += timedelta(minutes=58)
    routed.tick()
    assert vendor.keys() == [lead]
    routed.tick(2)
    assert vendor.keys() == [lead] * 2
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_lead_that_was_on_its_way_to_its_new_offer_when_its_message_was_lost_is_overdue_too(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    lead = pipeline.post()
    pipeline.run()
    pipeline.offer(crm(vendor.url))
    pipeline.watch()
    [lost] = pipeline.messages()
    pipeline.queue.delete(lost)
    pipeline.clock.time += timedelta(minutes=69)  # to a minute in which unrouted leads are searched
    pipeline.tick()
    assert pipeline.delivery(lead).state is State.DELIVERED


def test_a_backlog_comes_back_oldest_first_at_the_connections_pace(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url, pace=0.1))
    pipeline.offer(crm(vendor.url, pace=50), offer_id="contoso.erp", titles=["Contoso ERP"])  # the lowest counts
    vendor.refuses()
    leads = []
    for number in range(14):
        leads.append(pipeline.post(a_lead(f"c{number}@example.com")))
        pipeline.clock.time += timedelta(milliseconds=5)
    pipeline.run()
    vendor.works()
    pipeline.tick()
    vendor.calls.clear()
    pipeline.clock.time += timedelta(minutes=1)
    pipeline.watch()
    delays = sorted((when - pipeline.clock.now()).total_seconds() for when, _ in pipeline.queue.delayed)
    assert delays == [10, 20, 30, 40, 50], "six a minute at 0.1 a second; the first one is visible at once"
    pipeline.run()
    pipeline.advance(59)
    assert vendor.keys() == [lead for lead in leads if lead in set(vendor.keys())], "oldest first"
    assert len(vendor.calls) == 6
    pipeline.tick(3)
    assert vendor.records == dict.fromkeys(leads, 1)


def test_two_watches_at_once_send_nothing_twice(routed: Pipeline, second: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(12)]
    routed.run()
    vendor.works()
    vendor.calls.clear()
    for _ in range(4):
        routed.clock.time += timedelta(minutes=1)
        at_once(routed.watch, second.watch)
        for instance in (routed, second):
            instance.advance(0)
    routed.advance(120)
    second.advance(0)
    assert sorted(vendor.keys()) == sorted(leads)


def test_a_lead_without_a_free_slot_is_put_back_and_delivered_later(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "QUICK_SECONDS", 0.05)
    lead = routed.post()
    config = routed.app.offers.all()[0].destinations[0]
    routed.app.__dict__["slots"] = slots.Slots(1, 1)
    with routed.app.slots.slot(routed.app.destination(config).connection):
        routed.run()
        assert vendor.calls == []
        assert [2 <= (due - routed.clock.now()).total_seconds() <= 10 for due, _ in routed.queue.delayed] == [True]
    routed.advance(11)
    assert routed.delivery(lead).state is State.DELIVERED


def test_offers_with_the_same_settings_share_one_connection(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    pipeline.offer(crm(vendor.url, name="other"), offer_id="contoso.erp", titles=["Contoso ERP"])
    vendor.refuses()
    pipeline.post()
    pipeline.run()
    lead = pipeline.post(a_lead(OfferTitle="Contoso ERP"))
    pipeline.run()
    assert pipeline.delivery(lead, "other").state is State.PARKED
    assert len(vendor.calls) == 1


@pytest.mark.parametrize("moves", [False, True], ids=["renamed", "moved to another CRM"])
def test_leads_that_no_longer_use_a_connection_hold_up_no_lead_that_does(
    pipeline: Pipeline, vendor: Vendor, moves: bool
) -> None:
    pipeline.offer(crm(vendor.url))
    pipeline.offer(crm(vendor.url, name="other"), offer_id="contoso.erp", titles=["Contoso ERP"])
    vendor.refuses()
    for number in range(4):
        pipeline.post(a_lead(f"c{number}@example.com"))
        pipeline.run()
    with Vendor() as elsewhere:
        pipeline.offer(crm(elsewhere.url) if moves else crm(vendor.url, name="renamed"))
        vendor.works()
        pipeline.tick(2)
        lead = pipeline.post(a_lead(OfferTitle="Contoso ERP"))
        pipeline.run()
        assert pipeline.delivery(lead, "other").state is State.DELIVERED


def test_a_success_counts_here_at_once_and_on_other_instances_once_it_is_recorded(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    routed.post()
    routed.run()
    recorded_at = routed.clock.now()
    routed.advance(5)
    routed.post(a_lead("two@example.com"))
    routed.run()
    name = connection(routed).id
    assert routed.app.connections.succeeded_since(name, routed.clock.now())
    assert second.app.connections.succeeded_since(name, recorded_at)
    assert not second.app.connections.succeeded_since(name, routed.clock.now())


def test_last_success_is_recorded_at_most_once_a_minute(routed: Pipeline, vendor: Vendor) -> None:
    writes: list[object] = []
    table = routed.app.connections._table
    original = table.write

    def counted(operations: Any) -> list[str]:
        writes.append(operations)
        return original(operations)

    table.write = counted  # type: ignore[method-assign]
    for number in range(20):
        routed.post(a_lead(f"c{number}@example.com"))
    routed.run()
    assert len(writes) == 1
    assert connection(routed).last_success_at == routed.clock.now()
