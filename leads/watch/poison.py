"""Drains the poison queue: records the messages that the host gave up on in the ledger."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

from leads.core import clock
from leads.core.lead import Lead
from leads.core.lead_parsing import parse_kept
from leads.core.messages import Message, MessageTooNew, MessageUnreadable, bytes_of, decode
from leads.core.states import State
from leads.core.wording import counted
from leads.ledger.incoming import IncomingLeads
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.tombstones import Tombstones
from leads.ledger.transactions import LeadKnown, Ledger
from leads.pipeline.new_leads import drop_if_erased, new_record
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.steps import Step, isolated
from leads.platform.storage import Queue
from leads.platform.threads import NotDoneInTime

CRASH_DELAYS: Final = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
POISON_BATCH: Final = 32
POISON_HIDDEN_SECONDS: Final = 120
POISON_AGAIN_SECONDS: Final = 300
"""Delay until a poison message that could not be recorded is read again."""
DRAIN_SECONDS: Final = 75
"""Shorter than the visibility timeout of a batch, so that no other instance receives its messages."""
RECORD_SECONDS: Final = 10
"""Time that must be left to begin with a message."""


def poison_step(poison: Queue, incoming: IncomingLeads, ledger: Ledger, tombstones: Tombstones) -> Step:
    """The step that records each poison message in the ledger, and then deletes it.

    Messages that do not fit into `DRAIN_SECONDS` wait for the next tick. The step raises `StorageError` if storage does not
    answer.
    """
    return Step("poison", DRAIN_SECONDS, lambda: _drain(poison, partial(_keep, incoming, ledger, tombstones)))


def _drain(poison: Queue, keep: Callable[[str], bool]) -> None:
    """Delete each message that `keep` has recorded. A message that fails is put back, and does not stop the others."""
    while deadline.remaining() > DRAIN_SECONDS / 2 and (
        messages := poison.receive(POISON_BATCH, POISON_HIDDEN_SECONDS)
    ):
        for number, message in enumerate(messages):
            if deadline.remaining() < RECORD_SECONDS:
                raise NotDoneInTime(f"waiting for the next run: {counted(len(messages) - number, 'message')}")
            kept = False
            with isolated("poison"):
                kept = keep(message.content)
            if not kept:
                poison.put(message.content, POISON_AGAIN_SECONDS)  # the host's message expires after seven days
            poison.delete(message)


def _keep(incoming: IncomingLeads, ledger: Ledger, tombstones: Tombstones, stored: str) -> bool:
    """Record a message in the ledger. Returns whether it was possible now."""
    raw = bytes_of(stored)
    try:
        message = decode(raw)
    except MessageTooNew:
        emit(Event.MESSAGE_TOO_NEW)
        return False
    except MessageUnreadable as error:
        incoming.keep_unreadable(raw, str(error))
        return True
    for _ in range(3):
        try:
            _record_crash(ledger, tombstones, message)
        except LeadKnown:
            continue
        return True
    return False


def _record_crash(ledger: Ledger, tombstones: Tombstones, message: Message) -> None:
    record = ledger.read(message.lead_id)
    if record is None and message.received_at is None:
        return  # a later message of a lead that the ledger no longer has
    if record is None:
        record = new_record(message, _lead_in(ledger, message))
        if drop_if_erased(tombstones, ledger, record):
            return
    now = clock.now()
    concluded: list[tuple[str, Delivery]] = []

    def change(current: LeadRecord) -> None:
        concluded.clear()
        for name in _crashed_deliveries(current, message):
            delivery = current.delivery(name)
            if not delivery.still_to_do(message.seq):
                continue
            delivery.seq, delivery.crashes, delivery.updated_at = message.seq, delivery.crashes + 1, now
            if delivery.crashes > len(CRASH_DELAYS):
                delivery.state, delivery.next_at = State.DEAD_LETTER, None
                delivery.reason = "the worker crashed or failed each time it handled this lead"
            else:
                delivery.state, delivery.next_at = State.CRASHED, now + CRASH_DELAYS[delivery.crashes - 1]
                delivery.reason = "the worker crashed or failed while it handled this lead"
            concluded.append((name, delivery))

    stored = ledger.settle(record, change)
    for name, delivery in concluded:
        event = Event.LEAD_DEAD_LETTERED if delivery.state is State.DEAD_LETTER else Event.LEAD_CRASHED
        emit(event, stored.traceparent, lead_id=stored.lead_id, offer=stored.offer, destination=name, code="crash")


def _lead_in(ledger: Ledger, message: Message) -> Lead | None:
    """The lead in a first message, or in the body that the ledger keeps for it."""
    body = ledger.body(message.lead_id) if message.has_body else None
    return parse_kept(body) if body else message.lead


def _crashed_deliveries(record: LeadRecord, message: Message) -> list[str]:
    """The destinations of the message: one, or all of the lead; "" while the lead is not routed."""
    if message.destination:
        return [message.destination]
    return [name for name in record.deliveries if name] or [""]
