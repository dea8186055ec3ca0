"""Erasure removes a customer's personal data from the app, and lists the records that a person has to erase in CRMs.

The tombstone is written first, so that no lead of the customer comes back from a queue. Then each row or message is removed in a
separate transaction. An interrupted erasure can continue or start again, with the same result.

A lead that is being sent at that moment may still be delivered. Its data is not written back, because the customer's row is gone
and the lead's row is emptied. If a worker had read the lead but not written it yet, `watch` empties its row some minutes later.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from leads.core.identity import customer_of, received_at_of
from leads.core.states import FINAL, UNDELIVERED, State
from leads.ledger.customer_rows import CustomerRow
from leads.ledger.rows import ERASED_ON_REQUEST, LeadRecord, body_key, lead_key, read_lead
from leads.ledger.todo_rows import todo_key
from leads.ledger.tombstones import CACHE_SECONDS, Tombstone
from leads.ledger.transactions import LEDGER_TABLE, TRIES, Ledger, LedgerBusy
from leads.offers.model import DestinationConfig, offer_by_id
from leads.pipeline.new_leads import new_record
from leads.platform.events import Event, emit
from leads.platform.row_reading import read_each
from leads.platform.steps import isolated
from leads.platform.storage import Conflict
from leads.platform.table_format import keys_beginning, odata_time
from leads.privacy.email_matcher import EmailMatcher
from leads.privacy.personal_data_search import Cursor, Found, FoundCustomer, FoundLead, FoundMessage, SearchPart, search
from leads.privacy.stores import PersonalDataStores

SETTLED_AFTER: Final = timedelta(seconds=CACHE_SECONDS) + timedelta(minutes=9)
"""After this time, every instance has read the tombstone, and has finished the work that it had begun before."""
_DONE: Final = FINAL - {State.ERASED}


@dataclass(frozen=True, slots=True)
class ErasureEntry:
    """A stored row or message. `place`: table or queue. `what`: the change, done or planned; if `left`, why it is unchanged."""

    place: str
    key: str
    what: str
    left: bool = False


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A lead that was sent to a destination, so that a person can erase the record there: by link, place in a table, or id.

    `certain`: false if the app does not know whether the lead arrived. `removed`: the record was in the app's own storage and was
    erased. `type`: "" if the offer no longer has this destination, or the destination has led elsewhere since.
    """

    lead_id: str
    offer: str
    destination: str
    type: str
    record_id: str
    link: str
    place: str
    certain: bool
    removed: bool = False


@dataclass(frozen=True, slots=True)
class ErasurePart:
    """The result of one part of an erasure. `cursor`: where the next part begins. `count`: the rows and messages read."""

    cursor: Cursor
    entries: tuple[ErasureEntry, ...]
    handed_over: tuple[HandedOver, ...]
    count: int


def erase(
    stores: PersonalDataStores, matcher: EmailMatcher, at: datetime, cursor: Cursor, *, dry_run: bool
) -> Iterator[ErasurePart]:
    """Erase all data received up to `at`, from the cursor on. With `dry_run`, only report what would be done."""
    stores.offers.renew()  # a destination configured in the last minute may have a row in the app's own storage
    if not cursor.part and not dry_run:
        stores.tombstones.put(matcher.customer, at)
    for part in search(stores, matcher, cursor):
        yield _erased(stores, matcher, at, part, dry_run=dry_run)


def _erased(
    stores: PersonalDataStores, matcher: EmailMatcher, at: datetime, part: SearchPart, *, dry_run: bool
) -> ErasurePart:
    entries: list[ErasureEntry] = []
    handed_over: list[HandedOver] = []
    for found in part.found:
        if _is_newer(found, at):
            continue
        match found:
            case FoundCustomer(row):
                entries += _forget_customer(stores.ledger, row, at, dry_run=dry_run)
            case FoundLead(record) if record.emptied_at == at:
                continue  # listed already, with the body or the customer's row
            case FoundLead(record, "mention"):
                entries.append(_mention(LEDGER_TABLE, " / ".join(lead_key(record.lead_id)), record.lead_id))
            case FoundLead(record, "damaged"):
                what = "not changed, because this release can't read it: erase again with the release that wrote it"
                entries.append(ErasureEntry(LEDGER_TABLE, " / ".join(lead_key(record.lead_id)), what, left=True))
            case FoundLead(record):
                record.customer = matcher.customer  # so that a second run finds the record
                handed_over += [
                    _remove_own(stores, one, record, dry_run=dry_run) for one in handed_over_of(stores, record)
                ]
                entries += _empty(stores.ledger, record, at, dry_run=dry_run)
            case FoundMessage():
                entries.append(_take_from_queue(stores, found, at, dry_run=dry_run))
    return ErasurePart(part.cursor, tuple(entries), tuple(handed_over), part.count)


def _mention(place: str, key: str, lead_id: str) -> ErasureEntry:
    """The entry for another person's text. The app does not change it; a person decides whether the address must be removed."""
    what = f"another person's lead that mentions the address, {lead_id}: decide whether to remove the address there"
    return ErasureEntry(place, key, what, left=True)


def _is_newer(found: Found, at: datetime) -> bool:
    """Whether it was received after the erasure began."""
    match found:
        case FoundCustomer(row):
            received_at = min((seen.at for seen in row.recent), default=None)
        case FoundLead(record):
            received_at = record.received_at
        case FoundMessage(message=message):
            received_at = message.received_at if message else None
    return received_at is not None and received_at > at


# --- The ledger ---------------------------------------------------------------------------------------------------------


def _forget_customer(ledger: Ledger, row: CustomerRow, at: datetime, *, dry_run: bool) -> list[ErasureEntry]:
    """Remove the customer's row. A worker that is sending the customer's lead finds this row gone, and the lead's row emptied."""
    what = "removed: the record's id, the destination's memory, the fingerprints of the last leads"
    if row.claim:
        what += (
            "; a lead is being sent now, or its worker died: erase again in ten minutes to see where the lead was sent"
        )
    entry = ErasureEntry(LEDGER_TABLE, f"{row.partition} / {row.row}", what)
    if dry_run:
        return [entry]
    unwritten: list[LeadRecord] = []
    for _ in range(TRIES):
        recent = [seen.lead_id for seen in row.recent if seen.at <= at]
        unwritten = [
            LeadRecord(lead_id, received_at_of(lead_id), None, customer=_hash_of(row))
            for lead_id in recent
            if ledger.read(lead_id) is None
        ]
        try:
            ledger.forget_customer(row, unwritten, at, ERASED_ON_REQUEST)
            break
        except Conflict:
            again = next((one for one in ledger.customers(_hash_of(row)) if one.row == row.row), None)
            if again is None:
                break
            row = again
    else:
        raise LedgerBusy(row.row)
    in_hand = "a worker has its message, and finds the lead emptied"
    return [entry, *(ErasureEntry(LEDGER_TABLE, " / ".join(lead_key(record.lead_id)), in_hand) for record in unwritten)]


def _hash_of(row: CustomerRow) -> str:
    return row.row.split(";")[1]


def _empty(ledger: Ledger, record: LeadRecord, at: datetime, *, dry_run: bool) -> list[ErasureEntry]:
    """Empty the lead's rows. Empty rows are listed, too, so that a second run lists everything again."""
    waits = [delivery for delivery in record.deliveries.values() if delivery.state not in _DONE]
    what = "emptied: its state, times and record ids are kept" + ("; the app no longer sends it" if waits else "")
    entries = [ErasureEntry(LEDGER_TABLE, " / ".join(lead_key(record.lead_id)), what)]
    entries += [
        ErasureEntry(LEDGER_TABLE, " / ".join(todo_key(record.lead_id, delivery)), "removed")
        for delivery in record.stored[1].values()
        if delivery.state in UNDELIVERED
    ]
    if record.has_body:
        entries.append(
            ErasureEntry(LEDGER_TABLE, " / ".join(body_key(record.lead_id)), "removed: the body as it was received")
        )
    if not dry_run:
        ledger.empty(record, at, ERASED_ON_REQUEST)
        if (waits or not record.deliveries) and record.emptied_at is None:
            emit(Event.LEAD_EMPTIED, record.traceparent, lead_id=record.lead_id)
    return entries


# --- Leads at destinations ----------------------------------------------------------------------------------------------


def handed_over_of(stores: PersonalDataStores, record: LeadRecord) -> Iterator[HandedOver]:
    """The lead at each destination that got it, or may have got it."""
    for name, delivery in sorted(record.deliveries.items()):
        if not name or not (delivery.state is State.DELIVERED or delivery.attempts):
            continue
        config, record_id = _config(stores, record.offer, name), delivery.record_id
        destination = stores.destination_of(config) if config else None
        if destination is not None and delivery.connection not in {"", destination.connection}:
            config = destination = None
        link = place = ""
        if destination is not None and record_id:
            link, place = destination.record_link(record_id), destination.record_place(record_id, record.received_at)
        yield HandedOver(
            lead_id=record.lead_id,
            offer=record.offer,
            destination=name,
            type=config.type if config else "",
            record_id=record_id,
            link=link,
            place=place,
            certain=delivery.state is State.DELIVERED and not delivery.unconfirmed,
        )


def _config(stores: PersonalDataStores, offer_id: str, name: str) -> DestinationConfig | None:
    offer = offer_by_id(offer_id, stores.offers.all())
    return offer.destination(name) if offer else None


def _remove_own(stores: PersonalDataStores, one: HandedOver, record: LeadRecord, *, dry_run: bool) -> HandedOver:
    """Remove the row that a destination has written to the app's own storage."""
    config = _config(stores, one.offer, one.destination) if one.type else None
    if config is None:
        return one
    destination = stores.destination_of(config)
    # An attempt without an answer may have written the row, too.
    removed = destination.remove_own_record(one.record_id or record.lead_id, record.received_at, dry_run=dry_run)
    return replace(one, removed=removed)


# --- The queues ---------------------------------------------------------------------------------------------------------


def _take_from_queue(stores: PersonalDataStores, found: FoundMessage, at: datetime, *, dry_run: bool) -> ErasureEntry:
    key = found.message.lead_id if found.message else f"message {found.stored.id}"
    if found.message is None:
        return _left_or_removed(stores, found, key, dry_run=dry_run)
    if not found.is_own:
        return _mention(found.queue, key, found.message.lead_id)
    if not dry_run:
        stores.ledger.empty(new_record(found.message, found.lead), at, ERASED_ON_REQUEST)
        emit(Event.LEAD_EMPTIED, found.message.traceparent, lead_id=found.message.lead_id)
        stores.queues[found.queue].delete(found.stored)
    return ErasureEntry(
        found.queue, key, "removed; the ledger keeps the lead without personal data; the app does not send it"
    )


def _left_or_removed(stores: PersonalDataStores, found: FoundMessage, key: str, *, dry_run: bool) -> ErasureEntry:
    """Remove a message that can't be decoded. A newer release's message is left, because that release can send its lead."""
    if found.too_new:
        return ErasureEntry(found.queue, key, "a message of a newer release: erase again with that release", left=True)
    if not dry_run:
        stores.queues[found.queue].delete(found.stored)
    return ErasureEntry(found.queue, key, "removed: bytes that can't be read")


# --- Leads in delivery during the erasure -------------------------------------------------------------------------------


def finish_erasures(stores: PersonalDataStores, now: datetime) -> None:
    """Empty leads that a worker read before their customer was erased, and wrote afterwards. Costs one request if none exist."""
    for tombstone in stores.tombstones.unsettled():
        if now - tombstone.at >= SETTLED_AFTER:
            with isolated("leads in delivery during an erasure"):
                _empty_late(stores, tombstone, now)
                stores.tombstones.settle(tombstone)


def _empty_late(stores: PersonalDataStores, tombstone: Tombstone, now: datetime) -> None:
    begun = tombstone.at - timedelta(minutes=1)  # storage's clock may differ
    condition = (
        f"PartitionKey eq '{tombstone.customer[0]}' and {keys_beginning('lead;')} and Timestamp ge {odata_time(begun)}"
    )
    rows: list[Any] = stores.ledger.table.query(condition)
    for record in read_each(rows, lambda row: read_lead(row, row.metadata["etag"])):
        whole = stores.ledger.read(record.lead_id) if record.has_body else record
        if whole is None or whole.received_at > tombstone.at or not _is_of(whole, tombstone.customer):
            continue
        for one in handed_over_of(stores, whole):
            _remove_own(stores, one, whole, dry_run=False)
        if whole.emptied_at is None:
            stores.ledger.empty(whole, now, ERASED_ON_REQUEST)
            emit(Event.LEAD_EMPTIED, lead_id=whole.lead_id)
    for customer in stores.ledger.customers(tombstone.customer):
        if all(seen.at <= tombstone.at for seen in customer.recent):
            _forget_customer(stores.ledger, customer, tombstone.at, dry_run=False)


def _is_of(record: LeadRecord, customer: str) -> bool:
    if record.lead is None:
        return record.customer == customer
    return customer_of(record.lead, record.lead_id) == customer
