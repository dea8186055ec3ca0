"""Queries over many leads: lists, to-do rows, counts. Each query reads only its range of keys."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import chain, islice
from typing import Any

from leads.core.identity import complement, customer_of, id_time, received_at_of
from leads.core.lead import Stage
from leads.core.states import State
from leads.ledger.rows import LeadRecord, read_lead
from leads.ledger.todo_rows import Todo, read_todo, todo_prefix
from leads.ledger.transactions import Ledger
from leads.platform.row_reading import UnreadableRow, read_each, read_optional_time, read_time, reads, unreadable
from leads.platform.table_format import key_part, keys_beginning
from leads.platform.threads import map_in_order

PARTITIONS = "0123456789abcdef"
TODO_SECONDS = 120
"""Time limit of a query over all partitions. The caller's deadline may come earlier."""
_AT_ONCE = 8
_PAGE = 1000
_AFTER = "<"
"""The character after `;`. It ends the range of keys that begin with a prefix."""


@dataclass(frozen=True, slots=True)
class LeadLine:
    """A lead in a list, without personal data. `destinations`: the lead's state at each destination.

    `unconfirmed`: a destination took the lead, and does not confirm that it made a record.
    """

    lead_id: str
    received_at: datetime
    offer: str
    stage: str
    source: str
    is_test: bool
    state: State
    unconfirmed: bool
    destinations: dict[str, str]


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A lead that has not reached a destination. `destination`: "" while the lead is not routed. `next_at`: its next try."""

    lead_id: str
    state: State
    connection: str
    offer: str
    destination: str
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Known:
    """A lead in the ledger. `customer`: the customer's hash. `offer`: "" while no offer takes the lead."""

    lead_id: str
    customer: str
    action: str
    offer: str
    state: State


@dataclass(frozen=True, slots=True)
class Arrival:
    """The arrival of a lead from the marketplace. `offer`: "" while no offer takes the lead."""

    received_at: datetime
    offer: str
    is_test: bool


def newest(
    ledger: Ledger,
    *,
    offer: str | None = None,
    state: State | None = None,
    stage: Stage | None = None,
    source: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str = "",
    limit: int = 50,
) -> list[LeadLine]:
    """Up to `limit` leads, newest first: of one offer ("-" = unrouted) or all, of one state, stage or source, received in a time
    span.

    `after` is the last lead id of the page before.
    """
    prefix = "lead;" if offer is None else f"offer;{key_part(offer)};"
    condition = received_between(prefix, since, until)
    if after:
        condition += f" and RowKey gt '{prefix}{complement(after)}'"
    wanted = {"state": state, "stage": stage, "source": source}
    for name, value in wanted.items():
        if value is not None:
            quoted = value.replace("'", "''")
            condition += f" and {name} eq '{quoted}'"
    rows = merge(
        *(_rows(ledger, partition, condition, limit) for partition in PARTITIONS),
        key=lambda row: row["RowKey"],
    )
    return list(islice(read_each(rows, _listed), limit))


def received_between(prefix: str, since: datetime | None, until: datetime | None) -> str:
    """A condition on rows by time of receipt, for keys made of a prefix and a complemented lead id. None = no bound."""
    first = complement(id_time(until)) if until else ""
    last = f"{prefix}{complement(id_time(since))}~" if since else f"{prefix[:-1]}{_AFTER}"
    return f"RowKey ge '{prefix}{first}' and RowKey lt '{last}'"


def anything(item: Todo) -> bool:  # noqa: ARG001
    """A condition that every undelivered lead meets."""
    return True


def todo(
    ledger: Ledger,
    state: State,
    connection: str | None = None,
    *,
    where: Callable[[Todo], bool] = anything,
    after: str = "",
    limit: int = 1000,
) -> list[Todo]:
    """Up to `limit` undelivered leads of a state, oldest first. With a `connection` ("" = none), they are its oldest ones.

    `after` needs a connection. It is the last lead id of the page before.
    """
    prefix = todo_prefix(state, connection)
    condition = keys_beginning(prefix) + (f" and RowKey gt '{prefix}{after}~'" if after else "")
    page = limit if where is anything else _PAGE

    def first_of(partition: str) -> list[Todo]:
        items = read_each(_rows(ledger, partition, condition, page), read_todo)
        return list(islice(filter(where, items), limit))

    found = map_in_order(first_of, PARTITIONS, at_most=_AT_ONCE, seconds=TODO_SECONDS)
    return sorted(chain.from_iterable(found), key=lambda item: item.lead_id)[:limit]


def todo_after(ledger: Ledger, state: State, connection: str | None, after: str) -> Iterator[tuple[str, Todo]]:
    """Undelivered leads of a state, of one connection or of all, each with its cursor. `after`: the cursor to continue after.

    Pages are read lazily. Raises ValueError if `after` is malformed.
    """
    begun, slash, row = after.partition("/")
    if after and (begun not in PARTITIONS or len(begun) != 1 or not slash or not _plain_key(row)):
        raise ValueError("after")
    prefix = todo_prefix(state, connection)
    for partition in PARTITIONS[PARTITIONS.index(begun) :]:
        condition = keys_beginning(prefix) + (f" and RowKey gt '{row}'" if partition == begun and row else "")
        yield from read_each(_rows(ledger, partition, condition, _PAGE), _with_cursor)


def _with_cursor(row: Any) -> tuple[str, Todo]:
    return f"{row['PartitionKey']}/{row['RowKey']}", read_todo(row)


def _plain_key(row: str) -> bool:
    return row.isprintable() and not set(row) & set("'/\\#?")


def arrivals(ledger: Ledger, since: datetime, until: datetime) -> Iterator[Arrival]:
    """The leads received from `since` on and before `until`, unordered."""
    rows = _received(ledger, since, until, ["offer", "is_test", "imported"])
    return (arrival for imported, arrival in read_each(rows, _arrival) if not imported)


@reads("lead")
def _arrival(row: Any) -> tuple[str, Arrival]:
    """How the lead was imported ("" = it came from the marketplace), and its arrival."""
    arrival = Arrival(received_at_of(_lead_id(row)), row.get("offer", ""), row.get("is_test", False))
    return row.get("imported", ""), arrival


def records(ledger: Ledger, since: datetime, until: datetime) -> Iterator[LeadRecord]:
    """The whole records of the leads received from `since` on and before `until`, unordered."""
    return read_each(_received(ledger, since, until, None), lambda row: _record(ledger, row))


def _record(ledger: Ledger, row: Any) -> LeadRecord:
    record = read_lead(row, row.metadata["etag"])
    return (ledger.read(record.lead_id) or record) if record.has_body else record


def is_older_than(ledger: Ledger, moment: datetime) -> bool:
    """Whether any lead was received before a moment."""
    condition = received_between("lead;", None, moment)
    return any(list(islice(_rows(ledger, partition, condition, 1), 1)) for partition in PARTITIONS)


def within(ledger: Ledger, since: datetime, until: datetime) -> Iterator[Known]:
    """The leads received from `since` on and before `until`, unordered. Leads without a known customer are left out."""
    rows = _received(ledger, since, until, ["offer", "action", "customer", "state"])
    return (known for known in read_each(rows, lambda row: _known(row) or _looked_up(ledger, row)) if known)


@reads("lead")
def _known(row: Any) -> Known | None:
    if "customer" not in row:
        return None
    return Known(_lead_id(row), row["customer"], row.get("action", ""), row.get("offer", ""), State(row["state"]))


def _looked_up(ledger: Ledger, row: Any) -> Known | None:
    lead_id = _lead_id(row)
    record = ledger.read(lead_id)
    if record is None or record.lead is None:
        return None
    return Known(lead_id, customer_of(record.lead, lead_id), record.lead.action, record.offer, record.state)


def _received(ledger: Ledger, since: datetime, until: datetime, columns: list[str] | None) -> Iterator[Any]:
    """The rows of leads received from `since` on and before `until`. `columns` None = whole rows with metadata."""
    first, last = complement(id_time(until)), complement(id_time(since))
    condition = f"RowKey gt 'lead;{first}~' and RowKey lt 'lead;{last}~'"
    select = ["RowKey", *columns] if columns else None
    for partition in PARTITIONS:
        for page in ledger.table.pages(
            f"PartitionKey eq '{partition}' and {condition}", page_size=_PAGE, select=select
        ):
            yield from page


class Backlog:
    """The undelivered leads for one tick of `watch`.

    If each partition has at most a page of them, all are read at once, with one request for each partition.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._whole = _whole_backlog(ledger)

    @property
    def connections(self) -> set[str]:
        """The connections that leads wait for, also those without a row of their own. Empty if not all leads were read."""
        waiting = {State.PARKED, State.RETRY}
        return {item.connection for item in self._whole or () if item.state in waiting and item.connection}

    def find(
        self,
        state: State,
        connection: str | None = None,
        *,
        where: Callable[[Todo], bool] = anything,
        after: str = "",
        limit: int,
    ) -> list[Todo]:
        """As `todo`."""
        if self._whole is None:
            return todo(self._ledger, state, connection, where=where, after=after, limit=limit)
        found = (
            item
            for item in self._whole
            if item.state is state and connection in {None, item.connection} and item.lead_id > after and where(item)
        )
        return list(islice(found, limit))


def _whole_backlog(ledger: Ledger) -> list[Todo] | None:
    found: list[Todo] = []
    for partition in PARTITIONS:
        rows = list(islice(_rows(ledger, partition, keys_beginning("todo;"), _PAGE), _PAGE))
        if len(rows) == _PAGE:
            return None
        found += read_each(rows, read_todo)
    return sorted(found, key=lambda item: item.lead_id)


def undelivered(ledger: Ledger) -> Iterator[Undelivered]:
    """Each undelivered lead and destination, unordered."""
    for partition in PARTITIONS:
        rows = _rows(ledger, partition, keys_beginning("todo;"), _PAGE, select=["RowKey", "offer", "next_at"])
        yield from read_each(rows, _undelivered)


@reads("undelivered lead")
def _undelivered(row: Any) -> Undelivered:
    _, state, connection, lead_id, destination = row["RowKey"].split(";", 4)
    next_at = read_optional_time(row, "next_at")
    return Undelivered(lead_id, State(state), connection, row.get("offer", ""), destination, next_at)


def unreadable_rows(ledger: Ledger) -> list[UnreadableRow]:
    """The rows that this release can't read, on the first page of leads and of undelivered leads in each partition."""
    found: list[UnreadableRow] = []
    for partition in PARTITIONS:
        for prefix, read in (("lead;", _listed), ("todo;", read_todo)):
            rows = _rows(ledger, partition, keys_beginning(prefix), _PAGE)
            found += unreadable(islice(rows, _PAGE), read)
    return found


def bodies(ledger: Ledger, before: datetime, after: datetime) -> Iterator[str]:
    """Lead ids of the body rows that were received in a time span."""
    condition = f"RowKey ge 'body;{id_time(after)}' and RowKey lt 'body;{id_time(before)}'"
    for partition in PARTITIONS:
        for row in _rows(ledger, partition, condition, _PAGE, select=["RowKey"]):
            yield row["RowKey"].removeprefix("body;")


def _rows(
    ledger: Ledger, partition: str, condition: str, page_size: int, select: list[str] | None = None
) -> Iterator[Any]:
    whole = f"PartitionKey eq '{partition}' and {condition}"
    for page in ledger.table.pages(whole, page_size=min(page_size, _PAGE), select=select or _COLUMNS):
        yield from page


_COLUMNS = [
    "PartitionKey", "RowKey", "received_at", "offer", "stage", "source", "state", "states", "is_test", "unconfirmed",
    "lead_id", "destination", "seq", "updated_at", "next_at", "partly_done", "ref_url", "ref_source", "ref_product", "ref_title",
]  # fmt: skip


def _lead_id(row: Any) -> str:
    return complement(row["RowKey"].rpartition(";")[2])


@reads("lead")
def _listed(row: Any) -> LeadLine:
    return LeadLine(
        lead_id=_lead_id(row),
        received_at=read_time(row, "received_at"),
        offer=row.get("offer", ""),
        stage=row.get("stage", ""),
        source=row.get("source", ""),
        state=State(row["state"]),
        destinations=dict(pair.split("=", 1) for pair in row.get("states", "").split(",") if pair),
        is_test=row.get("is_test", False),
        unconfirmed=row.get("unconfirmed", False),
    )
