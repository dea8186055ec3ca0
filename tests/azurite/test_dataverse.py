"""Dynamics 365, from the intake to the record: over TLS, against an environment that behaves as Microsoft documents."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from leads.app import App
from leads.destinations.base import CheckResult
from leads.destinations.words import NOT_PROVIDED
from leads.offers import InvalidOffer, read_offer
from leads.rows import State
from leads.settings import read_settings
from tests.fakes.dataverse import (
    CAMPAIGN,
    CLIENT,
    PERSON,
    QUEUE,
    TEAM,
    TENANT,
    Column,
    Dataverse,
    Throttle,
)
from tests.fakes.https_server import LOSE_ANSWER, Request, Response
from tests.fakes.tls import Authority, make_authority
from tests.support.pipeline import Pipeline, a_lead, pipeline_over_tls

EMAIL = "siobhan+crm@example.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def dynamics(authority: Authority) -> Iterator[Dataverse]:
    with Dataverse(authority) as running:
        yield running


@pytest.fixture
def pipeline(
    fresh_storage: str, authority: Authority, dynamics: Dataverse, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("DYNAMICS_SECRET", "the secret")
    made.offer(crm(dynamics))
    return made


def crm(dynamics: Dataverse, **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = {key: more.pop(key) for key in ("mapping", "follow_up", "when") if key in more}
    return {
        "name": "crm",
        "type": "dataverse",
        "settings": {
            "url": dynamics.url,
            "authority": dynamics.entra.url,
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": "env:DYNAMICS_SECRET",
            **more,
        },
        **config,
    }


def deliver(pipeline: Pipeline, action: str = "INS", email: str = EMAIL, **changes: Any) -> str:
    """A lead, from its post until it is settled."""
    lead = pipeline.post(a_lead(email, action, **changes))
    pipeline.run()
    return lead


def state(pipeline: Pipeline, lead: str) -> State:
    return pipeline.delivery(lead).state


def one(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows.values()
    return row


def check(pipeline: Pipeline, dynamics: Dataverse, **more: Any) -> CheckResult:
    """The check of an app that has just started."""
    offer = read_offer({"id": "a.b", "destinations": [crm(dynamics, **more)]})
    return App(pipeline.app.settings).destination(offer.destinations[0]).check()


# --- A customer's first lead --------------------------------------------------------------------------------------------


def test_a_first_lead_is_a_record_with_a_note(pipeline: Pipeline, dynamics: Dataverse) -> None:
    lead = deliver(pipeline)
    row = one(dynamics.leads)
    expected = {
        "subject": "Initial interest: Contoso CRM",
        "firstname": "Ada",
        "lastname": "O'Neil",
        "emailaddress1": EMAIL,
        "telephone1": "16175555555",
        "companyname": "Example Works",
        "jobtitle": "Engineer",
        "address1_country": "USA",
        "description": "Please call",
        "leadsourcecode": 8,
        "leadqualitycode": 2,
        "donotemail": False,
        "donotphone": False,
    }
    assert {name: row[name] for name in expected} == expected
    (note,) = dynamics.notes(row["leadid"])
    assert note["subject"] == "Initial interest: Contoso CRM"
    assert "Please call" in note["notetext"] and lead in note["notetext"]
    assert pipeline.delivery(lead).record_id == row["leadid"]


def test_it_costs_two_requests_and_one_without_a_search(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    assert dynamics.requests() == 2
    deliver(pipeline, "PLT")
    assert dynamics.requests() == 4
    pipeline.offer(crm(dynamics, match_existing="off"))
    deliver(pipeline, email="other@example.com")
    assert dynamics.requests() == 5


def test_no_address_holds_anything_personal(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    deliver(pipeline, "PLT")
    targets = " ".join(request.target for request in [*dynamics.journal, *dynamics.entra.journal]).lower()
    for word in ("siobhan", "example", "neil", "the%20secret", "secret", "1617"):
        assert word not in targets


def test_what_is_missing_is_a_visible_placeholder_or_the_domain(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline, UserDetails={"Email": "someone@contoso.example.com"})
    deliver(pipeline, UserDetails={"Email": "someone@gmail.com"}, Description="another")
    own, free = dynamics.leads.values()
    assert (own["lastname"], own["companyname"]) == (NOT_PROVIDED, "contoso.example.com")
    assert (free["lastname"], free["companyname"]) == (NOT_PROVIDED, NOT_PROVIDED)


def test_leads_without_an_address_are_not_searched_for_and_never_merge(pipeline: Pipeline, dynamics: Dataverse) -> None:
    for phone in ("1", "2"):
        deliver(pipeline, UserDetails={"LastName": "Kim", "Phone": phone})
    assert len(dynamics.leads) == 2
    assert dynamics.requests() == 2


# --- The journey --------------------------------------------------------------------------------------------------------


def test_each_stage_is_a_note_on_the_one_record_and_the_rating_rises(pipeline: Pipeline, dynamics: Dataverse) -> None:
    for action in ("INS", "StartTestDrive", "PLT", "INS"):
        deliver(pipeline, action, Description=f"{action} {len(dynamics.notes())}")
    row = one(dynamics.leads)
    assert [note["subject"].partition(":")[0] for note in dynamics.notes(row["leadid"])] == [
        "Initial interest",
        "Trial",
        "Contact requested",
        "Initial interest",
    ]
    assert row["leadqualitycode"] == 1, "it does not fall again"


def test_a_lead_that_is_sent_twice_is_there_once(pipeline: Pipeline, dynamics: Dataverse) -> None:
    for action in ("INS", "PLT"):
        dynamics.fail_next(LOSE_ANSWER, is_write)
        lead = deliver(pipeline, action)
        assert state(pipeline, lead) is State.RETRY
        pipeline.advance(15)
        assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.leads) == 1
    assert len(dynamics.notes()) == 2


def test_leads_that_overlap_after_a_lost_answer_are_one_record_and_a_note_each(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    pipeline.offer(crm(dynamics, match_existing="off"))
    dynamics.fail_next(LOSE_ANSWER, is_write)
    first = deliver(pipeline)
    second = deliver(pipeline, "PLT")
    pipeline.advance(15)
    assert {state(pipeline, first), state(pipeline, second)} == {State.DELIVERED}
    assert len(dynamics.leads) == 1
    assert len(dynamics.notes()) == 2


def test_nothing_that_a_person_has_edited_is_overwritten(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    lead_id = one(dynamics.leads)["leadid"]
    dynamics.edit(lead_id, companyname="Their name", jobtitle=None, leadqualitycode=3)
    deliver(pipeline, "PLT")
    row = one(dynamics.leads)
    assert (row["companyname"], row["jobtitle"], row["leadqualitycode"]) == ("Their name", None, 3)
    assert len(dynamics.notes(lead_id)) == 2


def test_a_rating_that_nobody_has_changed_rises_in_a_record_that_others_have_edited(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    deliver(pipeline)
    dynamics.edit(one(dynamics.leads)["leadid"], companyname="Their name")
    deliver(pipeline, "PLT")
    assert one(dynamics.leads)["leadqualitycode"] == 1
    assert one(dynamics.leads)["companyname"] == "Their name"


def test_what_a_person_has_emptied_stays_empty_through_all_later_stages(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    deliver(pipeline)
    dynamics.edit(one(dynamics.leads)["leadid"], jobtitle=None)
    for action in (
        "PLT",
        "Create",
        "StartTestDrive",
    ):  # the first of them changes the rating, and so is the last who changed it
        deliver(pipeline, action)
    assert one(dynamics.leads)["jobtitle"] is None
    assert one(dynamics.leads)["leadqualitycode"] == 1


def test_that_a_person_was_there_is_not_forgotten_when_an_answer_is_lost(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    deliver(pipeline)
    dynamics.edit(one(dynamics.leads)["leadid"], jobtitle=None)
    dynamics.fail_next(LOSE_ANSWER, is_write)
    deliver(pipeline, "PLT")
    pipeline.advance(15)
    deliver(pipeline, "Create")
    assert one(dynamics.leads)["jobtitle"] is None


def test_a_placeholder_gives_way_to_what_a_later_lead_says(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline, email="someone@gmail.com", UserDetails={"Email": "someone@gmail.com"})
    assert one(dynamics.leads)["lastname"] == NOT_PROVIDED
    deliver(pipeline, "PLT", email="someone@gmail.com")
    assert (one(dynamics.leads)["lastname"], one(dynamics.leads)["companyname"]) == ("O'Neil", "Example Works")


def test_what_a_later_lead_adds_fills_what_is_empty(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline, UserDetails={"Email": EMAIL, "LastName": "O'Neil"})
    deliver(pipeline, "PLT")
    assert one(dynamics.leads)["telephone1"] == "16175555555"


def test_an_offer_may_ask_for_everything_to_be_overwritten(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics), policies={"existing_records": "overwrite"})
    deliver(pipeline)
    dynamics.edit(one(dynamics.leads)["leadid"], companyname="Their name", leadqualitycode=3)
    deliver(pipeline, "PLT")
    assert (one(dynamics.leads)["companyname"], one(dynamics.leads)["leadqualitycode"]) == ("Example Works", 1)


def test_a_change_at_the_same_moment_is_not_overwritten(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    lead_id = one(dynamics.leads)["leadid"]

    def edit_meanwhile(request: Request) -> None:
        if is_write(request) and len(dynamics.notes()) == 1 and one(dynamics.leads)["companyname"] != "Their name":
            dynamics.edit(lead_id, companyname="Their name")

    dynamics.fault = edit_meanwhile
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert one(dynamics.leads)["companyname"] == "Their name"
    assert one(dynamics.leads)["leadqualitycode"] == 1


# --- Records that others have made --------------------------------------------------------------------------------------


def test_a_record_of_a_trade_show_is_found_and_only_its_empty_columns_are_filled(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    theirs = dynamics.add_lead(emailaddress1=EMAIL.upper(), lastname="Oneil", companyname=None, leadqualitycode=3)
    deliver(pipeline, "PLT")
    row = one(dynamics.leads)
    assert (row["leadid"], row["lastname"], row["companyname"]) == (theirs, "Oneil", "Example Works")
    assert row["leadqualitycode"] == 3
    assert len(dynamics.notes(theirs)) == 1
    deliver(pipeline, "Create")
    assert len(dynamics.notes(theirs)) == 2


def test_a_record_of_others_gets_no_placeholder(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.add_lead(emailaddress1="someone@gmail.com", lastname=None, companyname=None)
    deliver(pipeline, UserDetails={"Email": "someone@gmail.com"})
    assert (one(dynamics.leads)["lastname"], one(dynamics.leads)["companyname"]) == (None, None)


def test_an_apostrophe_finds_its_own_record_and_no_other(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.add_lead(emailaddress1="x@example.com")
    theirs = dynamics.add_lead(emailaddress1="o'neil@example.com")
    deliver(pipeline, email="o'neil@example.com")
    assert len(dynamics.notes(theirs)) == 1
    deliver(pipeline, email="x' or leadqualitycode eq 2 or emailaddress1 eq 'x@example.com")
    assert len(dynamics.leads) == 3


def test_an_open_record_is_preferred_to_a_closed_one(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.disqualify(dynamics.add_lead(emailaddress1=EMAIL))
    its_open = dynamics.add_lead(emailaddress1=EMAIL)
    dynamics.disqualify(dynamics.add_lead(emailaddress1=EMAIL))
    deliver(pipeline)
    assert len(dynamics.notes(its_open)) == 1


def test_a_search_that_is_switched_off_finds_nobody(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics, match_existing="off"))
    dynamics.add_lead(emailaddress1=EMAIL)
    deliver(pipeline)
    assert len(dynamics.leads) == 2


# --- Records that people have changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_opportunity", [True, False])
def test_a_stage_of_a_qualified_lead_goes_to_what_it_became(
    pipeline: Pipeline, dynamics: Dataverse, has_opportunity: bool
) -> None:
    deliver(pipeline)
    contact, opportunity = dynamics.qualify(one(dynamics.leads)["leadid"], opportunity=has_opportunity)
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.notes(opportunity or contact)) == 1
    assert len(dynamics.leads) == 1


def test_it_goes_to_the_lead_where_what_it_became_is_gone(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    lead_id = one(dynamics.leads)["leadid"]
    contact, opportunity = dynamics.qualify(lead_id)
    dynamics.delete("contacts", contact)
    dynamics.delete("opportunities", opportunity)
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.notes(lead_id)) == 2


def test_a_disqualified_lead_gets_a_note_and_stays_closed(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    dynamics.disqualify(one(dynamics.leads)["leadid"])
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert one(dynamics.leads)["statecode"] == 2
    assert len(dynamics.notes()) == 2


def test_a_merged_lead_is_followed_to_its_survivor(pipeline: Pipeline, dynamics: Dataverse) -> None:
    lead = deliver(pipeline)
    survivor = dynamics.add_lead(emailaddress1="other@example.com")
    dynamics.merge(pipeline.delivery(lead).record_id, survivor)
    later = deliver(pipeline, "PLT")
    assert pipeline.delivery(later).record_id == survivor
    assert len(dynamics.notes(survivor)) == 1


def test_where_the_survivor_was_deleted_too_the_record_is_made_again(pipeline: Pipeline, dynamics: Dataverse) -> None:
    lead = deliver(pipeline)
    survivor = dynamics.add_lead(emailaddress1="other@example.com")
    dynamics.merge(pipeline.delivery(lead).record_id, survivor)
    dynamics.delete("leads", survivor)
    later = deliver(pipeline, "PLT")
    assert state(pipeline, later) is State.DELIVERED
    assert len(dynamics.notes(pipeline.delivery(later).record_id)) == 1


def test_a_deleted_record_is_made_again(pipeline: Pipeline, dynamics: Dataverse) -> None:
    first = deliver(pipeline)
    dynamics.delete("leads", pipeline.delivery(first).record_id)
    dynamics.fail_next(LOSE_ANSWER, is_write)
    lead = deliver(pipeline, "PLT")
    pipeline.advance(15)
    assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.leads) == 1
    deliver(pipeline, "Create")
    assert len(dynamics.notes(one(dynamics.leads)["leadid"])) == 2


def test_or_it_stays_deleted(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics, deleted_records="skip"))
    first = deliver(pipeline)
    dynamics.delete("leads", pipeline.delivery(first).record_id)
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.SKIPPED
    assert "deleted" in pipeline.delivery(lead).reason
    assert not dynamics.leads


# --- Do not contact -----------------------------------------------------------------------------------------------------


def test_a_cross_listed_lead_makes_a_record_that_says_do_not_contact(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline, "DNC")
    row = one(dynamics.leads)
    assert row["donotemail"] and row["donotphone"] and row["donotsendmm"]
    assert row["leadqualitycode"] == 3


def test_real_interest_takes_our_flags_back(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline, "DNC")
    deliver(pipeline, "PLT")
    row = one(dynamics.leads)
    assert not row["donotemail"] and not row["donotphone"]
    assert row["leadqualitycode"] == 1


def test_flags_of_a_record_that_others_have_touched_stay_and_a_note_says_so(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    pipeline.offer(crm(dynamics, follow_up={"contact_requested": {"task": {}}}))
    deliver(pipeline, "DNC")
    dynamics.edit(one(dynamics.leads)["leadid"], companyname="Their name")
    deliver(pipeline, "PLT")
    assert one(dynamics.leads)["donotemail"]
    assert "not to contact" in dynamics.notes()[-1]["notetext"]
    assert "not to contact" in dynamics.tasks[0]["description"]


def test_flags_stay_through_all_later_stages_once_a_person_has_touched_the_record(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    deliver(pipeline, "DNC")
    dynamics.edit(one(dynamics.leads)["leadid"], companyname="Their name")
    deliver(pipeline, "INS")  # raises the rating, and so is the last who changed the record
    assert one(dynamics.leads)["leadqualitycode"] == 2
    deliver(pipeline, "PLT")
    assert one(dynamics.leads)["donotemail"] and one(dynamics.leads)["leadqualitycode"] == 1
    assert "not to contact" in dynamics.notes()[-1]["notetext"]


def test_a_cross_listed_lead_of_a_known_customer_is_a_note(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline, "PLT")
    deliver(pipeline, "DNC")
    assert not one(dynamics.leads)["donotemail"]
    assert one(dynamics.leads)["leadqualitycode"] == 1
    assert len(dynamics.notes()) == 2


def test_by_policy_a_cross_listed_lead_sets_no_flags(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics), policies={"dnc": "note"})
    deliver(pipeline, "DNC")
    assert not one(dynamics.leads)["donotemail"]


# --- Mapping and lengths ------------------------------------------------------------------------------------------------


def test_a_mapping_fills_columns_of_ones_own(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.columns |= {"new_offer": Column("String", 100), "new_campaign": Column("String", 100)}
    mapping = {
        "new_offer": "{offer_title}",
        "new_campaign": "{campaign.mktcmpid}",
        "leadsourcecode": 10,
        "jobtitle": None,
        "campaignid@odata.bind": f"/campaigns({CAMPAIGN})",
    }
    pipeline.offer(crm(dynamics, mapping=mapping))
    deliver(pipeline, Description='{"mktcmpid": "spring"}')
    row = one(dynamics.leads)
    assert (row["new_offer"], row["new_campaign"], row["leadsourcecode"]) == ("Contoso CRM", "spring", 10)
    assert row["_campaignid_value"] == CAMPAIGN
    assert "jobtitle" not in row


def test_texts_are_cut_to_their_columns_and_whole_in_the_note(pipeline: Pipeline, dynamics: Dataverse) -> None:
    details = {
        "LastName": "N" * 60,
        "Company": "🏢" * 60,
        "Phone": "1" * 60,
        "Title": "T" * 101,
        "Email": "e" * 95 + "@example.com",
    }
    deliver(pipeline, UserDetails=details, Description="D" * 3000)
    row = one(dynamics.leads)
    assert row["lastname"] == "N" * 49 + "…"
    assert row["companyname"] == "🏢" * 49 + "…"
    assert row["description"] == "D" * 1999 + "…"
    assert "telephone1" not in row and "emailaddress1" not in row, "a shortened one would be a wrong one"
    for value in (*details.values(), "D" * 3000):
        assert value in dynamics.notes()[0]["notetext"]


def test_what_is_longer_than_a_note_is_in_several_and_there_once(pipeline: Pipeline, dynamics: Dataverse) -> None:
    wish = "🏢 Wir möchten mehr wissen. " * 5_000
    dynamics.fail_next(LOSE_ANSWER, is_write)
    lead = deliver(pipeline, Description=wish)
    pipeline.advance(15)
    assert state(pipeline, lead) is State.DELIVERED
    first, second = dynamics.notes()
    assert [note["subject"].partition("(")[2] for note in (first, second)] == ["1/2)", "2/2)"]
    assert wish.strip() in first["notetext"] + second["notetext"]


def test_lengths_of_an_environment_with_others_are_learnt(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.columns["subject"] = Column("String", 10)
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    assert one(dynamics.leads)["subject"] == "Initial i…"
    before = dynamics.requests()
    deliver(pipeline, email="other@example.com")
    assert dynamics.requests() - before == 2, "they are known now"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_arrives_as_it_was_written(pipeline: Pipeline, dynamics: Dataverse, text: str) -> None:
    lead = deliver(pipeline, email=f"{uuid.uuid4()}@example.com", Description=f"<{text}>")
    assert f"<{text}>" in dynamics.notes()[-1]["notetext"]
    assert state(pipeline, lead) is State.DELIVERED


@pytest.mark.parametrize(
    "hostile",
    [
        "x\r\nMSCRM.Evil: 1",
        'x","ownerid@odata.bind":"/systemusers(1)',
        "{company} {{email}}",
        "--changeset_1--\r\nContent-ID: 9",
        "x' or 1 eq 1 or 'a' eq 'a",
        "=cmd|' /C calc'!A1",
    ],
)
def test_what_looks_like_syntax_is_text(pipeline: Pipeline, dynamics: Dataverse, hostile: str) -> None:
    details = dict.fromkeys(("FirstName", "LastName", "Phone", "Country", "Company", "Title"), hostile)
    lead = deliver(pipeline, UserDetails=details | {"Email": EMAIL}, Description=hostile, OfferTitle="Contoso CRM")
    assert state(pipeline, lead) is State.DELIVERED
    row = one(dynamics.leads)
    kept = hostile.replace("\r\n", "\n").replace("\r", "")
    shown = {row["firstname"], row["lastname"], row["companyname"], row["description"]}
    assert {" ".join(text.split()) for text in shown} == {" ".join(kept.split())}
    assert "_ownerid_value" not in row


# --- Follow-up ----------------------------------------------------------------------------------------------------------


def test_a_follow_up_assigns_files_and_reminds(pipeline: Pipeline, dynamics: Dataverse) -> None:
    task = {"subject": "Call {first_name} {last_name}", "due_hours": 4}
    wanted = {"owner": f"team:{TEAM}", "campaign": CAMPAIGN, "task": task, "queue": QUEUE, "rating": "hot"}
    pipeline.offer(crm(dynamics, follow_up={"initial_interest": wanted}))
    lead = deliver(pipeline)
    row = one(dynamics.leads)
    assert (row["_ownerid_value"], row["_campaignid_value"], row["leadqualitycode"]) == (TEAM, CAMPAIGN, 1)
    (made,) = dynamics.tasks
    assert (made["subject"], made["prioritycode"], made["_regarding"]) == ("Call Ada O'Neil", 2, row["leadid"])
    due = datetime.fromisoformat(made["scheduledend"])
    assert abs(due - pipeline.record(lead).received_at - timedelta(hours=4)) < timedelta(seconds=2)
    (item,) = dynamics.queue_items
    assert (item["_queueid_value"], item["_objectid_value"]) == (QUEUE, made["activityid"])


def test_without_a_task_the_record_itself_is_queued(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.leads_go_to_queues = True
    pipeline.offer(crm(dynamics, follow_up={"initial_interest": {"queue": QUEUE}}))
    deliver(pipeline)
    assert dynamics.queue_items[0]["_objectid_value"] == one(dynamics.leads)["leadid"]


def test_a_later_stage_has_its_own_task_once_and_keeps_the_owner(pipeline: Pipeline, dynamics: Dataverse) -> None:
    wanted = {"contact_requested": {"task": {}, "owner": f"user:{PERSON}"}}
    pipeline.offer(crm(dynamics, follow_up=wanted))
    deliver(pipeline)
    dynamics.fail_next(LOSE_ANSWER, is_write)
    deliver(pipeline, "PLT")
    pipeline.advance(15)
    (task,) = dynamics.tasks
    assert task["subject"] == "Follow up: Contact requested: Contoso CRM"
    assert task["_ownerid_value"] == PERSON
    assert "_ownerid_value" not in one(dynamics.leads)


def test_a_follow_up_whose_owner_is_gone_holds_no_lead_up(pipeline: Pipeline, dynamics: Dataverse) -> None:
    wanted = {"initial_interest": {"owner": f"user:{uuid.UUID(int=7)}", "task": {}}}
    pipeline.offer(crm(dynamics, follow_up=wanted))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    assert "does not exist any more" in dynamics.notes()[0]["notetext"]
    assert len(dynamics.tasks) == 1


# --- Duplicate rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 412])
@pytest.mark.parametrize(("policy", "records"), [("off", 2), ("delivered", 1), ("create", 2)])
def test_the_environments_duplicate_rule_counts_as_the_setting_says(
    pipeline: Pipeline, dynamics: Dataverse, policy: str, records: int, status: int
) -> None:
    dynamics.duplicate_rule, dynamics.duplicate_status = True, status
    dynamics.add_lead(emailaddress1=EMAIL)
    pipeline.offer(crm(dynamics, match_existing="off", duplicate_detection=policy))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.leads) == records
    assert pipeline.delivery(lead).attempts[-1].code == ("" if policy == "off" else "duplicate_rule")


# --- Errors -------------------------------------------------------------------------------------------------------------


def is_write(request: Request) -> bool:
    """Whether a request stores something: a change set, or a PATCH."""
    return request.method == "PATCH" or b"\r\nPATCH " in request.body


def test_a_throttled_lead_waits_as_long_as_it_is_told(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.throttle = Throttle(1, retry_after="90")
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).attempts[-1].code == "0x80072322"
    pipeline.advance(89)
    assert state(pipeline, lead) is State.RETRY
    dynamics.throttle = None
    pipeline.advance(2)
    assert state(pipeline, lead) is State.DELIVERED


def test_an_expired_token_is_renewed_within_the_attempt(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    dynamics.entra.revoke_tokens()
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(pipeline.delivery(lead).attempts) == 1
    assert tokens(dynamics) == 2


def test_one_token_serves_many_leads_and_offers(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics, mapping={"jobtitle": None}), offer_id="contoso.other", titles=["Other"])
    deliver(pipeline)
    deliver(pipeline, email="b@example.com", OfferTitle="Other")
    assert tokens(dynamics) == 1


def test_a_token_that_ends_is_renewed_before_it_does(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    pipeline.advance(3600 - 240)
    deliver(pipeline, "PLT")
    assert tokens(dynamics) == 2
    assert not [request for request in dynamics.journal if request.headers["authorization"] == "Bearer "]


IDENTITY = {"tenant_id": None, "client_id": None, "client_secret": None}


@pytest.fixture
def identity(
    pipeline: Pipeline, dynamics: Dataverse, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> HTTPServer:
    """The app's managed identity, whose token endpoint is the tests' own."""
    dynamics.entra.issued["an identity's token"] = datetime(2100, 1, 1, tzinfo=UTC)
    answer = {"access_token": "an identity's token", "expires_on": str(4_000_000_000), "token_type": "Bearer"}
    httpserver.expect_request("/token").respond_with_json(answer)
    monkeypatch.setenv("IDENTITY_ENDPOINT", httpserver.url_for("/token"))
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    monkeypatch.setenv("LeadsStorage__credential", "managedidentity")
    monkeypatch.setenv("LeadsStorage__clientId", CLIENT)
    pipeline.app.__dict__["settings"] = read_settings()
    return httpserver


def test_the_apps_identity_needs_no_secret(pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer) -> None:
    pipeline.offer(crm(dynamics, **IDENTITY))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    ((request, _),) = identity.log
    assert request.args["resource"] == dynamics.url
    assert request.args["client_id"] == CLIENT
    assert not dynamics.entra.journal


def test_an_identity_without_a_token_is_told_apart(
    pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer
) -> None:
    identity.clear()
    identity.expect_request("/token").respond_with_json({"statusCode": 400, "message": "No identity"}, status=400)
    pipeline.offer(crm(dynamics, **IDENTITY))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    assert "managed identity" in pipeline.delivery(lead).reason


def test_a_credential_is_given_whole_or_not_at_all(dynamics: Dataverse) -> None:
    with pytest.raises(InvalidOffer, match="client_secret: is needed too"):
        read_offer({"id": "a.b", "destinations": [crm(dynamics, client_secret=None)]})


def test_a_host_that_is_not_there_is_named_as_the_fault(
    pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer
) -> None:
    result = check(pipeline, dynamics, **IDENTITY, url="https://contoso.crm4.dynamics.invalid")
    assert not result.ok and result.transient, "it may be the name service that is out of order"
    assert "url" in result.problem


def tokens(dynamics: Dataverse) -> int:
    return sum(request.path.endswith("/token") for request in dynamics.entra.journal)


def refuse_secret(dynamics: Dataverse) -> None:
    dynamics.entra.set_secret("another")


def _follow_up(**wanted: Any) -> dict[str, Any]:
    return {"follow_up": {"purchase": wanted}}


def _without(right: str) -> SettingUp:
    return lambda dynamics: dynamics.rights.discard(right)


SettingUp = Callable[[Dataverse], Any]
MISCONFIGURED: list[tuple[str, dict[str, Any], SettingUp, str, str]] = [
    ("wrong secret", {}, refuse_secret, "AADSTS7000215", "secret's value"),
    ("expired secret", {}, lambda d: d.entra.expire_secrets(), "AADSTS7000222", "expired"),
    ("wrong client", {"client_id": TENANT}, lambda d: None, "AADSTS700016", "client_id"),
    ("wrong tenant", {"tenant_id": CLIENT}, lambda d: None, "tenant", "tenant_id"),
    ("not of this tenant", {}, lambda d: d.entra.resources.clear(), "AADSTS500011", "url"),
    ("no role", {}, lambda d: setattr(d, "user", "no role"), "0x80042f09", "security role"),
    ("no application user", {}, lambda d: setattr(d, "user", "missing"), "0x80072560", "Application users"),
    ("disabled user", {}, lambda d: setattr(d, "user", "disabled"), "0x80040225", "enable it"),
    ("no such secret", {"client_secret": "env:NOT_SET"}, lambda d: None, "settings", "NOT_SET"),
    ("missing right", {}, lambda d: d.rights.discard("prvCreateNote"), "check", "prvCreateNote"),
    ("missing right to columns", {}, lambda d: d.rights.discard("prvReadAttribute"), "check", "prvReadAttribute"),
    (
        "missing column",
        {"mapping": {"new_x": "{email}"}},
        lambda d: None,
        "check",
        "mapping.new_x: the lead table has no such",
    ),
    (
        "read-only column",
        {"mapping": {"createdon": "{email}"}},
        lambda d: None,
        "check",
        "mapping.createdon: Dynamics sets",
    ),
    (
        "capitals",
        {"mapping": {"JobTitle": "{title}"}},
        lambda d: None,
        "check",
        "mapping.JobTitle: column names have no capitals",
    ),
    ("text for a choice", {"mapping": {"leadsourcecode": "{source}"}}, lambda d: None, "check", "takes a whole number"),
    (
        "number for a text",
        {"mapping": {"jobtitle": 8}},
        lambda d: None,
        "check",
        "mapping.jobtitle: the column takes a text",
    ),
    ("text for a yes or no", {"mapping": {"donotfax": "true"}}, lambda d: None, "check", "takes true or false"),
    ("lookup as a text", {"mapping": {"campaignid": "{source}"}}, lambda d: None, "check", "map campaignid@odata.bind"),
    ("text as a lookup", {"mapping": {"jobtitle@odata.bind": "/x(1)"}}, lambda d: None, "check", "is no lookup"),
    (
        "missing queue",
        _follow_up(queue=TENANT, task={}),
        lambda d: None,
        "check",
        "follow_up.purchase.queue: Dynamics has none",
    ),
    (
        "leads without queues",
        _follow_up(queue=QUEUE),
        lambda d: None,
        "check",
        "follow_up.purchase.queue: leads do not go to",
    ),
    *(
        (f"missing {right}", _follow_up(**asks), _without(right), "check", right)
        for right, asks in (
            ("prvCreateActivity", {"task": {}}),
            ("prvAssignLead", {"owner": f"team:{TEAM}"}),
            ("prvAssignActivity", {"owner": f"team:{TEAM}", "task": {}}),
            ("prvAppendToQueue", {"queue": QUEUE, "task": {}}),
            ("prvAppendToCampaign", {"campaign": CAMPAIGN}),
        )
    ),
    ("no such host", {"url": "https://contoso.crm4.dynamics.invalid"}, lambda d: None, "AADSTS500011", "url"),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "code", "words"),
    [row[1:] for row in MISCONFIGURED],
    ids=[row[0] for row in MISCONFIGURED],
)
def test_a_check_says_precisely_what_to_change_and_writes_nothing(
    pipeline: Pipeline, dynamics: Dataverse, settings_: dict[str, Any], break_it: SettingUp, code: str, words: str
) -> None:
    break_it(dynamics)
    result = check(pipeline, dynamics, **settings_)
    assert not result.ok and not result.transient
    assert result.code == code
    assert words in result.problem
    assert not [request for request in dynamics.journal if is_write(request)]


def test_a_check_of_what_works_says_so(pipeline: Pipeline, dynamics: Dataverse) -> None:
    follow_up = {"purchase": {"owner": f"team:{TEAM}", "queue": QUEUE, "campaign": CAMPAIGN, "task": {}}}
    mapping = {
        "campaignid@odata.bind": f"/campaigns({CAMPAIGN})",
        "leadsourcecode": 10,
        "donotfax": True,
        "jobtitle": None,
    }
    assert check(pipeline, dynamics, follow_up=follow_up, mapping=mapping) == CheckResult(ok=True)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_check_during_an_outage_blames_nobody(pipeline: Pipeline, dynamics: Dataverse, status: int) -> None:
    dynamics.fault = lambda request: Response(status, b"<html>busy</html>")
    assert check(pipeline, dynamics).transient


@pytest.mark.parametrize("path", ["/token", "/.well-known/openid-configuration"])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_outage_of_the_sign_in_service_is_waited_for(
    pipeline: Pipeline, dynamics: Dataverse, status: int, path: str
) -> None:
    answer = Response(status, b"<html>busy</html>", {"Retry-After": "90"})
    dynamics.entra.fault = lambda request: answer if request.path.endswith(path) else None
    found = check(pipeline, dynamics)
    assert found.transient and found.code == str(status)
    lead = deliver(pipeline)
    pipeline.advance(89)
    assert state(pipeline, lead) is State.RETRY
    dynamics.entra.fault = lambda request: None
    pipeline.advance(2)
    assert state(pipeline, lead) is State.DELIVERED


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome</html>", b"[]", {}, {"access_token": "x", "expires_in": "soon"}, {"error_codes": 7}],
    ids=str,
)
def test_a_sign_in_that_answers_nonsense_is_tried_again(pipeline: Pipeline, dynamics: Dataverse, body: Any) -> None:
    dynamics.entra.fault = lambda request: Response(200, body) if request.path.endswith("/token") else None
    assert check(pipeline, dynamics).transient
    assert state(pipeline, deliver(pipeline)) is State.RETRY


def test_an_authority_that_is_none_is_named(pipeline: Pipeline, dynamics: Dataverse, tmp_path: Path) -> None:
    for authority in (dynamics.url, "https://login.example.invalid"):
        assert "authority" in check(pipeline, dynamics, authority=authority).problem
    with dynamics.entra.with_certificate_of(make_authority(tmp_path)):
        found = check(pipeline, dynamics)
    assert (found.code, found.transient) == ("tls", False) and "authority" in found.problem


def test_a_lead_that_is_refused_for_a_right_names_it(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.rights.discard("prvCreateNote")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    assert "prvCreateNote" in pipeline.delivery(lead).reason


@pytest.mark.parametrize("entra", [True, False])
def test_what_answers_that_is_no_environment_is_the_wrong_address(
    pipeline: Pipeline, dynamics: Dataverse, entra: bool
) -> None:
    dynamics.fault = lambda request: Response(200, b"<html>Welcome</html>") if entra else Response(404, b"")
    result = check(pipeline, dynamics)
    assert not result.ok and not result.transient
    assert "url" in result.problem


def test_an_expired_secret_pauses_after_few_requests_and_heals_by_itself(
    pipeline: Pipeline, dynamics: Dataverse, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(pipeline)
    refuse_secret(dynamics)
    dynamics.entra.revoke_tokens()
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(30)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    assert tokens(dynamics) <= 8
    (connection,) = [found for found in pipeline.app.connections.stored() if found.paused]
    assert "secret" in connection.reason
    monkeypatch.setenv("DYNAMICS_SECRET", "another")
    pipeline.tick(4)
    assert {state(pipeline, lead) for lead in leads} == {State.DELIVERED}
    assert len(dynamics.leads) == 31


def test_a_bad_choice_is_a_dead_letter_that_names_the_mapping(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics, mapping={"leadsourcecode": 99}))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DEAD_LETTER
    assert "mapping" in pipeline.delivery(lead).reason


def test_nothing_of_the_customer_or_of_secrets_is_logged_or_kept_with_the_attempt(
    pipeline: Pipeline, dynamics: Dataverse, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    deliver(pipeline)
    dynamics.fail_next(Response(400, {"error": {"code": "0x80040203", "message": f"{EMAIL} O'Neil"}}), is_write)
    lead = deliver(pipeline, "PLT")
    kept = repr(pipeline.delivery(lead)) + caplog.text
    for secret in (EMAIL, "O'Neil", "16175555555", "Example Works", "the secret", *dynamics.entra.issued):
        assert secret not in kept
