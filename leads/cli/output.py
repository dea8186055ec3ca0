"""What is printed: tables and fields for people, JSON for scripts, and nothing that could steer a terminal."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from pydantic import BaseModel, JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from leads.rows import State

STYLES: Final = dict.fromkeys((State.UNREADABLE, State.DEAD_LETTER, State.HELD, State.CRASHED), "red") | dict.fromkeys(
    (State.PARKED, State.UNROUTED, State.RETRY), "yellow"
)
_UNSAFE_IN_A_TERMINAL: Final = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def time_of(moment: datetime | None) -> str:
    """A time as people read it, without the zone: all are UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def state_of(state: State, *, test: bool = False, unconfirmed: bool = False) -> Text:
    marks = ("test" if test else "", "unconfirmed" if unconfirmed and state is State.DELIVERED else "")
    said = ", ".join(filter(None, marks))
    return Text(f"{state} ({said})" if said else str(state), STYLES.get(state, ""))


def value_of(value: JsonValue) -> str:
    """A value of an offer on one line."""
    return "(nothing)" if value is None else json.dumps(value, ensure_ascii=False)


def json_text(what: BaseModel | JsonValue, indent: int | None = 2) -> str:
    """JSON that can't steer a terminal."""
    value = what.model_dump(mode="json") if isinstance(what, BaseModel) else what
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _UNSAFE_IN_A_TERMINAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_json(what: BaseModel | JsonValue) -> None:
    typer.echo(json_text(what))


def print_line(line: str, *, err: bool = False) -> None:
    typer.echo(printable(line), err=err)


def print_fields(fields: dict[str, str | Text]) -> None:
    """Name and value a line, without the empty ones."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value:
            table.add_row(name, _cell(value))
    _print_rendered(table)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str | Text]], *folded: str) -> None:
    """A table as wide as the terminal, where only the columns `folded` are narrowed (none = any). Piped, a row is a line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=bool(folded) and title not in folded)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _print_rendered(table)


def _print_rendered(table: Table) -> None:
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text("\n".join(printable(line) for line in value.splitlines()))


def printable(text: str) -> str:
    """Text that can't steer a terminal: leads hold what strangers wrote."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
