"""Connections: what many offers' destinations share, and what pauses, is probed and heals as one.

A connection without a row is open and has never failed. Every instance keeps its own view and reads the table again after
`CACHE_SECONDS`; what it learns from its own attempts counts at once.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from threading import Lock
from time import monotonic
from typing import Any

from leads.core import clock
from leads.platform import deadline
from leads.platform.cached_value import CachedValue, fresh_for
from leads.platform.events import Event, emit
from leads.platform.row_reading import UnreadableRow, read_each, read_optional_time, reads, unreadable
from leads.platform.storage import Conflict, StorageBusy, Table, replacing

CONNECTIONS_TABLE = "LeadConnections"
CACHE_SECONDS = 10
FAILURES_UNTIL_PAUSE = 5
REFUSALS_UNTIL_PAUSE = 3
"""One odd lead is refused alone, and so are all of one customer. Three customers in a row hardly are, unless every lead is."""
REFUSALS_KEPT = 20
SUCCESS_RECORDED_EVERY = timedelta(seconds=60)
LONGEST_WAIT_SECONDS = 900
"""A vendor's `Retry-After` holds the probes of its connection back up to here: a mistaken one must not hold leads for a day."""
CHECK_WAIT_SECONDS = 10.0
"""A lead waits for another one's check no longer than this, for its own time is limited, too."""
PROBED_EVERY = timedelta(minutes=1)
CHECKED_AFTER = timedelta(hours=1)
_PARTITION = "connection"
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection's health. `failures` counts `Retry` outcomes in a row; `probed_lead` is the last one sent while paused.
    `refused` are the deliveries that were refused in a row and may not be at fault, each as `LEAD_ID/DESTINATION`.

    `refusal` is what the vendor's last answer refused deliveries with, in words and a code, until one comes through: a `check()`
    that passes does not show that it takes leads.

    `last_lead` came through at `last_success_at`; `checked_at` is when `watch` last began a `check()` while it was open, and
    `attended_at` when it last probed it or sent on what waits behind it.
    `wait_until` is when the vendor wants to hear from us again: a paused connection is not probed before.

    `person_note` says why a person has paused it, since `person_since`. That has nothing to do with whether it works, and
    nothing but a person ends it.
    """

    id: str
    type: str = ""
    paused: bool = False
    reason: str = ""
    since: datetime | None = None
    opened_at: datetime | None = None
    failures: int = 0
    last_success_at: datetime | None = None
    last_lead: str = ""
    last_failure_at: datetime | None = None
    checked_at: datetime | None = None
    wait_until: datetime | None = None
    probed_lead: str = ""
    refused: str = ""
    refusal: str = ""
    attended_at: datetime | None = None
    person_note: str = ""
    person_since: datetime | None = None
    etag: str = ""

    @property
    def by_person(self) -> bool:
        return self.person_since is not None

    @property
    def last_refusal(self) -> str:
        """What deliveries have met with since the last one came through, for a person; "" = nothing."""
        if not self.refusal:
            return ""
        at = f" at {self.last_failure_at:%Y-%m-%d %H:%M} UTC" if self.last_failure_at else ""
        return f"the last delivery was refused{at}: {self.refusal}"

    def allows(self, *, probe: bool) -> bool:
        """Whether a lead may be sent over it; a probe passes the app's own pause."""
        return not self.by_person and (probe or not self.paused)

    @property
    def next_check_at(self) -> datetime | None:
        """When `watch` asks the vendor next: while paused every minute, but for `wait_until`; else after about a quiet hour.

        The hour is longer or shorter by up to a fifth, other for each connection and each time. None = at once.
        """
        if self.paused:
            moments = (self.attended_at + PROBED_EVERY if self.attended_at else None, self.wait_until)
            return max((moment for moment in moments if moment is not None), default=None)
        proofs = [moment for moment in (self.last_success_at, self.checked_at) if moment is not None]
        if not proofs:
            return None
        spread = random.Random(f"{self.id}{max(proofs)}").uniform(0.8, 1.2)  # noqa: S311 - spreads load, keeps no secret
        return max(proofs) + CHECKED_AFTER * spread


@dataclass(frozen=True, slots=True)
class _View:
    """The table as it was read; `began_at` is when the reading began, on the clock of `time.monotonic`."""

    began_at: float
    connections: Mapping[str, Connection]


def _nameless(connection_id: str) -> Mapping[str, str]:  # noqa: ARG001
    return {}


class Connections:
    """The connections' table, and what this instance knows beyond it."""

    def __init__(self, table: Table, named: Callable[[str], Mapping[str, str]] = _nameless) -> None:
        """`named` tells who uses a connection and its host, as events do."""
        self._table = table
        self._named = named
        self._lock = Lock()
        self._stored = CachedValue[_View](fresh_for(CACHE_SECONDS), StorageBusy)
        self._own: dict[str, tuple[Connection, float]] = {}
        self._checks: dict[str, Lock] = {}
        self._unrecorded_failures: dict[str, int] = {}
        self._successes: dict[str, datetime] = {}

    def get(self, connection_id: str) -> Connection:
        """The connection as of `CACHE_SECONDS` ago at most; as long again where it can't be read."""
        view = self._stored.get(lambda: _View(monotonic(), {found.id: found for found in self.stored()}))
        changed, changed_at = self._own.get(connection_id, (None, -inf))
        if changed is not None and changed_at >= view.began_at:
            return changed
        return view.connections.get(connection_id) or Connection(connection_id)

    def stored(self) -> list[Connection]:
        """Every connection that has a row, as it is stored now."""
        return list(read_each(self._rows(), _read))

    def unreadable(self) -> list[UnreadableRow]:
        """The rows that this release can't read."""
        return unreadable(self._rows(), _read)

    def _rows(self) -> list[Any]:
        return self._table.query(f"PartitionKey eq '{_PARTITION}'")

    @contextmanager
    def checking(self, connection_id: str) -> Iterator[None]:
        """Check the connection while no other lead of this instance does, unless that takes long."""
        with self._lock:
            lock = self._checks.setdefault(connection_id, Lock())
        taken = lock.acquire(timeout=max(0.0, min(CHECK_WAIT_SECONDS, deadline.remaining())))
        try:
            yield
        finally:
            if taken:
                lock.release()

    def succeeded_since(self, connection_id: str, moment: datetime) -> bool:
        """Whether a lead has gone through since then, as far as this instance or the table knows."""
        successes = (self._successes.get(connection_id), self.get(connection_id).last_success_at)
        return any(success is not None and success >= moment for success in successes)

    def succeeded(self, connection_id: str, type_name: str, lead_id: str, began_at: datetime) -> None:
        """A lead has gone through: failures in a row end here, and so does a pause, unless the attempt began before it.

        Written when that is news, else once in a minute.
        """
        now = clock.now()
        known = self.get(connection_id)
        recorded = known.last_success_at
        with self._lock:
            self._unrecorded_failures.pop(connection_id, None)
            self._successes[connection_id] = now
        is_news = known.paused or known.failures or known.refused or known.refusal
        if is_news or recorded is None or now - recorded >= SUCCESS_RECORDED_EVERY:
            before = self._change(
                connection_id,
                lambda stored: _working(replace(stored, type=type_name, last_lead=lead_id), began_at, now),
            )
            if before.paused and not self.get(connection_id).paused:
                emit(Event.CONNECTION_OPENED, connection=connection_id)

    def failed(
        self,
        connection_id: str,
        type_name: str,
        *,
        first: bool,
        reason: str,
        refusal: str = "",
        retry_after: float | None = None,
    ) -> bool:
        """A `Retry` outcome. Returns whether the connection is paused now: after `FAILURES_UNTIL_PAUSE` in a row.

        A lone first failure of a lead is only remembered here; it is written with the next one, by whichever lead. `reason`
        is the vendor's code or what a person has to change; it stands with the connection once that is paused. `refusal` is
        set where the vendor refused the lead, and is written at once. `retry_after` is the vendor's, in seconds.
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

        def more_failures(stored: Connection) -> Connection:
            failures = stored.failures + count
            wait_until = (
                now + timedelta(seconds=min(retry_after, LONGEST_WAIT_SECONDS)) if retry_after else stored.wait_until
            )
            changed = replace(
                stored,
                type=type_name,
                failures=failures,
                last_failure_at=now,
                wait_until=wait_until,
                refusal=refusal or stored.refusal,
            )
            if failures < FAILURES_UNTIL_PAUSE or stored.paused:
                return changed
            return replace(changed, paused=True, since=now, reason=f"{failures} attempts in a row failed: {reason}")

        before = self._change(connection_id, more_failures)
        after = self.get(connection_id)
        if after.paused and not before.paused:
            self._tell_paused(connection_id, failures=after.failures)
        return after.paused

    def refused(
        self, connection_id: str, type_name: str, lead_id: str, destination: str, code: str, refusal: str
    ) -> list[str]:
        """A lead was refused, which may be its own fault or the connection's. Pauses it where it seems to be the connection's:
        after leads of `REFUSALS_UNTIL_PAUSE` customers in a row.

        Returns the deliveries that were not at fault then, this one among them, each as `LEAD_ID/DESTINATION`.
        """
        now, this = clock.now(), f"{lead_id}/{destination}"

        def one_more(stored: Connection) -> Connection:
            if stored.paused:
                return replace(stored, last_failure_at=now, refusal=refusal)
            row = [*(other for other in stored.refused.split() if other != this), this][-REFUSALS_KEPT:]
            changed = replace(stored, type=type_name, refused=" ".join(row), refusal=refusal, last_failure_at=now)
            if len({_customers_bucket(delivery) for delivery in row}) < REFUSALS_UNTIL_PAUSE:
                return changed
            reason = (
                f"the leads of {REFUSALS_UNTIL_PAUSE} customers in a row were refused ({code}), so it hardly is the leads: "
                "check the secret, and what the other side expects"
            )
            return replace(changed, paused=True, since=now, reason=reason)

        before = self._change(connection_id, one_more)
        if before.paused:
            return [this]
        after = self.get(connection_id)
        if not after.paused:
            return []
        self._tell_paused(connection_id, code=code)
        return after.refused.split()

    def pause(self, connection_id: str, type_name: str, reason: str, code: str = "", *, quietly: bool = False) -> None:
        """Stop sending until a probe gets through. `reason` says what a person has to change; it is no secret.

        `quietly` = the caller logs it in words of its own.
        """
        now = clock.now()

        def paused(stored: Connection) -> Connection:
            if stored.paused and stored.reason == reason:
                return stored  # of many leads that are refused at once, one writes
            changed = replace(stored, type=type_name, reason=reason, last_failure_at=now)
            return changed if stored.paused else replace(changed, paused=True, since=now)

        before = self._change(connection_id, paused)
        if not before.paused and not quietly:
            self._tell_paused(connection_id, code=code)

    def _tell_paused(self, connection_id: str, **details: str | int) -> None:
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
        """Let leads through again without waiting for one that proves it: a check has just passed, or nothing needs one."""
        now = clock.now()
        before = self._change(connection_id, lambda stored: replace(_opened(stored, now), checked_at=now))
        if before.paused and not quietly:
            emit(Event.CONNECTION_OPENED, connection=connection_id)

    def pause_by_person(self, connection_id: str, type_name: str, note: str) -> None:
        """Send and probe nothing until a person resumes it. `note` says why, to other people."""
        now = clock.now()

        def paused(stored: Connection) -> Connection:
            return replace(
                stored, type=type_name or stored.type, person_note=note, person_since=stored.person_since or now
            )

        self._change(connection_id, paused)
        emit(Event.CONNECTION_PAUSED_BY_PERSON, connection=connection_id)

    def resume(self, connection_id: str) -> None:
        """Let leads through again, whoever has paused it; if it does not work, the next lead pauses it again."""
        now = clock.now()
        before = self._change(
            connection_id, lambda stored: replace(_opened(stored, now), person_note="", person_since=None)
        )
        if before.by_person:
            emit(Event.CONNECTION_RESUMED_BY_PERSON, connection=connection_id)
        if before.paused:
            emit(Event.CONNECTION_OPENED, connection=connection_id)

    def note_check(self, connection_id: str, type_name: str) -> None:
        """Remember that `watch` asks the vendor of an open connection now."""
        now = clock.now()
        self._change(connection_id, lambda stored: replace(stored, type=type_name, checked_at=now))

    def claim_probe(self, connection_id: str, type_name: str) -> bool:
        """Whether this instance is the one to probe it or to send on a minute's worth: two that watch must not double that."""
        now = clock.now()
        taken = False

        def taking(stored: Connection) -> Connection:
            nonlocal taken
            taken = stored.attended_at is None or now - stored.attended_at >= PROBED_EVERY / 2
            return replace(stored, type=type_name or stored.type, attended_at=now) if taken else stored

        self._change(connection_id, taking)
        return taken

    def note_probe(self, connection_id: str, lead_id: str) -> None:
        """Remember which lead is sent through the paused connection, so that another one is next time."""
        self._change(connection_id, lambda stored: replace(stored, probed_lead=lead_id))

    def forget(self) -> None:
        """Read the table anew at the next use."""
        self._stored.forget()

    def _change(self, connection_id: str, change: Callable[[Connection], Connection]) -> Connection:
        """Change the stored row; whoever else does so at the same moment loses nothing. Returns it as it was before."""
        for _ in range(_TRIES):
            entity = self._table.get(_PARTITION, connection_id)
            stored = _read(entity) if entity else Connection(connection_id)
            changed = change(stored)
            if changed == stored:
                break
            row = _entity(changed)
            try:
                etag = self._table.write(
                    [("update", row, replacing(stored.etag)) if stored.etag else ("create", row, {})]
                )[0]
            except Conflict:
                continue
            self._own[connection_id] = (replace(changed, etag=etag), monotonic())
            return stored
        # It says so already, or others have been changing it all the while: this one's news is repeated by its next attempt.
        self._own[connection_id] = (stored, monotonic())
        return stored


def _working(stored: Connection, began_at: datetime, now: datetime) -> Connection:
    proven = stored.since is None or began_at >= stored.since
    return replace(
        _opened(stored, now) if stored.paused and proven else stored,
        failures=0,
        refused="",
        refusal="",
        last_success_at=now,
    )


def _customers_bucket(delivery: str) -> str:
    """Where a customer's leads are kept, which their ids end in: the same for all of one customer, and for few others."""
    return delivery.partition("/")[0][-1:]


def _opened(stored: Connection, now: datetime) -> Connection:
    return replace(
        stored,
        paused=False,
        reason="",
        since=None,
        failures=0,
        opened_at=now,
        probed_lead="",
        refused="",
        wait_until=None,
    )


_TEXTS = ("type", "reason", "last_lead", "probed_lead", "refused", "refusal", "person_note")
_TIMES = (
    *("since", "opened_at", "last_success_at", "last_failure_at", "checked_at"),
    *("attended_at", "wait_until", "person_since"),
)


def _entity(connection: Connection) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": _PARTITION, "RowKey": connection.id}
    entity |= {"paused": connection.paused, "failures": connection.failures}
    entity |= {name: getattr(connection, name) for name in _TEXTS}
    return entity | {name: moment for name in _TIMES if (moment := getattr(connection, name)) is not None}


@reads("connection")
def _read(entity: Any) -> Connection:
    times: dict[str, Any] = {name: read_optional_time(entity, name) for name in _TIMES}
    return Connection(
        id=entity["RowKey"],
        paused=entity.get("paused", False),
        failures=entity.get("failures", 0),
        etag=entity.metadata["etag"],
        **{name: entity.get(name, "") for name in _TEXTS},
        **times,
    )
