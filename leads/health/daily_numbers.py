"""The numbers of an offer's day: its leads by group, and the delivery times of each destination. No personal data. Pure: no I/O.

A lead counts on the day (UTC) of its receipt, for the offer that it was routed to. Test leads, imported leads, redeliveries and
unreadable bodies do not count. Of a lead that was sent with corrections, only the corrected lead counts.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from leads.core.histogram import Histogram
from leads.core.lead import known_source
from leads.core.states import CORRECTABLE, GOES_ON, State
from leads.ledger.rows import UNROUTED_OFFER, Delivery, LeadRecord
from leads.platform.row_reading import reads
from leads.platform.table_format import joined_text, key_part, text_columns

PARTITION: Final = "day"
_UNCOUNTED: Final = frozenset({State.DUPLICATE, State.UNREADABLE})
_REPLACEABLE: Final = CORRECTABLE | {State.SKIPPED}
"""States of a lead that was sent with corrections."""
_OPEN: Final = GOES_ON | {State.UNROUTED}
"""States of a lead that may still be routed or delivered without a person."""
_GONE: Final = "gone"
"""Placeholder for the country of a lead without personal data, while days are counted again."""

Key = tuple[date, str]
"""A day, and an offer in the form used in keys."""


@dataclass(frozen=True, slots=True)
class Group:
    """Attributes that leads are grouped by. `source`: as Microsoft documents it, or "". `country`: ISO 3166 alpha-2, or ""."""

    source: str
    stage: str
    country: str


@dataclass(slots=True)
class OfferDay:
    """The leads of an offer ("-" = unrouted) on one day.

    `repeats`: leads that a customer had sent before. `first`: all other leads. `times`: the time from receipt to delivery, by
    destination. `open`: the number of leads that can still change these numbers.
    """

    day: date
    offer: str
    first: Counter[Group] = field(default_factory=Counter)
    repeats: Counter[Group] = field(default_factory=Counter)
    times: dict[str, Histogram] = field(default_factory=dict)
    open: int = 0

    @property
    def key(self) -> Key:
        return self.day, key_part(self.offer)

    def entity(self) -> dict[str, Any]:
        """The row of the day."""
        groups = sorted(
            self.first.keys() | self.repeats.keys(), key=lambda group: (group.source, group.stage, group.country)
        )
        counts = [[g.source, g.stage, g.country, self.first[g], self.repeats[g]] for g in groups]
        times = {name: taken.to_wire() for name, taken in sorted(self.times.items())}
        return (
            {"PartitionKey": PARTITION, "RowKey": row_key(*self.key), "offer": self.offer}
            | text_columns("counts", json.dumps(counts, separators=(",", ":")))
            | text_columns("times", json.dumps(times, separators=(",", ":")))
            | ({"open": self.open} if self.open else {})
        )


def row_key(day: date, offer: str) -> str:
    """The key of a day's row. `offer`: in the form used in keys."""
    return f"{day.isoformat()};{offer}"


@reads("numbers of a day")
def read_day(row: Any) -> OfferDay:
    found = OfferDay(date.fromisoformat(row["RowKey"].partition(";")[0]), row["offer"], open=row.get("open", 0))
    for source, stage, country, first, repeats in json.loads(joined_text(row, "counts")):
        group = Group(source, stage, country)
        found.first += Counter({group: first})
        found.repeats += Counter({group: repeats})
    times = json.loads(joined_text(row, "times"))
    found.times = {name: Histogram.from_wire(taken) for name, taken in times.items()}
    return found


def tally(records: Iterable[LeadRecord], known: Mapping[Key, OfferDay]) -> dict[Key, OfferDay]:
    """Count all leads of some days. `known`: the earlier counts, with the countries of leads that were emptied since."""
    days: dict[Key, OfferDay] = {}
    corrected: set[str] = set()
    replaceable: dict[str, tuple[Counter[Group], Group]] = {}
    for record in records:
        if not _counts(record):
            continue
        day = OfferDay(record.received_at.date(), record.offer or UNROUTED_OFFER)
        day = days.setdefault(day.key, day)
        deliveries = record.deliveries.values()
        counter = day.repeats if any(delivery.repeat_of for delivery in deliveries) else day.first
        group = _group(record)
        counter[group] += 1
        states = {delivery.state for delivery in deliveries}
        day.open += bool(states & _OPEN)
        corrected |= {record.corrects} - {""}
        if states & _REPLACEABLE:
            replaceable[record.lead_id] = counter, group
        for delivery in deliveries:
            if (seconds := _seconds(record, delivery)) is not None:
                day.times.setdefault(delivery.destination, Histogram()).add(seconds)
    for lead_id in corrected & replaceable.keys():
        counter, group = replaceable[lead_id]
        counter[group] -= 1
    for key, day in days.items():
        before = known.get(key) or OfferDay(*key)
        day.first = _with_countries(day.first, before.first)
        day.repeats = _with_countries(day.repeats, before.repeats)
    return days


def _counts(record: LeadRecord) -> bool:
    if record.imported or record.state in _UNCOUNTED:
        return False
    if record.lead is not None:
        return not record.lead.is_test
    was_unreadable = not (record.offer or record.source or record.action)
    return not (record.is_test or was_unreadable)


def _group(record: LeadRecord) -> Group:
    if record.lead is None:
        return Group(record.source, record.stage.value, _GONE)
    return Group(known_source(record.lead), record.stage.value, record.lead.country_code)


def _seconds(record: LeadRecord, delivery: Delivery) -> float | None:
    """The time from the lead's receipt to its first delivery; None if it has not been delivered."""
    if delivery.state is not State.DELIVERED:
        return None
    tries = (attempt.at for attempt in delivery.attempts if attempt.outcome == "delivered")
    at = next(tries, delivery.updated_at)
    return (at - record.received_at).total_seconds() if at else None


def _with_countries(counted: Counter[Group], before: Counter[Group]) -> Counter[Group]:
    """Replace `_GONE` by the countries that the earlier counts had, as far as leads are missing there; else by ""."""
    found = +Counter({group: leads for group, leads in counted.items() if group.country != _GONE})
    for gone, leads in counted.items():
        if gone.country != _GONE or leads <= 0:
            continue
        left = leads
        for group in before:
            if (group.source, group.stage) == (gone.source, gone.stage) and left:
                missing = min(left, max(0, before[group] - found[group]))
                found += Counter({group: missing})
                left -= missing
        found += Counter({Group(gone.source, gone.stage, ""): left})
    return found
