"""Intake: reads a body, puts its lead on the queue, and only then gives a receipt."""

from dataclasses import dataclass
from time import perf_counter
from typing import Final

from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.lead_parsing import UnreadableLead, parse_body
from leads.core.messages import Message
from leads.core.problems import code_location
from leads.ledger.incoming import IncomingLeads
from leads.platform.events import Event, emit
from leads.platform.tracing import tracing

MAX_BODY_BYTES: Final = 256 * 1024


class BodyTooLarge(Exception):
    """The body has more than `MAX_BODY_BYTES`."""


class KeptUnreadable(Exception):
    """The body could not be read as a lead. It is kept as `lead_id`, so that a person can correct and replay it."""

    def __init__(self, why: UnreadableLead, lead_id: str) -> None:
        super().__init__(why.detail)
        self.why = why
        self.lead_id = lead_id


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a lead is stored and will be delivered."""

    lead_id: str


def accept(incoming: IncomingLeads, body: bytes, url_offer: str = "", traceparent: str = "") -> Receipt:
    """Put a lead on the queue. `url_offer`: the offer that the address names, "" if none.

    Raises `BodyTooLarge`; `KeptUnreadable` after keeping a body without a readable lead; `UnreadableLead` for an empty body;
    `StorageError` if the lead could not be stored, so that the sender must send it again.
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
            raise KeptUnreadable(why, incoming.keep_unreadable(body, why.detail, url_offer)) from None
    now = clock.now()
    message = Message(new_lead_id(now, lead), received_at=now, offer=url_offer, traceparent=traceparent, lead=lead)
    incoming.put(message, body)
    milliseconds = round((perf_counter() - started) * 1000)
    emit(Event.LEAD_ACCEPTED, traceparent, lead_id=message.lead_id, milliseconds=milliseconds)
    return Receipt(message.lead_id)


def _read(body: bytes) -> Lead:
    """The lead in a body. Raises `UnreadableLead`, also for a fault of the app, because sending the body again would not help."""
    try:
        return parse_body(body)
    except UnreadableLead:
        raise
    except Exception as error:  # noqa: BLE001
        detail = f"The app failed to read the body, and has kept it ({code_location(error)})."
        raise UnreadableLead(422, "The body can't be read", detail) from None
