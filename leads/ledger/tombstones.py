"""Tombstones: which customers were erased, and when. A lead that they sent before is emptied wherever it appears later.

A tombstone holds no address, only the customer's hash. It stays for good, because a message never expires.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import randbelow
from typing import Any, Final

from leads.core import clock
from leads.platform.cached_value import CachedValue, fresh_for
from leads.platform.storage import AnswerTime, Conflict, StorageBusy, Table, replacing
from leads.platform.table_format import odata_time

CACHE_SECONDS: Final = 60
RECENT: Final = timedelta(days=8)
"""Tombstones as young as this are known to every instance; for an older lead the one of its customer is read."""
_TRIES: Final = 8
"""Only another erasure of the same customer can be in the way."""
_PARTITION: Final = "gone"
"""Not the customer's own partition: so all young ones are read with one request."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A customer's hash, when they were erased, and whether what was under way at that moment has been looked after.

    `etag` is that of the row, "" while it is not stored.
    """

    customer: str
    at: datetime
    settled: bool = False
    etag: str = ""


class Tombstones:
    """The tombstones in the ledger's table; the young ones are read at most once in `CACHE_SECONDS`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._young = CachedValue[dict[str, datetime]](fresh_for(CACHE_SECONDS), StorageBusy)

    def put(self, customer: str, at: datetime) -> None:
        """Say that all that this customer has sent up to now is erased. A later moment that is known stays."""
        for _ in range(_TRIES):
            known = self.get(customer)
            if known is not None and known.at >= at:
                return
            with suppress(Conflict):
                self._write(Tombstone(customer, at, etag=known.etag if known else ""))
                return
        raise StorageBusy

    def settle(self, tombstone: Tombstone) -> None:
        """Note that leads in delivery at the time of the erasure are looked after, unless the customer was erased again since."""
        with suppress(Conflict):
            self._write(replace(tombstone, settled=True))

    def storage_time(self) -> datetime:
        """Storage's time, rounded up. A wrong clock of this machine would leave leads, or erase new ones.

        Its random fraction tells an erasure's own changes from those of others in the same second.
        """
        answered = AnswerTime()
        self._table.get(_PARTITION, _row(""), raw_response_hook=answered)
        return answered.at + timedelta(seconds=1, microseconds=randbelow(1_000_000))

    def get(self, customer: str) -> Tombstone | None:
        entity = self._table.get(_PARTITION, _row(customer))
        return _read(entity) if entity else None

    def unsettled(self) -> Iterator[Tombstone]:
        """The young ones with leads that are still to be looked after."""
        return (stone for stone in self._read_young() if not stone.settled)

    def cover(self, customer: str, received_at: datetime) -> bool:
        """Whether a lead of this customer was received before they were erased."""
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
        options = replacing(tombstone.etag) if tombstone.etag else {}
        self._table.write([("update" if tombstone.etag else "create", entity, options)])
        self.forget()


def _row(customer: str) -> str:
    return f"gone;{customer}"


def _read(entity: Any) -> Tombstone:
    customer, etag = entity["RowKey"].removeprefix("gone;"), entity.metadata["etag"]
    return Tombstone(customer, entity["at"], entity.get("settled", False), etag)
