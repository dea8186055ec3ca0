"""Counts of real leads and test leads by offer and hour, for the silence monitor. No personal data; kept for ever.

Leads are counted from the ledger; a delivery writes nothing for it. Counting an hour again gives the same result, so that
counting may be repeated, also by several instances at once.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Any, Final

from leads.core import clock
from leads.core.silence import WEEKS_AT_MOST
from leads.ledger.queries import arrivals
from leads.ledger.transactions import Ledger
from leads.platform.row_reading import read_each, read_time, reads
from leads.platform.storage import Operation, Table
from leads.platform.table_format import key_part

COUNTS_TABLE: Final = "LeadCounts"
LATE: Final = timedelta(hours=2)
LATE_ONCE_A_DAY: Final = timedelta(days=2)
"""How far back leads are counted again, because leads can reach the ledger late: at each call, and once a day."""
LEADS_AT_ONCE: Final = 100_000
"""Above this number, late leads are not counted again, and a backlog is counted in several calls."""
FEW_LEADS: Final = 1_000
"""After a time span with fewer leads, the next span is twice as long. One request for each partition reads so few leads."""
LOOKED_BACK: Final = timedelta(weeks=WEEKS_AT_MOST + 8)
"""How far back counts are read: the history that a silence is judged by, and a few weeks of silence."""
_DAY: Final = timedelta(days=1)
_PARTITION: Final = "month"
_COUNTED_UNTIL: Final = "until"


@dataclass(slots=True)
class Day:
    """The leads of an offer on one day (UTC), hour by hour."""

    real: list[int] = field(default_factory=lambda: [0] * 24)
    test: list[int] = field(default_factory=lambda: [0] * 24)

    def take_over(self, hours: slice, other: "Day") -> bool:
        """Replace these hours with the other day's. Returns whether they were different."""
        differs = (self.real[hours], self.test[hours]) != (other.real[hours], other.test[hours])
        self.real[hours], self.test[hours] = other.real[hours], other.test[hours]
        return differs


@dataclass(slots=True)
class Counts:
    """The counts up to `until` (None = none yet): each offer's days with leads."""

    until: datetime | None = None
    offers: dict[str, dict[date, Day]] = field(default_factory=dict)

    def real(self, offer_id: str) -> dict[date, list[int]]:
        """An offer's real leads: the 24 hours of each day."""
        return {day: counted.real for day, counted in self.offers.get(key_part(offer_id), {}).items()}

    def since(self, first: date) -> int:
        """All leads from this day on."""
        days = (counted for days in self.offers.values() for day, counted in days.items() if day >= first)
        return sum(sum(counted.real) + sum(counted.test) for counted in days)


class LeadCounts:
    """The table of counts. It also has the rows of the silence monitor."""

    def __init__(self, table: Table, ledger: Ledger) -> None:
        self.table = table
        self._ledger = ledger

    def count(self, now: datetime) -> Counts:
        """Count the leads since the last call, and late leads. Returns the counts of a year and some weeks.

        After a long stop, `until` can be earlier than now. The next call continues.
        """
        counts = self._read(now)
        known_until = min(now, counts.until or now)
        start, span = _start(counts, known_until, now), _DAY
        changed: set[tuple[str, date]] = set()
        leads = 0
        while start < now and (start <= known_until or leads < LEADS_AT_ONCE):
            end = min(now, _midnight(start) + span)
            found = self._count_span(counts, changed, start, end)
            span = span * 2 if found < FEW_LEADS else _DAY
            leads += found
            start = end
        counts.until = start
        self._write(counts, changed)
        return counts

    def counted_until(self) -> datetime | None:
        """Up to when leads have been counted; None = never yet."""
        entity = self.table.get(_PARTITION, _COUNTED_UNTIL)
        return _read_until(entity) if entity else None

    def _count_span(self, counts: Counts, changed: set[tuple[str, date]], start: datetime, end: datetime) -> int:
        """Count whole hours again, and the last hour up to now. Adds the days that differ from the stored ones to `changed`.

        Returns the number of leads.
        """
        found: defaultdict[tuple[str, date], Day] = defaultdict(Day)
        leads = 0
        for lead in arrivals(self._ledger, start, end):
            leads += 1
            if lead.offer:
                counted = found[key_part(lead.offer), lead.received_at.date()]
                (counted.test if lead.is_test else counted.real)[lead.received_at.hour] += 1
        offers = counts.offers.keys() | {offer for offer, _ in found}
        for number in range(ceil((end - _midnight(start)) / _DAY)):
            midnight = _midnight(start) + number * _DAY
            day, hours = midnight.date(), slice(_hours(midnight, start), _hours(midnight, end))
            for offer in offers:
                days = counts.offers.setdefault(offer, {})
                known = days.get(day, Day())
                if known.take_over(hours, found[offer, day]):
                    days[day] = known
                    changed.add((offer, day))
        return leads

    def _read(self, now: datetime) -> Counts:
        counts = Counts()
        condition = f"PartitionKey eq '{_PARTITION}' and RowKey ge '{now - LOOKED_BACK:%Y-%m}'"
        rows = self.table.query(condition)
        counts.until = next(read_each((row for row in rows if row["RowKey"] == _COUNTED_UNTIL), _read_until), None)
        months = (row for row in rows if row["RowKey"] != _COUNTED_UNTIL)
        for offer, days in read_each(months, _read_days):
            counts.offers.setdefault(offer, {}).update(days)
        return counts

    def _write(self, counts: Counts, changed: set[tuple[str, date]]) -> None:
        months: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for offer, day in changed:
            counted = counts.offers[offer][day]
            months[f"{day:%Y-%m};{offer}"] |= columns_of(day, counted)
        operations = [_merge(row, columns) for row, columns in months.items()]
        operations.append(_merge(_COUNTED_UNTIL, {"until": counts.until}))
        self.table.write_all(operations)


@reads("time of counting")
def _read_until(row: Any) -> datetime:
    return read_time(row, "until")


@reads("month of an offer")
def _read_days(row: Any) -> tuple[str, dict[date, Day]]:
    month, _, offer = row["RowKey"].partition(";")
    return offer, dict(read_month(month, row))


def _start(counts: Counts, known_until: datetime, now: datetime) -> datetime:
    """The start of counting: far enough back for late leads, unless there are too many."""
    this_hour, today = known_until.replace(minute=0, second=0, microsecond=0), _midnight(now)
    start = max(today, this_hour - LATE) if known_until >= today else _midnight(known_until - LATE_ONCE_A_DAY)
    return start if counts.since(start.date()) < LEADS_AT_ONCE else this_hour


def _midnight(moment: datetime) -> datetime:
    return clock.midnight(moment.astimezone(UTC).date())


def _hours(midnight: datetime, moment: datetime) -> int:
    """How many of a day's hours have begun before a moment."""
    return min(24, max(0, ceil((moment - midnight) / timedelta(hours=1))))


def _merge(row: str, columns: Mapping[str, Any]) -> Operation:
    from azure.data.tables import UpdateMode

    return ("upsert", {"PartitionKey": _PARTITION, "RowKey": row, **columns}, {"mode": UpdateMode.MERGE})


def columns_of(day: date, counted: Day) -> dict[str, str]:
    """A day as columns of its month's row."""
    hours = {"real": counted.real, "test": counted.test}
    return {f"{name}_{day:%d}": " ".join(map(str, leads)) for name, leads in hours.items()}


def read_month(month: str, row: Mapping[str, Any]) -> Iterator[tuple[date, Day]]:
    """The days in a month's row. `month`: such as `2026-11`."""
    for number in range(1, 32):
        if real := row.get(f"real_{number:02}"):
            hours = (list(map(int, text.split())) for text in (real, row[f"test_{number:02}"]))
            yield date.fromisoformat(f"{month}-{number:02}"), Day(*hours)
