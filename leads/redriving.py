"""Re-driving: a lead that waits, or was given up, goes back on the queue.

The message comes first, then the ledger's row: a crash in between leaves a message that is recognised by its number.
"""

from datetime import timedelta

from leads import clock
from leads.app import App
from leads.events import Event, emit
from leads.messages import Message, encode
from leads.offers import offer_by_id
from leads.rows import Delivery, LeadRecord, State, Todo
from leads.stored import UnreadableRow


def redrive(app: App, item: Todo, delay: int = 0) -> None:
    """Put the next message of a delivery that waits; nothing if it does not wait in this state any more, or can't be read."""
    try:
        record = app.ledger.read(item.lead_id)
    except UnreadableRow as unreadable:
        unreadable.report()
        return
    delivery = record.deliveries.get(item.destination) if record else None
    if record is None or delivery is None or delivery.state is not item.state:
        return
    if item.state is State.UNROUTED and item.destination and offer_by_id(item.offer, app.offers.all()) is None:
        if not _route_anew(app, record, delay):
            return
    else:
        put_next(app, record, item.destination, delay)
    emit(
        Event.LEAD_REDRIVEN,
        record.traceparent,
        lead_id=item.lead_id,
        offer=item.offer,
        destination=item.destination,
        state=item.state.value,
        seconds=delay,
    )


def put_next(
    app: App,
    record: LeadRecord,
    destination: str,
    delay: int = 0,
    *,
    by_person: bool = False,
    forced: bool = False,
) -> None:
    """Put the next message of a delivery, visible after `delay` seconds, and say so in the ledger.

    Where a person wants it, it is begun if there is none, and gets a whole retry budget. `forced`: until it is delivered, it is
    sent whatever speaks against it.
    """
    begun = record.deliveries.get(destination) or Delivery(destination)
    seq = begun.seq + 1
    app.queue.put(encode(Message(record.lead_id, destination, seq)), delay)
    now = clock.now()

    def change(current: LeadRecord) -> None:
        if by_person:
            current.delivery(destination)
        waiting = current.deliveries.get(destination)
        if waiting is None or waiting.state is not begun.state or waiting.seq >= seq:
            return
        if by_person:
            waiting.forced = waiting.forced or forced
            waiting.step, waiting.spent, waiting.first_failed_at, waiting.crashes = 0, 0, None, 0
            waiting.duplicate_of = waiting.reason = ""
        waiting.seq, waiting.state, waiting.updated_at = seq, State.RETRY, now
        waiting.next_at = now + timedelta(seconds=delay)

    app.ledger.settle(record, change)


def park_again(app: App, lead_id: str, destination: str, connection: str) -> None:
    """Take back a dead letter that its connection is to blame for: it waits for that, as the others do."""
    record = app.ledger.read(lead_id)
    if record is None:
        return
    now, reason = clock.now(), app.connections.get(connection).reason

    def change(current: LeadRecord) -> None:
        given_up = current.deliveries.get(destination)
        if given_up is not None and given_up.state is State.DEAD_LETTER and given_up.connection == connection:
            given_up.state, given_up.reason, given_up.updated_at = State.PARKED, reason, now

    app.ledger.settle(record, change)


def _route_anew(app: App, record: LeadRecord, delay: int) -> bool:
    """Let go of an offer that was removed, unless a destination of it has had the lead: it could get there twice.

    Returns whether it was let go.
    """
    seq = max(delivery.seq for delivery in record.deliveries.values()) + 1
    now = clock.now()

    def is_free(current: LeadRecord) -> bool:
        return all(d.state is State.UNROUTED and d.seq < seq for d in current.deliveries.values())

    def change(current: LeadRecord) -> None:
        if is_free(current):
            current.offer = ""
            begun = Delivery("", State.RETRY, seq, updated_at=now, next_at=now + timedelta(seconds=delay))
            current.deliveries = {"": begun}

    if not is_free(record):
        return False
    app.queue.put(encode(Message(record.lead_id, seq=seq)), delay)
    app.ledger.settle(record, change)
    return True
