"""Duplicate rules of Salesforce, which warn of a new record or block it."""

from __future__ import annotations

import pytest

from leads.core.outcomes import Delivered, Rejected
from tests.fakes.salesforce import Salesforce
from tests.support.pipeline import EMAIL
from tests.support.salesforce import KEY, Make


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
