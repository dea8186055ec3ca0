"""Records in Salesforce that others have made, converted, merged or deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from leads.core.outcomes import Delivered, Skipped
from tests.fakes.https_server import LOSE_ANSWER
from tests.fakes.salesforce import Salesforce, VendorError
from tests.support.destination import Alone
from tests.support.pipeline import EMAIL, TestClock
from tests.support.salesforce import KEY, Make, is_write, one


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


@pytest.mark.parametrize("has_opportunity", [True, False])
def test_a_stage_of_a_converted_lead_goes_to_the_contact_it_became(
    org: Salesforce, make: Make, has_opportunity: bool
) -> None:
    alone = make()
    alone.send()
    contact, account, opportunity = org.convert(one(org.leads)["Id"], opportunity=has_opportunity)
    for _ in range(2):
        assert isinstance(alone.send("PLT") if len(alone.sent) == 1 else alone.again(), Delivered)
    task = one(org.tasks())
    assert (task["WhoId"], task["WhatId"]) == (contact, opportunity or account)
    assert len(org.leads) == 1


def test_it_goes_to_the_account_where_the_contact_is_gone(org: Salesforce, make: Make) -> None:
    alone = make()
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


def test_related_records_may_be_closed_to_the_apps_user(org: Salesforce, make: Make) -> None:
    alone = make()
    alone.send()
    contact, _, _ = org.convert(one(org.leads)["Id"])

    def closed(table: str, values: Any) -> VendorError | None:
        if table == "Task" and values.get("WhatId"):
            return VendorError(400, "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights")
        return None

    org.validation_rule = closed
    assert isinstance(alone.send("PLT"), Delivered)
    assert [task.get("WhatId") for task in org.tasks(contact)] == [None]


def test_a_merged_lead_is_followed_to_its_survivor(org: Salesforce, make: Make) -> None:
    alone = make()
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
