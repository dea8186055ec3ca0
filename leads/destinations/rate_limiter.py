"""A vendor's limit on concurrent calls and on calls in a time span, which all instances share.

A limit consists of rows of a table in the app's own storage account. Instances change the rows by conditional writes.
"""

import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from threading import Lock
from typing import Any, Final, TypeVar

from leads.destinations.http import NoAnswer
from leads.platform import deadline
from leads.platform.storage import AnswerTime, Conflict, StorageError, Table, storing

ALLOWANCES_TABLE: Final = "LeadAllowances"

NO_TURN: Final = "allowance"
"""The code if a lead or a check did not get a slot in time."""

STORAGE_SKEW_SECONDS: Final = 0.2
"""How far the clocks of two storage servers may differ."""
_CLOCK_SECONDS: Final = 60.0
"""How long one answer's time is used to derive storage's time, because a worker's clock may run slightly faster."""
_POLL_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 5.0
"""The least time until the deadline with which a call is begun."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `at_once` calls at a time, and at most `calls` in any `seconds`.

    The vendor ends a call after `longest_call` seconds. Until then, a call without an answer may still be running.
    A slot's holder begins no call more than `lease` seconds after its last write of the slot's row. It writes the row first.
    """

    at_once: int
    calls: int
    seconds: float
    longest_call: float
    lease: float = 10.0

    @property
    def calls_of_slot(self) -> int:
        return self.calls // self.at_once

    @property
    def forgotten_after(self) -> float:
        """Seconds after a slot's last write. From then on, none of the holder's calls counts."""
        return self.lease + self.longest_call + self.seconds


class RateLimited(Exception):
    """No call is allowed in time, because the limit is used up or storage does not answer."""


class RateLimiter:
    """Slots for the calls of all instances to one vendor. Each slot makes one call at a time and has its share of the limit.

    A slot is a row. The row names the slot's holder and the *ends* of its last calls, because a call may reach the vendor at any
    moment until its end. The row's times come from storage's clock, so that workers' clocks do not matter. The slot of a killed
    worker is free after `RateLimit.forgotten_after`.
    """

    def __init__(self, table: Table, name: str, limit: RateLimit) -> None:
        self.limit = limit
        self._table = table
        self._partition = name
        self._storage_clock = _StorageClock()
        self._line = Lock()
        self._unreleased: dict[str, Slot] = {}
        """Holder → slot. Storage did not accept the slot's end, so the slot is free for this instance only."""

    @contextmanager
    def slot(self, seconds: float) -> Iterator["Slot"]:
        """Hold a slot until the block ends. Raises `RateLimited` if no slot becomes free within these seconds."""
        slot = self._take(time.monotonic() + min(seconds, deadline.remaining()))
        try:
            yield slot
        finally:
            try:
                self.write(slot, "")
            except (Conflict, StorageError):
                self._unreleased[slot.holder] = slot

    def write(self, slot: "Slot", holder: str) -> None:
        """Write the slot's row, which starts the holder's lease. Raises `Conflict`, `StorageError`."""
        now = time.monotonic()  # before the row's Timestamp, so that the lease seems no longer and no call seems older
        ends = [end for end in slot.ends if now - end.at < self.limit.seconds]
        row = {
            "PartitionKey": self._partition,
            "RowKey": slot.key,
            "holder": holder,
            "wanted_by": "",  # the release before reads it
            "ages": json.dumps([math.floor((now - end.at) * 1000) / 1000 for end in ends]),
            "ended": json.dumps([end.storage_time for end in ends]),
        }
        slot.etag = self._table.write([storing(row, slot.etag)])[0]
        slot.leased_until = now + self.limit.lease

    def _take(self, until: float) -> "Slot":
        """Take a free slot from the table. One thread at a time looks for a slot. The other threads wait."""
        if not self._line.acquire(timeout=max(0.0, until - time.monotonic())):
            raise RateLimited
        try:
            while (slot := self._take_best()) is None:
                pause = random.uniform(0.5, 1.5) * _POLL_SECONDS  # noqa: S311 - spreads load, keeps no secret
                if time.monotonic() + pause > until:
                    raise RateLimited
                time.sleep(pause)
            return slot
        finally:
            self._line.release()

    def _take_best(self) -> "Slot | None":
        """The free slot that may call first. None if no slot is free, another instance took it, or storage did not answer."""
        try:
            best = min(self._free(), key=lambda slot: slot.ready_at, default=None)
        except StorageError:
            return None
        if best is not None:
            try:
                self.write(best, best.holder)
            except Conflict:
                return None
            except StorageError:
                self._unreleased[best.holder] = best  # storage may have written the row
                return None
        return best

    def _free(self) -> "list[Slot]":
        answered = AnswerTime()
        rows: list[Any] = self._table.query(f"PartitionKey eq '{self._partition}'", raw_response_hook=answered)
        for moment in (answered.at, *(row.metadata["timestamp"] for row in rows)):
            self._storage_clock.learn(moment)
        by_key = {row["RowKey"]: row for row in rows}
        holders = {row["holder"] for row in rows}
        self._unreleased = {holder: slot for holder, slot in self._unreleased.items() if holder in holders}
        slots = (self._if_free(f"lane;{number}", by_key) for number in range(self.limit.at_once))
        return [slot for slot in slots if slot is not None]

    def _if_free(self, key: str, rows: Mapping[str, Any]) -> "Slot | None":
        slot = Slot(self, key)
        if (row := rows.get(key)) is None:
            return slot
        slot.etag = row.metadata["etag"]
        written_at = row.metadata["timestamp"].timestamp()
        if time.monotonic() - self._storage_clock.monotonic(written_at) >= self.limit.forgotten_after:
            return slot
        if row["holder"] in self._unreleased:
            slot.ends.extend(self._unreleased[row["holder"]].ends)
            return slot
        ages = json.loads(row["ages"])
        known = json.loads(row.get("ended") or json.dumps([None] * len(ages)))  # the release before writes none
        for age, at in zip(ages, known, strict=True):
            storage_time = written_at - age if at is None else at
            slot.ends.append(_End(self._storage_clock.monotonic(storage_time), storage_time))
        return None if row["holder"] else slot


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a call by `time.monotonic`, and by storage's clock. `storage_time` is None until the row is written."""

    at: float
    storage_time: float | None = None


class Slot:
    """The right to make one call at a time."""

    def __init__(self, limiter: RateLimiter, key: str) -> None:
        self.key = key
        self.holder = token_hex(8)
        self.etag = ""
        self.leased_until = -math.inf
        self.ends = deque[_End](maxlen=limiter.limit.calls_of_slot)
        self._limiter = limiter

    @property
    def ready_at(self) -> float:
        """When the slot may begin its next call."""
        if not self.ends:
            return -math.inf
        full = len(self.ends) == self.ends.maxlen
        return max(self.ends[-1].at, self.ends[0].at + self._limiter.limit.seconds if full else -math.inf)

    def call(self, request: Callable[[], T]) -> T:
        """Make a call as soon as the limit allows. Raises `RateLimited` if that is too late for the present deadline."""
        wait = self.ready_at - time.monotonic()
        if wait > deadline.remaining() - _LEAST_SECONDS:
            raise RateLimited
        time.sleep(max(0.0, wait))
        self._renew()
        ended_at = time.monotonic() + self._limiter.limit.longest_call
        try:
            answer = request()
        except NoAnswer as error:
            if not error.sent:
                ended_at = time.monotonic()
            raise
        else:
            ended_at = time.monotonic()
            return answer
        finally:
            self.ends.append(_End(ended_at))

    def _renew(self) -> None:
        if time.monotonic() >= self.leased_until:
            try:
                self._limiter.write(self, self.holder)
            except (Conflict, StorageError):
                raise RateLimited from None
        if time.monotonic() >= self.leased_until:
            raise RateLimited  # the write took longer than the lease


class _StorageClock:
    """Derives storage's time from this worker's monotonic clock. The result is never ahead of storage's clock."""

    def __init__(self) -> None:
        self._offset = -math.inf
        self._measured_at = -math.inf

    def learn(self, moment: datetime) -> None:
        """Learn from a time in a fresh answer: its `Date`, in whole seconds, or a row's `Timestamp`."""
        now = time.monotonic()
        offset = moment.timestamp() - STORAGE_SKEW_SECONDS - now
        if offset > self._offset or now - self._measured_at > _CLOCK_SECONDS:
            self._offset, self._measured_at = offset, now

    def monotonic(self, storage_time: float) -> float:
        """The time on the clock of `time.monotonic`, or a later time."""
        return storage_time - self._offset
