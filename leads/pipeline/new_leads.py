"""Leads that the ledger does not know yet: makes their records, and drops leads of erased customers."""

from datetime import timedelta
from typing import Final

from leads.core import clock
from leads.core.identity import customer_of
from leads.core.lead import Lead
from leads.core.messages import Message
from leads.ledger.rows import ERASED_ON_REQUEST, LeadRecord
from leads.ledger.tombstones import Tombstones
from leads.ledger.transactions import Ledger
from leads.platform.events import Event, emit

JUST_RECEIVED: Final = timedelta(seconds=5)
"""Younger leads skip the tombstone lookup."""


def new_record(message: Message, lead: Lead | None) -> LeadRecord:
    """A record for intake's message. It is not stored yet."""
    assert message.received_at is not None  # noqa: S101
    return LeadRecord(
        lead_id=message.lead_id,
        received_at=message.received_at,
        lead=lead,
        url_offer=message.offer,
        has_body=message.has_body,
        traceparent=message.traceparent,
        imported=message.imported,
        corrects=message.corrects,
        only=message.only,
    )


def drop_if_erased(tombstones: Tombstones, ledger: Ledger, record: LeadRecord) -> bool:
    """Whether the customer of a new lead was erased after its receipt. If so, the record is written without personal data.

    A lead younger than `JUST_RECEIVED` is not looked up. If the erasure came at that moment, `erasure.finish_erasures` finds it.
    """
    if record.etag or record.lead is None or clock.now() - record.received_at < JUST_RECEIVED:
        return False
    customer = customer_of(record.lead, record.lead_id)
    if not tombstones.cover(customer, record.received_at):
        return False
    ledger.empty(record, clock.now(), ERASED_ON_REQUEST)
    emit(Event.LEAD_EMPTIED, lead_id=record.lead_id)
    return True
