"""Writes a lead as a row of the table, and reads a row as a record of a lead."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from leads.core.lead import Lead
from leads.destinations.base import Customer, OutgoingLead
from leads.platform.table_format import joined_text, text_columns

CREATED_TIME_FORMAT: Final = "%m/%d/%Y %H:%M:%S"
MAX_ENTITY_CHARACTERS: Final = 480_000
"""An entity holds 1 MiB. A character takes two bytes, and the rest is for names and keys."""

_LEAD_COLUMNS: Final = (
    "LeadSource",
    "ActionCode",
    "ProductId",
    "OfferDisplayName",
    "PublisherDisplayName",
    "CustomerInfo",
    "Description",
)


def from_entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a record for `parse_record`. A row of this app gives the record that `to_entity` got, another row itself."""
    if "CustomerKey" not in entity:
        return dict(entity)
    try:
        extra = json.loads(joined_text(entity, "Extra") or "{}")
    except ValueError:
        extra = {}
    own = {name: joined_text(entity, name) for name in _LEAD_COLUMNS}
    return own | {"CreatedTime": entity.get("CreatedTime", "")} | (extra if isinstance(extra, dict) else {})


def partition_of(received_at: datetime) -> str:
    """The partition key of a lead: the day on which the lead was received, such as `20260131`."""
    return received_at.strftime("%Y%m%d")


def offer_of(entity: Mapping[str, Any]) -> str:
    """The offer of a row's lead. "" for the default offer, and for a row that another app wrote."""
    offer = str(entity.get("Offer", "")) if "CustomerKey" in entity else ""
    return "" if offer == "*" else offer


def to_entity(outgoing: OutgoingLead, customer: Customer) -> dict[str, Any]:
    """The row of a lead. A text longer than a column continues in numbered columns (`Description_2` …)."""
    lead = outgoing.lead
    names = {
        "FirstName": lead.first_name,
        "LastName": lead.last_name,
        "Email": lead.email,
        "Phone": lead.phone,
        "Country": lead.country,
        "Company": lead.company,
        "Title": lead.title,
    }
    entity: dict[str, Any] = {
        "PartitionKey": partition_of(outgoing.received_at),
        "RowKey": outgoing.lead_id,
        "CreatedTime": outgoing.received_at.strftime(CREATED_TIME_FORMAT),
        **text_columns("LeadSource", lead.lead_source),
        **text_columns("ActionCode", lead.action),
        **text_columns("ProductId", lead.product_id or lead.offer_part),
        **text_columns("OfferDisplayName", lead.offer_title),
        **text_columns("PublisherDisplayName", lead.publisher_name or lead.publisher),
        **text_columns("CustomerInfo", json.dumps(names | lead.customer_extra, ensure_ascii=False)),
        **text_columns("Description", lead.description),
        **_extra_columns(lead),
        "Offer": outgoing.offer,
        "Stage": outgoing.stage.value,
        "CountryCode": lead.country_code,
        "CustomerKey": customer.key,
        "IsTest": lead.is_test,
    }
    own_columns = {column: text for name, value in names.items() for column, text in text_columns(name, value).items()}
    if _characters(entity) + _characters(own_columns) <= MAX_ENTITY_CHARACTERS:
        entity |= own_columns
    return entity


def _extra_columns(lead: Lead) -> dict[str, str]:
    return text_columns("Extra", json.dumps(lead.extra, ensure_ascii=False)) if lead.extra else {}


def _characters(entity: dict[str, Any]) -> int:
    return sum(len(value) for value in entity.values() if isinstance(value, str))
