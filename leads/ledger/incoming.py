"""Leads that come in: a message for each on the queue, and in the ledger what a message can't hold."""

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
    """Stores leads that come in. The queue is opened for a lead that can be read. The ledger is opened for a large or unreadable
    body: most leads need no table client."""

    open_queue: Callable[[], Queue]
    open_ledger: "Callable[[], Ledger]"

    def put(self, message: Message, body: bytes = b"") -> None:
        """Put a message that brings its lead. `body` is what the lead was read from, if it came as one.

        A large one is kept in the ledger first, so that the message need only name it.
        """
        text = encode(message)
        if len(text) > MAX_ENVELOPE_BYTES // 4 and len(text.encode()) > MAX_ENVELOPE_BYTES:
            assert message.lead is not None  # noqa: S101
            kept = body if _reads_as(body, message.lead) else json.dumps(message.lead.to_body()).encode()
            self.open_ledger().keep_body(message.lead_id, kept)
            text = encode(replace(message, lead=None, has_body=True))
        self.open_queue().put(text)

    def keep_unreadable(self, body: bytes, reason: str, url_offer: str = "") -> str:
        """Keep bytes that can't be read as a lead, for a person to correct and replay. Returns their lead id.

        `reason` says what is wrong and nothing of what they hold.
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
    """Whether the body says the lead and nothing around it."""
    try:
        return parse_kept(body) == lead
    except UnreadableLead:
        return False
