"""A quota in any 24 hours that all instances share.

The quota is a row of a table in the app's own storage account. Instances change the row by conditional writes.
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
from leads.platform.storage import Conflict, StorageBusy, StorageError, Table, storing

SKEW: Final = timedelta(minutes=5)
"""How far the clocks of two instances may differ. Azure keeps clocks within a second, and a wide margin costs little."""
_DAY: Final = timedelta(hours=24)
_LINE_SECONDS: Final = 10.0
_TRIES: Final = 25
_PAUSE_SECONDS: Final = 0.05

Hours = Mapping[str, int]
"""Hour in UTC → number of uses: `2026-01-31T14` → 37."""


class UsedUp(Exception):
    """The quota is used up. From `until` on, the quota has room again."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"until {until.isoformat()}")
        self.until = until


class DailyQuota:
    """At most `limit` uses in any 24 hours, by all instances together.

    Each use is counted in its hour, before it happens. An hour's uses count until 24 hours after the hour's end, so that no room
    is freed too early. A use that a killed process has counted and not made is lost for a day.
    """

    def __init__(self, table: Table, vendor: str, account: str, limit: int) -> None:
        self._table = table
        self._key = {"PartitionKey": vendor, "RowKey": account}
        self._limit = limit
        self._lock = Lock()
        self._known: tuple[Hours, str] | None = None
        """The row's hours and ETag as last seen. While no other instance changes the row, `take` needs one request."""

    def take(self) -> str:
        """Count one use. Returns its hour, for `give_back`. Raises `UsedUp`, or `StorageError` if storage does not answer."""
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
        """Count uses that have happened, also beyond the limit. Returns when the quota has room again, None if it has room now.

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
        """Uncount a use that certainly did not happen. Raises `StorageError` if storage does not answer."""
        self._change(lambda hours: {**hours, taken: hours.get(taken, 1) - 1})

    def used_up_until(self) -> datetime | None:
        """When the quota has room again, None if it has room now. Raises `StorageError` if storage does not answer."""
        with self._in_line():
            hours, _ = self._known = self._read()
        hours = _counting(hours)
        return _room_from(hours, self._limit) if sum(hours.values()) >= self._limit else None

    def _change(self, change: Callable[[Hours], Hours]) -> None:
        """Change the row. A change by another instance at the same moment is not lost."""
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
        """Let one thread of an instance at a time change the row. Several threads would only cause conflicts."""
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
        return self._table.write([storing(row, etag)])[0]


def _hour(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H}"


def _counts_until(hour: str) -> datetime:
    return datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC) + timedelta(hours=1) + _DAY + SKEW


def _counting(hours: Hours) -> Hours:
    """The hours that still count, also hours in the future, which an instance with a fast clock has written."""
    now = clock.now()
    return {hour: count for hour, count in hours.items() if count and now < _counts_until(hour)}


def _room_from(hours: Hours, limit: int) -> datetime:
    """When the quota has room for one use."""
    left = sum(hours.values())
    for hour in sorted(hours):
        left -= hours[hour]
        if left < limit:
            return _counts_until(hour)
    return clock.now()
