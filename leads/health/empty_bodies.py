"""Requests to the intake that came without a body, noted so that people hear of them: what they were to bring is lost.

A note is one write, made only where such a request is answered. Its key says which minute of an hour it was, so that the next
hour's notes replace it: however many requests come, the notes stay few and nobody has to remove them.
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
"""So many requests without a body within an hour are an alarm."""
NOTED_A_MINUTE: Final = SEVERAL
"""So many of one minute an instance notes, of each kind; with those of other instances a few may count as one."""
WITHOUT_LENGTH_FOR: Final = timedelta(hours=24)
"""For so long after the last one, leads that come without a length are an alarm."""
_HOUR: Final = timedelta(hours=1)
_PARTITION: Final = "empty_body"


@dataclass(frozen=True, slots=True)
class Note:
    """A request without a body: `body_without_length` or `body_empty`, when it came, and what its sender calls itself."""

    event: Event
    at: datetime
    user_agent: str


@reads("note of an empty body")
def _read(row: Any) -> Note | None:
    event = named(row["event"])
    return Note(event, read_time(row, "at"), str(row["user_agent"])) if event else None


class EmptyBodies:
    """The notes, which stand beside the alarms."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = Lock()
        self._minute = ""
        self._counts = Counter[Event]()

    def note(self, event: Event, user_agent: str) -> None:
        """Note a request, unless enough of this minute are noted."""
        now = clock.now()
        number = self._number_within_its_minute(event, now)
        if number <= NOTED_A_MINUTE:
            key = {"PartitionKey": _PARTITION, "RowKey": f"{event.value};{now:%M};{number}"}
            entity = {**key, "event": event.value, "at": now, "user_agent": user_agent}
            self._table.write([("upsert", entity, replacing())])

    def notes(self) -> list[Note]:
        """Those that are kept, newest first."""
        entities = self._table.query(f"PartitionKey eq '{_PARTITION}'")
        notes = [note for note in read_each(entities, _read) if note]
        return sorted(notes, key=lambda note: note.at, reverse=True)

    def alarms(self) -> Iterator[Alarm]:
        """What of them a person has to hear of now."""
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
