"""A lead's own record in Salesforce: what it holds, what it costs, who owns it, and what happens to it at the same moment."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from leads.core.outcomes import Delivered
from tests.fakes.https_server import LOSE_ANSWER, Request
from tests.fakes.salesforce import APP_USER, PERSON, QUEUE, RULE, Salesforce
from tests.support.destination import Alone
from tests.support.pipeline import EMAIL, TestClock
from tests.support.salesforce import KEY, Make, is_write, one, told


def test_a_first_lead_is_a_record_that_tells_everything(org: Salesforce, alone: Alone) -> None:
    outcome = alone.send(email=EMAIL)
    row = one(org.leads)
    expected = {
        "FirstName": "Ada",
        "LastName": "O'Neil",
        "Email": EMAIL,
        "Phone": "16175555555",
        "Company": "Example Works",
        "Title": "Engineer",
        "Country": "USA",
        "LeadSource": "Web",
        "Rating": "Warm",
        "HasOptedOutOfEmail": False,
        "DoNotCall": False,
    }
    assert {name: row[name] for name in expected} == expected
    assert "Please call" in row["Description"]
    assert told(org) == [alone.sent[0].lead_id]
    assert isinstance(outcome, Delivered) and outcome.record_id == row["Id"]
    assert alone.destination.record_link(row["Id"]) == f"{org.url}/{row['Id']}"
    assert not org.tasks()


def test_it_costs_two_requests_and_one_without_a_search(org: Salesforce, alone: Alone, make: Make) -> None:
    alone.send(email=EMAIL)
    assert org.requests() == 2
    alone.send("PLT", email=EMAIL)
    assert org.requests() == 4
    alone.send("Create", email=EMAIL)
    assert org.requests() == 6, "also where nothing but the task is written"
    for key in (None, KEY):
        before = org.requests()
        make(match_existing="off", external_id_field=key).send(email=f"{key}@example.com")
        assert org.requests() - before == 1


def test_the_key_of_a_record_says_nothing_of_the_customer(org: Salesforce, make: Make) -> None:
    for email in (EMAIL, "other@example.com"):
        make(external_id_field=KEY).send(email=email)
    ours, other = (row[KEY] for row in org.leads)
    assert re.fullmatch("[0-9a-f]{32}", ours) and re.fullmatch("[0-9a-f]{32}", other)
    assert ours != other


def test_the_idempotency_key_is_the_one_that_was_stored_with_the_claim(org: Salesforce, make: Make) -> None:
    alone = make(match_existing="off")
    alone.send()
    (request,) = org.api_journal
    assert request.headers["idempotency-key"] == alone.customers["ada@example.com"].idempotency_key


def test_a_test_lead_is_marked(org: Salesforce, make: Make) -> None:
    alone = make()
    for action in ("INS", "PLT"):
        alone.send(action, UserDetails={"LastName": "MSFT_TEST_636573304831318844", "Email": "ada@example.com"})
    assert one(org.leads)["Description"].startswith("[Test] Initial interest: Contoso CRM\n\n")
    assert one(org.tasks())["Subject"] == "[Test] Contact requested: Contoso CRM"


BY_PERSON = {"initial_interest": {"owner": f"user:{PERSON}"}}
BY_QUEUE = {"initial_interest": {"owner": f"queue:{QUEUE}"}}


@pytest.mark.parametrize(
    ("key", "assignment", "follow_up", "owner"),
    [
        *[(key, "on", {}, QUEUE) for key in (None, KEY)],
        *[(key, "off", {}, APP_USER) for key in (None, KEY)],
        *[(key, "on", BY_PERSON, PERSON) for key in (None, KEY)],
        *[(key, "off", BY_QUEUE, QUEUE) for key in (None, KEY)],
        (KEY, RULE, {}, QUEUE),
    ],
)
def test_new_leads_are_assigned_as_the_setting_says_unless_the_follow_up_names_an_owner(
    org: Salesforce, make: Make, key: str | None, assignment: str, follow_up: dict[str, Any], owner: str
) -> None:
    make(external_id_field=key, assignment=assignment, follow_up=follow_up).send()
    assert one(org.leads)["OwnerId"] == owner


def test_an_owner_of_the_mapping_is_not_assigned_away_either(org: Salesforce, make: Make) -> None:
    make(mapping={"OwnerId": PERSON}).send()
    assert one(org.leads)["OwnerId"] == PERSON


def test_an_answer_that_was_lost_for_longer_than_keys_are_kept_finds_the_record_by_the_address(
    org: Salesforce, make: Make, time: TestClock
) -> None:
    alone = make()
    org.fail_next(LOSE_ANSWER, is_write)
    alone.send()
    time.time += timedelta(days=31)
    org.revoke_tokens()
    assert isinstance(alone.again(), Delivered)
    assert len(org.leads) == 1


def test_a_rating_is_known_for_ours_when_an_answer_is_lost(org: Salesforce, alone: Alone) -> None:
    alone.send("DNC")
    org.fail_next(LOSE_ANSWER, is_write)
    alone.send("StartTestDrive")
    alone.again()
    assert one(org.leads)["Rating"] == "Warm"
    org.edit(one(org.leads)["Id"], Company="Their name")
    alone.send("PLT")
    assert one(org.leads)["Rating"] == "Hot"


def test_a_change_at_the_same_moment_is_not_overwritten(org: Salesforce, alone: Alone, time: TestClock) -> None:
    alone.send()
    time.time += timedelta(minutes=1)

    def edit_in_between(request: Request) -> None:
        if b"PATCH" in request.body and one(org.leads)["Company"] != "Their name":
            time.time += timedelta(seconds=1)
            org.edit(one(org.leads)["Id"], Company="Their name", Rating="Cold")

    org.fault = edit_in_between
    assert isinstance(alone.send("PLT"), Delivered)
    assert (one(org.leads)["Company"], one(org.leads)["Rating"]) == ("Their name", "Cold")
    assert len(org.tasks()) == 1


def test_a_lead_that_others_change_all_the_time_is_left_as_it_is_and_gets_the_stage(
    org: Salesforce, make: Make, time: TestClock
) -> None:
    alone = make()
    alone.send()

    def edit_in_between(request: Request) -> None:
        if b"PATCH" in request.body:
            time.time += timedelta(seconds=1)
            org.edit(one(org.leads)["Id"])

    org.fault = edit_in_between
    before = org.requests()
    assert isinstance(alone.send("PLT"), Delivered)
    assert org.requests() - before <= 8
    assert one(org.leads)["Rating"] == "Warm"
    assert sorted(told(org)) == sorted(outgoing.lead_id for outgoing in alone.sent)
