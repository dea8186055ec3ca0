"""The lead as one model, its source, action and stage. Pure: no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from leads.core.actions import codes_of
from leads.core.countries import country_code
from leads.core.lead_fields import CUSTOMER_FIELDS, RECORD_FIELDS, WIRE_NAMES
from leads.core.lenient_json import decode_if_json, text_of, without_controls


class Lead(BaseModel):
    """One lead. Every field is text as it was sent, cleaned and stripped; "" means missing."""

    # A field of a newer release is ignored, so that its messages can be read after a rollback. Errors never quote a value,
    # because values are personal data.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    country: str = ""
    company: str = ""
    title: str = ""

    lead_source: str = ""
    action_code: str = ""
    product_id: str = ""
    offer_title: str = ""
    publisher_name: str = ""
    description: str = ""
    created_time: str = ""

    extra: dict[str, str] = {}
    """Unknown keys of the record: scalars as text, lists and objects as JSON text."""
    customer_extra: dict[str, str] = {}
    """Unknown keys of the customer object."""
    original: str = ""
    """The body as received, in base64; only if reading it changed or dropped something."""

    def to_wire(self) -> dict[str, Any]:
        """The fields that are not empty, as a dict that JSON can hold, for a message or a row."""
        return {name: value for name, value in self.__dict__.items() if value}

    def to_body(self) -> dict[str, Any]:
        """The lead as Partner Center posts it. `parse_body` reads the same lead from its JSON, except for `original`."""
        fields = {name: value for name, value in self.to_wire().items() if isinstance(value, str)}
        customer = {WIRE_NAMES[name]: fields[name] for name in CUSTOMER_FIELDS if name in fields}
        record = {WIRE_NAMES[name]: value for name, value in fields.items() if name in RECORD_FIELDS}
        return {"UserDetails": customer | self.customer_extra, **record, **self.extra}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """The lead of `to_wire`. Raises pydantic.ValidationError if a field has another type."""
        return cls.model_validate(wire)

    @property
    def source(self) -> str:
        """The place where the customer acted: `AzureMarketplace`, `AzurePortal`, `TestDrive`, `SPZA`, or as sent."""
        source = Source.parse(self.lead_source).source
        return _SOURCES.get(source.casefold(), source)

    @property
    def action(self) -> str:
        """The customer's action as sent: `ActionCode`, or else the action in `LeadSource`."""
        return self.action_code or Source.parse(self.lead_source).action

    @property
    def offer_part(self) -> str:
        """The offer as `LeadSource` names it: `publisher.offer`, or a display name, or ""."""
        return Source.parse(self.lead_source).offer_part

    @property
    def publisher(self) -> str:
        """The publisher's id in `LeadSource`, or else in `ProductId`; "" if both lack it."""
        return Source.parse(self.lead_source).publisher or _split_offer(self.product_id)[0]

    @property
    def is_test(self) -> bool:
        """Whether Microsoft sent this lead as a test: on *Validate*, or when an offer is published."""
        return any(
            _TEST_MARK.search(text)
            for text in (
                self.first_name,
                self.last_name,
                self.email,
                self.company,
                self.description,
                self.lead_source,
            )
        )

    @property
    def campaign(self) -> dict[str, str]:
        """The listing URL's campaign parameters (`mktcmpid`, …), if `Description` is a JSON object."""
        if not self.description.startswith("{"):
            return {}
        parameters, _ = decode_if_json(self.description)
        if not isinstance(parameters, dict):
            return {}
        try:
            return {_clean(key): text for key, value in parameters.items() if (text := _clean(value))}
        except RecursionError:
            return {}

    @property
    def note(self) -> str:
        """The customer's own text: `Description`, unless it is a placeholder, parameters or a test mark."""
        is_note = not (
            self.description.rstrip(" :").casefold() == "campaigns"
            or _TEST_MARK.fullmatch(self.description)
            or self.campaign
        )
        return self.description if is_note else ""

    @property
    def country_code(self) -> str:
        """ISO 3166 alpha-2 of `country`, "" if unknown."""
        return country_code(self.country)


def _clean(value: object) -> str:
    return without_controls(text_of(value)).strip()


TEXT_FIELDS: Final = tuple(name for name in Lead.model_fields if name not in {"extra", "customer_extra", "original"})
"""The fields of a lead that are single texts."""


# --- Source, action, stage ---

_SOURCES: Final = {
    "azuremarketplace": "AzureMarketplace",
    "azureportal": "AzurePortal",
    # Partner Center's lists have these names in words.
    "azure marketplace": "AzureMarketplace",
    "azure portal": "AzurePortal",
    "testdrive": "TestDrive",
    # Microsoft's pages print "AppSource (SPZA)" since 2018; SPZA is AppSource's older name.
    "spza": "SPZA",
    "appsource": "SPZA",
    "appsource (spza)": "SPZA",
}


def known_action(lead: Lead) -> str:
    """The lead's action if it looks like a code, else "": any other text may be personal."""
    return lead.action if _ACTION_CODE.fullmatch(lead.action) else ""


def known_source(lead: Lead) -> str:
    """The lead's source if Microsoft documents it, else "": any other text may be personal."""
    return lead.source if lead.source in _SOURCES.values() else ""


_ACTION_CODE: Final = re.compile(r"[A-Za-z]{2,20}")

# The number is the .NET ticks of the moment at which the test lead was made.
_TEST_MARK: Final = re.compile(r"MSFT_TEST_[0-9]{18}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """The parts of `LeadSource` = `Source-Action|Offer`, stripped; "" = absent."""

    source: str = ""
    action: str = ""
    offer_part: str = ""
    """The offer as sent: `publisher.offer`, or a display name."""
    publisher: str = ""
    """The publisher's id; "" if the offer is a display name."""
    offer: str = ""
    """The offer's id without its publisher, or the display name."""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Split on the first `|`, then the first `-`, then the offer on the first `.`. Never raises."""
        left, _, offer_part = text.partition("|")
        source, _, action = left.partition("-")
        offer_part = offer_part.strip()
        publisher, offer = _split_offer(offer_part)
        return cls(source.strip(), action.strip(), offer_part, publisher, offer)


def _split_offer(text: str) -> tuple[str, str]:
    publisher, dot, offer = (part.strip() for part in text.partition("."))
    # A publisher's id has no white space: "Contoso CRM 2.0" is a display name.
    if not (dot and publisher and offer) or len(publisher.split(maxsplit=1)) > 1:
        return "", text.strip()
    return publisher, offer


class Stage(StrEnum):
    """The stage of a lead, by the customer's action."""

    INITIAL_INTEREST = "initial_interest"
    CONTACT_REQUESTED = "contact_requested"
    PURCHASE = "purchase"
    TRIAL = "trial"
    CROSS_LISTED = "cross_listed"
    UNKNOWN = "unknown"


_STAGES: Final = {
    "ins": Stage.INITIAL_INTEREST,
    "plt": Stage.CONTACT_REQUESTED,
    "create": Stage.PURCHASE,
    "starttestdrive": Stage.TRIAL,
    # "Do not contact": the customer asked a partner that is listed beside this offer. This publisher need not act.
    "dnc": Stage.CROSS_LISTED,
}


def stage_of(action: str, overrides: Mapping[str, str] = {}) -> Stage:
    """The stage of an action: of its code, in any case, or of its words. `overrides` maps action codes to stages, and wins.

    Raises ValueError if an override names an unknown stage.
    """
    codes = [code.casefold() for code in codes_of(action)]
    for known, stage in overrides.items():
        if known.casefold() in codes:
            return Stage(stage)
    return next((_STAGES[code] for code in codes if code in _STAGES), Stage.UNKNOWN)
