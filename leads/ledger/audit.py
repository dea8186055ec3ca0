"""The audit: a row for each requested change and for each view of personal data. The rows hold no personal data.

All rows are in one partition, newest first. They are kept for a year.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Final

from leads.core.identity import complement, id_time
from leads.platform.row_reading import read_each, read_time, reads
from leads.platform.storage import Table

AUDIT_TABLE: Final = "LeadAudit"
KEPT_FOR: Final = timedelta(days=365)
CURSOR: Final = r"[0-9a-f]{17}-[0-9a-f]{12}"
"""The form of a row's key, which is the cursor of the next page."""
_PARTITION: Final = "audit"
_REMOVED_AT_ONCE: Final = 2000


class AuditKind(StrEnum):
    """The kind of an entry."""

    CHANGE = "change"
    PERSONAL_DATA = "personal_data"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """The operation and its caller: `who` is `key`, `shell` or an object id of Entra ID, never a name.

    `kind`: a change, or a view of personal data. `about`: the ids in the address, of an offer, a lead or a connection.
    """

    at: datetime
    kind: AuditKind
    operation: str
    about: str
    level: str
    by: str
    who: str


_TEXTS: Final = ("operation", "about", "level", "by", "who")


class Audit:
    """The table of the audit."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def note(self, entry: AuditEntry) -> None:
        """Add a row with one request."""
        row = {
            "PartitionKey": _PARTITION,
            "RowKey": complement(f"{id_time(entry.at)}-{secrets.token_hex(6)}"),
            "at": entry.at,
            "kind": entry.kind.value,
        }
        self._table.write([("create", row | {name: getattr(entry, name) for name in _TEXTS}, {})])

    def newest(self, limit: int, cursor: str = "") -> tuple[list[AuditEntry], str]:
        """Up to `limit` entries after a cursor, newest first, and the cursor of the next page, "" = no more entries."""
        rows = list(islice(self._rows(cursor, limit + 1), limit + 1))
        more = len(rows) > limit
        return list(read_each(rows[:limit], _read)), rows[limit - 1]["RowKey"] if more else ""

    def remove_old(self, now: datetime) -> None:
        """Remove rows that are older than a year, at most `_REMOVED_AT_ONCE`."""
        old = list(islice(self._rows(complement(id_time(now - KEPT_FOR)), _REMOVED_AT_ONCE), _REMOVED_AT_ONCE))
        self._table.write_all([("delete", {"PartitionKey": _PARTITION, "RowKey": row["RowKey"]}, {}) for row in old])

    def _rows(self, after: str, count: int) -> Iterator[Any]:
        condition = f"PartitionKey eq '{_PARTITION}'" + (f" and RowKey gt '{after}'" if after else "")
        return chain.from_iterable(self._table.pages(condition, page_size=min(count, 1000)))


@reads("audit")
def _read(row: Any) -> AuditEntry:
    return AuditEntry(read_time(row, "at"), AuditKind(row["kind"]), *(row[name] for name in _TEXTS))
