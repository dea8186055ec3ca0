"""Fields of Salesforce: lengths, refusals, hidden ones, countries, and texts that no field can hold."""

from __future__ import annotations

from typing import Any

import pytest

from leads.core.outcomes import Delivered, Outcome, Rejected, Retry
from tests.fakes.salesforce import CAMPAIGN, Field, Salesforce, VendorError
from tests.support.destination import Alone
from tests.support.salesforce import Make, one, told


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


def test_texts_are_cut_to_their_fields_and_whole_in_the_story(org: Salesforce, make: Make) -> None:
    alone = make()
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
    long = "".join(f"<{number}>" for number in range(10_000))
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
def test_a_long_text_fills_its_tasks_and_no_more(org: Salesforce, make: Make, text: str) -> None:
    alone = make()
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


def test_a_record_that_may_not_be_changed_still_gets_the_stage(org: Salesforce, make: Make) -> None:
    alone = make()
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
    org: Salesforce, make: Make, on: bool, country: str, stored: dict[str, str], left_out: str
) -> None:
    alone = make()
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
