"""The lead that is measured: its body, its message, and the rows that the app writes for it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from leads.core.identity import action_fingerprint, customer_hash, customer_identity, fingerprint, new_lead_id
from leads.core.lead import Stage
from leads.core.lead_parsing import parse_body
from leads.core.messages import Message, Reception, encode
from leads.core.states import State
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.vendors.azure_table.rows import to_entity
from leads.ledger.customer_rows import CustomerRow, RecentLead, customer_key
from leads.ledger.rows import AttemptLog, Delivery, LeadRecord, lead_entity, listing_entity
from leads.pipeline.attempt import new_token

OFFER = "contoso.crm"
DESTINATION = "table"
LEAD_ID_LENGTH = 32
TOKEN = new_token(Reception("0" * 32, 1))
OFFER_SETTINGS: dict[str, Any] = {
    "id": OFFER,
    "titles": ["Contoso CRM"],
    "destinations": [{"name": DESTINATION, "type": "azure_table"}],
}
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def body(number: int, action: str = "INS") -> bytes:
    """What the marketplace posts, in the shape and length of Microsoft's printed example; one customer for each number."""
    lead = {
        "UserDetails": {
            "FirstName": "Avery",
            "LastName": "Howard",
            "Email": f"avery.howard.{number:07d}@example.com",
            "Phone": "16175555555",
            "Country": "US",
            "Company": "Fabrikam",
            "Title": "Buyer",
        },
        "LeadSource": f"AzureMarketplace-{action}|{OFFER}",
        "ActionCode": action,
        "OfferTitle": "Contoso CRM",
        "Description": "We would like to see how this works with 200 users.",
    }
    return json.dumps(lead).encode()


def message(number: int) -> tuple[str, str]:
    """A lead's id and the text that intake puts on the queue for it."""
    now = datetime.now(UTC)
    lead = parse_body(body(number))
    lead_id = new_lead_id(now, lead)
    return lead_id, encode(Message(lead_id, received_at=now, traceparent=_TRACEPARENT, lead=lead))


@dataclass(frozen=True)
class Rows:
    """What a delivery writes: the customer's row claimed and settled, the lead, its listing, the destination's row.

    `scope` and `listing_prefix` are the parts of two of the row keys that stand beside the lead's or customer's own.
    """

    claimed: dict[str, Any]
    settled: dict[str, Any]
    lead: dict[str, Any]
    listing: dict[str, Any]
    destination: dict[str, Any]
    scope: str
    listing_prefix: str


def rows() -> Rows:
    """The rows of a delivered lead, as the app's own code makes them."""
    record = delivered(0)
    lead = record.lead
    assert lead is not None
    key = customer_hash(customer_identity(lead, record.lead_id))
    seen = RecentLead(
        fingerprint(lead, OFFER),
        record.lead_id,
        record.received_at,
        claim=TOKEN,
        action_fingerprint=action_fingerprint(lead, OFFER),
    )
    partition, row = customer_key(key, f"{OFFER}|{DESTINATION}")
    settled = CustomerRow(partition, row, record_id=record.lead_id, idempotency_key=str(UUID(int=0)), recent=(seen,))
    outgoing = OutgoingLead(
        lead_id=record.lead_id,
        lead=lead,
        offer=OFFER,
        destination=DESTINATION,
        stage=record.stage,
        received_at=record.received_at,
    )
    listing = listing_entity(record)
    return Rows(
        claimed=settled.entity() | {"claim": TOKEN, "record_id": ""},
        settled=settled.entity(),
        lead=lead_entity(record, whole=True),
        listing=listing,
        destination=to_entity(outgoing, Customer(key)),
        scope=";" + settled.row.rpartition(";")[2],
        listing_prefix=listing["RowKey"].rpartition(";")[0] + ";",
    )


def delivered(number: int, received_at: datetime | None = None) -> LeadRecord:
    """A lead's record after its first attempt got through."""
    received_at = received_at or datetime.now(UTC)
    lead = parse_body(body(number))
    lead_id = new_lead_id(received_at, lead)
    delivery = Delivery(
        DESTINATION,
        State.DELIVERED,
        connection="0123456789abcdef",
        updated_at=received_at,
        record_id=lead_id,
        attempts=(AttemptLog(TOKEN, received_at, "delivered", "created", milliseconds=10),),
    )
    return LeadRecord(
        lead_id,
        received_at,
        lead,
        offer=OFFER,
        stage=Stage.INITIAL_INTEREST,
        traceparent=_TRACEPARENT,
        deliveries={DESTINATION: delivery},
    )
