"""The shapes of an answer: a table for people, or JSON, lines of JSON or CSV for scripts."""

from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, Final

import typer
from pydantic_core import to_jsonable_python
from typer.core import TyperCommand

from leads.cli.output import json_text, print_json
from leads.operations.export import csv_line


class Shape(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class OneShape(StrEnum):
    """How an answer is printed that is not a list."""

    TABLE = "table"
    JSON = "json"


_SHORT: Final = {"--json": "json", "--csv": "csv"}

ListShape = Annotated[
    Shape,
    typer.Option(
        "--output", help="A table, or for scripts: json, jsonl (a line for each) or csv. --json is short for json."
    ),
]
AnswerShape = Annotated[
    OneShape, typer.Option("--output", help="A table, or json for scripts. --json is short for json.")
]


class Command(TyperCommand):
    """A command with a short flag for `--output`."""

    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        for param in self.params:
            if param.name == "shape":
                for flag, shape in _SHORT.items():
                    parser.add_option(param, [flag], dest="shape", action="store_const", const=shape)
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if len(shapes_in(args)) > 1 and any(param.name == "shape" for param in self.params):
            ctx.fail("--output: is given twice; leave one out")
        return super().parse_args(ctx, args)


def shapes_in(arguments: Sequence[str]) -> set[str]:
    """The shapes that a command's arguments ask for."""
    found = {_SHORT[word] for word in arguments if word in _SHORT}
    for word, following in pairwise((*arguments, "")):
        if word == "--output":
            found.add(following)
        elif word.startswith("--output="):
            found.add(word.removeprefix("--output="))
    return found


def columns_of(kind: type[Any]) -> list[str]:
    """The names of the fields of a model or dataclass."""
    if hasattr(kind, "model_fields"):
        return [name for name, field in kind.model_fields.items() if not field.exclude]
    return [field.name for field in fields(kind)]


def print_list(shape: Shape, columns: Sequence[str], rows: Sequence[object], whole: object) -> bool:
    """Print the rows for a script, or `whole` as JSON. False, and nothing printed, if the caller is to print a table."""
    match shape:
        case Shape.TABLE:
            return False
        case Shape.JSON:
            print_json(whole)
        case Shape.JSONL:
            for row in rows:
                typer.echo(json_text(row, indent=None))
        case Shape.CSV:
            typer.echo(csv_line({name: name for name in columns}, columns), nl=False)
            for row in rows:
                typer.echo(csv_line(to_jsonable_python(row), columns), nl=False)
    return True
