"""Helpers of the commands: they ask the app, or a person."""

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from leads.cli.completion import offer_ids
from leads.cli.output import utc
from leads.cli.transport import AnswerT, RequestT, Transport
from leads.operations.operation import Parts
from leads.operations.problems import Invalid

ModelT = TypeVar("ModelT", bound=BaseModel)

OfferId = Annotated[
    str, typer.Argument(metavar="ID", help="The offer's id: publisher.offer, or *.", autocompletion=offer_ids)
]


def ask(context: typer.Context, run: Callable[[*Parts, RequestT], AnswerT], request: RequestT) -> AnswerT:
    """Carry out an operation in the app that the command line names."""
    transport: Transport = context.obj
    return transport.ask(run, request)


def from_flags(model: type[ModelT], **flags: object) -> ModelT:
    """A request with the given flags; None is the model's default. Raises pydantic's error."""
    return model.model_validate({name: value for name, value in flags.items() if value is not None})


def nothing_found(wanted: Mapping[str, object]) -> str:
    """The text for an empty list of leads, with the filter that was given."""
    named = [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in wanted.items() if value not in {None, ""}]
    return f"No leads match: {', '.join(named)}." if named else "No leads."


def _shown(value: object) -> str:
    return utc(value) if isinstance(value, datetime) else str(value)


def confirm_change(context: typer.Context, question: str, *, from_standard_input: bool = False) -> bool:
    """As `confirm`, and names the app or storage that the command changes: a person may have chosen another one before."""
    return confirm(f"{target_of(context)}: {question}", from_standard_input=from_standard_input)


def target_of(context: typer.Context) -> str:
    transport: Transport = context.obj
    return transport.target


def confirm(question: str, *, from_standard_input: bool = False) -> bool:
    """Ask at the terminal; Enter alone means no. Raises `Invalid`, which names the flag --yes, without a terminal."""
    if from_standard_input or not sys.stdin.isatty():
        raise Invalid(f"--yes: is needed, because this is not a terminal: {question}")
    return typer.confirm(question)
