"""Storage in memory, for tests of many leads or many steps whose subject is not storage. Apps that share it share one account."""

from __future__ import annotations

import re
from base64 import b64encode
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from threading import RLock
from types import SimpleNamespace
from typing import Any

from azure.data.tables import UpdateMode

from leads.platform.storage import Conflict, Operation, Queue, Storage, Table

_COMPARISON = re.compile(r"(\w+) (eq|ge|gt|lt) '([^']*)'")
_HOLDS = {
    "eq": lambda value, bound: value == bound,
    "ge": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "lt": lambda value, bound: value < bound,
}


class MemoryStorage(Storage):
    def __init__(self) -> None:
        self._memory_tables: dict[str, MemoryTable] = defaultdict(MemoryTable)
        self._memory_queues: dict[str, _QueueClient] = defaultdict(_QueueClient)

    def table(self, name: str) -> Table:
        return self._memory_tables[name]

    def queue(self, name: str, *, encoded: bool = True) -> Queue:
        return Queue(self._memory_queues[name])  # type: ignore[arg-type]


class Entity(dict[str, Any]):
    def __init__(self, values: Mapping[str, Any], etag: str) -> None:
        super().__init__(values)
        self.metadata = {"etag": etag, "timestamp": datetime.now(UTC)}


class MemoryTable(Table):
    """Rows with ETags, and transactions that are carried out whole or not at all."""

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, Entity]] = defaultdict(dict)
        self._keys: dict[str, list[str]] = defaultdict(list)
        self._etags = count(1)
        self._lock = RLock()

    def write(self, operations: list[Operation]) -> list[str]:
        with self._lock:
            for index, (verb, entity, options) in enumerate(operations):
                stored = self._stored(entity)
                if (verb == "create") is (stored is not None) and verb != "upsert":
                    raise Conflict(index, missing=stored is None)
                if stored is not None and options.get("etag", stored.metadata["etag"]) != stored.metadata["etag"]:
                    raise Conflict(index, missing=False)
            return [self._apply(*operation) for operation in operations]

    def get(self, partition: str, row: str, **options: Any) -> Entity | None:
        if hook := options.get("raw_response_hook"):
            headers = {"Date": format_datetime(datetime.now(UTC), usegmt=True)}
            hook(SimpleNamespace(http_response=SimpleNamespace(headers=headers)))
        with self._lock:
            return self._partitions[partition].get(row)

    def pages(
        self, condition: str, *, page_size: int, select: list[str] | None = None, **options: Any
    ) -> Iterator[list[Any]]:
        comparisons = _COMPARISON.findall(condition)
        bounds = {(name, operator): value for name, operator, value in comparisons}
        partition = bounds["PartitionKey", "eq"]
        with self._lock:
            keys = self._keys[partition]
            first = bisect_left(keys, bounds.get(("RowKey", "ge"), ""))
            last = bisect_left(keys, bounds["RowKey", "lt"]) if ("RowKey", "lt") in bounds else len(keys)
            rows = [self._partitions[partition][key] for key in keys[first:last]]
        found = [row for row in rows if all(_HOLDS[how](row.get(name), value) for name, how, value in comparisons)]
        for start in range(0, len(found), page_size):
            yield found[start : start + page_size]

    def _stored(self, entity: Mapping[str, Any]) -> Entity | None:
        return self._partitions[entity["PartitionKey"]].get(entity["RowKey"])

    def _apply(self, verb: str, entity: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        partition, row = entity["PartitionKey"], entity["RowKey"]
        stored = self._stored(entity)
        if verb == "delete":
            del self._partitions[partition][row]
            self._keys[partition].remove(row)
            return ""
        if stored is None:
            insort(self._keys[partition], row)
        merged = {**stored, **entity} if stored and options.get("mode") == UpdateMode.MERGE else entity
        etag = str(next(self._etags))
        self._partitions[partition][row] = Entity(merged, etag)
        return etag


class _QueueClient:
    """As much of the SDK's as a `Queue` uses. A message that is received is gone unless it is deleted: nobody dies here."""

    def __init__(self) -> None:
        self._messages: deque[SimpleNamespace] = deque()
        self._lock = RLock()

    def send_message(self, text: str, **options: Any) -> None:
        self._messages.append(SimpleNamespace(content=b64encode(text.encode()).decode()))

    def receive_messages(self, *, max_messages: int, **options: Any) -> list[SimpleNamespace]:
        with self._lock:
            return [self._messages.popleft() for _ in range(min(max_messages, len(self._messages)))]

    def delete_message(self, message: SimpleNamespace) -> None:
        """It went when it was received."""

    def get_queue_properties(self) -> SimpleNamespace:
        return SimpleNamespace(approximate_message_count=len(self._messages))
