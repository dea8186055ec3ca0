"""An account in memory: its content and its refusals."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from itertools import count
from threading import RLock
from typing import Any, Final
from uuid import uuid4

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import RequestTooLargeError, TableTransactionError

_ERROR_TYPES: Final = {404: ResourceNotFoundError, 409: ResourceExistsError, 412: ResourceModifiedError}


class Refused(Exception):
    """Storage refuses a request: HTTP status and error code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code

    def error(self) -> HttpResponseError:
        """The SDK's error for this refusal."""
        return self._complete(_ERROR_TYPES.get(self.status, HttpResponseError)(message=f"ErrorCode:{self.code}"))

    def of_operation(self, index: int) -> HttpResponseError:
        """The SDK's error if an operation of a transaction is refused."""
        kind = RequestTooLargeError if self.status == 413 else TableTransactionError
        return self._complete(kind(message=f"{index}:refused\nErrorCode:{self.code}"))

    def _complete(self, error: HttpResponseError) -> HttpResponseError:
        error.status_code = self.status
        error.error_code = self.code  # type: ignore[attr-defined]
        return error


def as_the_sdk_raises(method: Callable[..., Any]) -> Callable[..., Any]:
    """Handle one request at a time, and raise refusals as the SDK's errors."""

    @wraps(method)
    def calling(self: Any, *args: Any, **options: Any) -> Any:
        with self.account.lock:
            try:
                return method(self, *args, **options)
            except Refused as refused:
                raise refused.error() from None

    return calling


@dataclass(frozen=True, slots=True)
class Row:
    """A stored entity. Each write makes a new one."""

    columns: dict[str, Any]
    etag: str
    timestamp: datetime

    def value(self, column: str) -> Any:
        return self.timestamp if column == "Timestamp" else self.columns.get(column)


@dataclass(slots=True)
class Partition:
    """The rows of a partition by their keys, and the keys in order."""

    rows: dict[str, Row] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def put(self, key: str, row: Row) -> None:
        if key not in self.rows:
            insort(self.keys, key)
        self.rows[key] = row

    def remove(self, key: str) -> None:
        del self.rows[key]
        del self.keys[bisect_left(self.keys, key)]


Partitions = defaultdict[str, Partition]


@dataclass
class Message:
    """A stored message."""

    content: str
    inserted_on: datetime
    expires_on: datetime
    visible_on: datetime
    id: str = field(default_factory=lambda: str(uuid4()))
    receipt: str = field(default_factory=lambda: str(uuid4()))
    dequeue_count: int = 0


@dataclass
class MemoryAccount:
    """The content of one account. `now`: its clock, by default the real time."""

    url: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    tables: dict[str, Partitions] = field(default_factory=dict)
    queues: dict[str, list[Message]] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)
    etags: Iterator[int] = field(default_factory=lambda: count(1_000_000))

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row of each table, with the table's name."""
        for table, partitions in self.tables.items():
            for partition in partitions.values():
                for row in partition.rows.values():
                    yield table, dict(row.columns)

    def messages(self) -> Iterator[tuple[str, str]]:
        """Each message, also hidden ones, with the name of its queue."""
        for queue, messages in self.queues.items():
            for message in messages:
                yield queue, message.content
