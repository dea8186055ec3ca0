"""Delivery: turns one queue message into one settled attempt.

A message that can't be handled now is put back on the queue; no exception is raised for that. An exception is a fault of the app:
the host counts it, and finally moves the message to the poison queue.
"""

from base64 import b64encode
from dataclasses import replace
from typing import Final

from leads.app import App
from leads.core import clock
from leads.core.lead import stage_of
from leads.core.lead_parsing import parse_kept
from leads.core.messages import Message, MessageTooNew, MessageUnreadable, Reception, decode, encode
from leads.core.routing import sharing
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.transactions import TRIES, LeadKnown, LedgerBusy
from leads.offers.model import DestinationConfig, Offer, offer_by_id
from leads.pipeline.attempt import attempt
from leads.pipeline.delivery_parts import DeliveryParts
from leads.pipeline.new_leads import drop_if_erased, new_record
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.row_reading import UnreadableRow
from leads.platform.slots import TryLater, short_delay
from leads.platform.storage import StorageError, is_invalid_request
from leads.platform.tracing import follow, tracing

DELIVERY_SECONDS: Final = 220
"""The time limit of a whole delivery. It is shorter than the claim's lease, which is shorter than `functionTimeout`."""
PUT_BACK_SECONDS: Final = 10
"""Time reserved for putting the message back."""
LEDGER_DOWN_SECONDS: Final = 60
TOO_NEW_SECONDS: Final = 300
_OFFERS_NAMED: Final = 5
MAX_DEFERRALS: Final = 10
"""How often a message is put back for a minute until the ledger knows its lead. Together longer than `functionTimeout` and all
leases."""


def deliver(app: App, text: str, reception: Reception | None = None) -> None:
    """Handle one message of the queue `leads`, within `DELIVERY_SECONDS`. Returns when the message may be deleted."""
    with deadline.within(DELIVERY_SECONDS):
        _handle(_parts(app), text, reception)


def _parts(app: App) -> DeliveryParts:
    return DeliveryParts(
        queue=app.queue,
        poison=app.poison,
        notices=app.notices,
        ledger=app.ledger,
        tombstones=app.tombstones,
        offers=app.offers,
        connections=app.connections,
        ceilings=app.ceilings,
        customers=app.customers,
        slots=app.slots,
        secrets=app.secrets,
        destination_of=app.destination,
    )


def _handle(parts: DeliveryParts, text: str, reception: Reception | None) -> None:
    try:
        message = replace(decode(text), reception=reception)
    except MessageTooNew:
        emit(Event.MESSAGE_TOO_NEW)
        parts.queue.put(text, TOO_NEW_SECONDS)
        return
    except MessageUnreadable:
        # A retry can't help, so the message goes to the poison queue at once, and its bytes are kept.
        parts.poison.put(b64encode(text.encode()).decode())
        return
    with tracing(message.traceparent):
        try:
            with deadline.leaving(PUT_BACK_SECONDS):
                _deliver(parts, message)
        except TryLater as wait:
            _put_back(parts, text, message, wait.seconds, type(wait).__name__)
        except LedgerBusy as wait:
            _put_back(parts, text, message, short_delay(), type(wait).__name__)
        except UnreadableRow as unreadable:  # the message waits for the release that wrote the row
            unreadable.report()
            _put_back(parts, text, message, TOO_NEW_SECONDS, type(unreadable).__name__)
        except StorageError as error:
            if is_invalid_request(error):
                raise
            _put_back(parts, text, message, LEDGER_DOWN_SECONDS, type(error).__name__)


def _put_back(parts: DeliveryParts, text: str, message: Message, seconds: int, why: str) -> None:
    parts.queue.put(text, seconds)
    emit(
        Event.LEAD_PUT_BACK,
        lead_id=message.lead_id,
        destination=message.destination,
        why=why,
        seconds=seconds,
    )


def _deliver(parts: DeliveryParts, message: Message) -> None:
    record = _record_of(parts, message)
    if record is None:
        _wait_for_the_ledger(parts, message)
        return
    follow(record.traceparent)  # later messages of a lead do not have it
    if drop_if_erased(parts.tombstones, parts.ledger, record):
        return
    for _ in range(TRIES):
        try:
            _advance(parts, record, message)
        except LeadKnown as known:
            record = known.record
        else:
            return
    raise LedgerBusy(message.lead_id)


def _wait_for_the_ledger(parts: DeliveryParts, message: Message) -> None:
    """Put back a message if the ledger does not know its lead yet: the attempt that put the message may not have settled.

    A probe does not wait, because it is put for a lead that the ledger knows.
    """
    if message.probe:  # its to-do row exists, so somebody has removed its own row
        parts.ledger.drop_todos(message.lead_id)
        _drop(message, "the ledger does not know the lead")
    elif message.ahead < MAX_DEFERRALS:
        later = replace(message, ahead=message.ahead + 1)
        _put_back(parts, encode(later), later, LEDGER_DOWN_SECONDS, "the ledger does not know the lead yet")
    else:
        _drop(message, "the ledger does not know the lead")


def _record_of(parts: DeliveryParts, message: Message) -> LeadRecord | None:
    """The lead's record: a new record if the message has the lead, else the ledger's."""
    lead = message.lead
    if message.has_body and (body := parts.ledger.body(message.lead_id)):
        lead = parse_kept(body)
    if lead is None or message.received_at is None:
        return parts.ledger.read(message.lead_id)
    return new_record(message, lead)


def _advance(parts: DeliveryParts, record: LeadRecord, message: Message) -> None:
    """Carry out the message's step, unless it is done already."""
    if record.lead is None:
        _drop(message, "its personal data has been removed" if record.emptied_at else "the lead can't be read")
        return
    if record.lead.is_test:
        # A test lead tests the newest configuration, and this instance's caches may be a minute old.
        parts.offers.forget()
        parts.connections.forget()
    named = [delivery for name, delivery in record.deliveries.items() if name]
    if message.destination or len(named) == 1:
        delivery = record.deliveries.get(message.destination) if message.destination else named[0]
        if delivery is None or not delivery.still_to_do(message.seq):
            _drop(message, "it has been handled already")
            return
        _attempt_as_configured(parts, record, delivery, message)
    elif named:
        _put_one_message_each(parts, record)
    elif "" in record.deliveries and not record.deliveries[""].still_to_do(message.seq):
        _drop(message, "it has been handled already")
    else:
        _route(parts, record, message)


def _drop(message: Message, why: str) -> None:
    emit(Event.LEAD_DROPPED, lead_id=message.lead_id, destination=message.destination, seq=message.seq, why=why)


# --- Routing ------------------------------------------------------------------------------------------------------------


def _route(parts: DeliveryParts, record: LeadRecord, message: Message) -> None:
    assert record.lead is not None  # noqa: S101
    offer = parts.offers.route(record.references)
    record.stage = offer.stage(record.lead) if offer else stage_of(record.lead.action)
    if offer is None:
        shared = ", ".join(sharing(record.references, parts.offers.all())[:_OFFERS_NAMED])
        reason = (
            f"several offers have the name in this lead: {shared}" if shared else "no configured offer takes this lead"
        )
        _conclude(parts, record, message, State.UNROUTED, reason)
        return
    record.offer = offer.id
    forced = "" in record.deliveries and record.deliveries[""].forced
    if not forced and (reason := offer.refusal(record.lead, record.stage)):
        _conclude(parts, record, message, State.SKIPPED, reason)
        return
    if not (forced or record.lead.is_test or record.imported) and parts.ceilings.is_over(offer):
        reason = "the offer's daily ceiling is reached (policy daily_ceiling)"
        _conclude(parts, record, message, State.PARKED, reason, offer.ceiling_connection)
        return
    chosen = [
        config
        for config in offer.destinations
        if config.when.admits(record.lead, record.stage) and (not record.only or config.name in record.only)
    ]
    if not chosen:
        _conclude(parts, record, message, State.SKIPPED, "no destination of the offer takes such leads")
        return
    emit(
        Event.LEAD_ROUTED,
        lead_id=record.lead_id,
        offer=offer.id,
        stage=record.stage.value,
        destinations=len(chosen),
    )
    record.deliveries = {config.name: Delivery(config.name, seq=message.seq, forced=forced) for config in chosen}
    if len(chosen) == 1:
        attempt(parts, record, record.deliveries[chosen[0].name], message, offer, chosen[0])
        return
    fixed = record.deliveries
    stored = parts.ledger.settle(record, lambda current: _fix_destinations(current, record, fixed))
    _put_one_message_each(parts, stored)


def _fix_destinations(current: LeadRecord, routed: LeadRecord, fixed: dict[str, Delivery]) -> None:
    if not any(current.deliveries):
        current.offer, current.stage, current.deliveries = routed.offer, routed.stage, dict(fixed)


def _conclude(
    parts: DeliveryParts, record: LeadRecord, message: Message, state: State, reason: str, connection: str = ""
) -> None:
    """Settle a lead that goes to no destination now. `connection`: the connection that the lead waits for."""
    offer, stage = record.offer, record.stage

    def change(current: LeadRecord) -> None:
        whole = current.deliveries.get("")
        if any(current.deliveries) or (whole is not None and not whole.still_to_do(message.seq)):
            return  # another delivery was faster, and may know newer offers
        current.offer, current.stage = offer, stage
        waiting = Delivery("", state, message.seq, connection, updated_at=clock.now(), reason=reason)
        waiting.forced = whole is not None and whole.forced
        current.deliveries = {"": waiting}

    parts.ledger.settle(record, change)
    if state is State.UNROUTED:
        emit(Event.LEAD_UNROUTED, lead_id=record.lead_id)
        return
    emit(
        Event.LEAD_SETTLED,
        lead_id=record.lead_id,
        offer=offer,
        destination="",
        stage=stage,
        seq=message.seq,
        attempt=0,
        state=state.value,
        outcome="",
        code="",
        milliseconds=0,
    )


def _put_one_message_each(parts: DeliveryParts, record: LeadRecord) -> None:
    """Put a message for each destination without an attempt. If such a message exists, its `seq` shows that one is a leftover."""
    for name, delivery in record.deliveries.items():
        if name and delivery.state is State.WAITING:
            parts.queue.put(encode(Message(record.lead_id, name, delivery.seq + 1)))


# --- The attempt, with the present configuration ------------------------------------------------------------------------


def _attempt_as_configured(parts: DeliveryParts, record: LeadRecord, delivery: Delivery, message: Message) -> None:
    """Attempt the delivery with the offer's present configuration. It may have changed since the lead was routed."""
    offer, config = _configured(parts, record, delivery)
    if config is None:
        # The instance that routed the lead may know a newer offer than this one.
        parts.offers.renew()
        offer, config = _configured(parts, record, delivery)
    if message.probe and (config is None or parts.destination_of(config).connection != delivery.connection):
        # The check has passed, and this lead can't show whether others arrive.
        parts.connections.reopen(delivery.connection)
    if offer is not None and config is not None:
        attempt(parts, record, delivery, message, offer, config)
        return
    if offer:
        state, gone = State.DEAD_LETTER, f"the offer no longer has the destination {delivery.destination}"
    else:
        state, gone = State.UNROUTED, "the offer is no longer configured"
    now = clock.now()

    def change(current: LeadRecord) -> None:
        changed = current.delivery(delivery.destination)
        if not changed.still_to_do(message.seq):
            return
        changed.state, changed.seq, changed.reason = state, message.seq, gone
        changed.updated_at, changed.connection = now, ""

    stored = parts.ledger.settle(record, change)
    if stored.deliveries[delivery.destination].state is State.DEAD_LETTER:
        emit(
            Event.LEAD_DEAD_LETTERED,
            lead_id=record.lead_id,
            offer=record.offer,
            destination=delivery.destination,
            code="gone",
        )


def _configured(
    parts: DeliveryParts, record: LeadRecord, delivery: Delivery
) -> tuple[Offer, DestinationConfig | None] | tuple[None, None]:
    offer = offer_by_id(record.offer, parts.offers.all())
    return (offer, offer.destination(delivery.destination)) if offer else (None, None)
