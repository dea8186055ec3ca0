"""Retention removes the personal data of leads after their retention period. The lead's states and times are kept.

A pass over all old leads begins once a day, and `watch` does a part of it every few minutes. The query selects only leads that
still have personal data. A part may be interrupted, or done by two instances.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from leads.core.identity import EARLIEST
from leads.core.states import GOES_ON, LEFT_TO_A_PERSON
from leads.ledger.queries import PARTITIONS, received_between
from leads.ledger.rows import LeadRecord, read_lead
from leads.ledger.transactions import Ledger
from leads.offers.model import Offer, Policies
from leads.platform.events import Event, emit
from leads.platform.row_reading import UnreadableRow, read_each, read_time, reads
from leads.platform.storage import Conflict, Table, storing

BEGUN_EVERY: Final = timedelta(days=1)
SECONDS_A_TICK: Final = 20.0
LEADS_A_TICK: Final = 20_000
LEADS_A_PAGE: Final = 200
REASON: Final = "the lead was not handled in time, so its personal data was removed"
_KEY: Final = {"PartitionKey": "sweep", "RowKey": "retention"}


@dataclass(frozen=True, slots=True)
class Periods:
    """Days for which personal data is kept, by offer. `unrouted`: for leads without an offer. None = for ever."""

    policies: dict[str, Policies]
    unrouted: int | None

    def days(self, record: LeadRecord) -> int | None:
        states = {delivery.state for delivery in record.deliveries.values()}
        if states & GOES_ON:
            return None
        if not record.offer:
            return self.unrouted
        # The default periods apply to leads of a removed offer.
        policies = self.policies.get(record.offer.casefold(), _DEFAULT)
        return policies.dead_letter_retention_days if states & LEFT_TO_A_PERSON else policies.retention_days

    def is_over(self, record: LeadRecord, now: datetime) -> bool:
        """Whether the retention period of a lead is over. It begins when the lead was settled."""
        days = self.days(record)
        settled_at = max((d.updated_at or record.received_at for d in record.deliveries.values()), default=now)
        return days is not None and now - settled_at >= timedelta(days=days)

    @property
    def shortest(self) -> int | None:
        """The shortest period: younger leads are not read. None = all data is kept for ever."""
        every = [self.unrouted]
        for policies in (*self.policies.values(), _DEFAULT):
            every += [policies.retention_days, policies.dead_letter_retention_days]
        return min((days for days in every if days is not None), default=None)


_DEFAULT: Final = Policies.model_validate({})


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a pass: its begin, its present partition ("" = finished) and its last row."""

    begun_at: datetime
    partition: str = ""
    after: str = ""
    etag: str = ""


def sweep(ledger: Ledger, offers: list[Offer], unrouted_days: int, now: datetime) -> None:
    """Do a part of the day's pass. If the pass is finished, this costs one request.

    `unrouted_days`: how long personal data of leads without an offer is kept, 0 = for ever.
    """
    table = ledger.table
    progress = _read(table)
    if progress is None or (not progress.partition and now - progress.begun_at >= BEGUN_EVERY):
        progress = Progress(now, PARTITIONS[0], etag=progress.etag if progress else "")
    if not progress.partition:
        return
    periods = Periods({offer.id.casefold(): offer.policies for offer in offers}, unrouted_days or None)
    emptied, ended = _sweep_part(ledger, periods, progress, now)
    if emptied:
        emit(Event.LEADS_EMPTIED, count=emptied)
    _write(table, ended)


def _sweep_part(ledger: Ledger, periods: Periods, progress: Progress, now: datetime) -> tuple[int, Progress]:
    """Do a part. Returns how many leads were emptied, and the new progress."""
    ends_at = time.monotonic() + SECONDS_A_TICK
    seen = emptied = 0
    for partition, page in _pages(ledger, periods, progress, now):
        due = [record for record in read_each(page, lambda row: _due(ledger, row, periods, now)) if record]
        ledger.empty_all(due, now, REASON)
        seen, emptied = seen + len(page), emptied + len(due)
        if seen >= LEADS_A_TICK or time.monotonic() >= ends_at:
            return emptied, Progress(progress.begun_at, partition, page[-1]["RowKey"], progress.etag)
    return emptied, Progress(progress.begun_at, etag=progress.etag)


def _pages(ledger: Ledger, periods: Periods, progress: Progress, now: datetime) -> Iterator[tuple[str, list[Any]]]:
    """Pages of old leads that still have personal data, each with its partition."""
    if periods.shortest is None:
        return
    until = now - timedelta(days=periods.shortest)
    for partition in PARTITIONS[PARTITIONS.index(progress.partition) :]:
        condition = f"PartitionKey eq '{partition}' and {received_between('lead;', None, until)}"
        if partition == progress.partition and progress.after:
            condition += f" and RowKey gt '{progress.after}'"
        condition += " and (lead ge '' or has_body eq true)"
        for page in ledger.table.pages(condition, page_size=LEADS_A_PAGE):
            if page:
                yield partition, page


def _due(ledger: Ledger, row: Any, periods: Periods, now: datetime) -> LeadRecord | None:
    record = read_lead(row, row.metadata["etag"])
    if not periods.is_over(record, now):
        return None
    return ledger.read(record.lead_id) if record.has_body else record


def _read(table: Table) -> Progress | None:
    row: Any = table.get(_KEY["PartitionKey"], _KEY["RowKey"])
    if row is None:
        return None
    try:
        return _progress(row)
    except UnreadableRow as unreadable:  # the pass begins again
        unreadable.report()
        return Progress(EARLIEST, etag=row.metadata["etag"])


@reads("progress of retention")
def _progress(row: Any) -> Progress:
    part = row["partition"]
    if part not in {"", *PARTITIONS}:
        raise ValueError("partition")
    return Progress(read_time(row, "begun_at"), part, row["after"], row.metadata["etag"])


def _write(table: Table, progress: Progress) -> None:
    """Store the progress, unless another instance has stored its progress since."""
    row = _KEY | {"begun_at": progress.begun_at, "partition": progress.partition, "after": progress.after}
    try:
        table.write([storing(row, progress.etag)])
    except Conflict:
        return
