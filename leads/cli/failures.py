"""Turns an exception into a line on standard error and an exit status."""

import re
import shlex
from typing import Final

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from leads.cli import hints
from leads.cli.environment import OutOfReach
from leads.cli.exits import BAD_INPUT, CHANGED_BY_OTHERS, NOT_FOUND, OUT_OF_REACH
from leads.cli.output import json_text, printable
from leads.cli.shapes import Shape, shapes_in
from leads.core.problems import first_problem
from leads.operations.problems import FAILURES, Changed, Invalid, NotFound, Problem, Unavailable
from leads.platform.storage import StorageError
from leads.platform.storage_errors import storage_problem
from leads.platform.threads import NotDoneInTime


def print_failure(error: Exception) -> int | None:
    """Print why a command failed, as JSON if the command line asks for JSON. Returns the exit status; None for a defect."""
    if not isinstance(error, (*FAILURES, OutOfReach, TyperException)):
        return None
    status, text = _in_a_line(error)
    text = hints.here(text)
    is_help = "\n" in text and isinstance(error, TyperException)  # of a group, which was called without a command
    if not is_help and _shapes() in ({Shape.JSON}, {Shape.JSONL}):
        kind = type(error) if isinstance(error, Problem) else _KINDS[status]
        typer.echo(json_text(_details(text, kind) | {"exit_status": status}, indent=None), err=True)
        return status
    text = text if is_help else f"error: {text}"
    typer.echo("\n".join(map(printable, text.splitlines())), err=True)
    return status


def _shapes() -> set[str]:
    """The shapes that the command line asks for. The `--output` of `export` is a file."""
    given = hints.given()
    return set() if "export" in given else shapes_in(given)


_KINDS: Final = {NOT_FOUND: NotFound, BAD_INPUT: Invalid, OUT_OF_REACH: Unavailable, CHANGED_BY_OTHERS: Changed}
_FIELD: Final = re.compile(r"([^\s:]+): (.*)", re.DOTALL)


def _details(text: str, kind: type[Problem]) -> dict[str, object]:
    """The members of problem+json (RFC 9457), like an answer of the management API. A wrong field begins the text."""
    named = _FIELD.fullmatch(text)
    told = {"type": "about:blank", "title": kind.title, "status": kind.status}
    return told | ({"field": named[1], "detail": named[2]} if named else {"detail": text})


def _in_a_line(error: Exception) -> tuple[int, str]:
    """The exit status and the line for an exception."""
    match error:
        case NotFound():
            return NOT_FOUND, _with_the_list(str(error))
        case Changed():
            return CHANGED_BY_OTHERS, str(error)
        case Unavailable() | OutOfReach() | NotDoneInTime():
            return OUT_OF_REACH, str(error)
        case StorageError():
            found = storage_problem(error)
            return OUT_OF_REACH, f"LeadsStorage: {found.says}; {found.remedy}"
        case ValidationError():
            return BAD_INPUT, first_problem(error)
        case TyperException():
            return error.exit_code, _usage_problem(error)
        case _:
            return BAD_INPUT, str(error)


_LISTED_BY = {
    "offer": ("offers", "list"),
    "connection_id": ("connections", "list"),
    "lead_id": ("leads", "list"),
}
"""By the field that is wrong: the command that lists its valid values."""


def _with_the_list(text: str) -> str:
    words = _LISTED_BY.get(text.partition(":")[0])
    return f"{text}: {hints.command(*words)}" if words else text


def _usage_problem(error: TyperException) -> str:
    text = error.format_message()
    text = text.replace(": Value error, ", ": ")  # pydantic's words: typer checks choices with pydantic
    if text.startswith("No such option: --app"):
        return f"--app: belongs before the command: {hints.with_app_first()}"
    if "\n" in text:
        return text
    context: typer.Context | None = getattr(error, "ctx", None)
    words = context.command_path.removeprefix(shlex.join(hints.program())).split() if context else []
    return f"{text.rstrip('.')}; for more: {hints.command(*words, '--help')}"
