"""Notes of intake requests without a body. They raise an alarm, because the lead of such a request is lost.

The intake writes a note with one request. The key has the minute of the hour, so that notes of the next hour replace it. So there
are few notes, and they need no removal.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Final

from leads.core import clock
from leads.health.alarms import Alarm
from leads.platform.events import Event, named
from leads.platform.row_reading import read_each, read_time, reads
from leads.platform.storage import Table, replacing

SEVERAL: Final = 3
"""This number of empty bodies within an hour raises an alarm."""
NOTED_A_MINUTE: Final = SEVERAL
"""Most notes of each kind that an instance writes in a minute. Two instances may write the same key."""
WITHOUT_LENGTH_FOR: Final = timedelta(hours=24)
"""How long the alarm lasts after a body without a length."""
_HOUR: Final = timedelta(hours=1)
_PARTITION: Final = "empty_body"


@dataclass(frozen=True, slots=True)
class Note:
    """A request without a body: `body_without_length` or `body_empty`, its time, and the sender's User-Agent."""

    event: Event
    at: datetime
    user_agent: str


@reads("note of an empty body")
def _read(row: Any) -> Note | None:
    event = named(row["event"])
    return Note(event, read_time(row, "at"), str(row["user_agent"])) if event else None


class EmptyBodies:
    """The notes in the table of alarms."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = Lock()
        self._minute = ""
        self._counts = Counter[Event]()

    def note(self, event: Event, user_agent: str) -> None:
        """Note a request, unless this minute has enough notes."""
        now = clock.now()
        number = self._number_within_its_minute(event, now)
        if number <= NOTED_A_MINUTE:
            key = {"PartitionKey": _PARTITION, "RowKey": f"{event.value};{now:%M};{number}"}
            entity = {**key, "event": event.value, "at": now, "user_agent": user_agent}
            self._table.write([("upsert", entity, replacing())])

    def notes(self) -> list[Note]:
        """All notes, newest first."""
        entities = self._table.query(f"PartitionKey eq '{_PARTITION}'")
        notes = [note for note in read_each(entities, _read) if note]
        return sorted(notes, key=lambda note: note.at, reverse=True)

    def alarms(self) -> Iterator[Alarm]:
        """The alarms that the present notes raise."""
        now, notes = clock.now(), self.notes()
        without_length = [note for note in notes if note.event is Event.BODY_WITHOUT_LENGTH]
        if without_length and now - without_length[0].at < WITHOUT_LENGTH_FOR:
            yield Alarm(Event.BODY_WITHOUT_LENGTH, {"user_agent": without_length[0].user_agent}, logged=True)
        empty = [note for note in notes if note.event is Event.BODY_EMPTY and now - note.at < _HOUR]
        if len(empty) >= SEVERAL:
            yield Alarm(Event.BODIES_EMPTY, {"count": len(empty), "user_agent": empty[0].user_agent})

    def _number_within_its_minute(self, event: Event, now: datetime) -> int:
        minute = f"{now:%Y-%m-%d %H:%M}"
        with self._lock:
            if self._minute != minute:
                self._minute, self._counts = minute, Counter()
            self._counts[event] += 1
            return self._counts[event]
