"""Sends a test lead in the marketplace's format through the whole pipeline."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import uuid4

from pydantic import BaseModel, Field

from leads.core import clock
from leads.core.identity import customer_of
from leads.core.lead import Lead
from leads.core.outcomes import Delivered
from leads.destinations.answers import last_answer, record_answers
from leads.destinations.base import Context, Customer
from leads.destinations.bounded_calls import send_lead
from leads.ledger.incoming import IncomingLeads
from leads.ledger.transactions import Ledger
from leads.offers.model import Offer
from leads.offers.table import Offers
from leads.operations.offers import OfferId, stored_offer
from leads.operations.operation import BODY, Body, Request
from leads.operations.preview import Action
from leads.operations.problems import NotFound
from leads.operations.validation import isolated_destination
from leads.pipeline.attempt import outgoing_lead
from leads.pipeline.intake import accept

_YEAR_1: Final = datetime(1, 1, 1, tzinfo=UTC)
"""The begin of .NET's ticks of 100 ns."""


class TestLead(Body):
    """What the customer of the test lead does."""

    __test__ = False

    action: Action = Field(
        default="INS", description="The action code: INS, PLT, Create, StartTestDrive, DNC or another one."
    )


class SendTestLead(Request):
    """Which offer the test lead is for."""

    offer_id: OfferId
    test_lead: Annotated[TestLead, BODY] = TestLead()


class SentTestLead(BaseModel):
    """An accepted test lead. `mark` is what to search for in the CRM."""

    lead_id: str
    offer: str
    mark: str


def send_test_lead(offers: Offers, incoming: IncomingLeads, request: SendTestLead) -> SentTestLead:
    """Send a test lead to a stored offer, in the marketplace's format. Ask for its state as for any lead."""
    stored = stored_offer(offers, request.offer_id)
    mark = make_mark(clock.now())
    lead = _marked_lead(mark, request.test_lead.action, stored.offer)
    receipt = accept(incoming, json.dumps(lead.to_body()).encode(), stored.offer.id)
    return SentTestLead(lead_id=receipt.lead_id, offer=stored.offer.id, mark=mark)


def send_once_more(
    ledger: Ledger, offers: Offers, context: Context, lead_id: str, destination_name: str
) -> tuple[str, str]:
    """Send a test lead from this process to a destination, with the idempotency key of its last attempt, to see the answer.

    Returns the result in words, and an excerpt of the answer if the vendor did not take the lead. The ledger does not change.
    This is no operation over HTTP, because only the sender may see an endpoint's answer. Raises `NotFound`.
    """
    record = ledger.read(lead_id)
    stored = offers.get(record.offer) if record else None
    config = stored.offer.destination(destination_name) if stored else None
    if record is None or record.lead is None or stored is None or config is None:
        raise NotFound("The test lead or its destination no longer exists")
    lead, destination = record.lead, isolated_destination(context, config)
    recorded = record_answers(destination)
    key = customer_of(lead, record.lead_id)
    row = ledger.customer(key, destination.record_scope(stored.offer.id, config.name))
    customer = Customer(key, row.record_id, row.idempotency_key, row.memory) if row else Customer(key, "", str(uuid4()))
    outgoing = outgoing_lead(
        stored.offer, config, lead, lead_id=record.lead_id, received_at=record.received_at, stage=record.stage
    )
    outcome = send_lead(destination, outgoing, customer)
    if isinstance(outcome, Delivered):
        return f"sent again from this machine, and taken. {destination.replay_warning}", ""
    person = (lead.first_name, lead.last_name, lead.email, lead.phone, lead.company, lead.title, lead.description)
    answer = last_answer(recorded, destination, person)
    return f"sent again from this machine, and not taken ({outcome.code})", answer


def make_mark(now: datetime) -> str:
    """`MSFT_TEST_` and the moment in .NET's ticks, 18 digits."""
    return f"MSFT_TEST_{(now - _YEAR_1) // timedelta(microseconds=1) * 10}"


def _marked_lead(mark: str, action: str, offer: Offer) -> Lead:
    """The lead that Partner Center posts for *Validate* (the marketplace's lead management FAQ)."""
    return Lead(
        first_name=mark,
        last_name=mark,
        email=f"{mark}@test.com",
        phone="1234567890",
        country="US",
        company=mark,
        title=mark,
        lead_source="AzureMarketplace",
        action_code=action,
        offer_title=next(iter(offer.titles), offer.id),
        description=mark,
    )
