"""Why an operation failed, in one line that names field and fix, over HTTP and at a shell."""

from typing import ClassVar

from pydantic import ValidationError

from leads.core.problems import first_problem
from leads.offers.model import InvalidOffer
from leads.offers.table import UnreadableOffer
from leads.platform.row_reading import UnreadableRow
from leads.platform.settings import SettingsError
from leads.platform.storage import StorageError
from leads.platform.threads import NotDoneInTime


class Problem(Exception):
    """Base of all problems. If a field is wrong, the text begins with its name and `: `."""

    status: ClassVar[int]
    title: ClassVar[str]


class Invalid(Problem):
    """The request is wrong."""

    status = 400
    title = "The request is not valid"


class Forbidden(Problem):
    """The caller's level, or a setting of the app, forbids the request. The text names the level or setting."""

    status = 403
    title = "Not allowed"


class NotFound(Problem):
    """There is no such offer, type, lead or connection. The text says what to do."""

    status = 404
    title = "Not found"


class Unreadable(Problem):
    """This release can't read a stored row."""

    status = 409
    title = "What is stored can't be read"


class LengthRequired(Problem):
    """The body came without its length, so the Functions host passed on an empty body."""

    status = 411
    title = "A length is required"


class Changed(Problem):
    """Somebody else changed the stored offer, so the request was made from another version."""

    status = 412
    title = "The offer has changed"


class TooLarge(Problem):
    """The body is longer than the limit."""

    status = 413
    title = "The body is too large"


class Unavailable(Problem):
    """Storage does not answer, or an app setting is wrong. The text has no details, because any holder of a key may read it."""

    status = 503
    title = "Temporarily unavailable"


PROBLEMS: tuple[type[Problem], ...] = (
    Invalid,
    Forbidden,
    NotFound,
    Unreadable,
    LengthRequired,
    Changed,
    TooLarge,
    Unavailable,
)

FAILURES = (Problem, InvalidOffer, UnreadableRow, ValidationError, StorageError, SettingsError, NotDoneInTime)
"""The errors that an operation may raise."""


def as_problem(failure: Exception) -> Problem:
    """One of `FAILURES` as a problem."""
    match failure:
        case Problem():
            return failure
        case UnreadableOffer() | UnreadableRow():
            return Unreadable(str(failure))
        case InvalidOffer():
            return Invalid(str(failure))
        case ValidationError():
            return Invalid(first_problem(failure))
        case SettingsError():
            return Unavailable("An app setting is wrong. Run leads doctor, which names it.")
        case NotDoneInTime():
            return Unavailable(f"{failure}. Ask again.")
        case _:
            return Unavailable("Storage did not answer. Ask again.")
