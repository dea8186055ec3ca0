"""Counts leads, and raises an alarm for offers that stopped receiving leads.

An alarm that ended soon may have been false. This is stored, and for a year the offer's next silence has to last longer.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from leads.core import clock
from leads.core.routing import DEFAULT_OFFER
from leads.core.silence import Days, Silence, judge, judge_by_hours, last_lead_at
from leads.health.alarms import Alarm
from leads.health.lead_counts import LeadCounts
from leads.offers.table import Offers, StoredOffer
from leads.platform.events import Event, emit
from leads.platform.storage import StorageError, Table, replacing
from leads.platform.table_format import key_part

CHECKED_EVERY_MINUTES: Final = 15
DOUBTED_FOR: Final = timedelta(days=365)
OVER_SOON: Final = 2
"""An alarm ended soon if the whole silence was shorter than this many times the silence at the alarm's start."""
_PARTITION: Final = "silence"


@dataclass(frozen=True, slots=True)
class _Memory:
    """The stored silence of an offer.

    `since`, `found_at`: when the present unusual silence began, and was found. `doubted_at`: when an alarm ended soon.
    """

    since: datetime | None = None
    found_at: datetime | None = None
    doubted_at: datetime | None = None


def silence_alarms(counts: LeadCounts, offers: Offers) -> list[Alarm] | None:
    """An alarm for each offer with an unusual silence. None = not checked now: alarms stay as they are."""
    now = clock.now()
    if now.minute % CHECKED_EVERY_MINUTES:
        return None
    try:
        return _silent_offers(counts, offers, now)
    except StorageError as error:
        emit(Event.STORAGE_UNAVAILABLE, what="counts", why=type(error).__name__)
        return None


def _silent_offers(counts: LeadCounts, offers: Offers, now: datetime) -> list[Alarm] | None:
    counted = counts.count(now)
    if counted.until != now:
        return None
    memories = _memories(counts.table)
    alarms = []
    for stored in offers.known():
        offer, days = stored.offer, counted.real(stored.offer.id)
        memory = memories.get(key_part(offer.id), _Memory())
        silence = _silence(stored, days, memory, now, offers.changed_at())
        if silence is not None and silence.is_unusual:
            alarms.append(_alarm(offer.id, silence))
        remembered = _remembered(memory, silence, last_lead_at(days, now), now)
        if remembered != memory:
            counts.table.write([("upsert", _entity(offer.id, remembered), replacing())])
    return alarms


def _silence(
    stored: StoredOffer, days: Days, memory: _Memory, now: datetime, changed_at: datetime | None
) -> Silence | None:
    """The offer's silence; None if it is not judged. `changed_at`: when an offer was last changed, whichever offer."""
    policies = stored.offer.policies
    if policies.silence == "ignore":
        return None
    if policies.expected_silence_hours is not None:
        return judge_by_hours(last_lead_at(days, now) or stored.changed_at, now, policies.expected_silence_hours)
    if stored.offer.id == DEFAULT_OFFER and memory.since is None and changed_at is not None:
        # After that change, leads of the default offer may go to another offer. So older leads do not show how many to expect.
        days = {day: leads for day, leads in days.items() if day > changed_at.date()}
    doubted = memory.doubted_at is not None and now - memory.doubted_at < DOUBTED_FOR
    return judge(days, now, is_doubted=doubted)


def _alarm(offer_id: str, silence: Silence) -> Alarm:
    fields: dict[str, str | int | float] = {"offer": offer_id, "hours": int(silence.hours)}
    if silence.expected is not None:
        fields["expected"] = round(silence.expected)
    return Alarm(Event.OFFER_SILENT, fields)


# --- What is stored ---------------------------------------------------------------------------------------------------


def _remembered(memory: _Memory, silence: Silence | None, last_lead: datetime | None, now: datetime) -> _Memory:
    if silence is not None and silence.is_unusual:
        return memory if memory.since else replace(memory, since=silence.since, found_at=now)
    if memory.since is None or memory.found_at is None:
        return memory
    soon = now - memory.since < OVER_SOON * (memory.found_at - memory.since)
    has_ended = last_lead is not None and last_lead > memory.since
    return _Memory(doubted_at=now if soon and has_ended else memory.doubted_at)


def _memories(table: Table) -> dict[str, _Memory]:
    entities = table.query(f"PartitionKey eq '{_PARTITION}'")
    return {entity["RowKey"]: _Memory(*(entity.get(name) for name in _TIMES)) for entity in entities}


def _entity(offer_id: str, memory: _Memory) -> dict[str, Any]:
    times = {name: moment for name in _TIMES if (moment := getattr(memory, name)) is not None}
    return {"PartitionKey": _PARTITION, "RowKey": key_part(offer_id), **times}


_TIMES: Final = ("since", "found_at", "doubted_at")
