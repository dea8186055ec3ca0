"""A customer's journey in Dynamics 365: one record, a note for each stage, and nothing of a person's overwritten."""

from __future__ import annotations

import pytest

from leads.core.states import State
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Request, Response
from tests.support.dataverse import crm, is_write, one
from tests.support.pipeline import EMAIL, Pipeline, deliver, state

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


# --- The journey --------------------------------------------------------------------------------------------------------


def test_a_change_at_the_same_moment_is_not_overwritten(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    lead_id = one(dynamics.leads)["leadid"]

    def edit_in_between(request: Request) -> None:
        if is_write(request) and len(dynamics.notes()) == 1 and one(dynamics.leads)["companyname"] != "Their name":
            dynamics.edit(lead_id, companyname="Their name")

    dynamics.fault = edit_in_between
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert one(dynamics.leads)["companyname"] == "Their name"
    assert one(dynamics.leads)["leadqualitycode"] == 1


def test_a_stage_is_not_taken_for_stored_by_a_refusal_that_does_not_say_why(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
    deliver(pipeline)
    dynamics.fail_next(Response(412, {"error": {"code": "", "message": "Precondition Failed"}}), is_write)
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.notes()) == 2


# --- Records that others have made --------------------------------------------------------------------------------------


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


# --- Records that people have changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_opportunity", [True, False])
def test_a_stage_of_a_qualified_lead_goes_to_its_opportunity_or_contact(
    pipeline: Pipeline, dynamics: Dataverse, has_opportunity: bool
) -> None:
    deliver(pipeline)
    contact, opportunity = dynamics.qualify(one(dynamics.leads)["leadid"], opportunity=has_opportunity)
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(dynamics.notes(opportunity or contact)) == 1
    assert len(dynamics.leads) == 1


def test_the_stage_goes_to_the_lead_if_its_opportunity_and_contact_are_gone(
    pipeline: Pipeline, dynamics: Dataverse
) -> None:
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


def test_where_the_survivor_was_deleted_too_the_record_is_made_again(pipeline: Pipeline, dynamics: Dataverse) -> None:
    lead = deliver(pipeline)
    survivor = dynamics.add_lead(emailaddress1="other@example.com")
    dynamics.merge(pipeline.delivery(lead).record_id, survivor)
    dynamics.delete("leads", survivor)
    later = deliver(pipeline, "PLT")
    assert state(pipeline, later) is State.DELIVERED
    assert len(dynamics.notes(pipeline.delivery(later).record_id)) == 1


# --- Do not contact -----------------------------------------------------------------------------------------------------


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
