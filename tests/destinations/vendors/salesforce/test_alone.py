"""Salesforce by itself, over TLS, against an organisation that behaves as Salesforce documents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from leads.core import clock
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Skipped
from leads.destinations.base import CheckResult
from leads.destinations.vendors.salesforce.client import quoted
from leads.destinations.vendors.salesforce.errors import BEFORE_THE_WRITE, CODES
from leads.offers.model import InvalidOffer, read_offer
from tests.fakes.https_server import LOSE_ANSWER, Request, Response
from tests.fakes.salesforce import (
    API,
    APP_USER,
    CAMPAIGN,
    INACTIVE,
    PERSON,
    QUEUE,
    RULE,
    USERNAME,
    Field,
    Salesforce,
    VendorError,
)
from tests.fakes.soql import MalformedQuery, parse, string_value
from tests.fakes.tls import Authority
from tests.support.destination import Alone, Instance
from tests.support.pipeline import EMAIL, TestClock, destination_entry

KEY = "Marketplace_Key__c"
KEY_FIELD = Field("string", 32, external_id=True, unique=True)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    """The time of the app and of the organisation, moved by hand."""
    made = TestClock(datetime.now(UTC))
    monkeypatch.setattr(clock, "now", made.now)
    return made


@pytest.fixture
def org(authority: Authority, time: TestClock) -> Iterator[Salesforce]:
    with Salesforce(authority) as running:
        running.fields["Lead"][KEY] = KEY_FIELD
        yield running


@pytest.fixture
def instance(authority: Authority) -> Instance:
    return Instance(authority.bundle, {"LEADS_SECRET_SALESFORCE": "the secret"})


def crm(org: Salesforce, **more: Any) -> dict[str, Any]:
    return destination_entry("salesforce", org.settings("env:LEADS_SECRET_SALESFORCE"), **more)


Make = Callable[..., Alone]


@pytest.fixture
def make(org: Salesforce, instance: Instance) -> Make:
    """A destination with these settings, as an instance that has just started has it."""

    def made(policies: dict[str, str] | None = None, **more: Any) -> Alone:
        return Alone(replace(instance).make(crm(org, **more)), policies or {})

    return made


@pytest.fixture(params=["key in a field", "idempotency key"])
def alone(request: pytest.FixtureRequest, make: Make) -> Alone:
    """Each of the two ways to make a record once."""
    return make(external_id_field=KEY if request.param == "key in a field" else None)


def one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows
    return row


def told(org: Salesforce) -> list[str]:
    """The leads of which the organisation's texts tell, one entry for each text."""
    texts = [str(row.get("Description") or "") for row in [*org.leads, *org.tasks()]]
    return [line.removeprefix("Lead: ") for text in texts for line in text.splitlines() if line.startswith("Lead: ")]


def is_write(request: Request) -> bool:
    """Whether a request stores something."""
    return request.method == "POST" and (
        request.path.endswith(("/sobjects/Lead", "/ui-api/records"))
        or b'"POST"' in request.body
        or b'"PATCH"' in request.body
    )


def is_stage(request: Request) -> bool:
    """Whether a request stores a further stage."""
    return b"sobjects/Task" in request.body


# --- A customer's first lead --------------------------------------------------------------------------------------------


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


def test_a_test_lead_is_marked(org: Salesforce, alone: Alone) -> None:
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


# --- The journey --------------------------------------------------------------------------------------------------------


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
    org: Salesforce, alone: Alone, time: TestClock
) -> None:
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


# --- Records that others have made --------------------------------------------------------------------------------------


def test_of_several_matches_the_newest_that_is_not_converted_counts(
    org: Salesforce, alone: Alone, time: TestClock
) -> None:
    org.add_lead(Email=EMAIL)
    time.time += timedelta(seconds=1)
    newest = org.add_lead(Email=EMAIL)
    time.time += timedelta(seconds=1)
    org.convert(org.add_lead(Email=EMAIL))
    alone.send(email=EMAIL)
    assert len(org.tasks(newest)) == 1


def test_our_own_record_counts_before_newer_ones_of_others(org: Salesforce, make: Make, time: TestClock) -> None:
    alone = make(external_id_field=KEY)
    org.fail_next(LOSE_ANSWER, is_write)
    alone.send(email=EMAIL)
    ours = one(org.leads)["Id"]
    time.time += timedelta(seconds=1)
    org.add_lead(Email=EMAIL)
    alone.again()
    assert alone.customers[EMAIL].record_id == ours


@pytest.mark.parametrize("email", ["o'neil@example.com", "o\\neil@example.com", 'o"neil@example.com'])
def test_an_address_finds_its_own_record_and_no_other(org: Salesforce, alone: Alone, email: str) -> None:
    org.add_lead(Email="x@example.com")
    theirs = org.add_lead(Email=email)
    alone.send(email=email)
    assert len(org.tasks(theirs)) == 1
    alone.send(email="x' OR Rating = 'Hot' OR Email = 'x@example.com")
    assert len(org.leads) == 3


@given(st.text(max_size=60))
def test_any_text_is_one_string_of_a_query(text: str) -> None:
    assert string_value(quoted(text)) == text
    query = parse(f"SELECT Id FROM Lead WHERE Email = {quoted(text)} AND Phone = '1' LIMIT 5")
    assert query.choose([{"Email": text, "Phone": "1"}, {"Email": text + "x", "Phone": "1"}]) == [
        {"Email": text, "Phone": "1"}
    ]
    assert query.fields == {"Email", "Phone"}


@pytest.mark.parametrize("text", ["'a", "a' OR 'b", "\\", "a\\", "\\x", "'a' OR Id != '"])
def test_the_fake_refuses_a_query_without_escapes(text: str) -> None:
    with pytest.raises(MalformedQuery):
        parse(f"SELECT Id FROM Lead WHERE Email = '{text}'")


# --- Records that people have changed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("has_opportunity", [True, False])
def test_a_stage_of_a_converted_lead_goes_to_the_contact_it_became(
    org: Salesforce, alone: Alone, has_opportunity: bool
) -> None:
    alone.send()
    contact, account, opportunity = org.convert(one(org.leads)["Id"], opportunity=has_opportunity)
    for _ in range(2):
        assert isinstance(alone.send("PLT") if len(alone.sent) == 1 else alone.again(), Delivered)
    task = one(org.tasks())
    assert (task["WhoId"], task["WhatId"]) == (contact, opportunity or account)
    assert len(org.leads) == 1


def test_it_goes_to_the_account_where_the_contact_is_gone(org: Salesforce, alone: Alone) -> None:
    alone.send()
    contact, account, opportunity = org.convert(one(org.leads)["Id"])
    org.delete("Contact", contact)
    org.delete("Opportunity", opportunity)
    assert isinstance(alone.send("PLT"), Delivered)
    assert one(org.tasks(account))["WhatId"] == account


@pytest.mark.parametrize(("policy", "leads"), [("recreate", 2), ("skip", 1)])
def test_a_converted_lead_whose_contact_and_account_are_gone_counts_as_deleted(
    org: Salesforce, make: Make, policy: str, leads: int
) -> None:
    alone = make(deleted_records=policy, external_id_field=KEY)
    alone.send()
    contact, account, _ = org.convert(one(org.leads)["Id"])
    org.delete("Contact", contact)
    org.delete("Account", account)
    outcome = alone.send("PLT")
    assert isinstance(outcome, Delivered if policy == "recreate" else Skipped)
    assert len(org.leads) == leads


def test_related_records_may_be_closed_to_the_apps_user(org: Salesforce, alone: Alone) -> None:
    alone.send()
    contact, _, _ = org.convert(one(org.leads)["Id"])

    def closed(table: str, values: Any) -> VendorError | None:
        if table == "Task" and values.get("WhatId"):
            return VendorError(400, "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights")
        return None

    org.validation_rule = closed
    assert isinstance(alone.send("PLT"), Delivered)
    assert [task.get("WhatId") for task in org.tasks(contact)] == [None]


def test_a_merged_lead_is_followed_to_its_survivor(org: Salesforce, alone: Alone) -> None:
    alone.send()
    between, survivor = org.add_lead(Email="b@example.com"), org.add_lead(Email="other@example.com")
    org.merge(one([row for row in org.leads if row["LastName"] == "O'Neil"])["Id"], between)
    org.merge(between, survivor)
    outcome = alone.send("PLT")
    assert isinstance(outcome, Delivered) and outcome.record_id == survivor
    assert len(org.tasks(survivor)) == 1


def test_a_survivor_is_found_by_its_address_once_the_recycle_bin_is_empty(org: Salesforce, alone: Alone) -> None:
    alone.send()
    survivor = org.add_lead(Email="ada@example.com")
    org.merge(alone.customers["ada@example.com"].record_id, survivor)
    org.empty_recycle_bin()
    outcome = alone.send("PLT")
    assert isinstance(outcome, Delivered) and outcome.record_id == survivor


# --- Fields -------------------------------------------------------------------------------------------------------------


def test_a_mapping_fills_fields_of_ones_own(org: Salesforce, make: Make) -> None:
    org.fields["Lead"] |= {"Offer__c": Field("string", 100), "Score__c": Field("double")}
    mapping = {"Offer__c": "{offer_title}", "Score__c": 7, "LeadSource": "Azure Marketplace", "Title": None}
    make(mapping=mapping).send(Description='{"mktcmpid": "spring"}')
    row = one(org.leads)
    assert (row["Offer__c"], row["Score__c"], row["LeadSource"]) == ("Contoso CRM", 7, "Azure Marketplace")
    assert "Title" not in row


def test_a_summary_that_is_not_mapped_is_stored_as_a_task(org: Salesforce, make: Make) -> None:
    alone = make(mapping={"Description": "{note}"})
    alone.send()
    alone.again()
    assert one(org.leads)["Description"] == "Please call"
    assert told(org) == [alone.sent[0].lead_id]


def test_texts_are_cut_to_their_fields_and_whole_in_the_story(org: Salesforce, alone: Alone) -> None:
    details = {
        "LastName": "N" * 90,
        "Company": "🏢" * 130,
        "Phone": "1" * 60,
        "Title": "T" * 130,
        "Email": "e" * 75 + "@example.com",
    }
    alone.send(UserDetails=details)
    row = one(org.leads)
    assert row["LastName"] == "N" * 79 + "…"
    assert row["Company"] == "🏢" * 127 + "…"
    assert "Phone" not in row and "Email" not in row, "a shortened one would be a wrong one"
    for value in details.values():
        assert value in row["Description"]


def test_lengths_of_an_organisation_with_others_are_learnt(org: Salesforce, alone: Alone) -> None:
    org.fields["Lead"]["Title"] = Field("string", 4)
    assert isinstance(alone.send(), Delivered)
    assert one(org.leads)["Title"] == "Eng…"
    before = org.requests()
    alone.send(email="other@example.com")
    assert org.requests() - before == 2, "they are known now"


def test_a_text_that_no_field_can_hold_goes_on_in_tasks(org: Salesforce, alone: Alone) -> None:
    long = "".join(f"<{number}>" for number in range(20_000))
    alone.send(Description=long)
    alone.again()
    pieces = [task["Description"].partition("\n\n")[2] for task in org.tasks()]
    assert long in "".join(pieces)
    assert [task["Subject"] for task in org.tasks()][1] == f"Initial interest: Contoso CRM (2/{len(pieces)})"
    alone.send("PLT", Description=long)
    assert len(org.tasks()) == 2 * len(pieces)
    assert all(alone.sent[1].lead_id in task["Description"] for task in org.tasks()[len(pieces) :])


@pytest.mark.parametrize(
    "text", ["@{" * 15_000, "🏢" * 20_000], ids=["grows where nothing in it is a reference", "two units"]
)
def test_a_long_text_fills_its_tasks_and_no_more(org: Salesforce, alone: Alone, text: str) -> None:
    alone.send()
    outcome = alone.send("PLT", Description=text)
    assert isinstance(outcome, Delivered) and not outcome.code
    pieces = [task["Description"].partition("\n\n")[2] for task in org.tasks()]
    assert len(pieces) == 2 and text in "".join(pieces).replace("\u200b", "")


def refused(org: Salesforce, alone: Alone) -> None:
    """The lead is stored without the field, and names the field."""
    outcome = alone.outcomes[alone.sent[-1].lead_id][-1]
    assert isinstance(outcome, Delivered) and outcome.code.startswith("left_out:")
    names = outcome.code.removeprefix("left_out:").split(",")
    row = one(org.leads)
    assert not any(row.get(name) for name in names)
    assert f"left out: {', '.join(names)}." in row["Description"]
    assert told(org) == [alone.sent[-1].lead_id]


@pytest.mark.parametrize("stores_refusals", [True, False])
@pytest.mark.parametrize(
    ("field", "change", "lead"),
    [
        ("Email", {}, {"email": "someone at example"}),
        ("LeadSource", {"LeadSource": Field("picklist", 40, ("Phone", "Partner"))}, {}),
        ("Rating", {"Rating": Field("picklist", 40, ("A", "B"))}, {}),
        ("Title", {"Title": Field("string", 128, read_only=True)}, {}),
    ],
)
def test_a_refused_optional_field_is_left_out_and_named(
    org: Salesforce, alone: Alone, field: str, change: dict[str, Field], lead: dict[str, Any], stores_refusals: bool
) -> None:
    org.fields["Lead"] |= change
    org.stores_refusals = stores_refusals
    alone.send(**lead)
    refused(org, alone)
    assert alone.outcomes[alone.sent[0].lead_id][0].code == f"left_out:{field}"
    alone.forget()
    assert isinstance(alone.again(), Delivered), "as if the answer had been lost"
    assert len(org.leads) == 1


@pytest.mark.parametrize("stores_refusals", [True, False])
def test_fields_that_are_hidden_from_us_are_learnt(org: Salesforce, alone: Alone, stores_refusals: bool) -> None:
    org.stores_refusals = stores_refusals
    org.hidden |= {("Lead", name) for name in ("Title", "Rating", "HasOptedOutOfFax")}
    alone.send("DNC")
    refused(org, alone)
    assert (one(org.leads)["HasOptedOutOfEmail"], one(org.leads)["DoNotCall"]) == (True, True)
    assert isinstance(alone.send("PLT"), Delivered)
    assert not one(org.leads)["HasOptedOutOfEmail"] and not one(org.leads)["DoNotCall"]
    before = org.requests()
    alone.send(email="other@example.com")
    assert org.requests() - before == 2, "the refused fields are no longer sent"


def test_a_field_that_is_hidden_later_is_learnt_whatever_the_language(org: Salesforce, alone: Alone) -> None:
    org.fields["Lead"]["Title"] = Field("string", 4)
    alone.send()
    org.hidden.add(("Lead", "Title"))
    org.validation_rule = lambda table, values: (
        VendorError(400, "INVALID_FIELD", "そのような列はありません") if "Title" in values else None
    )
    outcome = alone.send(email="other@example.com")
    assert isinstance(outcome, Delivered) and outcome.code == "left_out:Title"


@pytest.mark.parametrize(
    "code",
    ["CANNOT_EXECUTE_FLOW_TRIGGER", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "FIELD_CUSTOM_VALIDATION_EXCEPTION"],
)
def test_a_field_that_a_flow_trigger_or_rule_names_is_left_out(org: Salesforce, alone: Alone, code: str) -> None:
    org.validation_rule = lambda table, values: (
        VendorError(400, code, "Nein", "Phone") if table == "Lead" and "Phone" in values else None
    )
    alone.send()
    refused(org, alone)


def test_a_validation_rule_that_names_no_field_is_a_dead_letter_with_its_reason(org: Salesforce, alone: Alone) -> None:
    org.validation_rule = lambda table, values: VendorError(
        400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "No leads, O'Neil!"
    )
    outcome = alone.send()
    assert isinstance(outcome, Rejected) and outcome.code == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert "validation rule" in outcome.reason and "Neil" not in outcome.reason


def test_a_record_that_may_not_be_changed_still_gets_the_stage(org: Salesforce, alone: Alone) -> None:
    alone.send()
    org.validation_rule = lambda table, values: (
        VendorError(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Closed") if table == "Lead" else None
    )
    assert isinstance(alone.send("PLT"), Delivered)
    assert one(org.leads)["Rating"] == "Warm"
    assert len(org.tasks()) == 1


@pytest.mark.parametrize(
    ("table", "cause", "kind"),
    [
        ("Lead", "System.LimitException: Apex CPU", Delivered),
        ("CampaignMember", "System.LimitException: Apex CPU", Delivered),
        ("Task", "System.LimitException: Apex CPU", Retry),
        ("Lead", "UNABLE_TO_LOCK_ROW: gesperrt", Retry),
    ],
)
def test_a_limit_that_a_flow_meets_at_every_try_costs_only_optional_parts(
    org: Salesforce, make: Make, table: str, cause: str, kind: type[Outcome]
) -> None:
    alone = make(follow_up={"contact_requested": {"campaign": CAMPAIGN}})
    alone.send()
    org.validation_rule = lambda other, values: (
        VendorError(400, "CANNOT_EXECUTE_FLOW_TRIGGER", cause) if other == table else None
    )
    assert isinstance(alone.send("PLT"), kind)
    assert len(org.tasks()) == (kind is Delivered)


@pytest.mark.parametrize(
    ("on", "country", "stored", "left_out"),
    [
        (False, "USA", {"Country": "USA"}, ""),
        (True, "USA", {"CountryCode": "US"}, ""),
        (True, "Germany", {"CountryCode": "DE"}, ""),
        (True, "France", {}, "left_out:CountryCode"),  # not in the organisation's list
        (True, "Atlantis", {}, ""),
    ],
)
def test_a_country_is_text_or_a_code_as_the_organisation_has_it(
    org: Salesforce, alone: Alone, on: bool, country: str, stored: dict[str, str], left_out: str
) -> None:
    if on:
        org.turn_on_country_picklists()
    details = {"Email": "ada@example.com", "LastName": "Kim", "Country": country}
    outcome = alone.send(UserDetails=details)
    assert isinstance(outcome, Delivered) and outcome.code == left_out
    row = one(org.leads)
    assert {name: row[name] for name in ("Country", "CountryCode") if row.get(name)} == stored
    assert f"Country: {country}" in row["Description"]


@pytest.mark.parametrize("stores_refusals", [True, False])
def test_a_refusal_stored_under_a_key_is_not_taken_for_a_new_answer(
    org: Salesforce, make: Make, stores_refusals: bool
) -> None:
    org.stores_refusals, org.duplicate_rule = stores_refusals, "alert"
    org.turn_on_country_picklists()
    org.add_lead(Email="ada@example.com")
    alone = make(match_existing="off")
    outcome = alone.send(UserDetails={"Email": "ada@example.com", "LastName": "Kim", "Country": "France"})
    assert isinstance(outcome, Delivered) and outcome.code == "duplicate_rule left_out:CountryCode"
    for _ in range(2):
        alone.forget()
        again = alone.again()
        assert isinstance(again, Delivered) and again.record_id == outcome.record_id, "as if the answer had been lost"
    assert len(org.leads) == 2


# --- Idempotency keys ---------------------------------------------------------------------------------------------------


def refuse_creates(org: Salesforce, code: str) -> None:
    org.validation_rule = lambda table, values: VendorError(400, code, "Refused") if table == "Lead" else None


def accept(org: Salesforce) -> None:
    org.validation_rule, org.duplicate_rule = lambda table, values: None, ""


@pytest.mark.parametrize("code", [*sorted(set(CODES) - BEFORE_THE_WRITE), "A_NEW_ONE"])
def test_a_refusal_that_salesforce_has_stored_is_heard_once(org: Salesforce, make: Make, code: str) -> None:
    alone = make(match_existing="off")
    refuse_creates(org, code)
    assert not isinstance(alone.send(), Delivered)
    accept(org)
    assert isinstance(alone.again(), Delivered)
    assert len(org.leads) == 1


def test_nor_is_one_of_a_record_that_is_made_again(org: Salesforce, make: Make) -> None:
    alone = make(match_existing="off")
    alone.send()
    org.delete("Lead", one(org.leads)["Id"])
    refuse_creates(org, "UNABLE_TO_LOCK_ROW")
    assert isinstance(alone.send("PLT"), Retry)
    accept(org)
    assert isinstance(alone.again(), Delivered)
    assert len(org.leads) == 1


def test_nor_is_that_of_a_duplicate_rule_which_is_off_now(org: Salesforce, make: Make) -> None:
    alone = make(match_existing="off", duplicate_rules="delivered")
    org.duplicate_rule = "alert"
    org.add_contact(Email="ada@example.com")
    assert isinstance(alone.send(), Delivered)
    accept(org)
    assert isinstance(alone.send("PLT"), Delivered)
    assert len(org.leads) == 1


@pytest.mark.parametrize("code", sorted(BEFORE_THE_WRITE))
def test_an_answer_from_before_the_write_says_nothing_of_one_that_was_lost(
    org: Salesforce, make: Make, code: str
) -> None:
    alone = make(match_existing="off")
    org.fail_next(LOSE_ANSWER, is_write)
    alone.send()
    org.fault = lambda request: answered(code, status=403) if API in request.path else None
    assert not isinstance(alone.again(), Delivered)
    org.fault = lambda request: None
    assert isinstance(alone.again(), Delivered)
    assert len(org.leads) == 1


HOSTILE = [
    "x\r\nSforce-Auto-Assign: 1",
    'x","OwnerId":"005000000000002AAA',
    "{company} {{email}}",
    "@{task1.id} @{rows.records[0].Id}",
    "x' OR Id != '",
    "\\' OR Id != '' OR Name = \\'",
    "=cmd|' /C calc'!A1",
    "</Description><script>",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_looks_like_syntax_is_text(org: Salesforce, alone: Alone, hostile: str) -> None:
    details = dict.fromkeys(("FirstName", "LastName", "Phone", "Country", "Company", "Title"), hostile)
    for action in ("INS", "PLT"):
        assert isinstance(alone.send(action, UserDetails=details | {"Email": hostile}, Description=hostile), Delivered)
    row = one(org.leads)
    kept = hostile.replace("\r\n", "\n")
    for text in (row["LastName"], row["Company"], row["FirstName"]):
        assert " ".join(text.split()) == " ".join(kept.split())
    assert kept in one(org.tasks())["Description"].replace("\r", "").replace("\u200b", "")
    assert row["OwnerId"] == QUEUE
    assert not [request for request in org.journal if request.headers.get("sforce-auto-assign") == "1"]


# --- Follow-up ----------------------------------------------------------------------------------------------------------


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


# --- Duplicate rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    ("rule", "policy", "leads", "tasks"),
    [
        ("alert", "allow", 2, 0),
        ("alert", "existing", 1, 1),
        ("alert", "delivered", 1, 0),
        ("block", "allow", 1, 1),  # what blocks can't be overruled
        ("block", "existing", 1, 1),
        ("block", "delivered", 1, 0),
    ],
)
def test_a_duplicate_rule_counts_as_the_setting_says(
    org: Salesforce, make: Make, rule: str, policy: str, leads: int, tasks: int, key: str | None
) -> None:
    org.duplicate_rule = rule
    theirs = org.add_lead(Email=EMAIL)
    alone = make(match_existing="off", duplicate_rules=policy, external_id_field=key)
    for _ in range(2):
        outcome = alone.send(email=EMAIL) if not alone.sent else alone.again()
        assert isinstance(outcome, Delivered)
        assert len(org.leads) == leads
        assert len(org.tasks(theirs)) == tasks
    assert alone.outcomes[alone.sent[0].lead_id][0].code == "duplicate_rule"


@pytest.mark.parametrize("key", [None, KEY])
def test_a_rule_that_finds_a_contact_adds_the_lead_to_it(org: Salesforce, make: Make, key: str | None) -> None:
    org.duplicate_rule = "block"
    contact = org.add_contact(Email=EMAIL)
    alone = make(external_id_field=key)
    for action in ("INS", "PLT"):
        assert isinstance(alone.send(action, email=EMAIL), Delivered)
        assert isinstance(alone.again(), Delivered)
    assert not org.leads
    assert [task["WhoId"] for task in org.tasks()] == [contact, contact]


def test_a_rule_that_blocks_and_names_nothing_usable_is_a_dead_letter_with_its_reason(
    org: Salesforce, make: Make
) -> None:
    org.duplicate_rule = "block"
    org.add_contact(Email=EMAIL)
    org.rights["Contact"].clear()
    outcome = make().send(email=EMAIL)
    assert isinstance(outcome, Rejected) and "duplicate rule blocks" in outcome.reason


# --- Errors -------------------------------------------------------------------------------------------------------------


def answered(code: str, message: str = "O'Neil", status: int = 400, *fields: str) -> Response:
    return Response(status, [{"errorCode": code, "message": message, "fields": list(fields)}])


CLASSES: list[tuple[Response, type[Outcome]]] = [
    (answered("UNABLE_TO_LOCK_ROW"), Retry),
    (answered("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "trigger: UNABLE_TO_LOCK_ROW, unable to obtain"), Retry),
    (answered("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "execution of BeforeInsert"), Rejected),
    (answered("CANNOT_EXECUTE_FLOW_TRIGGER", "„Zuweisung“: UNABLE_TO_LOCK_ROW: kein Zugriff"), Retry),
    (answered("CANNOT_EXECUTE_FLOW_TRIGGER", "「割り当て」 System.LimitException: Apex CPU"), Retry),
    (answered("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Update failed: UNABLE_TO_LOCK_ROW"), Retry),
    (answered("APEX_ERROR", "System.LimitException: Demasiadas consultas"), Retry),
    (answered("CANNOT_EXECUTE_FLOW_TRIGGER", "INVALID_CROSS_REFERENCE_KEY: propietario"), Rejected),
    (answered("SERVER_UNAVAILABLE", status=503), Retry),
    (answered("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded.", 403), Retry),
    (answered("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403), Misconfigured),
    (answered("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests: Zu viele gleichzeitig", 403), Retry),
    (answered("API_DISABLED_FOR_ORG", status=403), Misconfigured),
    (answered("INSUFFICIENT_ACCESS_OR_READONLY"), Misconfigured),
    (answered("INVALID_TYPE"), Misconfigured),
    (answered("STORAGE_LIMIT_EXCEEDED"), Misconfigured),
    (answered("IDEMPOTENCY_NOT_SUPPORTED"), Misconfigured),
    (answered("JSON_PARSER_ERROR"), Misconfigured),
    (answered("REQUIRED_FIELD_MISSING", "missing", 400, "Region__c"), Misconfigured),
    (answered("REQUIRED_FIELD_MISSING", "missing", 400, "Phone"), Rejected),
    (answered("INVALID_FIELD_FOR_INSERT_UPDATE", "x", 400, "LastName"), Misconfigured),
    (answered("INVALID_FIELD", "Keine Spalte"), Misconfigured),
    (answered("DUPLICATE_VALUE"), Rejected),
    (answered("SOMETHING_NEW"), Rejected),
    (answered("SOMETHING_NEW", status=500), Retry),
    (answered("SOMETHING_NEW", status=420), Retry),
    (Response(409, []), Retry),
    (Response(400, {"message": "odd"}), Rejected),
    (Response(403, b"<html>"), Misconfigured),
    (Response(404, b"<html>"), Misconfigured),
    (Response(200, [1, "x", None]), Retry),
    (Response(200, {"id": "../x"}), Retry),
]


@pytest.mark.parametrize(("response", "kind"), CLASSES, ids=lambda value: str(getattr(value, "body", ""))[:60])
def test_an_error_is_classified_by_its_code_and_repeats_nothing(
    org: Salesforce, make: Make, response: Response, kind: type[Outcome]
) -> None:
    alone = make(match_existing="off")
    org.fault = lambda request: response if request.path.endswith("/ui-api/records") else None
    outcome = alone.send()
    assert isinstance(outcome, kind), outcome
    assert "Neil" not in repr(outcome)


@pytest.mark.parametrize(
    "body", [{}, {"compositeResponse": []}, {"compositeResponse": ["x"]}, {"compositeResponse": [{}]}, []]
)
def test_a_transaction_with_an_unreadable_answer_is_retried(org: Salesforce, make: Make, body: Any) -> None:
    org.fault = lambda request: Response(200, body) if request.path.endswith("composite") else None
    assert isinstance(make().send(), Retry)


def test_a_token_is_renewed_once_within_the_attempt_and_serves_until_then(org: Salesforce, alone: Alone) -> None:
    alone.send()
    alone.send(email="b@example.com")
    assert tokens(org) == 1
    org.revoke_tokens()
    assert isinstance(alone.send("PLT"), Delivered)
    assert tokens(org) == 2
    org.fault = lambda request: (
        answered("INVALID_SESSION_ID", "This session is not valid", 401) if API in request.path else None
    )
    outcome = alone.send("Create")
    assert isinstance(outcome, Misconfigured) and "scope api" in outcome.reason
    assert tokens(org) == 3


def tokens(org: Salesforce) -> int:
    return sum(request.path.endswith("/token") for request in org.journal)


@pytest.mark.parametrize(
    ("error", "description", "kind", "words"),
    [
        ("invalid_grant", "no client credentials user enabled", Misconfigured, "run-as user"),
        ("invalid_grant", "request not supported on this domain", Misconfigured, "My Domain"),
        ("invalid_grant", "something else", Misconfigured, "policies"),
        ("unsupported_grant_type", "grant type not supported", Misconfigured, "enable"),
        ("inactive_user", "", Misconfigured, "not active"),
        ("a_new_one", "", Misconfigured, "client_id"),
        ("invalid_grant", "token request is already being processed", Retry, ""),
        ("rate_limit_exceeded", "", Retry, ""),
    ],
)
def test_a_token_error_says_what_to_change(
    org: Salesforce, make: Make, error: str, description: str, kind: type[Outcome], words: str
) -> None:
    org.token_error = error, description
    outcome = make().send()
    assert isinstance(outcome, kind)
    assert words in getattr(outcome, "reason", "")
    assert not org.requests()


# --- Sign-in by private key ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key_pair() -> tuple[str, str]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public.decode()


def by_key(instance: Instance, org: Salesforce, key: str, **more: Any) -> Alone:
    instance.secrets["LEADS_SECRET_SALESFORCE_KEY"] = key
    settings_ = {"client_secret": None, "username": USERNAME, "private_key": "env:LEADS_SECRET_SALESFORCE_KEY"}
    return Alone(instance.make(crm(org, **settings_ | more)))


@pytest.mark.parametrize("line_end", ["\n", "\\n"])
def test_a_private_key_signs_in_without_a_secret(
    org: Salesforce, instance: Instance, key_pair: tuple[str, str], line_end: str
) -> None:
    private, org.public_key = key_pair
    alone = by_key(instance, org, private.replace("\n", line_end))
    assert isinstance(alone.send(), Delivered)
    assert alone.check() == CheckResult(ok=True)


def test_each_fault_of_a_sign_in_by_key_has_its_own_words(
    org: Salesforce, instance: Instance, key_pair: tuple[str, str]
) -> None:
    private, public = key_pair
    org.public_key = public
    found = {
        "audience": by_key(instance, org, private, audience="https://test.salesforce.com").check(),
        "approved": by_key(instance, org, private, username="other@contoso.example.com").check(),
        "PEM": by_key(instance, org, "no key at all").check(),
    }
    org.public_key = public.replace("A", "B")
    found["certificate"] = by_key(instance, org, private).check()
    for words, result in found.items():
        assert not result.ok and not result.transient
        assert words in result.problem, result


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"client_secret": None}, "username: is needed"),
        ({"client_secret": None, "username": USERNAME}, "private_key: is needed"),
        ({"username": USERNAME, "private_key": "env:KEY"}, "client_secret: leave it out"),
        ({"assignment": RULE}, "external_id_field"),
        ({"url": "https://login.salesforce.com"}, "My Domain"),
        ({"url": "https://contoso.lightning.force.com"}, "my.salesforce.com"),
        ({"mapping": {"Owner.Name": "{note}"}}, r"mapping\.Owner\.Name: is not a lead field"),
        ({"mapping": {"a@b": "{note}"}}, r"mapping\.a@b: is not a lead field"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_when_the_offer_is_saved(
    org: Salesforce, settings_: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidOffer, match=words):
        read_offer({"id": "a.b", "destinations": [crm(org, **settings_)]})


# --- The check ----------------------------------------------------------------------------------------------------------


def set_field(name: str, **changes: Any) -> Callable[[Salesforce], None]:
    def change(org: Salesforce) -> None:
        org.fields["Lead"][name] = replace(org.fields["Lead"].get(name, Field("string", 32)), **changes)

    return change


SettingUp = Callable[[Salesforce], Any]
PROBLEMS: list[tuple[str, dict[str, Any], SettingUp, str, str]] = [
    ("wrong secret", {}, lambda o: setattr(o, "secret", "x"), "invalid_client", "client_secret"),
    ("wrong consumer key", {"client_id": "3MVG9other.key"}, lambda o: None, "invalid_client_id", "consumer key"),
    (
        "no such secret",
        {"client_secret": "env:LEADS_SECRET_NOT_SET"},
        lambda o: None,
        "settings",
        "LEADS_SECRET_NOT_SET",
    ),
    (
        "expired password",
        {},
        lambda o: setattr(o, "password_expired", True),
        "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
        "password of the app's user has expired",
    ),
    ("daily limit", {}, lambda o: setattr(o, "requests_left", 0), "REQUEST_LIMIT_EXCEEDED", "24 hours"),
    ("leads hidden", {}, lambda o: o.rights["Lead"].clear(), "NOT_FOUND", "permission set"),
    ("no right to create", {}, lambda o: o.rights["Lead"].discard("create"), "check", "Create on Lead"),
    ("no right to edit", {}, lambda o: o.rights["Lead"].discard("edit"), "check", "Edit on Lead"),
    ("no right on tasks", {}, lambda o: o.rights["Task"].discard("create"), "check", "Create on Task"),
    ("task field hidden", {}, lambda o: o.hidden.add(("Task", "WhoId")), "check", "WhoId"),
    ("missing field", {"mapping": {"Offer__c": "{offer}"}}, lambda o: None, "check", "mapping.Offer__c"),
    ("company hidden", {}, lambda o: o.hidden.add(("Lead", "Company")), "check", "mapping.Company"),
    ("read-only field", {"mapping": {"CreatedDate": "{offer}"}}, lambda o: None, "check", "mapping.CreatedDate"),
    ("text for a flag", {"mapping": {"DoNotCall": "yes"}}, lambda o: None, "check", "true or false"),
    (
        "text for a number",
        {"mapping": {"Score__c": "7"}},
        set_field("Score__c", type="double", length=0),
        "check",
        "mapping.Score__c: takes a number",
    ),
    ("required field", {}, set_field("Region__c", required=True), "check", "requires Region__c"),
    ("no key field", {"external_id_field": "Other__c"}, lambda o: None, "check", "external_id_field"),
    ("key not unique", {"external_id_field": KEY}, set_field(KEY, unique=False), "check", "unique"),
    ("key too short", {"external_id_field": KEY}, set_field(KEY, length=20), "check", "32"),
    ("key hidden", {"external_id_field": KEY}, lambda o: o.hidden.add(("Lead", KEY)), "check", "external_id_field"),
    ("encrypted e-mail", {}, set_field("Email", filterable=False), "check", "match_existing"),
    (
        "missing rule",
        {"assignment": "01Q000000000009AAA", "external_id_field": KEY},
        lambda o: None,
        "check",
        "assignment",
    ),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "code", "words"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS]
)
def test_a_check_says_precisely_what_to_change_and_writes_nothing(
    org: Salesforce, make: Make, settings_: dict[str, Any], break_it: SettingUp, code: str, words: str
) -> None:
    break_it(org)
    result = make(**settings_).check()
    assert not result.ok and not result.transient
    assert result.code == code
    assert words in result.problem
    assert not [request for request in org.journal if is_write(request)]


EXTRAS: list[tuple[str, dict[str, Any], SettingUp, str]] = [
    (
        "missing campaign",
        {"follow_up": {"purchase": {"campaign": "701000000000009AAA"}}},
        lambda o: None,
        "follow_up.purchase.campaign",
    ),
    (
        "no right on members",
        {"follow_up": {"purchase": {"campaign": CAMPAIGN}}},
        lambda o: o.rights["CampaignMember"].discard("create"),
        "Marketing User",
    ),
    (
        "inactive owner",
        {"follow_up": {"purchase": {"owner": f"user:{INACTIVE}"}}},
        lambda o: None,
        "follow_up.purchase.owner: the user with this ID is disabled",
    ),
    (
        "missing queue",
        {"follow_up": {"purchase": {"owner": "queue:00G000000000009AAA"}}},
        lambda o: None,
        "follow_up.purchase.owner",
    ),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "words"), [row[1:] for row in EXTRAS], ids=[row[0] for row in EXTRAS]
)
def test_a_check_says_what_leads_are_stored_without_and_that_they_are_stored(
    make: Make, org: Salesforce, settings_: dict[str, Any], break_it: SettingUp, words: str
) -> None:
    break_it(org)
    result = make(**settings_).check()
    assert result.ok and words in result.problem


@pytest.mark.parametrize(
    "answer", [Response(200, b"x" * (16 * 1024 * 1024 + 1)), Response(200, b"<html>"), Response(500)]
)
def test_an_incomplete_check_does_not_count_against_the_connection(
    org: Salesforce, make: Make, answer: Response
) -> None:
    org.fault = lambda request: answer if request.path.endswith("/Task/describe") else None
    result = make().check()
    assert result.ok and "is incomplete" in result.problem


def test_a_check_of_what_works_says_so(org: Salesforce, make: Make) -> None:
    follow_up = {
        "purchase": {"owner": f"queue:{QUEUE}", "campaign": CAMPAIGN, "task": {}},
        "trial": {"owner": f"user:{PERSON}"},
    }
    org.hidden |= {("Lead", "HasOptedOutOfFax"), ("Lead", "Title")}
    assert make(follow_up=follow_up, external_id_field=KEY, assignment=RULE).check() == CheckResult(ok=True)


def test_a_host_that_is_not_there_is_named_as_the_fault(make: Make) -> None:
    result = make(url="https://contoso.my.salesforce.invalid").check()
    assert not result.ok and result.transient, "it may be the name service that is out of order"
    assert "url" in result.problem


def test_the_description_of_an_object_may_be_long(org: Salesforce, make: Make) -> None:
    long_name = "x" * 70
    org.fields["Lead"] |= {f"{long_name}{number}__c": Field("string", 40) for number in range(6000)}
    assert make().check() == CheckResult(ok=True)


def test_queries_say_what_they_ask_for(org: Salesforce, make: Make) -> None:
    make(follow_up={"purchase": {"campaign": CAMPAIGN}}).send("Create")
    (part,) = json.loads(org.api_journal[0].body)["compositeRequest"]
    query = parse(unquote(part["url"].partition("?q=")[2]))
    assert (query.table, query.limit, query.fields) == ("Lead", 10, {"Email", "IsConverted", "LastModifiedDate"})
    assert [subquery.table for subquery in query.subqueries] == ["Tasks", "CampaignMembers"]
