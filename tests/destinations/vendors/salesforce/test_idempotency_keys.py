"""Idempotency keys of Salesforce: a stored refusal is heard once, and a lost record is never made again."""

from __future__ import annotations

import pytest

from leads.core.outcomes import Delivered, Retry
from leads.destinations.vendors.salesforce.errors import BEFORE_THE_WRITE, CODES
from tests.fakes.https_server import LOSE_ANSWER
from tests.fakes.salesforce import API, Salesforce, VendorError
from tests.support.salesforce import Make, answered, is_write, one


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
