"""Intake: a body becomes a receipt, which is given only once the lead is on the queue."""

import json
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from leads.app import App
from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.lead_parsing import UnreadableLead, parse_body, parse_kept
from leads.core.messages import MAX_ENVELOPE_BYTES, Message, encode
from leads.core.problems import code_location
from leads.platform.events import Event, emit
from leads.platform.tracing import tracing

MAX_BODY_BYTES: Final = 256 * 1024


class BodyTooLarge(Exception):
    """The body has more than `MAX_BODY_BYTES`."""


class KeptUnreadable(Exception):
    """The body holds no lead that can be read; it is kept as `lead_id`, for a person to correct and replay."""

    def __init__(self, why: UnreadableLead, lead_id: str) -> None:
        super().__init__(why.detail)
        self.why = why
        self.lead_id = lead_id


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a lead is stored and will be delivered."""

    lead_id: str


def accept(app: App, body: bytes, url_offer: str = "", traceparent: str = "") -> Receipt:
    """Put a lead on the queue. `url_offer` is the offer that the address names, "" if none.

    Raises `BodyTooLarge`; `KeptUnreadable` once a body without a lead is kept; `UnreadableLead` for an empty one;
    `StorageError` if it could not be stored: then the sender has to be told to try again.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge
    started = perf_counter()
    try:
        lead = _read(body)
    except UnreadableLead as why:
        if not body.strip():
            raise
        with tracing(traceparent):
            raise KeptUnreadable(why, keep_unreadable(app, body, why.detail, url_offer)) from None
    now = clock.now()
    message = Message(new_lead_id(now, lead), received_at=now, offer=url_offer, traceparent=traceparent, lead=lead)
    put_on_the_queue(app, message, body)
    milliseconds = round((perf_counter() - started) * 1000)
    emit(Event.LEAD_ACCEPTED, traceparent, lead_id=message.lead_id, milliseconds=milliseconds)
    return Receipt(message.lead_id)


def _read(body: bytes) -> Lead:
    """The lead in a body. Raises `UnreadableLead`, also for a fault of the app: to send the body again would not help."""
    try:
        return parse_body(body)
    except UnreadableLead:
        raise
    except Exception as error:  # noqa: BLE001
        detail = f"The app failed to read the body, and has kept it ({code_location(error)})."
        raise UnreadableLead(422, "The body can't be read", detail) from None


def put_on_the_queue(app: App, message: Message, body: bytes = b"") -> None:
    """Put a message that brings its lead. `body` is what the lead was read from, if it came as one.

    A large one is kept in the ledger first, so that the message need only name it.
    """
    text = encode(message)
    if len(text) > MAX_ENVELOPE_BYTES // 4 and len(text.encode()) > MAX_ENVELOPE_BYTES:
        assert message.lead is not None  # noqa: S101
        kept = body if _reads_as(body, message.lead) else json.dumps(message.lead.to_body()).encode()
        app.intake_ledger.keep_body(message.lead_id, kept)
        text = encode(replace(message, lead=None, has_body=True))
    app.queue.put(text)


def _reads_as(body: bytes, lead: Lead) -> bool:
    """Whether the body says the lead and nothing around it."""
    try:
        return parse_kept(body) == lead
    except UnreadableLead:
        return False


def keep_unreadable(app: App, body: bytes, reason: str, url_offer: str = "") -> str:
    """Keep bytes that can't be read as a lead, for a person to correct and replay. Returns their lead id.

    `reason` says what is wrong and nothing of what they hold.
    """
    from leads.core.states import State
    from leads.ledger.rows import Delivery, LeadRecord

    now = clock.now()
    lead_id = new_lead_id(now, Lead())
    kept = Delivery("", State.UNREADABLE, updated_at=now, reason=reason)
    record = LeadRecord(lead_id, now, None, url_offer=url_offer, has_body=True, deliveries={"": kept})
    app.intake_ledger.keep_unreadable(record, body)
    emit(Event.LEAD_UNREADABLE, lead_id=lead_id, bytes=len(body))
    return lead_id
