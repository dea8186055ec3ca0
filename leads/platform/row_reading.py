"""Reading table rows. Unreadable rows do not stop a list, tick or export: they are skipped, counted and reported."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from leads.core.problems import code_location
from leads.platform.events import Event, emit

P = ParamSpec("P")
Row = TypeVar("Row")
Result = TypeVar("Result")

_OF_A_CUSTOMER: Final = ("cust;", "gone;")
"""Prefixes of keys with the hash of a customer. Such keys are not logged."""


class UnreadableRow(Exception):
    """This release can't read a stored row, for example after a rollback. The text names the row and quotes nothing of it.

    `what`: the kind of row. `row`: its key, "" if the key identifies a person. `why`: the place in the code.
    """

    def __init__(self, what: str, row: str, why: str) -> None:
        super().__init__(f"the row {row} ({what}) can't be read by this release")
        self.what, self.row, self.why = what, row, why

    def report(self, count: int = 1) -> None:
        """Log the number of rows that could not be read, and the first of them."""
        emit(Event.ROWS_UNREADABLE, what=self.what, row=self.row, why=self.why, count=count)


def reads(what: str) -> Callable[[Callable[Concatenate[Any, P], Result]], Callable[Concatenate[Any, P], Result]]:
    """Decorator for a function that reads rows of the kind `what`. Every exception becomes an `UnreadableRow`."""

    def marked(read: Callable[Concatenate[Any, P], Result]) -> Callable[Concatenate[Any, P], Result]:
        @wraps(read)
        def reading(entity: Any, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            try:
                return read(entity, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the row
                raise UnreadableRow(what, _named(entity), code_location(error)) from None

        return reading

    return marked


def _named(entity: Mapping[str, Any]) -> str:
    row = str(entity.get("RowKey", ""))
    return "" if row.startswith(_OF_A_CUSTOMER) else row


def read_each(rows: Iterable[Row], read: Callable[[Row], Result]) -> Iterator[Result]:
    """Read each row. Unreadable rows are skipped, and logged as one event at the end."""
    left_out: list[UnreadableRow] = []
    try:
        yield from _readable(rows, read, left_out)
    finally:
        if left_out:
            left_out[0].report(len(left_out))


def unreadable(rows: Iterable[Row], read: Callable[[Row], object]) -> list[UnreadableRow]:
    """The rows that `read` can't read."""
    found: list[UnreadableRow] = []
    for _ in _readable(rows, read, found):
        pass
    return found


def _readable(rows: Iterable[Row], read: Callable[[Row], Result], left_out: list[UnreadableRow]) -> Iterator[Result]:
    for row in rows:
        try:
            found = read(row)
        except UnreadableRow as error:
            left_out.append(error)
        else:
            yield found


def read_time(entity: Mapping[str, Any], column: str) -> datetime:
    """A required time of a row. Raises TypeError if it is missing or not a time."""
    found = entity.get(column)
    if not isinstance(found, datetime):
        raise TypeError(f"{column} is not a time")
    return found


def read_optional_time(entity: Mapping[str, Any], column: str) -> datetime | None:
    """An optional time of a row. Raises TypeError if it is not a time."""
    return None if entity.get(column) is None else read_time(entity, column)
