"""Claims: of two attempts that have read the same rows, only one continues."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leads.core.identity import customer_hash, customer_identity, new_lead_id
from leads.core.lead import Lead
from leads.core.outcomes import Delivered
from leads.ledger.customer_rows import RecentLead
from leads.ledger.rows import LeadRecord
from leads.ledger.transactions import LEDGER_TABLE, CustomerChanged, LeadKnown, Ledger
from leads.platform.settings import read_settings
from leads.platform.storage import Storage

LEAD = Lead(email="ada@example.com")
CUSTOMER = customer_hash(customer_identity(LEAD, ""))
SCOPE = "contoso.crm|crm"
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.storage("memory", "azurite")


@pytest.fixture
def ledger(fresh_storage: str) -> Ledger:
    return Ledger(Storage(read_settings({"LeadsStorage": fresh_storage})).table(LEDGER_TABLE))


def a_record() -> LeadRecord:
    return LeadRecord(new_lead_id(NOW, LEAD), NOW, LEAD)


def seen(record: LeadRecord, token: str) -> RecentLead:
    return RecentLead(token, record.lead_id, NOW, claim=token)


def known_customer(ledger: Ledger) -> None:
    """The customer's first lead is delivered."""
    first = a_record()
    claim = ledger.claim(first, CUSTOMER, SCOPE, None, seen(first, "first"))
    ledger.settle(first, lambda _: None, claim, Delivered("record"))


def test_of_two_attempts_that_have_read_the_same_customer_one_gets_the_claim(ledger: Ledger) -> None:
    known_customer(ledger)
    known = ledger.customer(CUSTOMER, SCOPE)
    one, two = a_record(), a_record()
    ledger.claim(one, CUSTOMER, SCOPE, known, seen(one, "one"))
    with pytest.raises(CustomerChanged):
        ledger.claim(two, CUSTOMER, SCOPE, known, seen(two, "two"))
    found = ledger.customer(CUSTOMER, SCOPE)
    assert found is not None and (found.claim, found.held) == ("one", True)
    assert ledger.read(two.lead_id) is None, "the loser has written nothing"


def test_of_two_attempts_that_know_no_customer_one_gets_the_claim(ledger: Ledger) -> None:
    one, two = a_record(), a_record()
    ledger.claim(one, CUSTOMER, SCOPE, None, seen(one, "one"))
    with pytest.raises(CustomerChanged):
        ledger.claim(two, CUSTOMER, SCOPE, None, seen(two, "two"))


def test_no_claim_is_given_for_a_lead_that_has_changed_since_it_was_read(ledger: Ledger) -> None:
    known_customer(ledger)
    record = ledger.settle(a_record(), lambda _: None)
    before = ledger.read(record.lead_id)
    assert before is not None
    ledger.settle(record, lambda current: current.close(NOW, "dealt with by another"))
    with pytest.raises(LeadKnown) as known:
        ledger.claim(before, CUSTOMER, SCOPE, ledger.customer(CUSTOMER, SCOPE), seen(before, "late"))
    assert known.value.record.etag != before.etag
    found = ledger.customer(CUSTOMER, SCOPE)
    assert found is not None and not found.claim, "nothing is claimed for it"
