"""Preview: renders a lead as each destination would send it. It sends, looks up and keeps nothing."""

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, JsonValue, model_validator

from leads.core import clock
from leads.core.identity import customer_of, new_lead_id, received_at_of
from leads.core.lead import Lead, stage_of
from leads.core.lead_parsing import parse_body
from leads.core.problems import code_location
from leads.core.routing import DEFAULT_OFFER, OfferReferences, route
from leads.destinations.base import Context, Customer, NotSendable, PreviewedRequest
from leads.offers.model import DestinationConfig, Offer
from leads.offers.table import Offers
from leads.operations.leads import lead_of
from leads.operations.offers import no_offer
from leads.operations.operation import Body
from leads.operations.problems import NotFound
from leads.operations.validation import isolated_destination
from leads.pipeline.attempt import outgoing_lead
from leads.platform.settings import SettingsError

IDEMPOTENCY_KEY: Final = "00000000-0000-4000-8000-000000000000"
"""The key in previews. A customer gets a random key with the first real lead."""

Action = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[!-~]+$")]
"""An action code: INS, PLT, Create, StartTestDrive, DNC, or an unknown one."""


class WantedPreview(Body):
    """The lead to preview, and its offer."""

    lead: JsonValue = Field(
        default=None, description="A lead in any format that the app accepts, as JSON or as its text."
    )
    action: Action | Literal[""] = Field(
        default="", description="Instead of a lead: what a made-up customer does, such as PLT."
    )
    offer_id: str = Field(default="", max_length=500, description="The offer that the address of the lead names.")
    offer: Offer | None = Field(
        default=None, description="An offer, saved or not, that replaces the stored offer of its id."
    )

    @model_validator(mode="after")
    def _one_lead(self) -> "WantedPreview":
        if self.lead is not None and self.action:
            raise ValueError("action: is only for a made-up lead; leave out action or lead")
        if self.offer and self.offer_id and self.offer.id.casefold() != self.offer_id.strip().casefold():
            raise ValueError("offer_id: differs from the id of offer; leave out one of them")
        return self


class PreviewedDestination(BaseModel):
    """What a destination would send. `skipped`: why it would skip the lead. `problem`: why there is no preview."""

    destination: str
    type: str
    skipped: str
    problem: str
    requests: list[PreviewedRequest]


class Preview(BaseModel):
    """How the app reads and routes a lead. `offer`: "" if no offer takes the lead, which would become unrouted."""

    offer: str
    source: str
    action: str
    stage: str
    country_code: str
    is_test: bool
    destinations: list[PreviewedDestination]


def preview_lead(stored_offers: Offers, context: Context, request: WantedPreview) -> Preview:
    """Show the requests that a customer's first lead would make at each destination, secrets masked. Nothing is sent."""
    offers = _offers(stored_offers, request)
    named = request.offer.id if request.offer else request.offer_id.strip()
    chosen = _named(named, offers)
    lead = _lead(request, chosen)
    offer = route(OfferReferences.of(lead, named), offers)
    stage = offer.stage(lead) if offer else stage_of(lead.action)
    lead_id = new_lead_id(clock.now(), lead)
    return Preview(
        offer=offer.id if offer else "",
        source=lead.source,
        action=lead.action,
        stage=stage,
        country_code=lead.country_code,
        is_test=lead.is_test,
        destinations=[_previewed(context, offer, config, lead, lead_id) for config in offer.destinations]
        if offer
        else [],
    )


def _offers(offers: Offers, wanted: WantedPreview) -> list[Offer]:
    """The stored offers, with the offer of the request in the place of the one of its id."""
    stored = [stored.offer for stored in offers.stored()]
    if wanted.offer is None:
        return stored
    return [*(offer for offer in stored if offer.id.casefold() != wanted.offer.id.casefold()), wanted.offer]


def _named(name: str, offers: list[Offer]) -> Offer | None:
    """The offer that the address names. Raises `NotFound`: a person's request must name a known offer."""
    candidates = offers if name == DEFAULT_OFFER else [offer for offer in offers if offer.id != DEFAULT_OFFER]
    found = route(OfferReferences(name), candidates) if name else None
    if name and found is None:
        raise NotFound(no_offer(name))
    return found


def _lead(wanted: WantedPreview, chosen: Offer | None) -> Lead:
    if wanted.lead is None:
        return parse_body(json.dumps(_sample(wanted.action or "INS", chosen).to_body()).encode())
    return lead_of(wanted.lead)


def _sample(action: str, offer: Offer | None) -> Lead:
    """A made-up customer's lead."""
    return Lead(
        first_name="Robin",
        last_name="O'Neil",
        email="robin.oneil@example.com",
        phone="+1 425 555 0100",
        country="US",
        company="Example Works",
        title="Head of Purchasing",
        lead_source="AzureMarketplace",
        action_code=action,
        offer_title=next(iter(offer.titles), offer.id) if offer else "",
        description="Please call me before noon.",
    )


def _previewed(
    context: Context, offer: Offer, config: DestinationConfig, lead: Lead, lead_id: str
) -> PreviewedDestination:
    stage = offer.stage(lead)
    skipped = offer.refusal(lead, stage) or config.when.refusal(lead, stage)
    customer = Customer(customer_of(lead, lead_id), "", IDEMPOTENCY_KEY)
    at = received_at_of(lead_id)
    outgoing = outgoing_lead(offer, config, lead, lead_id=lead_id, received_at=at, stage=stage)
    requests: list[PreviewedRequest] = []
    problem = ""
    try:
        requests = [] if skipped else isolated_destination(context, config).preview(outgoing, customer)
    except (NotSendable, SettingsError) as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a defect in one type does not stop the others
        problem = f"The preview itself failed: {code_location(error)}."
    return PreviewedDestination(
        destination=config.name, type=config.type, skipped=skipped, problem=problem, requests=requests
    )
