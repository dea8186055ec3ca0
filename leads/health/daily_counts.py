"""Counts the leads of each finished day from the ledger, for reports. A delivery writes nothing for it. Counts are kept for ever.

Counting a day again gives the same result, so that counting may be interrupted and repeated, also by two instances. A pass over
the last days begins once a day. The first pass begins with the oldest lead of the ledger.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from leads.core.clock import midnight
from leads.health.daily_numbers import PARTITION, Key, OfferDay, read_day, row_key, tally
from leads.ledger.queries import is_older_than, records
from leads.ledger.transactions import Ledger
from leads.platform.row_reading import UnreadableRow, read_each, read_optional_time, reads
from leads.platform.storage import Conflict, Operation, Table, replacing, storing

LATE: Final = timedelta(days=2)
"""How far back leads are counted again, because leads can reach the ledger late."""
OPEN: Final = timedelta(days=31)
"""How far back days are counted again while some of their leads wait for a destination or an offer."""
LIVE: Final = timedelta(days=3)
"""The longest time span that is counted during a request. If more is uncounted, the answer ends with the last counted day."""
SECONDS_A_TICK: Final = 20.0
FEW_LEADS: Final = 10_000
"""After a span with fewer leads the next span is twice as long, else half as long."""
_DAY: Final = timedelta(days=1)
_LONGEST_SPAN: Final = timedelta(days=32)
_PROGRESS: Final = "until"
_ROWS_AT_ONCE: Final = 99
"""With the progress row, the size of a transaction."""
_CHARACTERS_AT_ONCE: Final = 1_000_000
"""A transaction holds 4 MiB."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of counting.

    `until`: leads before this time have been counted; None = no leads yet. `goes_on_at`: where the present pass continues; None =
    no pass.
    """

    until: datetime | None = None
    goes_on_at: datetime | None = None
    etag: str = ""


class DailyCounts:
    """The rows of days in the table of counts."""

    def __init__(self, table: Table, ledger: Ledger) -> None:
        self._table = table
        self._ledger = ledger
        self._counted_on: date | None = None
        self._span = 4 * _DAY

    def count(self, now: datetime) -> None:
        """Count the days up to now, unless they were counted today. One pass may take several calls."""
        if self._counted_on == now.date():
            return
        progress = self._progress()
        if progress.goes_on_at is None and progress.until is not None and progress.until >= midnight(now.date()):
            self._counted_on = now.date()
            return
        start = progress.goes_on_at or self._first_day(progress.until, now)
        ends_at = time.monotonic() + SECONDS_A_TICK
        while start < now:
            span, self._span = self._span, _DAY  # the next call begins with a day if this call is interrupted
            end = min(now, start + span)
            known = {day.key: day for day in self._stored(start.date(), (end - timedelta.resolution).date())}
            found = tally(records(self._ledger, start, end), known)
            until = max(end, progress.until or end)
            try:
                progress = self._write(found, known, progress, Progress(until, end if end < now else None))
            except Conflict:  # another instance counts
                return
            start = end
            self._span = min(span * 2, _LONGEST_SPAN) if _leads(found.values()) < FEW_LEADS else max(_DAY, span // 2)
            if time.monotonic() >= ends_at:
                return

    def since(self, first: date, now: datetime) -> tuple[list[OfferDay], date]:
        """The numbers of the days since `first`, and the last of these days. Days without a stored row are counted now."""
        until = self._progress().until
        live_from = max(midnight(until.date()), midnight(first)) if until else midnight(first)
        stored = list(self._stored(first, now.date()))
        if now - live_from > LIVE:
            return [day for day in stored if day.day < live_from.date()], live_from.date() - _DAY
        counted = tally(records(self._ledger, live_from, now), {day.key: day for day in stored})
        return [*(day for day in stored if day.day < live_from.date()), *counted.values()], now.date()

    def _first_day(self, until: datetime | None, now: datetime) -> datetime:
        """The start of a pass: before late and open leads; in the first pass, before all leads."""
        if until is None:
            age = timedelta(weeks=1)
            while is_older_than(self._ledger, midnight(now.date()) - age):
                age *= 2
            return midnight(now.date()) - age
        oldest_open = row_key((now - OPEN).date(), "")
        condition = (
            f"PartitionKey eq '{PARTITION}' and RowKey ge '{oldest_open}' and RowKey lt '{_PROGRESS}' and open gt 0"
        )
        opened = self._table.query(condition, select=["RowKey"])
        days = [midnight(date.fromisoformat(row["RowKey"].partition(";")[0])) for row in opened]
        return min([midnight((until - LATE).date()), *days])

    def _stored(self, first: date, last: date) -> Iterator[OfferDay]:
        condition = f"PartitionKey eq '{PARTITION}' and RowKey ge '{first}' and RowKey lt '{last}~'"
        return read_each(self._table.query(condition), read_day)

    def _progress(self) -> Progress:
        row: Any = self._table.get(PARTITION, _PROGRESS)
        if row is None:
            return Progress()
        try:
            return _read_progress(row)
        except UnreadableRow as unreadable:  # all leads are counted again
            unreadable.report()
            return Progress(etag=row.metadata["etag"])

    def _write(
        self, found: Mapping[Key, OfferDay], known: Mapping[Key, OfferDay], before: Progress, after: Progress
    ) -> Progress:
        """Store the rows that differ from the known ones, and the progress. Raises `Conflict` if another instance counts."""
        operations: list[Operation] = [
            ("upsert", day.entity(), replacing()) for key, day in found.items() if day != known.get(key)
        ]
        operations += [
            ("delete", {"PartitionKey": PARTITION, "RowKey": row_key(*key)}, {}) for key in known.keys() - found.keys()
        ]
        chunks = list(_chunks(operations))
        for number, chunk in enumerate(chunks, 1):
            written = after if number == len(chunks) else before
            etag = self._table.write([_progress_operation(written, before.etag), *chunk])[0]
            before = Progress(written.until, written.goes_on_at, etag)
        return before


def _leads(days: Iterable[OfferDay]) -> int:
    return sum(day.first.total() + day.repeats.total() for day in days)


def _chunks(operations: list[Operation]) -> Iterator[list[Operation]]:
    """The operations in chunks for one transaction each. There is at least one chunk."""
    chunk: list[Operation] = []
    characters = 0
    for operation in operations:
        size = sum(len(str(value)) for value in operation[1].values())
        if chunk and (len(chunk) == _ROWS_AT_ONCE or characters + size > _CHARACTERS_AT_ONCE):
            yield chunk
            chunk, characters = [], 0
        chunk.append(operation)
        characters += size
    yield chunk


@reads("progress of counting days")
def _read_progress(row: Any) -> Progress:
    return Progress(read_optional_time(row, "until"), read_optional_time(row, "goes_on_at"), row.metadata["etag"])


def _progress_operation(progress: Progress, etag: str) -> Operation:
    times = {"until": progress.until, "goes_on_at": progress.goes_on_at}
    row = {"PartitionKey": PARTITION, "RowKey": _PROGRESS} | {name: at for name, at in times.items() if at is not None}
    return storing(row, etag)
