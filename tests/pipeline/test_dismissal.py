"""Dismissal: a lead that needs no repair raises no alarm, keeps its history, and can be taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from leads.core.states import CORRECTABLE, State
from leads.ledger.queries import undelivered
from leads.operations.dismissal import (
    BulkDismissalFilter,
    DismissedLead,
    DismissedMany,
    DismissLead,
    DismissOptions,
    dismiss_lead,
    dismiss_leads,
)
from leads.operations.leads import ShowLead, show_lead
from leads.operations.problems import NotFound
from leads.operations.replay import ReplayLead, ReplayOptions, replay_lead
from leads.pipeline.intake import KeptUnreadable
from leads.platform.events import Event
from tests.support.command_line import Run
from tests.support.pipeline import Pipeline, a_lead, crm, rejected
from tests.support.vendor import REJECTED, UNKNOWN, Vendor


def dismiss(pipeline: Pipeline, lead_id: str, note: str = "a competitor's test", **how: Any) -> DismissedLead:
    options = DismissOptions.model_validate({"note": note, **how})
    return pipeline.ask(dismiss_lead, DismissLead(lead_id=lead_id, dismissal=options))


def many(pipeline: Pipeline, **wanted: Any) -> list[DismissedMany]:
    """Every step."""
    steps: list[DismissedMany] = []
    after: str | None = ""
    while after is not None:
        which = BulkDismissalFilter.model_validate({"note": "typing errors", **wanted, "after": after})
        steps.append(pipeline.ask(dismiss_leads, which))
        after = steps[-1].next
    return steps


def alarms(pipeline: Pipeline) -> list[Event]:
    pipeline.watch()
    return [alarm.event for alarm in pipeline.app.alarms.active()]


# One lead


def test_a_dismissed_lead_calls_for_nobody_and_keeps_its_history(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    assert Event.LEADS_NEED_A_PERSON in alarms(routed)
    done = dismiss(routed, lead)
    assert (done.done, done.deliveries[0].state) == (1, State.DEAD_LETTER)
    assert list(undelivered(routed.app.ledger)) == []
    assert Event.LEADS_NEED_A_PERSON not in alarms(routed)
    delivery = routed.delivery(lead)
    assert (delivery.state, delivery.dismissed) == (State.SKIPPED, "a competitor's test")
    assert delivery.reason and [attempt.outcome for attempt in delivery.attempts] == ["rejected"]
    assert routed.run() == routed.advance(3600) == 0


def test_a_dismissal_that_is_taken_back_leaves_everything_as_it_was(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    before, todo = routed.delivery(lead), list(undelivered(routed.app.ledger))
    dismiss(routed, lead)
    done = dismiss(routed, lead, note="", take_back=True)
    assert done.done == 1
    after = routed.delivery(lead)
    after.updated_at = before.updated_at
    assert after == before
    assert [(item.lead_id, item.state) for item in undelivered(routed.app.ledger)] == [
        (todo[0].lead_id, State.DEAD_LETTER)
    ]
    routed.ask(replay_lead, ReplayLead(lead_id=lead))
    routed.run()
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_lead_that_is_emptied_loses_the_note_too(routed: Pipeline, vendor: Vendor) -> None:
    """A person wrote the note, so it may have personal data."""
    [lead] = rejected(routed, vendor, a_lead())
    dismiss(routed, lead, "Ada's typing error")
    emptied = routed.record(lead).emptied(routed.clock.now(), "over")
    assert emptied.deliveries["crm"].dismissed == ""


def test_done_twice_it_is_done_once_and_the_first_note_stays(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    dismiss(routed, lead, "first")
    again = dismiss(routed, lead, "second")
    assert (again.done, routed.delivery(lead).dismissed) == (0, "first")
    dismiss(routed, lead, "", take_back=True)
    assert dismiss(routed, lead, "", take_back=True).deliveries[0].kept == "it was not dismissed"


def test_a_dry_run_says_the_same_and_changes_nothing(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    before = routed.ask(show_lead, ShowLead(lead_id=lead))
    told = dismiss(routed, lead, dry_run=True)
    assert routed.ask(show_lead, ShowLead(lead_id=lead)) == before
    assert told == dismiss(routed, lead)
    told = dismiss(routed, lead, "", take_back=True, dry_run=True)
    assert told == dismiss(routed, lead, "", take_back=True)


def test_only_what_waits_for_a_person_is_dismissed(routed: Pipeline, vendor: Vendor) -> None:
    delivered = routed.post()
    routed.run()
    assert dismiss(routed, delivered).deliveries[0].kept == "it is delivered, and does not wait for a person"


def test_one_destination_can_be_dismissed_alone(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url, "one"), crm(vendor.url, "two"))
    vendor.answers(REJECTED)
    lead = pipeline.post()
    pipeline.run()
    assert dismiss(pipeline, lead, destination="one").done == 1
    states = {name: delivery.state for name, delivery in pipeline.record(lead).deliveries.items()}
    assert states == {"one": State.SKIPPED, "two": State.DEAD_LETTER}
    with pytest.raises(NotFound, match="it has: one, two"):
        dismiss(pipeline, lead, destination="three")


def test_a_dismissed_lead_is_only_sent_by_force_and_is_dismissed_no_more_then(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    dismiss(routed, lead)
    kept = routed.ask(replay_lead, ReplayLead(lead_id=lead)).deliveries[0].kept
    assert kept == "it was dismissed"
    routed.ask(replay_lead, ReplayLead(lead_id=lead, again=ReplayOptions(force=True)))
    routed.advance(5)
    assert (routed.delivery(lead).state, routed.delivery(lead).dismissed_from) == (State.DELIVERED, None)


@pytest.mark.parametrize("state", sorted(CORRECTABLE))
def test_every_state_that_waits_for_a_person_can_be_dismissed_and_taken_back(
    pipeline: Pipeline, vendor: Vendor, state: State
) -> None:
    lead = _in_state(pipeline, vendor, state)
    assert pipeline.record(lead).state is state
    dismiss(pipeline, lead)
    assert pipeline.record(lead).state is State.SKIPPED
    dismiss(pipeline, lead, "", take_back=True)
    assert pipeline.record(lead).state is state
    assert [item.state for item in undelivered(pipeline.app.ledger)] == [state]


def _in_state(pipeline: Pipeline, vendor: Vendor, state: State) -> str:
    if state is State.UNREADABLE:
        with pytest.raises(KeptUnreadable) as kept:
            pipeline.post(b"not JSON")
        return kept.value.lead_id
    if state is not State.UNROUTED:
        pipeline.offer(crm(vendor.url), policies={"unknown": "hold"})
    vendor.answers({State.DEAD_LETTER: REJECTED, State.HELD: UNKNOWN}.get(state, REJECTED))
    lead = pipeline.post()
    pipeline.run()
    if state is State.CRASHED:

        def crash(record: Any) -> None:
            record.deliveries["crm"].state = State.CRASHED

        pipeline.app.ledger.settle(pipeline.record(lead), crash)
    return lead


def test_an_unrouted_lead_that_was_dismissed_goes_to_no_offer_that_is_configured_later(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    lead = pipeline.post()
    pipeline.run()
    dismiss(pipeline, lead)
    pipeline.offer(crm(vendor.url))
    pipeline.tick(3)
    assert (pipeline.record(lead).state, vendor.calls) == (State.SKIPPED, [])
    dismiss(pipeline, lead, "", take_back=True)
    pipeline.tick(3)
    assert pipeline.record(lead).state is State.DELIVERED


# Many


def test_many_are_dismissed_by_their_cause_in_steps(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.operations.dismissal.LEADS_A_STEP", 2)
    other = REJECTED | {"code": "another"}
    vendor.answers(*[REJECTED] * 5, other)
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(6)]
    routed.run()
    code = routed.delivery(leads[0]).attempts[-1].code
    told = many(routed, code=code, dry_run=True)
    steps = many(routed, code=code)
    assert [step.done for step in told] == [step.done for step in steps]
    assert sum(step.done for step in steps) == 5 and len(steps) >= 3
    assert routed.states() == {"skipped": 5, "dead_letter": 1}
    assert sum(step.done for step in many(routed, code=code)) == 0


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"note": "x"}, "code: say which leads"),
        ({"note": " ", "offer": "a.b"}, "note: give the reason"),
        ({"note": "x" * 501, "offer": "a.b"}, "note"),
        ({"note": "x", "offer": "a.b", "state": "delivered"}, "state"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(wanted: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        BulkDismissalFilter.model_validate(wanted)


# At the shell


def test_the_shell_dismisses_and_takes_back(routed: Pipeline, vendor: Vendor, run: Run) -> None:
    first, second = rejected(routed, vendor, a_lead(), a_lead("eve@example.com"))
    assert run("dismiss", first, "--note", "spam").out == "crm: is dismissed (it was dead_letter)\n"
    shown = run("leads", "show", first).out
    assert "skipped" in shown and "spam" in shown
    assert run("dismiss", first, "--take-back").out == "crm: waits for a person again\n"
    told = run("dismiss", "--offer", "contoso.crm", "--note", "spam", "--dry-run").out
    assert first in told and second in told and "2 would be dismissed." in told
    done = json.loads(run("dismiss", "--offer", "contoso.crm", "--note", "spam", "--yes", "--json").out)
    assert {each["lead_id"] for each in done} == {first, second}
    nothing = run("dismiss", "--offer", "contoso.crm", "--note", "spam", "--yes")
    assert (nothing.status, nothing.out) == (0, "No leads match: state dead_letter, offer contoso.crm.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "LEAD: is missing"),
        (("--take-back",), "LEAD: is missing; --take-back is for one lead"),
        (("20260131235959999-0123456789ab-c", "--code", "x"), "--code: is for many leads"),
        (("20260131235959999-0123456789ab-c",), "note: give the reason"),
        (("--offer", "a.b", "--yes"), "note: give the reason"),
    ],
)
def test_the_shell_names_what_is_missing(run: Run, arguments: tuple[str, ...], words: str) -> None:
    failed = run("dismiss", *arguments)
    assert failed.status == 2 and words in failed.err
