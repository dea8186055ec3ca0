"""Re-driving: a lead that waits, or was given up, goes back on the queue.

The message comes first, then the ledger's row: a crash in between leaves a message that is recognised by its number.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from leads.app import App
from leads.core import clock
from leads.core.messages import Message, encode
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord, Todo
from leads.ledger.transactions import Change
from leads.offers.model import offer_by_id
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.steps import isolated
from leads.platform.storage import StorageError
from leads.platform.threads import NotDoneInTime

SETTLE_SECONDS: Final = 5
"""What is left for saying in the ledger what was put."""


def redrive(app: App, waiting: Sequence[tuple[Todo, int]]) -> int:
    """Put the next message of deliveries that wait, each visible after so many seconds. Returns how many were put.

    They are of different leads of one partition, and the ledger is told of all of them at once. Nothing is put of what does not
    wait in this state any more, or can't be read. Raises `NotDoneInTime` for what the deadline leaves over.
    """
    changes: list[tuple[LeadRecord, Change]] = []
    fault: Exception | None = None
    with deadline.leaving(SETTLE_SECONDS):
        for number, (item, delay) in enumerate(waiting):
            if deadline.remaining() <= 0:
                fault = NotDoneInTime(f"{len(waiting) - number} leads were not sent on in time")
                break
            try:
                if (put := _put_again(app, item, delay)) is not None:
                    changes.append(put)
            except StorageError as error:
                fault = error
                break
    with isolated("leads that were sent on"):
        app.ledger.settle_all(changes)
    if fault is not None:
        raise fault
    return len(changes)


def _put_again(app: App, item: Todo, delay: int) -> tuple[LeadRecord, Change] | None:
    """The lead, and what the ledger has to learn of it now; None if nothing was put."""
    with isolated("a lead to be sent on"):
        record = app.ledger.read(item.lead_id)
        delivery = record.deliveries.get(item.destination) if record else None
        if record is None or delivery is None or delivery.state is not item.state:
            return None
        if item.state is State.UNROUTED and item.destination and offer_by_id(item.offer, app.offers.all()) is None:
            change = _route_anew(app, record, delay)
        else:
            change = _put(app, record, item.destination, delay)
        if change is not None:
            _tell(record, item, delay)
            return record, change
    return None


def _tell(record: LeadRecord, item: Todo, delay: int) -> None:
    emit(
        Event.LEAD_REDRIVEN,
        record.traceparent,
        lead_id=item.lead_id,
        offer=item.offer,
        destination=item.destination,
        state=item.state.value,
        seconds=delay,
    )


def put_next(app: App, record: LeadRecord, destination: str, delay: int = 0, *, forced: bool = False) -> None:
    """Put the next message of a delivery because a person wants it, visible after `delay` seconds, and say so in the ledger.

    It is begun if there is none, and gets a whole retry budget. `forced`: until it is delivered, it is sent whatever speaks
    against it.
    """
    app.ledger.settle(record, _put(app, record, destination, delay, by_person=True, forced=forced))


def _put(
    app: App, record: LeadRecord, destination: str, delay: int = 0, *, by_person: bool = False, forced: bool = False
) -> Change:
    """Put the next message of a delivery, visible after `delay` seconds. Returns what the ledger has to learn of it."""
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

    return change


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


def _route_anew(app: App, record: LeadRecord, delay: int) -> Change | None:
    """Let go of an offer that was removed, unless a destination of it has had the lead: it could get there twice.

    Returns what the ledger has to learn of it, None if it is not let go.
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
        return None
    app.queue.put(encode(Message(record.lead_id, seq=seq)), delay)
    return change
