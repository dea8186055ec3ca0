"""Moves messages that the host gave up on from the poison queue to the ledger."""

from datetime import timedelta
from typing import Final

from leads.app import App
from leads.core import clock
from leads.core.lead import Lead
from leads.core.lead_parsing import parse_kept
from leads.core.messages import Message, MessageTooNew, MessageUnreadable, bytes_of, decode
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.transactions import LeadKnown
from leads.pipeline.new_leads import drop_if_erased, new_record
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.steps import Step, carry_out, isolated
from leads.platform.threads import NotDoneInTime

CRASH_DELAYS: Final = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
POISON_BATCH: Final = 32
POISON_HIDDEN_SECONDS: Final = 120
POISON_AGAIN_SECONDS: Final = 300
"""Delay until a poison message that could not be recorded is read again."""
DRAIN_SECONDS: Final = 100
"""Below the visibility timeout of a batch, so that no other instance receives its messages."""
RECORD_SECONDS: Final = 10
"""Time that must be left before a message is begun."""


def drain_poison(app: App) -> None:
    """Record each poison message in the ledger, then delete it. What does not fit into `DRAIN_SECONDS` waits for the next tick.

    Raises the storage error if storage does not answer.
    """
    fault = carry_out(Step("poison", DRAIN_SECONDS, lambda: _drain(app)))
    if fault is not None:
        raise fault


def _drain(app: App) -> None:
    while deadline.remaining() > DRAIN_SECONDS / 2 and (
        messages := app.poison.receive(POISON_BATCH, POISON_HIDDEN_SECONDS)
    ):
        for number, message in enumerate(messages):
            if deadline.remaining() < RECORD_SECONDS:
                raise NotDoneInTime(f"{len(messages) - number} messages wait for the next run")
            if not _is_kept(app, message.content):
                app.poison.put(message.content, POISON_AGAIN_SECONDS)  # the host's own copy ends after seven days
            app.poison.delete(message)


def _is_kept(app: App, stored: str) -> bool:
    """Whether the message was recorded. A message that fails does not stop the others."""
    with isolated("poison"):
        if _keep(app, stored):
            return True
    return False


def _keep(app: App, stored: str) -> bool:
    raw = bytes_of(stored)
    try:
        message = decode(raw)
    except MessageTooNew:
        emit(Event.MESSAGE_TOO_NEW)
        return False
    except MessageUnreadable as error:
        app.incoming.keep_unreadable(raw, str(error))
        return True
    for _ in range(3):
        try:
            _record_crash(app, message)
        except LeadKnown:
            continue
        return True
    return False


def _record_crash(app: App, message: Message) -> None:
    record = app.ledger.read(message.lead_id)
    if record is None and message.received_at is None:
        return  # a later message of a lead that the ledger has forgotten
    if record is None:
        record = new_record(message, _lead_in(app, message))
        if drop_if_erased(app.tombstones, app.ledger, record):
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

    stored = app.ledger.settle(record, change)
    for name, delivery in concluded:
        event = Event.LEAD_DEAD_LETTERED if delivery.state is State.DEAD_LETTER else Event.LEAD_CRASHED
        emit(event, stored.traceparent, lead_id=stored.lead_id, offer=stored.offer, destination=name, code="crash")


def _lead_in(app: App, message: Message) -> Lead | None:
    """The lead in a first message, or in the body that the ledger keeps for it."""
    body = app.ledger.body(message.lead_id) if message.has_body else None
    return parse_kept(body) if body else message.lead


def _crashed_deliveries(record: LeadRecord, message: Message) -> list[str]:
    """The deliveries that the message was for: one, or all of the lead. "" = the lead itself while it has no destination."""
    if message.destination:
        return [message.destination]
    return [name for name in record.deliveries if name] or [""]
