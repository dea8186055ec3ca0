"""A number in any 24 hours, which all instances keep together.

The quota is a row of a table in the app's own storage account. Instances change it by conditional writes.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, Final

from leads.core import clock
from leads.platform import deadline
from leads.platform.storage import Conflict, StorageBusy, StorageError, Table, replacing

SKEW: Final = timedelta(minutes=5)
"""How far the clocks of two instances may be apart. Azure keeps them within a second; a good margin costs little."""
_DAY: Final = timedelta(hours=24)
_LINE_SECONDS: Final = 10.0
_TRIES: Final = 25
_PAUSE_SECONDS: Final = 0.05

Hours = Mapping[str, int]
"""How many were taken in each hour: `2026-01-31T14` → 37."""


class UsedUp(Exception):
    """Nothing is left of the quota. `until` is when there is something again."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"until {until.isoformat()}")
        self.until = until


class DailyQuota:
    """At most `limit` in any 24 hours, by all instances together.

    Each one is counted, by the hour, before it is used. A whole hour counts until 24 hours after its end, so none is freed too
    early. What a killed process has taken and not used is lost for a day.
    """

    def __init__(self, table: Table, vendor: str, account: str, limit: int) -> None:
        self._table = table
        self._key = {"PartitionKey": vendor, "RowKey": account}
        self._limit = limit
        self._lock = Lock()
        self._known: tuple[Hours, str] | None = None
        """The row's hours and ETag as last seen. While no other instance changes the row, taking a place is one request."""

    def take(self) -> str:
        """Count one more. Returns the hour, for `give_back`. Raises `UsedUp`, or `StorageError` if storage does not answer."""
        taken = ""

        def one_more(hours: Hours) -> Hours:
            nonlocal taken
            if sum(hours.values()) >= self._limit:
                raise UsedUp(_room_from(hours, self._limit))
            taken = _hour(clock.now())
            return {**hours, taken: hours.get(taken, 0) + 1}

        self._change(one_more)
        return taken

    def add(self, count: int) -> datetime | None:
        """Count some that are used already, beyond the limit, too. Returns when there is something again, None if there is now.

        Raises `StorageError` if storage does not answer.
        """
        counted: Hours = {}

        def more(hours: Hours) -> Hours:
            nonlocal counted
            now = _hour(clock.now())
            counted = {**hours, now: hours.get(now, 0) + count}
            return counted

        self._change(more)
        return _room_from(counted, self._limit) if sum(counted.values()) >= self._limit else None

    def give_back(self, taken: str) -> None:
        """Count one less, where it was certainly not used. Raises `StorageError` if storage does not answer."""
        self._change(lambda hours: {**hours, taken: hours.get(taken, 1) - 1})

    def used_up_until(self) -> datetime | None:
        """When there is something again; None if there is now. Raises `StorageError` if storage does not answer."""
        with self._in_line():
            hours, _ = self._known = self._read()
        hours = _counting(hours)
        return _room_from(hours, self._limit) if sum(hours.values()) >= self._limit else None

    def _change(self, change: Callable[[Hours], Hours]) -> None:
        """Change the row; whoever else does so at the same moment loses nothing."""
        with self._in_line():
            for _ in range(_TRIES):
                remembered = self._known is not None
                hours, etag = self._known or self._read()
                try:
                    changed = change(_counting(hours))
                    self._known = changed, self._write(changed, etag)
                except UsedUp:
                    self._known = None
                    if not remembered:
                        raise
                except Conflict:
                    self._known = None
                    time.sleep(random.uniform(0, _PAUSE_SECONDS))  # noqa: S311 - spreads load, keeps no secret
                except StorageError:
                    self._known = None  # the write may have succeeded
                    raise
                else:
                    return
        raise StorageBusy(f"{_TRIES} tries")

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        """One thread of an instance at a time: they would only get into each other's way at the row."""
        if not self._lock.acquire(timeout=max(0.0, min(_LINE_SECONDS, deadline.remaining()))):
            raise StorageBusy
        try:
            yield
        finally:
            self._lock.release()

    def _read(self) -> tuple[Hours, str]:
        entity: Any = self._table.get(self._key["PartitionKey"], self._key["RowKey"])
        return (json.loads(entity["hours"]), entity.metadata["etag"]) if entity else ({}, "")

    def _write(self, hours: Hours, etag: str) -> str:
        row = self._key | {"hours": json.dumps(dict(hours))}
        return self._table.write([("update", row, replacing(etag)) if etag else ("create", row, {})])[0]


def _hour(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H}"


def _counts_until(hour: str) -> datetime:
    return datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC) + timedelta(hours=1) + _DAY + SKEW


def _counting(hours: Hours) -> Hours:
    """The hours that still count; those of an instance whose clock is ahead do, too."""
    now = clock.now()
    return {hour: count for hour, count in hours.items() if count and now < _counts_until(hour)}


def _room_from(hours: Hours, limit: int) -> datetime:
    """When enough places will be free for one more."""
    left = sum(hours.values())
    for hour in sorted(hours):
        left -= hours[hour]
        if left < limit:
            return _counts_until(hour)
    return clock.now()
