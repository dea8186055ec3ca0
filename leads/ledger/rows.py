"""The ledger's rows: a lead's record, the keys of its rows, and the conversion between record and rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from leads.core.identity import complement, customer_of, partition_of
from leads.core.lead import Lead, Stage, known_action, known_source
from leads.core.messages import Imported
from leads.core.routing import OfferReferences
from leads.core.states import DONE, FINAL, MOST_URGENT_FIRST, ON_THE_QUEUE, State
from leads.platform.row_reading import read_optional_time, read_time, reads
from leads.platform.table_format import joined_text, key_part, text_columns

BODY_CHUNK = 60_000
"""Bytes of a binary column, which holds 64 KiB."""
MAX_ATTEMPTS_KEPT = 40
REFERENCE_KEPT = 1_000
"""Most characters of an offer's or source's name in listings and to-do rows. Real names are far shorter."""
UNROUTED_OFFER = "-"
ERASED_ON_REQUEST = "the customer was erased on request"


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The result of one attempt: the outcome's name, the vendor's code, and when the next attempt was due."""

    id: str
    at: datetime
    outcome: str
    code: str = ""
    next_at: datetime | None = None
    milliseconds: int = 0


@dataclass(slots=True)
class Delivery:
    """The delivery of one lead to one destination. `destination`: "" while the lead is not routed.

    `seq`: the number of the newest message that is known to be on the queue. `step`, `spent` (seconds): the used part of the
    retry budget. `forced`: a person wants the lead sent in spite of the customer's history, policies and import mode.
    `dismissed`: the note of a person who dismissed the delivery. `dismissed_from`: the state before the dismissal.
    """

    destination: str
    state: State = State.WAITING
    seq: int = 0
    connection: str = ""
    updated_at: datetime | None = None
    next_at: datetime | None = None
    step: int = 0
    spent: float = 0
    first_failed_at: datetime | None = None
    crashes: int = 0
    record_id: str = ""
    duplicate_of: str = ""
    repeat_of: str = ""
    possibly_twice: bool = False
    forced: bool = False
    unconfirmed: bool = False
    reason: str = ""
    dismissed: str = ""
    dismissed_from: State | None = None
    attempts: tuple[AttemptLog, ...] = ()

    def still_to_do(self, seq: int) -> bool:
        """Whether the message `seq` still has to be handled. Otherwise it is a leftover."""
        if self.state in FINAL:
            return False
        if self.state in ON_THE_QUEUE:
            return seq >= self.seq
        return seq > self.seq

    def log(self, attempt: AttemptLog) -> None:
        """Add an attempt, unless it is there already. Only the newest `MAX_ATTEMPTS_KEPT` are kept."""
        if all(known.id != attempt.id for known in self.attempts):
            self.attempts = (*self.attempts, attempt)[-MAX_ATTEMPTS_KEPT:]


_DELIVERY = TypeAdapter(Delivery)


def copied(deliveries: Mapping[str, Delivery]) -> dict[str, Delivery]:
    return {name: replace(delivery) for name, delivery in deliveries.items()}


@dataclass(slots=True)
class LeadRecord:
    """A lead as the ledger knows it.

    `etag`: "" while the record is not stored. `stored`: the offer and the deliveries that the lead's stored rows have.
    `corrects`: the id of the lead that this lead corrects. `only`: the destinations of a correction (empty = all).

    After the personal data is removed (`emptied_at`), `lead` is None. `customer` (the hash), `action`, `source` and `is_test` are
    kept.
    """

    lead_id: str
    received_at: datetime
    lead: Lead | None
    url_offer: str = ""
    offer: str = ""
    stage: Stage = Stage.UNKNOWN
    has_body: bool = False
    traceparent: str = ""
    imported: Imported = Imported.NO
    corrects: str = ""
    only: tuple[str, ...] = ()
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    etag: str = ""
    stored: tuple[str, dict[str, Delivery]] = field(default_factory=lambda: ("", {}))
    emptied_at: datetime | None = None
    customer: str = ""
    action: str = ""
    source: str = ""
    is_test: bool = False

    @property
    def state(self) -> State:
        """The most urgent state of the deliveries."""
        states = {delivery.state for delivery in self.deliveries.values()}
        return next((state for state in MOST_URGENT_FIRST if state in states), State.WAITING)

    def copy(self) -> "LeadRecord":
        """A copy with its own deliveries."""
        return replace(self, deliveries=copied(self.deliveries))

    def delivery(self, destination: str) -> Delivery:
        """The delivery to a destination. A missing delivery is added."""
        return self.deliveries.setdefault(destination, Delivery(destination))

    def has_code(self, destination: str, code: str | None) -> bool:
        """Whether the last attempt at a destination has this code. `code` None = whether the lead has this destination."""
        delivery = self.deliveries.get(destination)
        if code is None or delivery is None:
            return delivery is not None
        return bool(delivery.attempts) and delivery.attempts[-1].code == code

    @property
    def partly_done(self) -> bool:
        """Whether a destination is done with the lead, successfully or not."""
        return any(delivery.state in DONE for delivery in self.deliveries.values())

    def close(self, at: datetime, reason: str) -> None:
        """End the deliveries that are not final, so that nothing more is sent."""
        for delivery in self.deliveries.values():
            if delivery.state not in FINAL:
                delivery.state, delivery.next_at, delivery.updated_at = State.ERASED, None, at
                delivery.reason = reason

    def emptied(self, at: datetime, reason: str) -> "LeadRecord":
        """A copy without personal data. Deliveries that are not final end as erased."""
        if self.emptied_at is not None:
            return self.copy()
        gone = replace(
            self,
            lead=None,
            has_body=False,
            url_offer="",
            traceparent="",
            emptied_at=at,
            customer=self.customer or (customer_of(self.lead, self.lead_id) if self.lead else ""),
            action=known_action(self.lead) if self.lead else "",
            source=known_source(self.lead) if self.lead else "",
            is_test=self.lead.is_test if self.lead else False,
            deliveries=copied(self.deliveries) or {"": Delivery("")},
        )
        for delivery in gone.deliveries.values():
            delivery.dismissed = ""  # a person wrote it
        gone.close(at, reason)
        return gone

    @property
    def references(self) -> OfferReferences:
        return OfferReferences.of(self.lead, self.url_offer) if self.lead else OfferReferences(self.url_offer)


def lead_key(lead_id: str) -> tuple[str, str]:
    return partition_of(lead_id), f"lead;{complement(lead_id)}"


def listing_key(lead_id: str, offer: str) -> tuple[str, str]:
    """Keys of a lead's listing row: by offer, newest first."""
    return partition_of(lead_id), f"offer;{key_part(offer or UNROUTED_OFFER)};{complement(lead_id)}"


def same_in_lists(one: LeadRecord, other: LeadRecord) -> bool:
    """Whether both records look the same in lists."""
    return _summary(one) == _summary(other)


def body_key(lead_id: str) -> tuple[str, str]:
    return partition_of(lead_id), f"body;{lead_id}"


def keys(key: tuple[str, str]) -> dict[str, Any]:
    return {"PartitionKey": key[0], "RowKey": key[1]}


def lead_entity(record: LeadRecord, *, whole: bool) -> dict[str, Any]:
    """The lead's row: `whole`, or only the columns that can change after the first write."""
    entity = keys(lead_key(record.lead_id)) | _summary(record) | {"listed": record.offer or UNROUTED_OFFER}
    for name, delivery in record.deliveries.items():
        if whole or record.stored[1].get(name) != delivery:
            entity[f"to_{name}"] = _DELIVERY.dump_json(delivery, exclude_defaults=True).decode()
    # A merge can't remove a column, so the column of a removed delivery is set to "".
    entity |= {f"to_{name}": "" for name in record.stored[1] if name not in record.deliveries}
    if whole:
        entity |= {"url_offer": record.url_offer, "traceparent": record.traceparent}
        entity |= _origin(record)
        if record.emptied_at is not None:
            entity["emptied_at"] = record.emptied_at
        elif record.has_body:
            entity["has_body"] = True
        elif record.lead is not None:
            entity |= text_columns("lead", json.dumps(record.lead.to_wire(), ensure_ascii=False))
    return entity


def _origin(record: LeadRecord) -> dict[str, Any]:
    """Columns about a lead's origin if it is not the marketplace, and columns by which an import finds the lead."""
    origin = {"imported": record.imported.value, "corrects": record.corrects, "only": ",".join(record.only)}
    if record.lead is not None:
        origin |= {"customer": customer_of(record.lead, record.lead_id), "action": record.lead.action[:REFERENCE_KEPT]}
    else:
        origin |= {"customer": record.customer, "action": record.action}
    return {name: value for name, value in origin.items() if value}


@reads("lead")
def read_lead(entity: Mapping[str, Any], etag: str) -> LeadRecord:
    """The record of a lead's row. `lead` is None if the body has its own row, or can't be read."""
    deliveries = {
        column.removeprefix("to_"): _DELIVERY.validate_json(value)
        for column, value in entity.items()
        if column.startswith("to_") and value
    }
    text = joined_text(entity, "lead")
    return LeadRecord(
        lead_id=complement(entity["RowKey"].removeprefix("lead;")),
        received_at=read_time(entity, "received_at"),
        lead=Lead.from_wire(json.loads(text)) if text else None,
        url_offer=entity.get("url_offer", ""),
        offer=entity.get("offer", ""),
        stage=Stage(entity.get("stage", Stage.UNKNOWN)),
        has_body=entity.get("has_body", False),
        traceparent=entity.get("traceparent", ""),
        imported=Imported(entity.get("imported", "")),
        corrects=entity.get("corrects", ""),
        only=tuple(filter(None, entity.get("only", "").split(","))),
        deliveries=deliveries,
        etag=etag,
        stored=(entity.get("listed", ""), copied(deliveries)),
        emptied_at=read_optional_time(entity, "emptied_at"),
        customer=entity.get("customer", ""),
        action=entity.get("action", ""),
        source=entity.get("source", ""),
        is_test=entity.get("is_test", False),
    )


def listing_entity(record: LeadRecord) -> dict[str, Any]:
    return keys(listing_key(record.lead_id, record.offer)) | _summary(record)


def _summary(record: LeadRecord) -> dict[str, Any]:
    """The columns for lists of leads. They hold no personal data."""
    summary: dict[str, Any] = {
        "offer": record.offer,
        "stage": record.stage.value,
        "received_at": record.received_at,
        "state": record.state.value,
        "states": ",".join(f"{name}={delivery.state}" for name, delivery in sorted(record.deliveries.items()) if name),
    }
    if any(delivery.unconfirmed for delivery in record.deliveries.values()):
        summary["unconfirmed"] = True
    if record.lead is not None:
        summary |= {"source": record.lead.source[:REFERENCE_KEPT], "is_test": record.lead.is_test}
    elif record.emptied_at is not None:
        summary |= {"source": record.source, "is_test": record.is_test}
    return summary


def body_entity(lead_id: str, body: bytes) -> dict[str, Any]:
    """The row of a body as it was received, in binary columns."""
    pieces = {
        f"body_{start // BODY_CHUNK}": body[start : start + BODY_CHUNK] for start in range(0, len(body), BODY_CHUNK)
    }
    return keys(body_key(lead_id)) | {"size": len(body)} | pieces


@reads("body")
def read_body(entity: Mapping[str, Any]) -> bytes:
    return b"".join(entity[f"body_{number}"] for number in range(-(-int(entity["size"]) // BODY_CHUNK)))
