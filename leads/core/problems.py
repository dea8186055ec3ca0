"""One-line descriptions of problems: in input, and in the app's code."""

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_FIXES = {
    "extra_forbidden": "there is no such field: remove it or correct its name",
    "missing": "is missing: add it",
}
_NAMES_A_FIELD = re.compile(r"\w+(\.\w+)*: ")


def first_problem(error: ValidationError) -> str:
    """The first wrong field and how to fix it, without the value."""
    return all_problems(error)[0]


def all_problems(error: ValidationError, *place: str, model: type[BaseModel] | None = None) -> list[str]:
    """Each wrong field and how to fix it. One validator may report several fields, each on a line.

    `place`: the path of the model itself, put before each field. With `model`, the line about a text that does not fit its
    pattern has the field's description.
    """
    return [words for problem in _problems(error) for words in _in_words(problem, *place, model=model)]


def problem_of_field(error: ValidationError, field: str, model: type[BaseModel]) -> str:
    """The problem of one field of the model, "" without one."""
    found = (problem for problem in _problems(error) if problem["loc"][:1] == (field,))
    return next((_in_words(problem, model=model)[0] for problem in found), "")


def _problems(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_input=False, include_url=False, include_context=False)


def _in_words(problem: ErrorDetails, *place: str, model: type[BaseModel] | None) -> list[str]:
    text = _FIXES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch" and (wanted := _description(model, problem["loc"])):
        text = f"does not have the right form. {wanted}"
    where = " ".join(".".join(str(part) for part in (*place, *problem["loc"])).split())
    # The message of a validator over several fields begins with the name of the wrong field.
    return [
        line if not where else f"{where}.{line}" if _NAMES_A_FIELD.match(line) else f"{where}: {line}"
        for line in text.split("\n")
    ]


def _description(model: Any, loc: Sequence[int | str]) -> str:
    """The description of the field at this place of a model, "" without one."""
    named = [part for part in loc if isinstance(part, str)]
    for number, name in enumerate(named, 1):
        field = model.model_fields.get(name) if model else None
        if field is None:
            return ""
        if number == len(named):
            return field.description or ""
        model = next((kind for kind in _kinds(field.annotation) if hasattr(kind, "model_fields")), None)
    return ""


def _kinds(annotation: Any) -> list[Any]:
    return [annotation, *(kind for inner in get_args(annotation) for kind in _kinds(inner))]


def code_location(error: Exception) -> str:
    """Type and place of an exception, without its text, which could quote a customer."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    file = trace.tb_frame.f_code.co_filename.rpartition("/")[2]
    return f"{type(error).__name__} at {file}:{trace.tb_lineno}"
