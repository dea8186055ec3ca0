"""The circuit breakers of all connections. Destinations of many offers can share a connection, with its pause and its probes.

Every instance reads the table again after `CACHE_SECONDS`. An instance knows the outcomes of its own attempts at once.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from threading import Lock
from time import monotonic
from typing import Any, Final

from leads.core import clock
from leads.health.connection import CONNECTIONS_PARTITION, PROBED_EVERY, Connection, connection_entity, read_connection
from leads.platform import deadline
from leads.platform.cached_value import CachedValue, fresh_for
from leads.platform.events import Event, emit
from leads.platform.row_reading import UnreadableRow, read_each, unreadable
from leads.platform.storage import Conflict, StorageBusy, Table, storing

CONNECTIONS_TABLE: Final = "LeadConnections"
CACHE_SECONDS: Final = 10
SUCCESS_RECORDED_EVERY: Final = timedelta(seconds=60)
CHECK_WAIT_SECONDS: Final = 10.0
"""The longest time that a lead waits for another lead's check of the connection, because its own time is limited, too."""
_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class _View:
    """The table as read. `began_at`: when the reading began, by `time.monotonic`."""

    began_at: float
    connections: Mapping[str, Connection]


class Connections:
    """The table of connections, and the outcomes that this instance has recorded since it read the table."""

    def __init__(self, table: Table, named: Callable[[str], Mapping[str, str]]) -> None:
        """`named`: the event fields for a connection's host and the offers that use it, by the connection's id."""
        self._table = table
        self._named = named
        self._lock = Lock()
        self._stored = CachedValue[_View](fresh_for(CACHE_SECONDS), StorageBusy)
        self._own: dict[str, tuple[Connection, float]] = {}
        self._checks: dict[str, Lock] = {}
        self._unrecorded_failures: dict[str, int] = {}
        self._successes: dict[str, datetime] = {}

    def get(self, connection_id: str) -> Connection:
        """The connection, at most `CACHE_SECONDS` old, or twice as old while the table can't be read."""
        view = self._stored.get(lambda: _View(monotonic(), {found.id: found for found in self.stored()}))
        changed, changed_at = self._own.get(connection_id, (None, -inf))
        if changed is not None and changed_at >= view.began_at:
            return changed
        return view.connections.get(connection_id) or Connection(connection_id)

    def stored(self) -> list[Connection]:
        """Every connection that has a row, as it is stored now."""
        return list(read_each(self._rows(), read_connection))

    def unreadable(self) -> list[UnreadableRow]:
        """The rows that this release can't read."""
        return unreadable(self._rows(), read_connection)

    def _rows(self) -> list[Any]:
        return self._table.query(f"PartitionKey eq '{CONNECTIONS_PARTITION}'")

    @contextmanager
    def checking(self, connection_id: str) -> Iterator[None]:
        """A block in which one lead of this instance checks the connection. Others wait up to `CHECK_WAIT_SECONDS` to enter."""
        with self._lock:
            lock = self._checks.setdefault(connection_id, Lock())
        taken = lock.acquire(timeout=max(0.0, min(CHECK_WAIT_SECONDS, deadline.remaining())))
        try:
            yield
        finally:
            if taken:
                lock.release()

    def succeeded_since(self, connection_id: str, moment: datetime) -> bool:
        """Whether a lead was delivered since `moment`, as far as this instance or the table knows."""
        successes = (self._successes.get(connection_id), self.get(connection_id).last_success_at)
        return any(success is not None and success >= moment for success in successes)

    def record_success(self, connection_id: str, type_name: str, lead_id: str, began_at: datetime) -> None:
        """Record a delivery. It ends the failures in a row, and a pause that is older than the attempt.

        A success that changes the state is written at once, others once a minute.
        """
        now = clock.now()
        known = self.get(connection_id)
        recorded = known.last_success_at
        with self._lock:
            self._unrecorded_failures.pop(connection_id, None)
            self._successes[connection_id] = now
        is_news = known.paused or known.failures or known.refused or known.refusal
        if is_news or recorded is None or now - recorded >= SUCCESS_RECORDED_EVERY:
            before = self._change(connection_id, lambda stored: stored.after_success(type_name, lead_id, began_at, now))
            if before.paused and not self.get(connection_id).paused:
                emit(Event.CONNECTION_OPENED, connection=connection_id)

    def record_failure(
        self,
        connection_id: str,
        type_name: str,
        *,
        first: bool,
        reason: str,
        refusal: str = "",
        retry_after: float | None = None,
    ) -> bool:
        """Record an attempt that ended with `Retry`. Returns whether the connection is paused now.

        The first failure of a lead, if no other failure is known, stays in memory and is written with the next failure of any
        lead. `reason` is the vendor's code, or what a person has to change; it becomes the reason of the pause. `refusal` is set
        if the vendor refused the lead, and is written at once. `retry_after` is the vendor's, in seconds.
        """
        now = clock.now()
        known = self.get(connection_id)
        with self._lock:
            count = self._unrecorded_failures.get(connection_id, 0) + 1
            self._unrecorded_failures[connection_id] = count
        if first and known.failures + count < 2 and not known.paused and not refusal:
            return False
        with self._lock:
            count = self._unrecorded_failures.pop(connection_id, 0)
        before = self._change(
            connection_id, lambda stored: stored.after_failures(type_name, count, reason, refusal, retry_after, now)
        )
        after = self.get(connection_id)
        if after.paused and not before.paused:
            self._log_pause(connection_id, failures=after.failures)
        return after.paused

    def record_refusal(
        self, connection_id: str, type_name: str, lead_id: str, destination: str, code: str, refusal: str
    ) -> list[str]:
        """Record the refusal of a lead. The lead or the connection may be at fault.

        If the connection is paused now, it is at fault: returns the refused deliveries, each as `LEAD_ID/DESTINATION`. Otherwise
        returns nothing.
        """
        now, this = clock.now(), f"{lead_id}/{destination}"
        before = self._change(connection_id, lambda stored: stored.after_refusal(type_name, this, code, refusal, now))
        if before.paused:
            return [this]
        after = self.get(connection_id)
        if not after.paused:
            return []
        self._log_pause(connection_id, code=code)
        return after.refused.split()

    def pause(self, connection_id: str, type_name: str, reason: str, code: str = "", *, quietly: bool = False) -> None:
        """Send nothing until a probe succeeds. `reason` says what a person has to change, and holds no secret.

        `quietly`: no event is logged, because the caller logs one.
        """
        now = clock.now()
        before = self._change(connection_id, lambda stored: stored.after_pause(type_name, reason, now))
        if not before.paused and not quietly:
            self._log_pause(connection_id, code=code)

    def _log_pause(self, connection_id: str, **details: str | int) -> None:
        now_paused = self.get(connection_id)
        emit(
            Event.CONNECTION_PAUSED,
            connection=connection_id,
            type=now_paused.type,
            reason=now_paused.reason,
            **self._named(connection_id),
            **details,
        )

    def reopen(self, connection_id: str, *, quietly: bool = False) -> None:
        """Send leads again without a probe: a check has just passed, or no lead waits for a probe."""
        now = clock.now()
        before = self._change(connection_id, lambda stored: replace(stored.reopened(now), checked_at=now))
        if before.paused and not quietly:
            emit(Event.CONNECTION_OPENED, connection=connection_id)

    def pause_by_person(self, connection_id: str, type_name: str, note: str) -> None:
        """Send and probe nothing until a person resumes it. `note` tells other people why."""
        now = clock.now()
        self._change(
            connection_id,
            lambda stored: replace(
                stored, type=type_name or stored.type, person_note=note, person_since=stored.person_since or now
            ),
        )
        emit(Event.CONNECTION_PAUSED_BY_PERSON, connection=connection_id)

    def resume(self, connection_id: str) -> None:
        """End a person's pause and the app's own pause. If the connection does not work, the next leads pause it again."""
        now = clock.now()
        before = self._change(
            connection_id, lambda stored: replace(stored.reopened(now), person_note="", person_since=None)
        )
        if before.by_person:
            emit(Event.CONNECTION_RESUMED_BY_PERSON, connection=connection_id)
        if before.paused:
            emit(Event.CONNECTION_OPENED, connection=connection_id)

    def record_check(self, connection_id: str, type_name: str) -> None:
        """Record that `watch` begins a check of the open connection."""
        now = clock.now()
        self._change(connection_id, lambda stored: replace(stored, type=type_name, checked_at=now))

    def claim_probe(self, connection_id: str, type_name: str) -> bool:
        """Whether this instance may probe the connection, or re-drive a minute's worth of leads. Only one instance may."""
        now = clock.now()
        taken = False

        def taking(stored: Connection) -> Connection:
            nonlocal taken
            taken = stored.attended_at is None or now - stored.attended_at >= PROBED_EVERY / 2
            return replace(stored, type=type_name or stored.type, attended_at=now) if taken else stored

        self._change(connection_id, taking)
        return taken

    def record_probe(self, connection_id: str, lead_id: str) -> None:
        """Record that this lead probes the paused connection. The next probe is another lead."""
        self._change(connection_id, lambda stored: replace(stored, probed_lead=lead_id))

    def forget(self) -> None:
        """Read the table again at the next use."""
        self._stored.forget()

    def _change(self, connection_id: str, change: Callable[[Connection], Connection]) -> Connection:
        """Change the stored row. Returns the connection as it was before. Simultaneous changes by others are kept."""
        for _ in range(_TRIES):
            entity = self._table.get(CONNECTIONS_PARTITION, connection_id)
            stored = read_connection(entity) if entity else Connection(connection_id)
            changed = change(stored)
            if changed == stored:
                break
            row = connection_entity(changed)
            try:
                etag = self._table.write([storing(row, stored.etag)])[0]
            except Conflict:
                continue
            self._own[connection_id] = (replace(changed, etag=etag), monotonic())
            return stored
        # Nothing changes, or each try conflicted with other instances; then the next attempt records its outcome again.
        self._own[connection_id] = (stored, monotonic())
        return stored
