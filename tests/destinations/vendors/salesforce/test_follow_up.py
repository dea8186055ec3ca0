"""Owners, tasks and campaigns in Salesforce: what a follow-up sets, and what its refusal costs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from leads.core.outcomes import Delivered
from leads.offers.model import InvalidOffer, read_offer
from tests.fakes.https_server import LOSE_ANSWER, Request
from tests.fakes.salesforce import APP_USER, CAMPAIGN, INACTIVE, PERSON, QUEUE, Field, Salesforce
from tests.support.salesforce import KEY, Make, crm, is_write, one, told


def is_stage(request: Request) -> bool:
    """Whether a request stores a further stage."""
    return b"sobjects/Task" in request.body


def test_a_follow_up_assigns_files_and_reminds(org: Salesforce, make: Make) -> None:
    task = {"subject": "Call {first_name} {last_name}", "due_hours": 4}
    wanted = {"owner": f"user:{PERSON}", "campaign": CAMPAIGN, "task": task, "rating": "hot"}
    alone = make(follow_up={"initial_interest": wanted})
    alone.send()
    row, made = one(org.leads), one(org.tasks())
    assert (row["OwnerId"], row["Rating"]) == (PERSON, "Hot")
    expected = {"Subject": "Call Ada O'Neil", "Status": "Not Started", "Priority": "High", "OwnerId": PERSON}
    assert {name: made[name] for name in expected} == expected
    due = alone.sent[0].received_at + timedelta(hours=4)
    assert made["ReminderDateTime"] == f"{due:%Y-%m-%dT%H:%M:%SZ}"
    assert made["ActivityDate"] == f"{due:%Y-%m-%d}"
    assert (made["WhoId"], one(org.members)["LeadId"]) == (row["Id"], row["Id"])


def test_a_task_belongs_to_whoever_has_the_record_if_that_is_a_person(org: Salesforce, make: Make) -> None:
    alone = make(follow_up={"contact_requested": {"task": {}}})
    alone.send("PLT")
    assert one(org.tasks())["OwnerId"] == APP_USER, "a queue has it"
    org.edit(one(org.leads)["Id"], OwnerId=PERSON)
    alone.send("PLT")
    assert [task["OwnerId"] for task in org.tasks()] == [APP_USER, PERSON]


def test_a_later_stage_has_its_own_task_once_and_keeps_the_owner(org: Salesforce, make: Make) -> None:
    alone = make(follow_up={"contact_requested": {"task": {}, "owner": f"user:{PERSON}", "campaign": CAMPAIGN}})
    alone.send()
    org.fail_next(LOSE_ANSWER, is_write)
    alone.send("PLT")
    alone.again()
    task = one(org.tasks())
    assert (task["Subject"], task["OwnerId"]) == ("Follow up: Contact requested: Contoso CRM", PERSON)
    assert one(org.leads)["OwnerId"] == QUEUE
    alone.send("PLT")
    assert len(org.members) == 1
    alone.send("StartTestDrive")
    assert (org.tasks()[-1]["Subject"], org.tasks()[-1]["Status"]) == ("Trial: Contoso CRM", "Completed")


def test_a_converted_lead_joins_the_campaign_as_a_contact(org: Salesforce, make: Make) -> None:
    alone = make(follow_up={"contact_requested": {"campaign": CAMPAIGN}})
    alone.send()
    contact, _, _ = org.convert(one(org.leads)["Id"])
    alone.send("PLT")
    assert one(org.members)["ContactId"] == contact


@pytest.mark.parametrize(
    ("wanted", "left_out"),
    [
        ({"owner": "user:005000000000009AAA", "task": {}}, "OwnerId"),
        ({"owner": f"user:{INACTIVE}", "task": {}}, "OwnerId"),
        ({"campaign": "701000000000009AAA"}, "campaign"),
    ],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_a_follow_up_whose_target_is_gone_holds_no_lead_up(
    org: Salesforce, make: Make, wanted: dict[str, Any], left_out: str, key: str | None
) -> None:
    alone = make(follow_up={"initial_interest": wanted, "purchase": wanted}, external_id_field=key)
    for action in ("INS", "Create"):
        outcome = alone.send(action)
        assert isinstance(outcome, Delivered) and outcome.code == f"left_out:{left_out}"
    assert sorted(set(told(org))) == sorted(outgoing.lead_id for outgoing in alone.sent)
    assert f"left out: {left_out}." in org.tasks()[-1]["Description"]


@pytest.mark.parametrize(
    "code",
    [
        "TRANSFER_REQUIRES_READ",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "INVALID_CROSS_REFERENCE_KEY",
        "OP_WITH_INVALID_USER_TYPE_EXCEPTION",
    ],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_an_owner_that_refuses_costs_the_owner_and_never_the_lead(
    org: Salesforce, make: Make, code: str, key: str | None
) -> None:
    org.refuses[PERSON] = code
    wanted = {"owner": f"user:{PERSON}", "task": {}}
    alone = make(follow_up={"initial_interest": wanted, "purchase": wanted}, external_id_field=key)
    for action in ("INS", "Create"):
        outcome = alone.send(action)
        assert isinstance(outcome, Delivered) and outcome.code == "left_out:OwnerId"
    assert len(org.leads) == 1
    assert sorted(set(told(org))) == sorted(outgoing.lead_id for outgoing in alone.sent)


def test_nor_the_contact_that_a_lead_was_converted_to(org: Salesforce, make: Make) -> None:
    alone = make(follow_up={"purchase": {"owner": f"user:{PERSON}", "task": {}, "campaign": CAMPAIGN}})
    for code in ("INACTIVE_OWNER_OR_USER", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"):
        email = f"{code}@example.com".lower()
        org.refuses.clear()
        alone.send(email=email)
        contact, _, opportunity = org.convert(org.leads[-1]["Id"])
        org.refuses |= {PERSON: code, CAMPAIGN: code}
        outcome = alone.send("Create", email=email)
        assert isinstance(outcome, Delivered) and outcome.code == "left_out:campaign,OwnerId"
        assert one(org.tasks(contact))["WhatId"] == opportunity
    assert len(org.leads) == 2


def test_an_owner_is_kept_where_only_the_opportunity_is_closed_to_us(org: Salesforce, make: Make) -> None:
    alone = make(follow_up={"purchase": {"owner": f"user:{PERSON}", "task": {}}})
    alone.send()
    contact, account, opportunity = org.convert(one(org.leads)["Id"])
    org.refuses[opportunity] = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
    assert isinstance(alone.send("Create"), Delivered)
    task = one(org.tasks(contact))
    assert (task["OwnerId"], task["WhatId"]) == (PERSON, account)


@pytest.mark.parametrize(
    "code",
    ["INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "INSUFFICIENT_ACCESS_OR_READONLY", "FIELD_INTEGRITY_EXCEPTION"],
)
def test_a_campaign_that_refuses_costs_the_membership_and_never_the_lead(
    org: Salesforce, make: Make, code: str
) -> None:
    org.refuses[CAMPAIGN] = code
    alone = make(follow_up={"initial_interest": {"campaign": CAMPAIGN}})
    outcome = alone.send()
    assert isinstance(outcome, Delivered) and outcome.code == "left_out:campaign"


def test_a_lookup_of_the_mapping_that_refuses_is_left_out_and_the_owner_is_not(org: Salesforce, make: Make) -> None:
    org.fields["Lead"]["Partner__c"] = Field("reference", 18, refers_to=("Account",))
    org.refuses["001000000000001AAA"] = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
    outcome = make(mapping={"Partner__c": "001000000000001AAA"}).send()
    assert isinstance(outcome, Delivered) and outcome.code == "left_out:Partner__c"


@pytest.mark.parametrize("first", ["INS", "PLT"], ids=["changes the lead", "changes nothing in it"])
@pytest.mark.parametrize("key", [None, KEY])
def test_a_lead_that_is_deleted_between_look_and_write_is_made_again_with_its_targets(
    org: Salesforce, make: Make, key: str | None, first: str
) -> None:
    wanted = {"owner": f"user:{PERSON}", "task": {}, "campaign": CAMPAIGN}
    alone = make(follow_up={"purchase": wanted}, external_id_field=key)
    alone.send(first)
    before = one(org.leads)["Id"]

    def delete_in_between(request: Request) -> None:
        if is_stage(request):
            org.delete("Lead", before)

    org.fault = delete_in_between
    outcome = alone.send("Create")
    assert isinstance(outcome, Delivered) and not outcome.code
    row = one(org.leads)
    assert row["Id"] == outcome.record_id != before
    assert one(org.tasks(row["Id"]))["OwnerId"] == PERSON == row["OwnerId"]
    assert one(org.members)["LeadId"] == row["Id"]


@pytest.mark.parametrize(
    "wanted",
    [{"owner": "team:x"}, {"owner": f"queue:{PERSON}"}, {"campaign": "x"}, {"queue": QUEUE}, {"list": "1"}],
)
def test_a_follow_up_that_salesforce_can_not_do_is_refused_when_the_offer_is_saved(
    org: Salesforce, wanted: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOffer, match=f"follow_up.purchase.{next(iter(wanted))}"):
        read_offer({"id": "a.b", "destinations": [crm(org, follow_up={"purchase": wanted})]})
