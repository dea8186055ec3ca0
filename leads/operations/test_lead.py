"""A test lead in the marketplace's own form, through the whole pipeline."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from leads.app import App
from leads.core import clock
from leads.offers.model import Offer
from leads.operations.offers import OfferId, no_offer
from leads.operations.operation import BODY, Body, Request
from leads.operations.preview import Action
from leads.operations.problems import NotFound
from leads.pipeline.intake import accept

_YEAR_1: Final = datetime(1, 1, 1, tzinfo=UTC)
"""Where .NET's ticks of 100 ns begin."""


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


def send_test_lead(app: App, request: SendTestLead) -> SentTestLead:
    """Send a test lead as the marketplace does, to a stored offer; its state is asked for like any lead's."""
    stored = app.offers.get(request.offer_id)
    if stored is None:
        raise NotFound(no_offer(request.offer_id))
    mark = make_mark(clock.now())
    body = make_body(mark, request.test_lead.action, stored.offer)
    receipt = accept(app, json.dumps(body).encode(), stored.offer.id)
    return SentTestLead(lead_id=receipt.lead_id, offer=stored.offer.id, mark=mark)


def make_mark(now: datetime) -> str:
    """`MSFT_TEST_` and the moment in .NET's ticks, 18 digits."""
    return f"MSFT_TEST_{(now - _YEAR_1) // timedelta(microseconds=1) * 10}"


def make_body(mark: str, action: str, offer: Offer) -> dict[str, Any]:
    """The body that Partner Center posts for *Validate* (the marketplace's lead management FAQ), its missing comma put in."""
    return {
        "UserDetails": {
            "FirstName": mark,
            "LastName": mark,
            "Email": f"{mark}@test.com",
            "Phone": "1234567890",
            "Country": "US",
            "Company": mark,
            "Title": mark,
        },
        "LeadSource": "AzureMarketplace",
        "ActionCode": action,
        "OfferTitle": next(iter(offer.titles), offer.id),
        "Description": mark,
    }
