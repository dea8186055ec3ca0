"""Stores incoming leads: a queue message for each lead, and a ledger row for each body that a message can't hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.lead_parsing import UnreadableLead, parse_kept
from leads.core.messages import MAX_ENVELOPE_BYTES, Message, encode
from leads.platform.events import Event, emit
from leads.platform.storage import Queue

if TYPE_CHECKING:
    from leads.ledger.transactions import Ledger


@dataclass(frozen=True, slots=True)
class IncomingLeads:
    """Stores incoming leads.

    Readable leads need only the queue. Large and unreadable bodies need the ledger. It is opened at its first use, because most
    leads need no table client.
    """

    open_queue: Callable[[], Queue]
    open_ledger: "Callable[[], Ledger]"

    def put(self, message: Message, body: bytes = b"") -> None:
        """Put a message with a new lead. `body`: the bytes that the lead was read from, if it was read from a body.

        A lead that is too large for a message is first stored in the ledger; its message has only the id.
        """
        text = encode(message)
        if len(text) > MAX_ENVELOPE_BYTES // 4 and len(text.encode()) > MAX_ENVELOPE_BYTES:
            assert message.lead is not None  # noqa: S101
            kept = body if _reads_as(body, message.lead) else json.dumps(message.lead.to_body()).encode()
            self.open_ledger().keep_body(message.lead_id, kept)
            text = encode(replace(message, lead=None, has_body=True))
        self.open_queue().put(text)

    def keep_unreadable(self, body: bytes, reason: str, url_offer: str = "") -> str:
        """Keep bytes that can't be read as a lead, so that a person can correct and replay them. Returns their lead id.

        `reason` says what is wrong, and quotes nothing of the body.
        """
        from leads.core.states import State
        from leads.ledger.rows import Delivery, LeadRecord

        now = clock.now()
        lead_id = new_lead_id(now, Lead())
        kept = Delivery("", State.UNREADABLE, updated_at=now, reason=reason)
        record = LeadRecord(lead_id, now, None, url_offer=url_offer, has_body=True, deliveries={"": kept})
        self.open_ledger().keep_unreadable(record, body)
        emit(Event.LEAD_UNREADABLE, lead_id=lead_id, bytes=len(body))
        return lead_id


def _reads_as(body: bytes, lead: Lead) -> bool:
    """Whether the body is read as this lead without removing a wrapper."""
    try:
        return parse_kept(body) == lead
    except UnreadableLead:
        return False
