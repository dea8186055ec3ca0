"""Builds the table operations that write a lead and its customer. Pure: `leads.ledger.transactions` carries them out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from leads.core.outcomes import Delivered
from leads.core.states import UNDELIVERED
from leads.ledger.customer_rows import REDELIVERY_WINDOW, CustomerRow, RecentLead, customer_key
from leads.ledger.rows import (
    UNROUTED_OFFER,
    Delivery,
    LeadRecord,
    body_key,
    copied,
    keys,
    lead_entity,
    listing_entity,
    listing_key,
    same_in_lists,
)
from leads.ledger.todo_rows import todo_entity, todo_key
from leads.platform.storage import Operation, replacing, storing

RECENT_KEPT = 8
"""The least number of recent leads that a customer's row keeps, for repeats of any age."""
RECENT_AT_MOST = 80
"""The most recent leads that a customer's row keeps: a text column holds 32 Ki characters, and a lead takes about 250."""

Change = Callable[[LeadRecord], None]
"""Changes a record in place."""


def new_customer(customer_hash: str, scope: str) -> CustomerRow:
    partition, row = customer_key(customer_hash, scope)
    return CustomerRow(partition, row, idempotency_key=str(uuid4()))


def with_recent_lead(customer: CustomerRow, seen: RecentLead) -> CustomerRow:
    others = tuple(known for known in customer.recent if known.lead_id != seen.lead_id)
    stored_by = next((known.stored_by for known in customer.recent if known.lead_id == seen.lead_id), "")
    recent = (*others, replace(seen, stored_by=stored_by))
    older, newest = recent[:-RECENT_KEPT], recent[-RECENT_KEPT:]
    maybe_again = [known for known in older if abs(seen.at - known.at) <= REDELIVERY_WINDOW]
    return replace(customer, claim=seen.claim, recent=(*maybe_again, *newest)[-RECENT_AT_MOST:])


def customer_operation(
    customer: CustomerRow, lead_id: str, delivered: Delivered | None, *, release: bool, overlapped: bool
) -> Operation:
    settled = with_delivered(customer, delivered, lead_id, overlapped=overlapped) if delivered is not None else customer
    settled = replace(settled, claim="" if release else customer.claim)
    return ("update", settled.entity(), replacing(customer.etag))


def with_delivered(
    customer: CustomerRow, delivered: Delivered, lead_id: str, *, stored_by: str = "", overlapped: bool
) -> CustomerRow:
    """The customer's row after an attempt to send this lead."""
    memory = customer.memory if delivered.memory is None else delivered.memory
    if overlapped:
        memory = {**customer.memory, **memory}  # another attempt may have added to the memory since
    recent = tuple(replace(seen, stored_by=stored_by) if seen.lead_id == lead_id else seen for seen in customer.recent)
    return replace(customer, record_id=delivered.record_id or customer.record_id, memory=memory, recent=recent)


def with_change(record: LeadRecord, change: Change) -> LeadRecord:
    changed = record.copy()
    change(changed)
    if changed.emptied_at is not None:
        changed.close(changed.emptied_at, "its personal data has been removed")
    return changed


def lead_operations(record: LeadRecord, *, delete_todos: bool = True) -> list[Operation]:
    whole = not record.etag
    entity = lead_entity(record, whole=whole)
    listed_before, deliveries_before = record.stored
    operations = [creating(entity) if whole else ("update", entity, merging(record.etag))]
    operations.append(("upsert", listing_entity(record), replacing()))
    wanted = {todo_key(record.lead_id, d): d for d in record.deliveries.values() if d.state in UNDELIVERED}
    stored = {todo_key(record.lead_id, d) for d in deliveries_before.values() if d.state in UNDELIVERED}
    operations += [("upsert", todo_entity(record, delivery), replacing()) for delivery in wanted.values()]
    if delete_todos:
        operations += [("delete", keys(key), {}) for key in stored - set(wanted)]
        if listed_before and listed_before != (record.offer or UNROUTED_OFFER):
            operations.append(("delete", keys(listing_key(record.lead_id, listed_before)), {}))
    return operations


def emptying_operations(record: LeadRecord, gone: LeadRecord) -> list[Operation]:
    entity = lead_entity(gone, whole=True)
    operations = [storing(entity, record.etag)]
    if not record.etag or not same_in_lists(record, gone):
        operations.append(("upsert", listing_entity(gone), replacing()))
    waiting = [delivery for delivery in record.stored[1].values() if delivery.state in UNDELIVERED]
    operations += [("delete", keys(todo_key(record.lead_id, delivery)), {}) for delivery in waiting]
    if record.has_body:
        operations.append(("delete", keys(body_key(record.lead_id)), {}))
    return operations


def stored_as(record: LeadRecord) -> tuple[str, dict[str, Delivery]]:
    return record.offer or UNROUTED_OFFER, copied(record.deliveries)


def creating(entity: dict[str, Any]) -> Operation:
    return ("create", entity, {})


def merging(etag: str) -> dict[str, Any]:
    from azure.data.tables import UpdateMode

    return replacing(etag) | {"mode": UpdateMode.MERGE}
