"""A vendor's limit on calls at once and in a time span, which all instances keep together.

A limit is rows of a table in the app's own storage account. Instances change them by conditional writes.
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
from leads.platform.storage import AnswerTime, Conflict, StorageError, Table, replacing

ALLOWANCES_TABLE: Final = "LeadAllowances"

NO_TURN: Final = "allowance"
"""The code when the turn of a lead or check did not come in time."""

STORAGE_SKEW_SECONDS: Final = 0.2
"""How far the clocks of two of storage's servers may be apart."""
_CLOCK_SECONDS: Final = 60.0
"""How long storage's time is derived from one answer: a worker's own clock may run a little faster."""
_POLL_SECONDS: Final = 0.2
_LEAST_SECONDS: Final = 5.0
"""A call that has less time than this until its deadline is not begun."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `at_once` calls at a time, and at most `calls` in any `seconds`.

    The vendor itself ends a call after `longest_call` seconds: until then, one without an answer may be under way.
    Who has not written a slot's row for `lease` seconds begins no call in it before the row is written again.
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
        """Seconds after the last write of a slot's row in which no call of its holder counts any more."""
        return self.lease + self.longest_call + self.seconds


class RateLimited(Exception):
    """No call may be made in time: others use up the limit, or storage does not say what is left of it."""


class RateLimiter:
    """Slots for the calls of all instances to one vendor. Each slot makes one call at a time and has its share of the limit.

    A slot is a row. The row says who holds the slot, and when its last calls *ended*: a call may reach the vendor at any moment
    until then. The row's moments are those of storage's clock, so no worker's time of day counts. The slot of a worker that was
    killed is free after `RateLimit.forgotten_after`.
    """

    def __init__(self, table: Table, name: str, limit: RateLimit) -> None:
        self.limit = limit
        self._table = table
        self._partition = name
        self._storage_clock = _StorageClock()
        self._line = Lock()
        self._not_given_back: dict[str, Slot] = {}
        """By holder. A slot of which storage did not take the end is free for this instance alone."""

    @contextmanager
    def slot(self, seconds: float) -> Iterator["Slot"]:
        """Hold a slot until the block ends. Raises `RateLimited` if no slot is free within the given seconds."""
        slot = self._take(time.monotonic() + min(seconds, deadline.remaining()))
        try:
            yield slot
        finally:
            try:
                self.write(slot, "")
            except (Conflict, StorageError):
                self._not_given_back[slot.holder] = slot

    def write(self, slot: "Slot", holder: str) -> None:
        """Write the slot's row. The holder has its lease from now on. Raises `Conflict`, `StorageError`."""
        now = time.monotonic()  # before the row's Timestamp: neither does the lease seem longer, nor a call older
        ends = [end for end in slot.ends if now - end.at < self.limit.seconds]
        row = {
            "PartitionKey": self._partition,
            "RowKey": slot.key,
            "holder": holder,
            "wanted_by": "",  # the release before reads it
            "ages": json.dumps([math.floor((now - end.at) * 1000) / 1000 for end in ends]),
            "ended": json.dumps([end.storage_time for end in ends]),
        }
        slot.etag = self._table.write([("update", row, replacing(slot.etag)) if slot.etag else ("create", row, {})])[0]
        slot.leased_until = now + self.limit.lease

    def _take(self, until: float) -> "Slot":
        """Take a free slot from the table. One thread at a time looks for one, the others wait in line."""
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
        """The free slot that may call first. None if none is free, or others were quicker, or storage did not answer."""
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
                self._not_given_back[best.holder] = best  # it may be written
                return None
        return best

    def _free(self) -> "list[Slot]":
        answered = AnswerTime()
        rows: list[Any] = self._table.query(f"PartitionKey eq '{self._partition}'", raw_response_hook=answered)
        for moment in (answered.at, *(row.metadata["timestamp"] for row in rows)):
            self._storage_clock.saw(moment)
        by_key = {row["RowKey"]: row for row in rows}
        holders = {row["holder"] for row in rows}
        self._not_given_back = {holder: slot for holder, slot in self._not_given_back.items() if holder in holders}
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
        if row["holder"] in self._not_given_back:
            slot.ends.extend(self._not_given_back[row["holder"]].ends)
            return slot
        ages = json.loads(row["ages"])
        known = json.loads(row.get("ended") or json.dumps([None] * len(ages)))  # the release before writes none
        for age, at in zip(ages, known, strict=True):
            storage_time = written_at - age if at is None else at
            slot.ends.append(_End(self._storage_clock.monotonic(storage_time), storage_time))
        return None if row["holder"] else slot


@dataclass(frozen=True, slots=True)
class _End:
    """When a call ended: on the clock of `time.monotonic`, and on storage's, None if its row is not written yet."""

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
        """Make a call as soon as the limit has room for it. Raises `RateLimited` if that is too late for the send under way."""
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
            raise RateLimited  # storage took longer than a lease lasts


class _StorageClock:
    """Storage's time by this worker's monotonic clock: never ahead of storage's own."""

    def __init__(self) -> None:
        self._offset = -math.inf
        self._measured_at = -math.inf

    def saw(self, moment: datetime) -> None:
        """An answer of just now bears this time: its Date, a whole second, or the Timestamp of a row."""
        now = time.monotonic()
        offset = moment.timestamp() - STORAGE_SKEW_SECONDS - now
        if offset > self._offset or now - self._measured_at > _CLOCK_SECONDS:
            self._offset, self._measured_at = offset, now

    def monotonic(self, storage_time: float) -> float:
        """The moment on the clock of `time.monotonic`, or a later one."""
        return storage_time - self._offset
