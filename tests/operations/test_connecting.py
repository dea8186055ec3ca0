"""Connecting: validating destinations, sending a test lead, pausing and resuming a connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from leads.core.problems import first_problem
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.offers.model import DestinationConfig
from leads.operations.connections import (
    ConnectionView,
    Note,
    PauseConnection,
    ResumeConnection,
    list_connections,
    pause_connection,
    resume_connection,
)
from leads.operations.operation import Nothing
from leads.operations.problems import NotFound
from leads.operations.status import show_status
from leads.operations.test_lead import SendTestLead, SentTestLead, TestLead, make_mark, send_test_lead
from leads.operations.validation import (
    ValidateDestination,
    ValidateOffer,
    Validation,
    validate_destination,
    validate_offer,
)
from tests.fakes.tls import Authority
from tests.fakes.webhook import Receiver
from tests.support.pipeline import Pipeline, a_lead, crm, pipeline_over_tls
from tests.support.vendor import RETRY, Vendor

# Validate


def validated(pipeline: Pipeline, offer_id: str = "contoso.crm", destination: str = "") -> Validation:
    return pipeline.ask(validate_offer, ValidateOffer(offer_id=offer_id, destination=destination))


def checked(pipeline: Pipeline, type_name: str, **settings: Any) -> Any:
    """The answer for one destination that is not saved."""
    config = DestinationConfig.model_validate({"name": "new", "type": type_name, "settings": settings})
    (found,) = pipeline.ask(validate_destination, ValidateDestination(destination=config)).destinations
    return found


def test_each_destination_of_an_offer_is_checked_and_no_lead_is_sent(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as other:
        other.refuses()
        pipeline.offer(crm(vendor.url), crm(other.url, "second"), {"name": "table", "type": "azure_table"})
        found = validated(pipeline)
        assert [each.ok for each in found.destinations] == [True, False, True]
        assert (vendor.calls, other.calls) == ([], [])
    second = found.destinations[1]
    assert not found.ok
    assert (second.destination, second.type, second.transient) == ("second", "recording", False)
    assert (second.problem, second.code) == ("the secret has expired: make a new one", "401")
    assert all(each.milliseconds >= 0 for each in found.destinations)
    assert validated(pipeline, destination="crm").ok
    with pytest.raises(NotFound, match=r"^destination: "):
        validated(pipeline, destination="nope")
    with pytest.raises(NotFound, match=r"^offer: "):
        validated(pipeline, "contoso.nope")


def test_a_vendor_that_is_out_of_reach_is_called_so(pipeline: Pipeline) -> None:
    with Vendor() as vendor:
        pipeline.offer(crm(vendor.url))
    (found,) = validated(pipeline).destinations
    assert (found.ok, found.transient, found.code) == (False, True, "unreachable")


@pytest.mark.parametrize(
    ("type_name", "settings", "problem"),
    [
        (
            "azure_table",
            {"connection_string": "env:LEADS_SECRET_GONE"},
            "The app setting LEADS_SECRET_GONE is missing or empty; the secret reference env:LEADS_SECRET_GONE needs it.",
        ),
        (
            "azure_table",
            {"connection_string": "env:LEADS_SECRET_NO_CONNECTION_STRING"},
            "env:LEADS_SECRET_NO_CONNECTION_STRING does not hold a storage connection string.",
        ),
        (
            "webhook",
            {"url": "https://127.0.0.1:1/x", "secret": "keyvault:hook"},
            "keyvault:hook needs the app setting LEADS_KEY_VAULT_URI (https://NAME.vault.azure.net).",
        ),
        (
            "webhook",
            {"url": "https://127.0.0.1:1/x", "secret": "env:LEADS_SECRET_NO_CONNECTION_STRING"},
            "env:LEADS_SECRET_NO_CONNECTION_STRING must hold whsec_ and 24 to 64 random bytes in base64 (Standard Webhooks).",
        ),
    ],
)
def test_a_wrong_secret_reference_is_an_answer_that_says_what_to_change(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, type_name: str, settings: dict[str, str], problem: str
) -> None:
    monkeypatch.setenv("LEADS_SECRET_NO_CONNECTION_STRING", "s3cret-text")
    found = checked(pipeline, type_name, **settings)
    assert (found.ok, found.problem) == (False, problem)
    assert "s3cret-text" not in found.model_dump_json()


@pytest.fixture
def receiver(authority: Authority, fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("LEADS_SECRET_HOOK", "whsec_" + "c2VjcmV0" * 4)
    with Receiver(authority, ["whsec_" + "c2VjcmV0" * 4]) as running:
        yield running


def test_a_wrong_host_is_an_answer(pipeline: Pipeline, receiver: Receiver) -> None:
    found = checked(pipeline, "webhook", url=receiver.url, secret="env:LEADS_SECRET_HOOK")
    assert (found.ok, found.code) == (False, "address_refused")
    assert "not public" in found.problem
    found = checked(pipeline, "webhook", url="https://hooks.example.invalid/", secret="env:LEADS_SECRET_HOOK")
    assert (found.ok, found.code) == (False, "no_such_host")


def test_a_fault_in_a_check_is_its_answer_alone(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url), {"name": "table", "type": "azure_table"})

    def broken(_: Any) -> CheckResult:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("leads.destinations.vendors.azure_table.AzureTable.check", broken)
    first, second = validated(pipeline).destinations
    assert first.ok
    assert second.problem.startswith("the check failed because of a fault in the app (ZeroDivisionError at ")
    assert "a secret" not in second.problem


def test_a_validation_reads_secrets_again_and_does_not_touch_deliveries(
    fresh_storage: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A valid old token or a cached secret proves nothing about the present configuration."""
    secret = "whsec_" + "c2VjcmV0" * 4
    with Receiver(authority, [secret]) as receiver:
        pipeline = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
        monkeypatch.setenv("LEADS_SECRET_HOOK", secret)
        settings = {"url": receiver.url, "secret": "env:LEADS_SECRET_HOOK"}
        pipeline.offer({"name": "hook", "type": "webhook", "settings": settings})
        assert validated(pipeline).ok
        assert pipeline.app.context._shared == {}
        monkeypatch.delenv("LEADS_SECRET_HOOK")
        assert not validated(pipeline).ok


# A test lead


def sent(pipeline: Pipeline, offer_id: str = "contoso.crm", action: str = "INS") -> SentTestLead:
    request = SendTestLead(offer_id=offer_id, test_lead=TestLead(action=action))
    return pipeline.ask(send_test_lead, request)


def test_a_mark_is_the_moment_in_the_ticks_of_net() -> None:
    # The documented test lead's own: 2018-04-03, as its number says.
    assert make_mark(datetime(2018, 4, 3, 16, 18, 3, 131884, UTC)) == "MSFT_TEST_636583690831318840"
    assert re.fullmatch(r"MSFT_TEST_[0-9]{18}", make_mark(datetime.now(UTC)))


@pytest.mark.parametrize(
    ("action", "stage"),
    [("INS", "initial_interest"), ("PLT", "contact_requested"), ("Create", "purchase"), ("Subscribe", "unknown")],
)
def test_a_test_lead_of_any_action_has_the_marketplaces_form(
    routed: Pipeline, vendor: Vendor, action: str, stage: str
) -> None:
    found = sent(routed, "Contoso.CRM", action)
    routed.run()
    (call,) = vendor.calls
    assert (call.key, call.stage, found.offer) == (found.lead_id, stage, "contoso.crm")
    assert call.lead["email"] == f"{found.mark}@test.com"
    assert call.lead["phone"] == "1234567890"
    assert {call.lead[name] for name in ("first_name", "last_name", "company", "title", "description")} == {found.mark}
    assert (call.lead["offer_title"], call.lead["lead_source"]) == ("Contoso CRM", "AzureMarketplace")
    record = routed.record(found.lead_id)
    assert record.lead
    assert (record.lead.is_test, record.state) == (True, State.DELIVERED)


def test_two_test_leads_are_two_customers(routed: Pipeline, vendor: Vendor) -> None:
    first = sent(routed)
    routed.advance(1)
    second = sent(routed)
    routed.run()
    assert vendor.keys() == [first.lead_id, second.lead_id]


def test_a_test_lead_needs_an_offer_that_there_is(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), offer_id="*")
    with pytest.raises(NotFound, match=r"^offer: "):
        sent(pipeline, "contoso.nope")
    assert sent(pipeline, "*").offer == "*"


def test_a_test_lead_goes_by_the_offer_as_it_was_saved_a_moment_ago(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    """An instance may route by offers that it read up to a minute ago."""
    routed.post(a_lead("early@example.com"))
    routed.run()
    with Vendor() as new:
        second.offer(crm(new.url))
        found = sent(second)
        routed.run()
        assert new.keys() == [found.lead_id]
    assert len(vendor.calls) == 1


def test_a_destination_that_another_instance_knows_of_is_not_taken_for_removed(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    routed.post(a_lead("early@example.com"))
    routed.run()
    with Vendor() as new:
        second.offer(crm(vendor.url), crm(new.url, "new"))
        lead = second.post(a_lead("later@example.com"))
        second.step()  # it routes the lead, and puts a message for each destination
        routed.run()
        assert new.keys() == [lead]
    assert {delivery.state for delivery in routed.record(lead).deliveries.values()} == {State.DELIVERED}


# Pausing and resuming


def the_connection(pipeline: Pipeline) -> ConnectionView:
    (found,) = pipeline.ask(list_connections, Nothing()).connections
    return found


def pause(pipeline: Pipeline, note: str = "maintenance until six") -> ConnectionView:
    request = PauseConnection(connection_id=the_connection(pipeline).id, note=Note(note=note))
    return pipeline.ask(pause_connection, request)


def resume(pipeline: Pipeline) -> ConnectionView:
    return pipeline.ask(resume_connection, ResumeConnection(connection_id=the_connection(pipeline).id))


def test_a_person_pauses_a_connection_and_its_leads_wait_until_a_person_resumes_it(
    routed: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    second.post(a_lead("early@example.com"))
    second.run()
    paused = pause(routed)
    assert (paused.paused, paused.by_person, paused.health) == (True, True, "paused by a person: maintenance until six")
    assert paused.since == routed.clock.now()
    routed.clock.time = routed.clock.time.replace(second=11)
    leads = [routed.post(a_lead(f"c{number}@example.com")) for number in range(4)]
    second.run()
    routed.tick(3)
    assert [routed.delivery(lead).state for lead in leads] == [State.PARKED] * 4
    assert (len(vendor.calls), vendor.checks) == (1, 0), "nothing is sent, and nothing is probed"
    assert routed.ask(show_status, Nothing()).needs_a_person == [
        f"connection {paused.id} (contoso.crm crm; 127.0.0.1) is paused by a person: maintenance until six; waiting leads: 4"
    ]
    assert resume(routed).health == "working"
    routed.tick(2)
    assert [routed.delivery(lead).state for lead in leads] == [State.DELIVERED] * 4
    assert vendor.records == dict.fromkeys(vendor.keys(), 1)


def test_after_a_resumption_the_backlog_follows_at_the_connections_pace(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url, pace=0.1))
    pause(pipeline)
    for number in range(10):
        pipeline.post(a_lead(f"c{number}@example.com"))
    pipeline.run()
    resume(pipeline)
    pipeline.watch()
    assert pipeline.queue.depth() + len(pipeline.pending()) == 6
    pipeline.tick(3)
    assert len(vendor.calls) == 10


def test_neither_a_success_nor_a_failure_nor_a_probe_ends_or_renames_a_persons_pause(
    routed: Pipeline, vendor: Vendor
) -> None:
    connections, found = routed.app.connections, the_connection(routed)
    pause(routed)
    connections.record_success(found.id, found.type, "", routed.clock.now())
    connections.pause(found.id, found.type, "the secret has expired")
    connections.reopen(found.id)
    for _ in range(6):
        connections.record_failure(found.id, found.type, first=False, reason="503")
    after = the_connection(routed)
    assert (after.by_person, after.health) == (True, "paused by a person: maintenance until six")


def test_a_probe_that_is_under_way_when_a_person_pauses_is_parked(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    lead = routed.post()
    routed.run()
    vendor.works()
    routed.clock.time = routed.clock.time.replace(minute=31)
    routed.watch()
    pause(routed)
    calls = len(vendor.calls)
    routed.run()
    assert len(vendor.calls) == calls
    assert routed.delivery(lead).state is State.PARKED
    resume(routed)
    routed.tick()
    assert routed.delivery(lead).state is State.DELIVERED


def test_a_person_opens_a_connection_that_the_app_has_paused(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    lead = routed.post()
    routed.run()
    assert the_connection(routed).paused
    vendor.works()
    assert not resume(routed).paused
    routed.tick()
    assert routed.delivery(lead).state is State.DELIVERED


def test_what_still_fails_after_a_resumption_is_paused_again_by_the_app(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    routed.post()
    routed.run()
    resume(routed)
    routed.post(a_lead("later@example.com"))
    routed.run()
    assert (the_connection(routed).paused, the_connection(routed).by_person) == (True, False)


def test_resuming_what_is_open_changes_nothing(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY)
    routed.post(a_lead("one@example.com"))
    routed.post(a_lead("two@example.com"))
    routed.run()
    before = the_connection(routed)
    assert resume(routed) == before
    assert before.health == "failing: 2 in a row"


def test_a_connection_that_there_is_not_is_not_found(routed: Pipeline) -> None:
    for connection_id in ("0" * 16, "x", "../status"):
        with pytest.raises(NotFound, match=r"^connection_id: "):
            routed.ask(resume_connection, ResumeConnection(connection_id=connection_id))


@pytest.mark.parametrize("note", ["", " \n", "x" * 501, "\x1b"])
def test_a_note_is_a_line_that_says_something(note: str) -> None:
    assert Note(note=" until\n\x1b[31msix ").note == "until [31msix"
    with pytest.raises(ValidationError) as refused:
        Note(note=note)
    assert first_problem(refused.value).startswith("note: ")
