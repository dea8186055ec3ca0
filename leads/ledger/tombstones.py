"""Tombstones: which customers were erased, and when. If an older lead of theirs appears later, the app empties it.

A tombstone holds the customer's hash, not the address. It is kept for ever, because queue messages never expire.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import randbelow
from typing import Any, Final

from leads.core import clock
from leads.platform.cached_value import CachedValue, fresh_for
from leads.platform.storage import AnswerTime, Conflict, StorageBusy, Table, storing
from leads.platform.table_format import odata_time

CACHE_SECONDS: Final = 60
RECENT: Final = timedelta(days=8)
"""Every instance caches the tombstones of this age. For older leads, the customer's tombstone is read."""
_TRIES: Final = 8
"""Only a simultaneous erasure of the same customer causes a conflict."""
_PARTITION: Final = "gone"
"""One partition for all customers, so that one request reads all young tombstones."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A customer's hash, and the time of the erasure.

    `settled`: the leads that were in delivery at that time are emptied, too. `etag`: "" while the row is not stored.
    """

    customer: str
    at: datetime
    settled: bool = False
    etag: str = ""


class Tombstones:
    """The tombstones in the ledger's table. Young ones are read at most once in `CACHE_SECONDS`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._young = CachedValue[dict[str, datetime]](fresh_for(CACHE_SECONDS), StorageBusy)

    def put(self, customer: str, at: datetime) -> None:
        """Store that the customer's leads up to `at` are erased. If a later time is stored, it stays."""
        for _ in range(_TRIES):
            known = self.get(customer)
            if known is not None and known.at >= at:
                return
            with suppress(Conflict):
                self._write(Tombstone(customer, at, etag=known.etag if known else ""))
                return
        raise StorageBusy

    def settle(self, tombstone: Tombstone) -> None:
        """Mark a tombstone as settled, unless the customer was erased again since it was read."""
        with suppress(Conflict):
            self._write(replace(tombstone, settled=True))

    def storage_time(self) -> datetime:
        """Storage's time, rounded up: a wrong clock of this machine would leave leads, or erase new ones.

        A random fraction identifies the erasure, so that its changes differ from other changes in the same second.
        """
        answered = AnswerTime()
        self._table.get(_PARTITION, _row(""), raw_response_hook=answered)
        return answered.at + timedelta(seconds=1, microseconds=randbelow(1_000_000))

    def get(self, customer: str) -> Tombstone | None:
        entity = self._table.get(_PARTITION, _row(customer))
        return _read(entity) if entity else None

    def unsettled(self) -> Iterator[Tombstone]:
        """The young tombstones that are not settled."""
        return (stone for stone in self._read_young() if not stone.settled)

    def cover(self, customer: str, received_at: datetime) -> bool:
        """Whether a lead of this customer was received before the customer was erased."""
        young = self._young.get(lambda: {stone.customer: stone.at for stone in self._read_young()})
        at = young.get(customer)
        if at is None and clock.now() - received_at > RECENT:
            known = self.get(customer)
            at = known.at if known else None
        return at is not None and received_at <= at

    def forget(self) -> None:
        """Read the table again at the next use."""
        self._young.forget()

    def _read_young(self) -> list[Tombstone]:
        since = clock.now() - RECENT
        condition = f"PartitionKey eq '{_PARTITION}' and at ge {odata_time(since)}"
        return [_read(entity) for entity in self._table.query(condition)]

    def _write(self, tombstone: Tombstone) -> None:
        entity = {
            "PartitionKey": _PARTITION,
            "RowKey": _row(tombstone.customer),
            "at": tombstone.at,
            "settled": tombstone.settled,
        }
        self._table.write([storing(entity, tombstone.etag)])
        self.forget()


def _row(customer: str) -> str:
    return f"gone;{customer}"


def _read(entity: Any) -> Tombstone:
    customer, etag = entity["RowKey"].removeprefix("gone;"), entity.metadata["etag"]
    return Tombstone(customer, entity["at"], entity.get("settled", False), etag)
