"""Prints tables and fields for people, and JSON for scripts. No output can steer a terminal."""

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import typer
from pydantic import JsonValue
from pydantic_core import to_jsonable_python
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leads.core.states import State

STYLES: Final = dict.fromkeys((State.UNREADABLE, State.DEAD_LETTER, State.HELD, State.CRASHED), "red") | dict.fromkeys(
    (State.PARKED, State.UNROUTED, State.RETRY), "yellow"
)
_UNSAFE_IN_A_TERMINAL: Final = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_GAP: Final = "  "
_READABLE: Final = 16
"""The least width, in characters, of a column with readable text."""


def time_of(moment: datetime | None) -> str:
    """A time in UTC, without the zone; "" for None."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def utc(moment: datetime | None) -> str:
    """A time in UTC, with the zone; "" for None."""
    return f"{time_of(moment)} UTC" if moment else ""


def state_of(state: State, *, test: bool = False, unconfirmed: bool = False) -> Text:
    marks = ("test" if test else "", "unconfirmed" if unconfirmed and state is State.DELIVERED else "")
    said = ", ".join(filter(None, marks))
    return Text(f"{state} ({said})" if said else str(state), STYLES.get(state, ""))


def value_of(value: JsonValue) -> str:
    """A value of an offer on one line."""
    return "(nothing)" if value is None else json.dumps(value, ensure_ascii=False)


def json_text(what: object, indent: int | None = 2) -> str:
    """Models, dataclasses and plain values as JSON that can't steer a terminal."""
    text = json.dumps(to_jsonable_python(what), ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_A_TERMINAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(what: object) -> None:
    typer.echo(json_text(what))


def print_line(line: str, *, err: bool = False) -> None:
    typer.echo(printable(line), err=err)


def print_fields(fields: Mapping[str, str | Text]) -> None:
    """Print a line for each value that is not empty. If a word has no room beside the names, values go below the names."""
    cells = {name: _cell(value) for name, value in fields.items() if value}
    if not cells:
        return
    names = max(map(cell_len, cells))
    widest = max(map(_longest_line, cells.values()))
    room = _terminal_width() - names - len(_GAP)
    if max(map(_longest_word, cells.values())) <= room:
        _print_grid([(Text(name, "bold"), value) for name, value in cells.items()], (names, min(widest, room)))
        return
    for name, value in cells.items():
        width = max(_longest_word(value), min(_longest_line(value), _terminal_width()))
        _print_grid([(Text(name, "bold"),)], (cell_len(name),))
        _print_grid([(value,)], (width,))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str | Text]], *folded: str) -> None:
    """Print a table. Only the columns `folded` (none = any) become narrow, and no word is broken, so an id stays whole.

    On a narrower terminal, each row is a card of names and values. Piped, each row is a line.
    """
    cells = [tuple(Text(title, "bold") for title in titles), *(tuple(map(_cell, row)) for row in rows)]
    columns = list(zip(*cells, strict=True))
    natural = [max(map(_longest_line, column)) for column in columns]
    least = [
        min(width, max(_READABLE, *map(_longest_word, column))) if not folded or title in folded else width
        for title, width, column in zip(titles, natural, columns, strict=True)
    ]
    room = _terminal_width() - len(_GAP) * (len(titles) - 1)
    if sum(least) <= room:
        _print_grid(cells, _fitted(room, natural, least))
        return
    for number, row in enumerate(rows):
        if number:
            typer.echo("")
        print_fields(dict(zip(titles, row, strict=True)))


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def _longest_line(text: Text) -> int:
    return max(map(cell_len, text.plain.splitlines()), default=0)


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)


def _fitted(room: int, natural: Sequence[int], least: Sequence[int]) -> list[int]:
    """The widths of the columns. Without room, the widest columns become narrower, but never narrower than `least`."""
    widths = list(natural)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda n: (widths[n] > least[n], widths[n]))
        widths[widest] -= 1
    return widths


def _print_grid(rows: Sequence[Sequence[Text]], widths: Sequence[int]) -> None:
    """Print rows of cells, folded between words to the widths of their columns."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, len(_GAP), 0, 0))
    for width in widths:
        grid.add_column(width=max(1, width), overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console = Console(width=sum(widths) + len(_GAP) * len(widths) + 1, highlight=False)
    with console.capture() as captured:
        console.print(grid)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text("\n".join(printable(line).strip() for line in value.splitlines()))


def with_answer(words: str, answer: str) -> str:
    """A text about a destination, with an excerpt of its answer if there is one."""
    return f"{words}; it answered: {answer}" if answer else words


def printable(text: str) -> str:
    """Text that can't steer a terminal. Leads hold text of strangers."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
