"""Says in one line what is wrong with what a person wrote."""

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_FIXES = {
    "extra_forbidden": "there is no such field: remove it or correct its name",
    "missing": "is missing: add it",
}
_NAMES_A_FIELD = re.compile(r"\w+(\.\w+)*: ")


def first_problem(error: ValidationError, *place: str, model: type[BaseModel] | None = None) -> str:
    """The first field that is wrong and how to mend it, never the value. `place` is where the whole model stands.

    With the `model`, a text that does not fit its pattern is told in the words of the field's description.
    """
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    text = _FIXES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "string_pattern_mismatch" and (wanted := _description(model, problem["loc"])):
        text = f"does not have the right form. {wanted}"
    where = " ".join(".".join(str(part) for part in (*place, *problem["loc"])).split())
    if not where:
        return text
    # A check over several fields begins with the name of the one that it is about.
    return f"{where}.{text}" if _NAMES_A_FIELD.match(text) else f"{where}: {text}"


def _description(model: Any, loc: Sequence[int | str]) -> str:
    """What the field at this place of a model is for, "" if that is not said."""
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
