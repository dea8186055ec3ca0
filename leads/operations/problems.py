"""Why an operation was not carried out, in one line that names the field and the fix: the same over HTTP and at a shell."""

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
    """The text begins with the field that it is about, if there is one, and `: `."""

    status: ClassVar[int]
    title: ClassVar[str]


class Invalid(Problem):
    """The request can't be carried out as it is."""

    status = 400
    title = "The request is not valid"


class Forbidden(Problem):
    """Whoever asks may not, or the app does not do that over HTTP, as it is set up. The text names the level or the setting."""

    status = 403
    title = "Not allowed"


class NotFound(Problem):
    """There is no such offer, type, lead or connection. The text says so and what to do."""

    status = 404
    title = "Not found"


class Unreadable(Problem):
    """Something is stored that this release can't read."""

    status = 409
    title = "What is stored can't be read"


class LengthRequired(Problem):
    """The body came without its length, and the Functions host handed over an empty one."""

    status = 411
    title = "A length is required"


class Changed(Problem):
    """Somebody else was quicker: the stored offer is not the version that the request was made from."""

    status = 412
    title = "The offer has changed"


class TooLarge(Problem):
    """The body is longer than any that could be meant."""

    status = 413
    title = "The body is too large"


class Unavailable(Problem):
    """Storage does not answer. The text tells nothing of it: over HTTP the caller may be anyone who has the key."""

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
"""All that an operation may raise."""


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
        case NotDoneInTime():
            return Unavailable(f"{failure}. Ask again.")
        case _:
            return Unavailable("Storage did not answer. Ask again.")
