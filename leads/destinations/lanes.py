"""Lanes: so many calls at once and in any time span, shared by all workers of all instances.

An allowance of `lanes` calls at once, and of `lanes` × `calls` in any `seconds`, is split into lanes. A lane makes one call at a
time, and begins one only once fewer than `calls` of those before it *ended* less than `seconds` ago: however long calls take on
their way, the vendor never sees more.

A lane is a row of a table, held by one process at a time through conditional writes. Its holder measures by its own monotonic
clock. What is handed over are the ages of the last calls, to which the next holder adds only the time that storage's own clock
proves to have passed, from the row's Timestamp to the answer's Date: no worker's time of day counts. A lane whose holder was
killed is free again once every call that it can have begun is over and too old to count.
"""

import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from threading import Condition, Lock
from typing import Any, Final, TypeVar

from leads.destinations.http import NoAnswer
from leads.platform import deadline
from leads.platform.storage import AnswerTime, Conflict, StorageError, Table, replacing
from leads.platform.threads import in_background

LINGER_SECONDS: Final = 2.0
"""How long a process keeps a lane that it does not need any more: its next lead may come soon."""
RESERVED_SECONDS: Final = 3.0
"""How long a lane that was given up for a process that waits is kept for it."""
LOOK_SECONDS: Final = 1.0
"""How often a process without a lane looks for one; with one, five times as rarely."""
_TRIES: Final = 5
_LEAST_SECONDS: Final = 5.0
"""A call that has less time than this until its deadline is not begun."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Allowance:
    """`lanes` calls at once, `lanes` × `calls` in any `seconds`.

    `longest_call` is after how many seconds the vendor itself ends a call: until then one without an answer may be under way.
    A holder that has not written its row for `lease` seconds begins no call before it has.
    """

    lanes: int
    calls: int
    seconds: float
    longest_call: float
    lease: float = 10.0

    @property
    def forgotten_after(self) -> float:
        """Seconds after the last write of a row in which all that its holder can have begun stops to count."""
        return self.lease + self.longest_call + self.seconds


class NoLane(Exception):
    """No call may be made in time: others use up the allowance, or storage does not say what is left of it."""


class Lanes:
    """The lanes of one allowance, as the threads of this process share them: who comes first is served first."""

    def __init__(self, table: Table, name: str, allowance: Allowance) -> None:
        self._rows = _Rows(table, name, allowance)
        self._allowance = allowance
        self._lock = Lock()
        self._turn = Condition(self._lock)
        self._leave = Condition(self._lock)
        self._waiting: deque[object] = deque()
        self._held: dict[int, _Held] = {}
        self._idle: list[_Held] = []
        self._leaving: list[_Held] = []
        self._look_at = 0.0
        self._is_kept = False

    @contextmanager
    def lane(self, seconds: float) -> Iterator["Lane"]:
        """Hold a lane in this thread until the block ends. Raises `NoLane` if none is free within so many seconds."""
        held = self._take(time.monotonic() + min(seconds, deadline.remaining()))
        try:
            yield Lane(self._rows, held)
        finally:
            self._put_back(held)

    def _take(self, wait_until: float) -> "_Held":
        ticket = object()
        with self._lock:
            self._waiting.append(ticket)
        try:
            while True:
                found = self._await_turn(ticket, wait_until)
                if found is not None:
                    return found
                self._look()
        finally:
            with self._lock:
                self._waiting.remove(ticket)
                self._turn.notify_all()

    def _await_turn(self, ticket: object, wait_until: float) -> "_Held | None":
        """A lane that may begin a call now, or None where it is this thread's turn to look for one in the table."""
        with self._lock:
            while True:
                now = time.monotonic()
                wake_at = wait_until
                if self._waiting[0] is ticket:
                    best = min(self._idle, key=self._rows.ready_at, default=None)
                    ready_at = self._rows.ready_at(best) if best else math.inf
                    if best is not None and ready_at <= now:
                        self._idle.remove(best)
                        return best
                    look_at = self._look_at if len(self._held) < self._allowance.lanes else math.inf
                    if look_at <= now < wait_until:
                        return None
                    wake_at = min(wait_until, ready_at, look_at)
                if now >= wait_until:
                    raise NoLane
                self._turn.wait(wake_at - now)

    def _look(self) -> None:
        """Take a free lane from the table, if it may begin a call sooner than those that this process has."""
        with self._lock:
            held = set(self._held)
            sooner_than = min(map(self._rows.ready_at, self._idle), default=math.inf)
        taken, pause = None, LOOK_SECONDS * (5 if held else 1)
        try:
            taken = self._rows.take_best(held, sooner_than)
        except Conflict:
            pause = LOOK_SECONDS / 10
        except StorageError:
            pause = LOOK_SECONDS
        pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, keeps no secret
        with self._lock:
            self._look_at = 0.0 if taken else time.monotonic() + pause
            if taken is not None:
                self._held[taken.number] = taken
                self._make_idle(taken)

    def _put_back(self, held: "_Held") -> None:
        with self._lock:
            if held.lost:
                del self._held[held.number]
            elif held.wanted_by:
                self._leaving.append(held)
                self._leave.notify()
            else:
                self._make_idle(held)
            self._turn.notify_all()

    def _make_idle(self, held: "_Held") -> None:
        held.idle_since = time.monotonic()
        self._idle.append(held)
        if not self._is_kept:
            in_background(self._give_back_in_time, "lanes")
            self._is_kept = True

    def _give_back_in_time(self) -> None:
        """Runs while lanes are held: gives back those that nobody here needs, or that somebody elsewhere waits for."""
        while (held := self._next_to_leave()) is not None:
            self._rows.give_back(held)
            with self._lock:
                del self._held[held.number]
                self._turn.notify_all()

    def _next_to_leave(self) -> "_Held | None":
        with self._lock:
            while self._held:
                if self._leaving:
                    return self._leaving.pop()
                oldest = min(self._idle, key=lambda held: held.idle_since, default=None)
                idle_for = time.monotonic() - oldest.idle_since if oldest and not self._waiting else 0.0
                if oldest is not None and idle_for >= LINGER_SECONDS:
                    self._idle.remove(oldest)
                    return oldest
                self._leave.wait(LINGER_SECONDS - idle_for)
            self._is_kept = False
            return None


class Lane:
    """The right to make one call at a time."""

    def __init__(self, rows: "_Rows", held: "_Held") -> None:
        self._rows = rows
        self._held = held

    def call(self, request: Callable[[], T]) -> T:
        """Make a call as soon as the allowance has room for it. Raises `NoLane` if that is too late for the send under way."""
        ready_at = self._rows.ready_at(self._held)
        wait = ready_at - time.monotonic()
        if wait > deadline.remaining() - _LEAST_SECONDS:
            raise NoLane
        if wait > 0:
            time.sleep(wait)
        if time.monotonic() >= self._held.until:
            self._rows.renew(self._held)
            if time.monotonic() >= self._held.until:
                raise NoLane  # storage took longer than a lease lasts
        ended = time.monotonic() + self._rows.allowance.longest_call
        try:
            answer = request()
        except NoAnswer as error:
            if not error.sent:
                ended = time.monotonic()
            raise
        else:
            ended = time.monotonic()
            return answer
        finally:
            self._held.ends.append(ended)


@dataclass(slots=True, eq=False)
class _Held:
    """A lane that this process holds. All moments are those of `time.monotonic`.

    `until` is when its lease ends; `ends` are the ends of its last calls, oldest first; `wanted_by` is a process that waits.
    """

    number: int
    etag: str
    ends: deque[float]
    until: float = 0.0
    wanted_by: str = ""
    idle_since: float = 0.0
    lost: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """A lane as it stands in the table; `seconds` have certainly passed since it was written, `ends` are as for `_Held`."""

    number: int
    etag: str = ""
    holder: str = ""
    wanted_by: str = ""
    seconds: float = math.inf
    ages: tuple[float, ...] = ()
    ends: tuple[float, ...] = ()


class _Rows:
    """The table's side: reading, taking, renewing and giving back lanes. Raises `StorageError` where storage does not answer."""

    def __init__(self, table: Table, name: str, allowance: Allowance) -> None:
        self.allowance = allowance
        self._table = table
        self._partition = name
        self._me = token_hex(8)
        self._not_given_back: dict[int, _Held] = {}
        self._asked_at = -math.inf

    def ready_at(self, held: _Held) -> float:
        """When the lane may begin its next call."""
        if not held.ends:
            return -math.inf
        full = len(held.ends) == self.allowance.calls
        return max(held.ends[-1], held.ends[0] + self.allowance.seconds if full else -math.inf)

    def take_best(self, held: Collection[int], sooner_than: float) -> _Held | None:
        """Of the free lanes, the one that is ready first, if it is so sooner than that. Raises `Conflict` if others were quicker.

        Where all are held and this process has none, one of them is asked for.
        """
        rows = [row for row in self._read() if row.number not in held]
        best = min((self._as_held(row) for row in rows if self._is_free(row)), key=self.ready_at, default=None)
        if best is not None and self.ready_at(best) < sooner_than:
            self._not_given_back.pop(best.number, None)
            self._write(best, self._me)
            return best
        if best is None and not held:
            self._ask_for_one(rows)
        return None

    def renew(self, held: _Held) -> None:
        """Prolong the lease, and learn whether others wait for the lane. Raises `NoLane` if it was lost."""
        try:
            self._write_over(held, self._me)
        except (Conflict, StorageError):
            raise NoLane from None

    def give_back(self, held: _Held) -> None:
        """Let others have it. What storage does not take is taken up again by this process alone, or is forgotten in time."""
        try:
            self._write_over(held, "")
        except (Conflict, StorageError):
            if not held.lost:
                self._not_given_back[held.number] = held

    def _write_over(self, held: _Held, holder: str) -> None:
        """Write the row of a lane that is ours, although others may ask for it meanwhile."""
        for _ in range(_TRIES):
            try:
                self._write(held, holder)
            except Conflict:
                entity: Any = self._table.get(self._partition, _row_key(held.number))
                if entity is None or entity["holder"] != self._me:
                    held.lost = True
                    raise
                held.etag, held.wanted_by = entity.metadata["etag"], entity["wanted_by"]
            else:
                return
        raise Conflict(0, missing=False)

    def _write(self, held: _Held, holder: str) -> None:
        now = time.monotonic()  # before the row's Timestamp: the lease never seems longer, nor a call older, than it is
        ages = [math.floor((now - end) * 1000) / 1000 for end in held.ends if now - end < self.allowance.seconds]
        row = self._entity(held.number, holder, held.wanted_by, ages)
        held.etag = self._table.write(
            [("update", row, replacing(held.etag)) if held.etag else ("create", row, {})],
        )[0]
        held.until = now + self.allowance.lease

    def _entity(self, number: int, holder: str, wanted_by: str, ages: Collection[float]) -> dict[str, Any]:
        keys = {"PartitionKey": self._partition, "RowKey": _row_key(number)}
        return keys | {"holder": holder, "wanted_by": wanted_by, "ages": json.dumps(list(ages))}

    def _read(self) -> list[_Row]:
        answered = AnswerTime()
        entities = self._table.query(f"PartitionKey eq '{self._partition}'", raw_response_hook=answered)
        now = time.monotonic()
        rows = {number: _Row(number) for number in range(self.allowance.lanes)}
        for entity in entities:
            number = int(entity["RowKey"].removeprefix(_ROW))
            written_at = entity.metadata["timestamp"]  # type: ignore[attr-defined]
            seconds = max(0.0, (answered.at - written_at).total_seconds())
            ages = tuple(json.loads(entity["ages"]))
            ends = tuple(now - seconds - age for age in ages)
            etag = entity.metadata["etag"]  # type: ignore[attr-defined]
            rows[number] = _Row(number, etag, entity["holder"], entity["wanted_by"], seconds, ages, ends)
        return list(rows.values())[: self.allowance.lanes]

    def _is_free(self, row: _Row) -> bool:
        if row.seconds >= self.allowance.forgotten_after or row.holder == self._me:
            return True
        return not row.holder and (row.wanted_by in {"", self._me} or row.seconds >= RESERVED_SECONDS)

    def _as_held(self, row: _Row) -> _Held:
        ends = row.ends
        if row.seconds >= self.allowance.forgotten_after:
            ends = ()
        elif row.holder == self._me and row.number in self._not_given_back:
            ends = tuple(self._not_given_back[row.number].ends)
        return _Held(row.number, row.etag, deque(ends, maxlen=self.allowance.calls))

    def _ask_for_one(self, rows: list[_Row]) -> None:
        """Mark a lane of the process that holds most of them; it sees that when it renews. A dead one's lane is left alone."""
        now, patience = time.monotonic(), self.allowance.seconds + self.allowance.lease
        if now - self._asked_at < patience:
            return
        holders = [row.holder for row in rows]
        in_use = [row for row in rows if not row.wanted_by and row.seconds < patience]
        if in_use:
            row = max(in_use, key=lambda row: holders.count(row.holder))
            self._table.write(
                [("update", self._entity(row.number, row.holder, self._me, row.ages), replacing(row.etag))]
            )
            self._asked_at = now


_ROW: Final = "lane;"


def _row_key(number: int) -> str:
    return f"{_ROW}{number}"
