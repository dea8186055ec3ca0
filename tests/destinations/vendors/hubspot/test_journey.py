"""HubSpot, from the intake to the contact: over TLS, against an account that behaves as HubSpot documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.health.connections import CONNECTIONS_TABLE
from leads.ledger import transactions
from leads.offers.model import InvalidOffer, read_offer
from leads.pipeline import delivery
from leads.platform.table_format import keys_beginning
from tests.fakes import hubspot as fake
from tests.fakes.https_server import LOSE_ANSWER, Fault, Request, Response
from tests.fakes.hubspot import DYNAMIC_LIST, LIST, OWNER, Contact, HubSpot, Property, error, migrating, throttled
from tests.fakes.tls import Authority
from tests.support.pipeline import (
    EMAIL,
    Killed,
    Pipeline,
    a_lead,
    check_anew,
    code,
    deliver,
    destination_entry,
    pipeline_over_tls,
    state,
    text_of,
)

TASK = {"task": {"subject": "Call {first_name}", "due_hours": 4}, "owner": OWNER}
ALL_STAGES = ("initial_interest", "contact_requested", "purchase", "trial")


@pytest.fixture
def hubspot(authority: Authority) -> Iterator[HubSpot]:
    with HubSpot(authority) as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, hubspot: HubSpot, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("LEADS_SECRET_HUBSPOT", hubspot.token)
    made.offer(crm(hubspot))
    return made


def crm(hubspot: HubSpot, **more: Any) -> dict[str, Any]:
    return destination_entry("hubspot", hubspot.settings("env:LEADS_SECRET_HUBSPOT"), **more)


def wait(pipeline: Pipeline, lead: str) -> timedelta:
    """How long a lead waits for its next attempt."""
    attempt = pipeline.delivery(lead).attempts[-1]
    assert attempt.next_at is not None
    return attempt.next_at - attempt.at


def one(hubspot: HubSpot) -> Contact:
    (contact,) = hubspot.living()
    return contact


def notes(hubspot: HubSpot) -> list[str]:
    return [note.properties["hs_note_body"] for note in hubspot.notes.values()]


def asked(hubspot: HubSpot) -> list[str]:
    """The requests, without IDs and the version."""
    return [f"{request.method} {request.path.split('/2026-0', 1)[-1][2:]}" for request in hubspot.journal]


def every_stage(**follow_up: Any) -> dict[str, Any]:
    return {"follow_up": dict.fromkeys(ALL_STAGES, follow_up)}


# --- A customer's first lead --------------------------------------------------------------------------------------------


def test_a_first_lead_is_a_contact_and_a_note_in_two_requests(pipeline: Pipeline, hubspot: HubSpot) -> None:
    lead = deliver(pipeline, Description='Please <b>call</b> "me" & mine')
    assert state(pipeline, lead) is State.DELIVERED
    assert asked(hubspot) == ["POST contacts", "POST notes"]
    assert one(hubspot).properties == {
        "email": EMAIL,
        "firstname": "Ada",
        "lastname": "O'Neil",
        "phone": "16175555555",
        "company": "Example Works",
        "jobtitle": "Engineer",
        "country": "United States",
    }
    (note,) = hubspot.notes.values()
    assert note.contact == one(hubspot).id == pipeline.delivery(lead).record_id
    assert datetime.fromisoformat(note.properties["hs_timestamp"]) == pipeline.record(lead).received_at
    told = note.properties["hs_note_body"]
    assert f"Lead: {lead}" in told and "Offer: Contoso CRM" in told
    assert 'Please &lt;b&gt;call&lt;/b&gt; "me" &amp; mine' in told, "what a customer wrote is text"


def test_a_follow_up_is_a_task_with_its_owner_in_a_third_request(pipeline: Pipeline, hubspot: HubSpot) -> None:
    pipeline.offer(crm(hubspot, **every_stage(**TASK)))
    lead = deliver(pipeline, "PLT")
    assert asked(hubspot) == ["POST contacts", "POST notes", "POST tasks"]
    (task,) = hubspot.tasks.values()
    due = datetime.fromisoformat(task.properties.pop("hs_timestamp"))
    assert due == pipeline.record(lead).received_at + timedelta(hours=4)
    assert f"Lead: {lead}" in task.properties.pop("hs_task_body")
    assert task.properties == {
        "hs_task_subject": "Call Ada",
        "hs_task_status": "NOT_STARTED",
        "hs_task_type": "TODO",
        "hs_task_priority": "HIGH",
        "hubspot_owner_id": OWNER,
    }
    assert one(hubspot).properties["hubspot_owner_id"] == OWNER


def test_a_lead_without_an_e_mail_address_is_refused_with_that_reason(pipeline: Pipeline, hubspot: HubSpot) -> None:
    lead = deliver(pipeline, email="")
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DEAD_LETTER, "email")
    assert "The lead has no e-mail address" in pipeline.delivery(lead).reason
    assert hubspot.journal == []


def test_a_list_is_added_to_and_a_wrong_one_costs_the_lead_nothing(pipeline: Pipeline, hubspot: HubSpot) -> None:
    pipeline.offer(crm(hubspot, follow_up={"initial_interest": {"list": LIST}, "trial": {"list": DYNAMIC_LIST}}))
    deliver(pipeline)
    assert hubspot.lists[LIST] == {one(hubspot).id}
    lead = deliver(pipeline, "StartTestDrive")
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "list:VALIDATION_ERROR")
    assert len(notes(hubspot)) == 2


def test_only_a_policy_and_a_setting_together_opt_an_address_out(pipeline: Pipeline, hubspot: HubSpot) -> None:
    for more, policies, expected in (
        ({}, {"dnc": "flag"}, set()),
        ({"do_not_contact": "unsubscribe"}, {"dnc": "note"}, set()),
        ({"do_not_contact": "unsubscribe"}, {"dnc": "flag"}, {"third+x@example.com"}),
    ):
        pipeline.offer(crm(hubspot, **more), policies=policies)
        email = ("first", "second", "third+x")[len(hubspot.contacts)] + "@example.com"
        assert state(pipeline, deliver(pipeline, "DNC", email)) is State.DELIVERED
        assert hubspot.unsubscribed == expected


# --- A customer who is there already ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hides_id", [False, True], ids=["told by the refusal", "looked up"])
@pytest.mark.parametrize("secondary", [False, True], ids=["first address", "further address"])
def test_an_existing_contact_gets_the_note_and_only_properties_that_were_never_filled(
    pipeline: Pipeline, hubspot: HubSpot, hides_id: bool, secondary: bool
) -> None:
    hubspot.hides_id = hides_id
    first, further = ("other@example.com", [EMAIL]) if secondary else (EMAIL, [])
    theirs = hubspot.add_contact(first, secondary=further, firstname="Siobhán", phone="", jobtitle="CTO")
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).record_id == theirs.id
    assert one(hubspot).properties == {
        "email": first,
        "firstname": "Siobhán",
        "jobtitle": "CTO",
        "phone": "",
        "lastname": "O'Neil",
        "company": "Example Works",
        "country": "United States",
    }
    assert len(notes(hubspot)) == 1
    assert ("POST contacts/batch/read" in asked(hubspot)) is hides_id
    assert not any("search" in request.path or "upsert" in request.path for request in hubspot.journal)


def test_the_policy_overwrite_replaces_all_mapped_properties_but_the_address(
    pipeline: Pipeline, hubspot: HubSpot
) -> None:
    pipeline.offer(crm(hubspot), policies={"existing_records": "overwrite"})
    hubspot.add_contact("other@example.com", secondary=[EMAIL], firstname="Siobhán", phone="")
    deliver(pipeline)
    values = one(hubspot).properties
    assert (values["email"], values["firstname"], values["phone"]) == ("other@example.com", "Ada", "16175555555")


def test_a_later_lead_changes_nothing_that_is_filled_and_takes_at_most_five_requests(
    pipeline: Pipeline, hubspot: HubSpot
) -> None:
    pipeline.offer(crm(hubspot, **every_stage(**TASK)))
    details = a_lead(EMAIL)["UserDetails"]
    deliver(pipeline, UserDetails={**details, "Company": "", "Title": ""})
    one(hubspot).write({"firstname": "Siobhán", "company": ""}, "CRM_UI")
    del hubspot.journal[:]
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    contact = one(hubspot).id
    assert asked(hubspot) == [
        f"GET contacts/{contact}",
        f"PATCH contacts/{contact}",
        "POST notes/batch/read",
        "POST notes",
        "POST tasks",
    ]
    values = one(hubspot).properties
    assert (values["firstname"], values["company"], values["jobtitle"]) == ("Siobhán", "", "Engineer")
    assert (len(hubspot.notes), len(hubspot.tasks)) == (2, 2)


def test_a_contact_that_somebody_has_made_since_the_own_one_was_deleted_is_found(
    pipeline: Pipeline, hubspot: HubSpot
) -> None:
    deliver(pipeline)
    one(hubspot).archived = True
    successor = hubspot.add_contact(EMAIL)
    assert pipeline.delivery(deliver(pipeline, "PLT")).record_id == successor.id


def test_leads_of_two_offers_are_one_contact(pipeline: Pipeline, hubspot: HubSpot) -> None:
    pipeline.offer(crm(hubspot), offer_id="contoso.other", titles=["Contoso Other"])
    deliver(pipeline)
    deliver(pipeline, OfferTitle="Contoso Other")
    assert len(notes(hubspot)) == 2 and one(hubspot)
    assert asked(hubspot).count("POST contacts") == 1, "the contact is known to both"


# --- Once, whatever is lost ---------------------------------------------------------------------------------------------


def is_write(number: int) -> Callable[[Request], bool]:
    """The request with this number among those that store something."""
    left = [number]

    def decide(request: Request) -> bool:
        if request.method == "GET" or request.path.endswith("/batch/read"):
            return False
        left[0] -= 1
        return left[0] == 0

    return decide


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("is_first", [True, False], ids=["first lead", "later lead"])
def test_a_lost_answer_doubles_nothing(pipeline: Pipeline, hubspot: HubSpot, number: int, is_first: bool) -> None:
    pipeline.offer(crm(hubspot, **every_stage(**TASK, list=LIST)))
    if not is_first:
        deliver(pipeline)
        del one(hubspot).history["phone"], one(hubspot).properties["phone"]
    before = (len(hubspot.notes), len(hubspot.tasks))
    hubspot.fail_next(LOSE_ANSWER, is_write(number))
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.RETRY
    pipeline.advance(3600)
    assert state(pipeline, lead) is State.DELIVERED
    assert (len(hubspot.notes), len(hubspot.tasks)) == (before[0] + 1, before[1] + 1)
    assert one(hubspot).properties["phone"] == "16175555555" and hubspot.lists[LIST] == {one(hubspot).id}


def test_a_second_try_looks_only_for_activities_that_may_exist(pipeline: Pipeline, hubspot: HubSpot) -> None:
    """It is remembered that the note was stored before the task is tried."""
    pipeline.offer(crm(hubspot, **every_stage(**TASK)))
    hubspot.fail_next(LOSE_ANSWER, is_write(3))
    deliver(pipeline)
    del hubspot.journal[:]
    pipeline.advance(3600)
    assert asked(hubspot) == [f"GET contacts/{one(hubspot).id}", "POST tasks/batch/read"]


def test_a_list_that_is_busy_is_tried_again_with_the_lead(pipeline: Pipeline, hubspot: HubSpot) -> None:
    pipeline.offer(crm(hubspot, **every_stage(list=LIST)))
    hubspot.fail_next(Response(503, b""), lambda request: request.method == "PUT")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.RETRY
    pipeline.advance(3600)
    assert state(pipeline, lead) is State.DELIVERED
    assert hubspot.lists[LIST] == {one(hubspot).id} and len(notes(hubspot)) == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_worker_doubles_nothing(
    pipeline: Pipeline, hubspot: HubSpot, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The process ends after HubSpot has acted, before the answer arrives."""
    monkeypatch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
    pipeline.offer(crm(hubspot, **every_stage(**TASK)))
    client = pipeline.app.destination(pipeline.app.offers.all()[0].destinations[0]).http
    real, chosen = client.request, is_write(number)

    def die(method: str, url: str, **more: Any) -> Any:
        answer = real(method, url, **more)
        if chosen(Request(method, url.partition("?")[0], {}, b"")):
            raise Killed
        return answer

    pipeline.post(a_lead(EMAIL))
    (message,) = pipeline.messages()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(client, "request", die)
        delivery.deliver(pipeline.app, text_of(message))
    delivery.deliver(pipeline.app, text_of(message))
    assert pipeline.states() == {"delivered": 1}
    assert (len(hubspot.living()), len(hubspot.notes), len(hubspot.tasks)) == (1, 1, 1)


def test_a_very_long_story_is_in_several_notes_once_each(pipeline: Pipeline, hubspot: HubSpot) -> None:
    hubspot.fail_next(LOSE_ANSWER, is_write(2))
    lead = deliver(pipeline, Description="&🙂" * 14_000)
    pipeline.advance(3600)
    assert state(pipeline, lead) is State.DELIVERED
    told = notes(hubspot)
    assert len(told) == 2 and all(len(each.encode("utf-16-le")) // 2 <= fake.TEXT_CHARACTERS for each in told)
    assert [f"Lead: {lead} ({number}/2)" in each for number, each in enumerate(told, 1)] == [True] * 2
    assert "".join(told).count("🙂") == 14_000


def test_the_own_note_is_found_among_hundreds(pipeline: Pipeline, hubspot: HubSpot) -> None:
    deliver(pipeline)
    for number in range(350):  # more than are looked through
        hubspot.notes[str(number)] = fake.Activity(str(number), one(hubspot).id, {"hs_note_body": "older"})
    hubspot.notes = dict(sorted(hubspot.notes.items(), key=lambda note: int(note[0])))
    hubspot.fail_next(LOSE_ANSWER, is_write(1))
    lead = deliver(pipeline, "PLT")
    pipeline.advance(3600)
    assert state(pipeline, lead) is State.DELIVERED
    assert len(hubspot.notes) == 352


# --- Refusals -----------------------------------------------------------------------------------------------------------


def test_refused_properties_are_left_out_and_named_in_the_note(pipeline: Pipeline, hubspot: HubSpot) -> None:
    hubspot.properties["company"] = Property("enumeration", ("Contoso",))
    hubspot.properties["phone"] = Property("number")
    lead = deliver(pipeline, UserDetails={**a_lead(EMAIL)["UserDetails"], "Phone": "+1 (617) 555-5555"})
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "left_out:company,phone")
    assert "company" not in one(hubspot).properties and one(hubspot).properties["jobtitle"] == "Engineer"
    (told,) = notes(hubspot)
    assert told.startswith("HubSpot did not accept: company, phone.") and "+1 (617) 555-5555" in told


def test_an_owner_who_is_gone_costs_the_lead_nothing(pipeline: Pipeline, hubspot: HubSpot) -> None:
    pipeline.offer(crm(hubspot, **every_stage(**TASK | {"owner": "999"})))
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "left_out:hubspot_owner_id")
    assert len(hubspot.tasks) == 1


def test_refused_changes_do_not_take_the_note_with_them(pipeline: Pipeline, hubspot: HubSpot) -> None:
    hubspot.add_contact(EMAIL)
    hubspot.fault = lambda request: refused("VALIDATION_ERROR") if request.method == "PATCH" else None
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "changes_refused")
    assert len(notes(hubspot)) == 1


def refused(category: str, status: int = 400, code: str = "", name: str = "phone") -> Response:
    errors = [{"message": EMAIL, "code": code, "context": {"propertyName": [name]}}] if code else []
    return error(status, f"{EMAIL} is wrong", category, errors)


@pytest.mark.parametrize("embeds", [False, True], ids=["one error each", "inside the message"])
@pytest.mark.parametrize(
    ("mapping", "rules", "words"),
    [
        (
            {"nonsense": "{email}"},
            {},
            "has no contact property with this name: remove it from the mapping, or create it: nonsense.",
        ),
        ({"createdate": "{received_at}"}, {}, "sets this property itself: remove it from the mapping: createdate."),
        ({"hs_lead_status": "LATER"}, {}, "does not accept a constant of the mapping: check hs_lead_status."),
        (
            {},
            {"lead_source": Property(required=True)},
            "requires this property in new contacts: add it to the mapping, or make it",
        ),
    ],
    ids=["unknown", "read-only", "constant", "required"],
)
def test_a_fault_of_the_mapping_or_the_account_names_the_property(
    pipeline: Pipeline, hubspot: HubSpot, mapping: dict[str, Any], rules: dict[str, Property], words: str, embeds: bool
) -> None:
    hubspot.embeds_errors = embeds
    hubspot.properties |= rules
    pipeline.offer(crm(hubspot, mapping=mapping))
    lead = deliver(pipeline)
    delivery = pipeline.delivery(lead)
    assert delivery.attempts[-1].outcome in {"misconfigured", "retry"} and delivery.state in {State.PARKED, State.RETRY}
    assert words in delivery.reason or "mapping." in delivery.reason
    assert hubspot.contacts == {}


@pytest.mark.parametrize(
    ("answer", "expected", "code_expected"),
    [
        (refused("VALIDATION_ERROR", code="INVALID_EMAIL", name="email"), State.DEAD_LETTER, "INVALID_EMAIL"),
        (error(400, f"{EMAIL} has been GDPR blacklisted", "VALIDATION_ERROR"), State.SKIPPED, "gdpr_deleted"),
        (refused("VALIDATION_ERROR"), State.DEAD_LETTER, "VALIDATION_ERROR"),
        (Response(414, {"status": "error"}), State.DEAD_LETTER, "414"),
        (Response(403, b"error code: 1015"), State.RETRY, "403"),
        (Response(502, b"<html>Bad gateway</html>"), State.RETRY, "502"),
        (Response(521, b""), State.RETRY, "521"),
        (error(409, "Contact already exists.", "CONFLICT"), State.RETRY, "CONFLICT"),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_each_refusal_has_its_outcome(
    pipeline: Pipeline, hubspot: HubSpot, answer: Response, expected: State, code_expected: str
) -> None:
    hubspot.fault = lambda request: answer if request.path.endswith("/contacts") else None
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (expected, code_expected)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (throttled("SECONDLY"), 1),
        (throttled("TEN_SECONDLY_ROLLING"), 10),
        (throttled("DAILY"), 3600),
        (migrating(7200), 7200),
        (error(423, "locked", "LOCKED"), 2),
    ],
    ids=["second", "ten seconds", "day", "migration", "locked"],
)
def test_a_busy_account_is_asked_again_when_it_says(
    pipeline: Pipeline, hubspot: HubSpot, answer: Fault, seconds: int
) -> None:
    hubspot.fail_next(answer)
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.RETRY
    assert wait(pipeline, lead) >= timedelta(seconds=seconds)
    pipeline.advance(seconds * 2 + 60)
    assert state(pipeline, lead) is State.DELIVERED


def test_personal_data_in_hubspots_messages_is_never_kept(
    pipeline: Pipeline, hubspot: HubSpot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answers = [
        refused("VALIDATION_ERROR"),
        refused(EMAIL),
        refused("X", 403),
        refused("X", code=EMAIL),
        refused("X", 409),
    ]
    leads = []
    for answer, action in zip(answers, ("INS", "PLT", "Create", "StartTestDrive", "XYZ"), strict=True):
        hubspot.fault = lambda request, told=answer: told  # type: ignore[misc]
        leads.append(deliver(pipeline, action))
    kept = [*caplog.messages, *(str(pipeline.record(lead).deliveries) for lead in leads)]
    kept += [str(row) for row in pipeline.app.storage.table(CONNECTIONS_TABLE).query(keys_beginning(""))]
    assert not [text for text in kept if EMAIL in text]


def test_an_association_that_fails_because_the_contact_was_just_deleted_is_tried_again(
    pipeline: Pipeline, hubspot: HubSpot
) -> None:
    deliver(pipeline)

    def delete_first(request: Request) -> None:
        if request.path.endswith("/notes"):
            one(hubspot).archived = True
            hubspot.fault = lambda _: None

    hubspot.fault = delete_first
    lead = deliver(pipeline, "PLT")
    pipeline.advance(3600)
    assert state(pipeline, lead) is State.DELIVERED
    assert [note.contact for note in hubspot.notes.values()][-1] == one(hubspot).id


# --- The check of a connection ------------------------------------------------------------------------------------------


def check(pipeline: Pipeline, hubspot: HubSpot, **more: Any) -> CheckResult:
    return check_anew(pipeline, crm(hubspot, **more))


def test_a_connection_that_works_passes_and_nothing_is_stored(pipeline: Pipeline, hubspot: HubSpot) -> None:
    everything = {"mapping": {"hs_lead_status": "NEW"}, **every_stage(owner=OWNER, list=LIST)}
    assert check(pipeline, hubspot, **everything) == CheckResult(ok=True)
    hubspot.tells_scopes = False
    assert check(pipeline, hubspot, **everything) == CheckResult(ok=True)
    assert hubspot.contacts == {} and len(hubspot.journal) <= 2 * 11


@pytest.mark.parametrize(("scope", "tells"), [("read", True), ("write", True), ("read", False)])
def test_a_missing_scope_is_named(pipeline: Pipeline, hubspot: HubSpot, scope: str, tells: bool) -> None:
    hubspot.tells_scopes = tells
    hubspot.scopes.discard(f"crm.objects.contacts.{scope}")
    found = check(pipeline, hubspot)
    assert not found.ok and f"crm.objects.contacts.{scope}" in found.problem


def test_a_missing_scope_that_no_check_can_see_is_named_by_the_first_lead(pipeline: Pipeline, hubspot: HubSpot) -> None:
    hubspot.tells_scopes = False
    hubspot.scopes.discard("crm.objects.contacts.write")
    lead = deliver(pipeline)
    assert "add the scope crm.objects.contacts.write to the service key" in pipeline.delivery(lead).reason


@pytest.mark.parametrize("token", ["not-a-token", "pat-na1-another"])
def test_a_refused_token_is_named_as_the_fault(
    pipeline: Pipeline, hubspot: HubSpot, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("LEADS_SECRET_HUBSPOT", token)
    found = check(pipeline, hubspot)
    assert not found.ok and "enter the token of a service key (pat-…)" in found.problem


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"nonsense": "x"}, "mapping.nonsense: HubSpot has no contact property with this name"),
        ({"createdate": "x"}, "mapping.createdate: HubSpot sets this property itself"),
        (
            {"hs_lead_status": "LATER"},
            "mapping.hs_lead_status: is not one of the property's options: NEW, OPEN, IN_PROGRESS.",
        ),
    ],
)
def test_a_property_that_can_not_be_filled_is_named(
    pipeline: Pipeline, hubspot: HubSpot, mapping: dict[str, Any], words: str
) -> None:
    found = check(pipeline, hubspot, mapping=mapping)
    assert not found.ok and found.problem.startswith(words)


@pytest.mark.parametrize(
    ("follow_up", "words"),
    [
        ({"owner": "999"}, "follow_up.trial.owner: HubSpot has no owner with this ID."),
        ({"list": "999"}, "follow_up.trial.list: HubSpot has no list with this ID."),
        ({"list": DYNAMIC_LIST}, "follow_up.trial.list: the list is dynamic: name a static list."),
    ],
)
def test_a_missing_target_is_named_and_pauses_no_connection(
    pipeline: Pipeline, hubspot: HubSpot, follow_up: dict[str, Any], words: str
) -> None:
    assert check(pipeline, hubspot, follow_up={"trial": follow_up}) == CheckResult(ok=True, problem=words, code="check")


@pytest.mark.parametrize("follow_up", [{"owner": "user:1"}, {"list": "0"}, {"queue": "1"}, {"campaign": "1"}])
def test_a_malformed_id_is_refused_when_the_offer_is_saved(hubspot: HubSpot, follow_up: dict[str, str]) -> None:
    with pytest.raises(InvalidOffer, match="follow_up"):
        read_offer({"id": "a.b", "destinations": [crm(hubspot, follow_up={"trial": follow_up})]})


# --- The fake itself ----------------------------------------------------------------------------------------------------


def test_search_lags_behind_and_knows_first_addresses_alone(pipeline: Pipeline, hubspot: HubSpot) -> None:
    """Why a customer is never searched for."""
    hubspot.add_contact("first@example.com", secondary=[EMAIL])

    def search(email: str) -> int:
        filters = [{"filters": [{"propertyName": "email", "operator": "EQ", "value": email}]}]
        body = json.dumps({"filterGroups": filters}).encode()
        headers = {"authorization": f"Bearer {hubspot.token}"}
        found = hubspot.answer(Request("POST", "/crm/objects/2026-09/contacts/search", headers, body))
        return int(found.body["total"])

    assert search("first@example.com") == 0
    pipeline.clock.time += fake.SEARCH_LAG
    assert (search("first@example.com"), search(EMAIL)) == (1, 0)
