"""To-do rows: the undelivered leads by state and connection, for `watch`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from leads.core.identity import partition_of, received_at_of
from leads.core.routing import OfferReferences
from leads.core.states import State
from leads.ledger.rows import REFERENCE_KEPT, Delivery, LeadRecord, keys
from leads.platform.row_reading import read_optional_time, read_time, reads


def todo_prefix(state: State, connection: str | None = None) -> str:
    return f"todo;{state};" if connection is None else f"todo;{state};{connection or '-'};"


def todo_key(lead_id: str, delivery: Delivery) -> tuple[str, str]:
    """Keys of an undelivered lead's to-do row: by state and connection, oldest first."""
    return partition_of(lead_id), f"{todo_prefix(delivery.state, delivery.connection)}{lead_id};{delivery.destination}"


def todo_entity(record: LeadRecord, delivery: Delivery) -> dict[str, Any]:
    """The to-do row. For an unrouted lead it has the fields that routing needs. It holds no personal data."""
    entity = keys(todo_key(record.lead_id, delivery)) | {
        "lead_id": record.lead_id,
        "destination": delivery.destination,
        "seq": delivery.seq,
        "offer": record.offer,
        "updated_at": delivery.updated_at or record.received_at,
    }
    if delivery.next_at is not None:
        entity["next_at"] = delivery.next_at
    if delivery.state is State.UNROUTED:
        references = record.references
        entity |= {
            "partly_done": record.partly_done,
            "ref_url": references.url,
            "ref_source": references.lead_source[:REFERENCE_KEPT],
            "ref_product": references.product_id[:REFERENCE_KEPT],
            "ref_title": references.title[:REFERENCE_KEPT],
        }
    return entity


@dataclass(frozen=True)
class Todo:
    """An undelivered lead at one destination. `partly_done`: as in `LeadRecord`."""

    lead_id: str
    state: State
    connection: str
    destination: str
    seq: int
    offer: str
    updated_at: datetime
    next_at: datetime | None
    references: OfferReferences
    partly_done: bool = False

    @cached_property
    def received_at(self) -> datetime:
        return received_at_of(self.lead_id)


@reads("undelivered lead")
def read_todo(entity: Mapping[str, Any]) -> Todo:
    _, state, connection, _ = entity["RowKey"].split(";", 3)
    received_at_of(entity["lead_id"])
    return Todo(
        lead_id=entity["lead_id"],
        state=State(state),
        connection="" if connection == "-" else connection,
        destination=entity["destination"],
        seq=entity["seq"],
        offer=entity.get("offer", ""),
        updated_at=read_time(entity, "updated_at"),
        next_at=read_optional_time(entity, "next_at"),
        references=OfferReferences(*(entity.get(f"ref_{name}", "") for name in ("url", "source", "product", "title"))),
        partly_done=entity.get("partly_done", False),
    )
