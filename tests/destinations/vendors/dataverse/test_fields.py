"""Records in Dynamics 365: mapped columns and their lengths, follow-ups, and the environment's duplicate rules."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest

from leads.core.states import State
from tests.fakes.dataverse import CAMPAIGN, PERSON, QUEUE, TEAM, Column, Dataverse, shown_note
from tests.fakes.https_server import LOSE_ANSWER
from tests.support.dataverse import crm, is_write, one
from tests.support.pipeline import EMAIL, Pipeline, deliver, state

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
        assert value in shown_note(dynamics.notes()[0])


def test_a_text_longer_than_a_note_is_in_several_notes_once(pipeline: Pipeline, dynamics: Dataverse) -> None:
    wish = "🏢 Wir möchten mehr wissen. " * 5_000
    dynamics.fail_next(LOSE_ANSWER, is_write)
    lead = deliver(pipeline, Description=wish)
    pipeline.advance(15)
    assert state(pipeline, lead) is State.DELIVERED
    first, second = dynamics.notes()
    assert [note["subject"].partition("(")[2] for note in (first, second)] == ["1/2)", "2/2)"]
    assert "".join(wish.split()) in "".join((shown_note(first) + shown_note(second)).split())


def test_lengths_of_an_environment_with_others_are_learnt(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.columns["subject"] = Column("String", 10)
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    assert one(dynamics.leads)["subject"] == "Initial i…"
    before = dynamics.requests()
    deliver(pipeline, email="other@example.com")
    assert dynamics.requests() - before == 2, "they are known now"


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
    pipeline.tick(90)
    assert [found.checked_at for found in pipeline.app.connections.stored()] != [None]
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED, "nor has the check of a quiet hour paused the connection"
    assert "did not accept the owner" in shown_note(dynamics.notes()[0])
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
