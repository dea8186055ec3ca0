"""Re-driving: puts a waiting or dead-lettered lead back on the queue.

The message is put before the ledger's row is written. After a crash in between, `seq` shows that the message is a leftover.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from leads.core import clock
from leads.core.messages import Message, encode
from leads.core.states import State
from leads.core.wording import counted
from leads.health.connections import Connections
from leads.ledger.operations import Change
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.todo_rows import Todo
from leads.ledger.transactions import Ledger
from leads.offers.model import offer_by_id
from leads.offers.table import Offers
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.steps import isolated
from leads.platform.storage import Queue, StorageError
from leads.platform.threads import NotDoneInTime

SETTLE_SECONDS: Final = 5
"""Time reserved before the deadline for writing the put messages to the ledger."""


def redrive(queue: Queue, ledger: Ledger, offers: Offers, waiting: Sequence[tuple[Todo, int]]) -> int:
    """Put the next message of each waiting delivery, with its delay in seconds. Returns how many were put.

    The deliveries belong to different leads of one partition; one transaction writes them all to the ledger. A delivery is left
    out if its state has changed or its lead can't be read. Raises `NotDoneInTime` if the deadline came before the last delivery.
    """
    changes: list[tuple[LeadRecord, Change]] = []
    fault: Exception | None = None
    with deadline.leaving(SETTLE_SECONDS):
        for number, (item, delay) in enumerate(waiting):
            if deadline.remaining() <= 0:
                fault = NotDoneInTime(f"not re-driven in time: {counted(len(waiting) - number, 'lead')}")
                break
            try:
                if (put := _redrive_one(queue, ledger, offers, item, delay)) is not None:
                    changes.append(put)
            except StorageError as error:
                fault = error
                break
    with isolated("leads that were re-driven"):
        ledger.settle_all(changes)
    if fault is not None:
        raise fault
    return len(changes)


def _redrive_one(
    queue: Queue, ledger: Ledger, offers: Offers, item: Todo, delay: int
) -> tuple[LeadRecord, Change] | None:
    """Put one message. Returns the lead's record and its change; None if no message was put."""
    with isolated("a lead to re-drive"):
        record = ledger.read(item.lead_id)
        if record is None:
            ledger.drop_todos(item.lead_id)
            return None
        delivery = record.deliveries.get(item.destination)
        if delivery is None or delivery.state is not item.state:
            return None
        if item.state is State.UNROUTED and item.destination and offer_by_id(item.offer, offers.all()) is None:
            change = _reroute(queue, record, delay)
        else:
            change = _put(queue, record, item.destination, delay)
        if change is not None:
            emit(
                Event.LEAD_REDRIVEN,
                record.traceparent,
                lead_id=item.lead_id,
                offer=item.offer,
                destination=item.destination,
                state=item.state.value,
                seconds=delay,
            )
            return record, change
    return None


def put_next(
    queue: Queue, ledger: Ledger, record: LeadRecord, destination: str, delay: int = 0, *, forced: bool = False
) -> None:
    """Put the next message of a delivery at a person's request, with a delay in seconds, and write the lead's row.

    A missing delivery is added. The delivery gets a new retry budget. `forced`: the customer's history and the offer's policies
    do not stop the delivery.
    """
    ledger.settle(record, _put(queue, record, destination, delay, by_person=True, forced=forced))


def _put(
    queue: Queue, record: LeadRecord, destination: str, delay: int = 0, *, by_person: bool = False, forced: bool = False
) -> Change:
    """Put the next message of a delivery, with a delay in seconds. Returns the change of the lead's record."""
    begun = record.deliveries.get(destination) or Delivery(destination)
    seq = begun.seq + 1
    queue.put(encode(Message(record.lead_id, destination, seq)), delay)
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
            waiting.duplicate_of = waiting.reason = waiting.dismissed = ""
            waiting.dismissed_from = None
        waiting.seq, waiting.state, waiting.updated_at = seq, State.RETRY, now
        waiting.next_at = now + timedelta(seconds=delay)

    return change


def park_again(ledger: Ledger, connections: Connections, lead_id: str, destination: str, connection: str) -> None:
    """Park a dead letter, because its connection turned out to be at fault. It waits until the connection is open."""
    record = ledger.read(lead_id)
    if record is None:
        return
    now, reason = clock.now(), connections.get(connection).reason

    def change(current: LeadRecord) -> None:
        given_up = current.deliveries.get(destination)
        if given_up is not None and given_up.state is State.DEAD_LETTER and given_up.connection == connection:
            given_up.state, given_up.reason, given_up.updated_at = State.PARKED, reason, now

    ledger.settle(record, change)


def _reroute(queue: Queue, record: LeadRecord, delay: int) -> Change | None:
    """Put a message that routes a lead of a removed offer again. Returns the change of the lead's record.

    Returns None if one of the offer's destinations has had the lead, because a new route could send the lead there twice.
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
    queue.put(encode(Message(record.lead_id, seq=seq)), delay)
    return change
