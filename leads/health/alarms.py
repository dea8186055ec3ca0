"""Active alarms, a row for each. Only the instance that first sees a change logs the change.

The catalogue (`leads.platform.events`) says what an alarm is about. The log gets an event when an alarm begins, and another when
it ends. The notification webhook, if configured, gets both as well; a failed post is retried.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from leads.core import clock
from leads.platform.events import Event, emit, named
from leads.platform.row_reading import read_each, read_optional_time, read_time, reads
from leads.platform.storage import Conflict, Table, if_unchanged, storing
from leads.platform.table_format import key_part

ALARMS_TABLE: Final = "LeadAlarms"
NOTIFY_LEASE: Final = timedelta(minutes=2)
"""For this long only the instance that holds the lease sends the notification."""
_PARTITION: Final = "alarm"

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that holds now. `logged`: the event has already been logged where the condition arose."""

    event: Event
    fields: Mapping[str, Value]
    logged: bool = False

    @property
    def key(self) -> str:
        return ";".join((self.event.value, *(key_part(str(self.fields[name])) for name in self.event.about)))


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that has begun or, with `ended_at`, has ended."""

    event: Event
    fields: Mapping[str, Value]
    began_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """A stored alarm. `notified` (column `told`): the webhook has got the beginning.

    `leased_at` (column `telling_at`): when an instance took the lease to notify.
    """

    key: str
    change: Change
    logged: bool = False
    notified: bool = False
    leased_at: datetime | None = None
    etag: str = ""

    @property
    def is_on(self) -> bool:
        return self.change.ended_at is None


class Alarms:
    """The alarms' table."""

    def __init__(self, table: Table, *, has_webhook: bool) -> None:
        self._has_webhook = has_webhook
        self._table = table

    def active(self) -> list[Change]:
        """Active alarms, oldest first."""
        return sorted((row.change for row in self._rows() if row.is_on), key=lambda change: change.began_at)

    def update(self, active: Iterable[Alarm], checked: Collection[Event]) -> None:
        """Store and log the alarms that have begun or ended. Alarms of events that are not in `checked` stay as they are."""
        wanted = {alarm.key: alarm for alarm in active}
        rows = {row.key: row for row in self._rows()}
        now = clock.now()
        for key, alarm in wanted.items():
            known = rows.get(key)
            if known is None or not known.is_on:
                self._begin(alarm, known, now)
        for key, row in rows.items():
            if row.is_on and key not in wanted and row.change.event in checked:
                self._end(row, now)

    def notify(self, post: Callable[[list[Change]], bool]) -> None:
        """Post the changes that were not posted yet. `post` returns whether it succeeded; if not, a later call retries."""
        now = clock.now()
        waiting = [row for row in self._rows() if not (row.is_on and row.notified)]
        free = [row for row in waiting if row.leased_at is None or now - row.leased_at >= NOTIFY_LEASE]
        ours = [taken for row in free if (taken := self._write(replace(row, leased_at=now), row))]
        if not ours or not post([row.change for row in ours]):
            return
        for row in ours:
            if row.is_on:
                self._write(replace(row, notified=True, leased_at=None), row)
            else:
                self._remove(row)

    def _begin(self, alarm: Alarm, ended: _Row | None, now: datetime) -> None:
        row = _Row(alarm.key, Change(alarm.event, alarm.fields, now), alarm.logged)
        if ended is not None:  # the end was not posted yet, so the alarm continues
            row = replace(ended, change=replace(ended.change, ended_at=None))
        if self._write(row, ended) and not alarm.logged:
            emit(alarm.event, **alarm.fields)

    def _end(self, row: _Row, now: datetime) -> None:
        if row.notified and self._has_webhook:
            ended = bool(self._write(replace(row, change=replace(row.change, ended_at=now)), row))
        else:  # the beginning was not posted either
            ended = self._remove(row)
        end = row.change.event.end
        if ended and end is not None and not row.logged:
            emit(end, **{name: row.change.fields[name] for name in row.change.event.about})

    def _write(self, row: _Row, before: _Row | None) -> _Row | None:
        """Write a row. Returns the row as stored; None if another instance has changed it."""
        entity = _entity(row)
        try:
            etags = self._table.write([storing(entity, before.etag if before else "")])
        except Conflict:
            return None
        return replace(row, etag=etags[0])

    def _remove(self, row: _Row) -> bool:
        try:
            self._table.write([("delete", {"PartitionKey": _PARTITION, "RowKey": row.key}, if_unchanged(row.etag))])
        except Conflict:
            return False
        return True

    def _rows(self) -> list[_Row]:
        """All rows, except those with an event of a newer release."""
        entities = self._table.query(f"PartitionKey eq '{_PARTITION}'")
        return [row for row in read_each(entities, _read) if row]


def _entity(row: _Row) -> dict[str, Any]:
    moments = {"ended_at": row.change.ended_at, "telling_at": row.leased_at}
    return {
        "PartitionKey": _PARTITION,
        "RowKey": row.key,
        "event": row.change.event.value,
        "fields": json.dumps(dict(row.change.fields)),
        "began_at": row.change.began_at,
        "logged": row.logged,
        "told": row.notified,
        **{name: moment for name, moment in moments.items() if moment is not None},
    }


@reads("alarm")
def _read(entity: Any) -> _Row | None:
    event = named(entity["event"])
    if event is None:
        return None
    fields, began_at = json.loads(entity["fields"]), read_time(entity, "began_at")
    change = Change(event, dict(fields), began_at, read_optional_time(entity, "ended_at"))
    leased_at = read_optional_time(entity, "telling_at")
    return _Row(entity["RowKey"], change, entity["logged"], entity["told"], leased_at, entity.metadata["etag"])
