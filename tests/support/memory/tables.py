"""Tables in memory, at the place of the SDK's client.

Limits and refusals are those of Microsoft Learn, "Understanding the Table service data model" and "Performing entity group
transactions".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import UUID

from azure.data.tables import TableEntity, UpdateMode

from tests.support.memory.account import MemoryAccount, Partition, Partitions, Refused, Row, as_the_sdk_raises
from tests.support.memory.filters import Condition, parse_filter

MAX_BYTES: Final = 65_536
MAX_ENTITY_BYTES: Final = 1 << 20
MAX_TRANSACTION: Final = 100
MAX_TRANSACTION_BYTES: Final = 4 << 20
OPERATION_BYTES: Final = 600
"""The approximate bytes of an operation in a transaction besides its entity: headers."""
MAX_KEY: Final = 512

_FORBIDDEN_IN_KEYS: Final = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")


class MemoryTableClient:
    """A fake `TableClient`."""

    def __init__(self, account: MemoryAccount, name: str, **_: Any) -> None:
        self.account, self.table_name, self.url = account, name, account.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to close."""

    @as_the_sdk_raises
    def create_table(self) -> None:
        if self.table_name.lower() in map(str.lower, self.account.tables):
            raise Refused(409, "TableAlreadyExists")
        self.account.tables[self.table_name] = Partitions(Partition)

    @as_the_sdk_raises
    def delete_table(self) -> None:
        self.account.tables.pop(self.table_name, None)

    @as_the_sdk_raises
    def create_entity(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("create", entity, {})

    @as_the_sdk_raises
    def upsert_entity(self, entity: Mapping[str, Any], mode: UpdateMode = UpdateMode.MERGE) -> dict[str, Any]:
        return self._write("upsert", entity, {"mode": mode})

    @as_the_sdk_raises
    def update_entity(self, entity: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        return self._write("update", entity, options)

    @as_the_sdk_raises
    def delete_entity(self, *keys: Any, **options: Any) -> None:
        entity = keys[0] if len(keys) == 1 else {"PartitionKey": keys[0], "RowKey": keys[1]}
        try:
            self._write("delete", entity, options)
        except Refused as refused:
            if refused.status != 404:  # the SDK does not report a missing row
                raise

    def submit_transaction(self, operations: Sequence[Any]) -> list[dict[str, Any]]:
        with self.account.lock:
            return self._submit([(verb, entity, *(options or ({},))) for verb, entity, *options in operations])

    @as_the_sdk_raises
    def get_entity(
        self, partition_key: str, row_key: str, *, select: list[str] | None = None, **options: Any
    ) -> TableEntity:
        self._answer(options)
        row = self._partitions()[partition_key].rows.get(row_key)
        if row is None:
            raise Refused(404, "ResourceNotFound")
        return _entity(row, select)

    def query_entities(
        self, query_filter: str, *, results_per_page: int | None = None, select: list[str] | None = None, **options: Any
    ) -> Found:
        return Found(self, parse_filter(query_filter), results_per_page or 1000, select, options)

    def list_entities(self, **options: Any) -> Found:
        return self.query_entities("", **options)

    @as_the_sdk_raises
    def page(
        self, condition: Condition, size: int, after: tuple[str, str] | None, options: Mapping[str, Any]
    ) -> tuple[list[Row], bool]:
        """Up to `size` rows behind the row `after`, and whether there are more."""
        self._answer(options)
        partitions = self._partitions()
        found: list[Row] = []
        names = [condition.partition] if condition.partition is not None else sorted(partitions)
        for name in names:
            if name not in partitions or (after and name < after[0]):
                continue
            partition = partitions[name]
            last = after[1] if after and after[0] == name else None
            for key in condition.candidates(partition.keys, last):
                row = partition.rows[key]
                if condition.holds(row.value):
                    if len(found) == size:
                        return found, True
                    found.append(row)
        return found, False

    def _submit(self, operations: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
        if len({entity["PartitionKey"] for _, entity, _ in operations}) > 1:
            raise ValueError("Partition Keys in the batch must all be the same.")
        if not 0 < len(operations) <= MAX_TRANSACTION:
            raise Refused(400, "InvalidInput").of_operation(0)
        transaction = _Transaction()
        changes = []
        for index, (verb, entity, options) in enumerate(operations):
            try:
                columns = _columns(entity, only_keys=verb == "delete")
                transaction.add(columns)
                changes.append((columns, self._changed(verb, columns, options)))
            except Refused as refused:
                raise refused.of_operation(index) from None
        return [self._apply(*change) for change in changes]

    def _write(self, verb: str, entity: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        columns = _columns(entity, only_keys=verb == "delete")
        return self._apply(columns, self._changed(verb, columns, options))

    def _changed(self, verb: str, columns: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row after the operation; None if it is deleted."""
        stored = self._partitions()[columns["PartitionKey"]].rows.get(columns["RowKey"])
        if verb == "create" and stored is not None:
            raise Refused(409, "EntityAlreadyExists")
        if verb in {"update", "delete"}:
            if stored is None:
                raise Refused(404, "ResourceNotFound")
            if options.get("match_condition") and options["etag"] != stored.etag:
                raise Refused(412, "UpdateConditionNotSatisfied")
        if verb == "delete":
            return None
        merges = verb != "create" and options.get("mode", UpdateMode.MERGE) == UpdateMode.MERGE
        return stored.columns | columns if stored is not None and merges else columns

    def _apply(self, keys: Mapping[str, Any], columns: dict[str, Any] | None) -> dict[str, Any]:
        partition = self._partitions()[keys["PartitionKey"]]
        if columns is None:
            partition.remove(keys["RowKey"])
            return {}
        now = self.account.now()
        # The last digits distinguish writes of the same microsecond.
        etag = f"W/\"datetime'{quote(f'{now:%Y-%m-%dT%H:%M:%S}.{next(self.account.etags)}Z')}'\""
        partition.put(keys["RowKey"], Row(columns, etag, now))
        return {"etag": etag}

    def _partitions(self) -> Partitions:
        if self.table_name not in self.account.tables:
            raise Refused(404, "TableNotFound")
        return self.account.tables[self.table_name]

    def _answer(self, options: Mapping[str, Any]) -> None:
        if hook := options.get("raw_response_hook"):
            headers = {"Date": format_datetime(self.account.now(), usegmt=True)}
            hook(SimpleNamespace(http_response=SimpleNamespace(headers=headers)))


@dataclass
class _Transaction:
    """Check the rules for the operations of a transaction."""

    bytes: int = 0
    keys: set[str] = field(default_factory=set)

    def add(self, columns: Mapping[str, Any]) -> None:
        texts = (value for value in columns.values() if isinstance(value, str))
        self.bytes += OPERATION_BYTES + sum(len(text.encode()) for text in texts)
        if self.bytes > MAX_TRANSACTION_BYTES:
            raise Refused(413, "RequestBodyTooLarge")
        if columns["RowKey"] in self.keys:
            raise Refused(400, "InvalidDuplicateRow")
        self.keys.add(columns["RowKey"])


@dataclass(frozen=True)
class Found:
    """The result of a query. Pages are read lazily."""

    client: MemoryTableClient
    condition: Condition
    size: int
    select: list[str] | None
    options: Mapping[str, Any]

    def __iter__(self) -> Iterator[TableEntity]:
        for page in self.by_page():
            yield from page

    def by_page(self, continuation_token: dict[str, str] | None = None) -> Pages:
        return Pages(self, continuation_token)


@dataclass
class Pages:
    """The pages of a query. The token names the last row that was read; None = no more rows."""

    found: Found
    continuation_token: dict[str, str] | None
    more: bool = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[TableEntity]:
        if not self.more:
            raise StopIteration
        found, token = self.found, self.continuation_token
        after = (token["PartitionKey"], token["RowKey"]) if token else None
        rows, self.more = found.client.page(found.condition, found.size, after, found.options)
        last = rows[-1].columns if self.more else None
        self.continuation_token = {name: last[name] for name in ("PartitionKey", "RowKey")} if last else None
        return [_entity(row, found.select) for row in rows]


def _entity(row: Row, select: list[str] | None) -> TableEntity:
    if select is None:
        entity = TableEntity(row.columns)
        entity._metadata = {"etag": row.etag, "timestamp": row.timestamp}
        return entity
    entity = TableEntity({name: row.columns[name] for name in select if name in row.columns})
    entity._metadata = {"etag": row.etag, "timestamp": None}
    return entity


def _columns(entity: Mapping[str, Any], only_keys: bool) -> dict[str, Any]:
    """An entity in its stored form. Raises `Refused`, and TypeError as the SDK does."""
    names = ("PartitionKey", "RowKey")
    for name in names:
        if entity.get(name) is None:
            raise ValueError(f"{name} must be present in an entity")
        if len(entity[name]) > MAX_KEY or _FORBIDDEN_IN_KEYS.search(entity[name]):
            raise Refused(400, "OutOfRangeInput")
    if only_keys:
        return {name: entity[name] for name in names}
    columns = {name: _value(value) for name, value in entity.items() if value is not None}
    if sum(2 * len(name) + _bytes(value) for name, value in columns.items()) > MAX_ENTITY_BYTES:
        raise Refused(400, "EntityTooLarge")
    return columns


def _value(value: Any) -> Any:
    if isinstance(value, Enum):
        value = str(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if type(value) not in {str, bool, int, float, bytes, UUID}:
        raise TypeError(f"Type not supported when sending data to the service: {type(value)}.")
    if type(value) is int and not -(2**31) <= value < 2**31:
        raise TypeError(f"{value} is too large to be cast to type EdmType.INT32.")
    if isinstance(value, str | bytes) and _bytes(value) > MAX_BYTES:
        raise Refused(400, "PropertyValueTooLarge")
    return value


def _bytes(value: Any) -> int:
    """The size of a value in an entity."""
    if isinstance(value, str):
        return 2 * len(value) if value.isascii() else len(value.encode("utf-16-le", "surrogatepass"))
    return len(value) if isinstance(value, bytes) else 16
