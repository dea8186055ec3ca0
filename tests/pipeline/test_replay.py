"""Replay: a person can send dead letters again; delivered leads are not sent again."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from leads.core.lead import TEXT_FIELDS
from leads.core.states import State
from leads.operations.imports import RowsToImport, import_rows
from leads.operations.leads import ShowLead, show_lead
from leads.operations.problems import Invalid, NotFound
from leads.operations.replay import (
    BulkReplayFilter,
    ReplayedLead,
    ReplayedMany,
    ReplayLead,
    ReplayOptions,
    replay_lead,
    replay_leads,
)
from leads.pipeline.intake import KeptUnreadable
from tests.support.command_line import Run, one_line
from tests.support.pipeline import Killed, Pipeline, a_lead, crm, rejected
from tests.support.vendor import DELIVERED, REJECTED, RETRY, UNKNOWN, Vendor


def again(pipeline: Pipeline, lead_id: str, **wanted: Any) -> ReplayedLead:
    return pipeline.ask(replay_lead, ReplayLead(lead_id=lead_id, again=ReplayOptions.model_validate(wanted)))


def many(pipeline: Pipeline, **wanted: Any) -> list[ReplayedMany]:
    """Every step."""
    steps = [pipeline.ask(replay_leads, BulkReplayFilter.model_validate(wanted))]
    while (place := steps[-1].next) is not None:
        steps.append(pipeline.ask(replay_leads, BulkReplayFilter.model_validate({**wanted, "after": place})))
    return steps


# One lead


def test_a_dead_lettered_lead_is_delivered_under_the_same_key(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    done = again(routed, lead)
    assert (done.sent, done.deliveries[0].state) == (1, State.DEAD_LETTER)
    routed.run()
    assert routed.delivery(lead).state is State.DELIVERED
    assert vendor.keys() == [lead, lead]
    assert [attempt.outcome for attempt in routed.delivery(lead).attempts] == ["rejected", "delivered"]


def test_it_gets_a_whole_retry_budget_again(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())

    def spend(record: Any) -> None:
        record.deliveries["crm"].step, record.deliveries["crm"].spent = 8, 7 * 86400.0

    routed.app.ledger.settle(routed.record(lead), spend)
    vendor.answers(RETRY, DELIVERED)
    again(routed, lead)
    routed.run()
    assert routed.delivery(lead).state is State.RETRY
    routed.advance(15)
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_dry_run_says_the_same_and_sends_nothing(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    before = routed.ask(show_lead, ShowLead(lead_id=lead))
    assert again(routed, lead, dry_run=True).deliveries == again(routed, lead, dry_run=True).deliveries
    assert routed.run() == 0
    assert routed.ask(show_lead, ShowLead(lead_id=lead)) == before
    assert again(routed, lead, dry_run=True) == again(routed, lead)


def test_what_was_delivered_stays_so_and_is_said(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    routed.run()
    done = again(routed, lead)
    assert (done.sent, done.deliveries[0].kept) == (0, "it was delivered")
    assert routed.run() == routed.advance(60) == 0
    assert len(vendor.calls) == 1


def test_force_sends_it_once_more_and_says_what_that_means(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    routed.run()
    told = again(routed, lead, force=True, dry_run=True)
    assert told.deliveries[0].twice == "The vendor is called again."
    again(routed, lead, force=True)
    routed.advance(5)
    assert vendor.keys() == [lead, lead]
    assert routed.delivery(lead).state is State.DELIVERED


def test_force_sends_a_redelivery_in_spite_of_the_customers_history(routed: Pipeline, vendor: Vendor) -> None:
    routed.post()
    twin = routed.post()
    routed.run()
    assert routed.delivery(twin).state is State.DUPLICATE
    assert again(routed, twin).sent == 0
    vendor.answers(RETRY, DELIVERED)
    again(routed, twin, force=True)
    routed.advance(5)
    routed.advance(15)
    assert routed.delivery(twin).state is State.DELIVERED
    assert vendor.keys()[-1] == twin


def test_what_is_held_is_sent_when_a_person_has_looked(routed: Pipeline, vendor: Vendor) -> None:
    routed.offer(crm(vendor.url, keyless=True), policies={"unknown": "hold"})
    vendor.answers(UNKNOWN, DELIVERED)
    lead = routed.post()
    routed.run()
    assert routed.delivery(lead).state is State.HELD
    again(routed, lead)
    routed.run()
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_parked_lead_is_left_to_the_app(routed: Pipeline) -> None:
    [config] = routed.app.offers.all()[0].destinations
    routed.app.connections.pause_by_person(routed.app.destination(config).connection, "recording", "maintenance")
    lead = routed.post()
    routed.run()
    assert routed.delivery(lead).state is State.PARKED
    done = again(routed, lead)
    assert done.sent == 0
    assert "its connection is paused" in done.deliveries[0].kept


def test_of_several_destinations_only_the_one_that_lacks_it_gets_it(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as other:
        pipeline.offer(crm(vendor.url), crm(other.url, "other"))
        other.answers(REJECTED, DELIVERED)
        lead = pipeline.post()
        pipeline.run()
        done = again(pipeline, lead)
        assert {each.destination: bool(each.kept) for each in done.deliveries} == {"crm": True, "other": False}
        pipeline.run()
        assert (len(vendor.calls), len(other.calls)) == (1, 2)


def test_a_destination_that_the_offer_got_later_can_be_named(routed: Pipeline, vendor: Vendor) -> None:
    lead = routed.post()
    routed.run()
    with Vendor() as later:
        routed.offer(crm(vendor.url), crm(later.url, "later"))
        again(routed, lead)
        routed.advance(5)
        assert not later.calls, "it goes there only where a person names it"
        again(routed, lead, destination="later")
        routed.advance(5)
        assert later.keys() == [lead]
        assert again(routed, lead, destination="later").sent == 0
    with pytest.raises(NotFound, match="destination: the lead has no destination of that name; it has: crm, later"):
        again(routed, lead, destination="crn")


def test_a_destination_that_the_offer_no_longer_has_is_named_instead_of_sent_to(
    routed: Pipeline, vendor: Vendor
) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    routed.offer(crm(vendor.url, "renamed"))
    kept = "the offer no longer has this destination: restore it, name another, or dismiss the lead"
    [in_bulk] = many(routed, offer="contoso.crm", dry_run=True)
    for deliveries in (again(routed, lead).deliveries, in_bulk.deliveries):
        assert [each.kept for each in deliveries] == [kept]
    routed.offer(crm(vendor.url))
    assert again(routed, lead).sent == 1


def test_a_lead_that_no_offer_takes_is_routed_at_once(pipeline: Pipeline, vendor: Vendor) -> None:
    lead = pipeline.post()
    pipeline.run()
    pipeline.offer(crm(vendor.url))
    again(pipeline, lead)
    pipeline.run()
    assert pipeline.delivery(lead).state is State.DELIVERED


def test_replayed_twice_it_is_sent_once(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    again(routed, lead)
    again(routed, lead)
    routed.run()
    assert vendor.keys() == [lead, lead]


def only_recorded(pipeline: Pipeline) -> str:
    """A lead that was imported only to be recorded."""
    record = {
        "First name": "Ada",
        "Email address": "ada@example.com",
        "Offer name": "Contoso CRM",
        "ActionCode": "INS",
        "Created date": f"{pipeline.clock.now() - timedelta(hours=3):%m/%d/%Y %H:%M:%S}",
    }
    wanted = {
        "rows": [{"number": 2, "record": record}],
        "columns": {"Created date": "created_time"},
        "policy": "record",
    }
    (row,) = pipeline.ask(import_rows, RowsToImport.model_validate(wanted)).rows
    pipeline.run()
    assert pipeline.delivery(row.lead_id).reason == "imported: only recorded"
    return row.lead_id


def test_force_sends_an_import_that_was_only_recorded_also_where_the_vendor_refuses_it_first(
    routed: Pipeline, vendor: Vendor
) -> None:
    lead = only_recorded(routed)
    assert again(routed, lead).deliveries[0].kept == "it was imported only to be recorded"
    vendor.answers(REJECTED, DELIVERED)
    assert again(routed, lead, force=True).sent == 1
    routed.advance(5)
    assert routed.delivery(lead).state is State.DEAD_LETTER
    assert again(routed, lead).sent == 1
    routed.advance(5)
    assert vendor.keys() == [lead, lead]
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_lead_that_no_destination_took_is_told_as_such_and_is_sent_by_force_once_one_takes_it(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url, when={"stage": ["purchase"]}))
    lead = pipeline.post()
    pipeline.run()
    pipeline.offer(crm(vendor.url))
    kept = again(pipeline, lead).deliveries[0].kept
    assert kept == "it was skipped: no destination of the offer takes such leads"
    assert again(pipeline, lead, force=True).sent == 1
    pipeline.advance(5)
    assert vendor.keys() == [lead]


def test_a_forced_import_waits_where_its_connection_is_paused(routed: Pipeline, vendor: Vendor) -> None:
    lead = only_recorded(routed)
    connection = routed.app.destination(routed.app.offers.all()[0].destinations[0]).connection
    routed.app.connections.pause(connection, "recording", "it is down", "down")
    again(routed, lead, force=True)
    routed.advance(5)
    assert routed.delivery(lead).state is State.PARKED
    routed.tick(3)
    assert vendor.keys() == [lead]


def test_a_forced_import_is_sent_with_corrections_too(routed: Pipeline, vendor: Vendor) -> None:
    lead = only_recorded(routed)
    vendor.answers(REJECTED, DELIVERED)
    again(routed, lead, force=True)
    routed.advance(5)
    corrected = again(routed, lead, fields={"country": "DE"}).corrected_as
    routed.advance(5)
    assert vendor.keys() == [lead, corrected]


def test_an_import_that_was_only_recorded_goes_to_a_later_destination_only_by_force(
    routed: Pipeline, vendor: Vendor
) -> None:
    lead = only_recorded(routed)
    with Vendor() as other:
        routed.offer(crm(vendor.url), crm(other.url, name="later"))
        assert again(routed, lead, destination="later").deliveries[0].kept == "it was imported only to be recorded"
        assert again(routed, lead, destination="later", force=True).sent == 1
        routed.advance(5)
        assert (vendor.keys(), other.keys()) == ([], [lead])


SKIPPED_BY_POLICY: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "test lead": ({"test_leads": "skip"}, a_lead("MSFT_TEST_636573304831318844@example.com")),
    "cross-listed": ({"dnc": "skip"}, a_lead(action="DNC")),
}


@pytest.mark.parametrize("kind", SKIPPED_BY_POLICY)
@pytest.mark.parametrize("count", [1, 2], ids=["one destination", "two"])
def test_force_sends_what_a_policy_has_only_recorded(pipeline: Pipeline, vendor: Vendor, kind: str, count: int) -> None:
    policies, body = SKIPPED_BY_POLICY[kind]
    pipeline.offer(*(crm(vendor.url, name=f"crm{number}") for number in range(count)), policies=policies)
    lead = pipeline.post(body)
    pipeline.run()
    assert pipeline.record(lead).state is State.SKIPPED
    assert again(pipeline, lead, force=True).sent == 1
    pipeline.advance(5)
    assert vendor.keys() == [lead] * count
    assert pipeline.record(lead).state is State.DELIVERED


def test_force_says_where_no_destination_takes_such_leads_and_sends_to_the_one_that_is_named(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url, when={"stage": ["purchase"]}))
    lead = pipeline.post()
    pipeline.run()
    told = again(pipeline, lead, force=True)
    assert (told.sent, told.deliveries[0].kept) == (
        0,
        "no destination of its offer takes such leads: name a destination",
    )
    assert again(pipeline, lead, destination="crm", force=True).sent == 1
    pipeline.advance(5)
    assert vendor.keys() == [lead]


@pytest.mark.parametrize("force", [False, True])
def test_killed_between_message_and_ledger_it_is_sent_once_all_the_same(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    if force:
        again(routed, lead)
        routed.run()
    before = len(vendor.calls)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(routed.app.ledger, "settle", _kill)
        again(routed, lead, force=force)
    again(routed, lead, force=force)
    routed.advance(5)
    assert len(vendor.calls) == before + 1
    assert routed.delivery(lead).state is State.DELIVERED


def _kill(*_: object, **__: object) -> None:
    raise Killed


# Corrections


def test_a_corrected_field_goes_out_as_a_lead_of_its_own(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead("ada@exampel.com", Note="kept"))
    done = again(routed, lead, fields={"email": " ada@example.com\x00"})
    routed.run()
    sent = vendor.calls[-1]
    assert (sent.key, sent.lead["email"], sent.lead["extra"]) == (
        done.corrected_as,
        "ada@example.com",
        {"Note": "kept"},
    )
    corrected = routed.record(done.corrected_as)
    assert (corrected.corrects, corrected.received_at) == (lead, routed.record(lead).received_at)
    original = routed.record(lead)
    assert original.lead is not None
    assert (original.lead.email, original.state) == ("ada@exampel.com", State.SKIPPED)
    assert original.deliveries["crm"].reason == f"sent with corrections as {done.corrected_as}"


def test_a_corrected_body_makes_a_lead_of_what_could_not_be_read(routed: Pipeline, vendor: Vendor) -> None:
    with pytest.raises(KeptUnreadable) as kept:
        routed.post(b'{"UserDetails": {"Email": "ada@example.com" "LastName": "Neil"}}', "contoso.crm")
    lead = kept.value.lead_id
    with pytest.raises(Invalid, match="fields: the body can't be read"):
        again(routed, lead, fields={"email": "ada@example.com"})
    with pytest.raises(Invalid, match="lead: The body is not JSON"):
        again(routed, lead, lead="{")
    done = again(routed, lead, lead={"UserDetails": {"Email": "ada@example.com"}})
    routed.run()
    assert vendor.calls[-1].lead["email"] == "ada@example.com"
    assert routed.app.ledger.body(lead) is not None, "the original stays"
    assert routed.record(lead).state is State.SKIPPED
    assert routed.record(done.corrected_as).state is State.DELIVERED


def test_a_correction_goes_only_to_where_the_original_has_not_come(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as other:
        pipeline.offer(crm(vendor.url), crm(other.url, "other"))
        other.answers(REJECTED, DELIVERED)
        lead = pipeline.post()
        pipeline.run()
        again(pipeline, lead, fields={"phone": "+1 425 555 0101"})
        pipeline.run()
        assert (len(vendor.calls), len(other.calls)) == (1, 2)
        assert pipeline.delivery(lead).state is State.DELIVERED


@pytest.mark.parametrize("kill", [True, False])
def test_the_same_correction_twice_is_one_lead(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, kill: bool
) -> None:
    [lead] = rejected(routed, vendor, a_lead())
    if kill:
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(routed.app.ledger, "settle", _kill)
            again(routed, lead, fields={"company": "Example"})
        again(routed, lead, fields={"company": "Example"})
    else:
        again(routed, lead, fields={"company": "Example"})
        with pytest.raises(Invalid, match=r"lead_id: it is skipped .sent with corrections as "):
            again(routed, lead, fields={"company": "Example"})
    routed.run()
    assert [call.lead["company"] for call in vendor.calls] == ["Example Works", "Example"]


def test_a_correction_that_is_too_large_for_a_message_is_kept_apart(routed: Pipeline, vendor: Vendor) -> None:
    [lead] = rejected(routed, vendor, a_lead(Big="x" * 100_000))
    done = again(routed, lead, fields={"company": "Smaller"})
    routed.run()
    assert vendor.calls[-1].lead["company"] == "Smaller"
    assert len(vendor.calls[-1].lead["extra"]["Big"]) == 100_000
    assert routed.record(done.corrected_as).has_body


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"fields": {"mail": "x"}}, f"fields.mail: there is no such field; there are {', '.join(TEXT_FIELDS)}"),
        ({"fields": {"email": "x"}, "lead": {}}, "fields: leave them out, because lead gives the whole lead"),
        ({"fields": {"email": "x"}, "force": True}, "destination: a corrected lead goes to"),
    ],
)
def test_a_correction_that_can_not_be_meant_is_refused(wanted: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ReplayOptions.model_validate(wanted)


# Many


def test_all_dead_letters_of_an_offer_go_out_at_a_pace(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = rejected(routed, vendor, *[a_lead(f"a{number}@example.com") for number in range(40)])
    before = len(vendor.calls)
    monkeypatch.setattr("leads.operations.replay.LEADS_A_STEP", 15)
    told = many(routed, offer="Contoso.CRM", dry_run=True)
    assert sum(step.sent for step in told) == 40
    assert len(told) == 3
    assert routed.run() == 0
    many(routed, offer="Contoso.CRM")
    routed.run()
    assert len(vendor.calls) - before <= 10, "no burst"
    routed.advance(30)
    assert {routed.delivery(lead).state for lead in leads} == {State.DELIVERED}
    assert sorted(vendor.keys()[before:]) == sorted(leads)
    assert many(routed, offer="contoso.crm")[0].sent == 0


def test_leads_are_chosen_by_time_connection_destination_and_state(routed: Pipeline, vendor: Vendor) -> None:
    [old] = rejected(routed, vendor, a_lead("old@example.com"))
    routed.advance(3600)
    [new] = rejected(routed, vendor, a_lead("new@example.com"))
    connection = routed.delivery(new).connection
    middle = routed.record(new).received_at.isoformat()

    def chosen(**wanted: Any) -> set[str]:
        return {each.lead_id for step in many(routed, dry_run=True, **wanted) for each in step.deliveries}

    assert chosen(since=middle) == {new}
    assert chosen(until=middle) == {old}
    assert chosen(connection=connection) == {old, new}
    assert chosen(connection="0" * 16) == set()
    assert chosen(destination="crm") == {old, new}
    assert chosen(destination="other") == set()
    assert chosen(offer="contoso.crm", state="held") == set()


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({}, "offer: say which leads"),
        ({"since": "1h", "until": "2h"}, "since: is later than until"),
        ({"state": "delivered", "offer": "x"}, "'dead_letter', 'held', 'crashed' or 'retry'"),
        ({"offer": "x", "connection": "a' or 'b"}, "connection"),
    ],
)
def test_a_choice_that_can_not_be_meant_is_refused(wanted: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        BulkReplayFilter.model_validate(wanted)


@pytest.mark.parametrize("after", ["x", "1:", "1:z/todo;", "1:0/x' or '1", "-1:0/todo", "1:0"])
def test_a_made_up_place_is_refused(routed: Pipeline, after: str) -> None:
    if after == "1:":
        assert routed.ask(replay_leads, BulkReplayFilter(offer="x", after=after)).sent == 0
        return
    with pytest.raises(Invalid, match="after: is not the next of a previous step"):
        routed.ask(replay_leads, BulkReplayFilter(offer="x", after=after))


# At the shell


def test_the_shell_tells_what_it_does(run: Run, routed: Pipeline, vendor: Vendor, tmp_path: Path) -> None:
    first, second = rejected(routed, vendor, a_lead(), a_lead("grace@example.com"))
    assert run("replay", first, "--dry-run").out == "crm: would be sent again (it was dead_letter).\n"
    assert run("replay", first).out == "crm: is sent again (it was dead_letter).\n"
    assert run("replay", "--offer", "contoso.crm", "--yes").out.splitlines()[-1] == "1 sent again, 0 left out."
    routed.advance(10)
    assert run("replay", second).status == 5
    assert run("replay", second).out == "crm: not sent: it was delivered\n"
    assert "The vendor is called again." in run("replay", second, "--force", "--dry-run").out
    none = run("replay", "--offer", "nobodys", "--yes")
    assert (none.status, none.out) == (0, "No leads match: state dead_letter, offer nobodys.\n")
    assert one_line(run("replay"), 2).startswith("LEAD: is missing; or say which leads, with --offer")
    assert one_line(run("replay", "--offer", "x", "--yes", "--after", "x"), 2).startswith("after: is not the next")
    assert (
        one_line(run("replay", "--offer", "contoso.crm"), 2) == "--yes: is needed, because this is not a terminal: "
        "the storage that LeadsStorage names: Send these leads again? (--dry-run shows them)"
    )
    assert one_line(run("replay", second, "--offer", "x"), 2) == "--offer: is for many leads; leave it or LEAD out"
    assert one_line(run("replay", "--force", "--offer", "x"), 2).startswith("LEAD: is missing")
    file = tmp_path / "corrected.json"
    file.write_text(json.dumps({"email": "ada@example.com"}))
    assert one_line(run("replay", second, "--fields", str(file)), 2).startswith("lead_id: it is delivered")
