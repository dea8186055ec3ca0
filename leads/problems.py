"""Says in one line what is wrong with what a person wrote."""

import re

from pydantic import ValidationError

_FIXES = {
    "extra_forbidden": "there is no such field: remove it or correct its name",
    "missing": "is missing: add it",
}
_NAMES_A_FIELD = re.compile(r"\w+(\.\w+)*: ")


def first_problem(error: ValidationError, *place: str) -> str:
    """The first field that is wrong and how to mend it, never the value. `place` is where the whole model stands."""
    problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
    text = _FIXES.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    where = " ".join(".".join(str(part) for part in (*place, *problem["loc"])).split())
    if not where:
        return text
    # A check over several fields begins with the name of the one that it is about.
    return f"{where}.{text}" if _NAMES_A_FIELD.match(text) else f"{where}: {text}"
