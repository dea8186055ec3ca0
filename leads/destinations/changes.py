"""What a later stage changes in an existing record, by one rule for all CRMs.

A value that a person may have edited stays. Empty fields are filled. The rating rises if the app set the present rating. The app
clears its own do-not-contact flags if no other user has changed the record. The policy `overwrite` replaces all mapped fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from leads.destinations.follow_up import is_hotter
from leads.destinations.text import NOT_PROVIDED
from leads.destinations.vendor_errors import ErrorKind

if TYPE_CHECKING:
    from leads.destinations.base import OutgoingLead

CONFLICTS_AT_MOST: Final = 3
"""After this number of conflicts with other users' changes, the app writes the stage and leaves the record unchanged."""

REFUSES_CHANGES: Final = frozenset(
    {
        ErrorKind.SETTINGS,
        ErrorKind.GONE,
        ErrorKind.LEAD,
        ErrorKind.FIELD,
        ErrorKind.TOO_LONG,
        ErrorKind.DUPLICATE_RULE,
        ErrorKind.ALREADY_THERE,
    }
)
"""Refusals that may concern the changes to the record."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vendor's field for the rating, its value for each of the app's ratings, and its do-not-contact flags.

    A vendor without such fields has an empty `Vocabulary`.
    """

    rating: str = ""
    ratings: Mapping[str, str | int] = field(default_factory=dict)
    do_not_contact: tuple[str, ...] = ()

    def rating_in(self, values: Mapping[str, Any]) -> str:
        """The app's name of a record's rating, "" if the app does not know the rating."""
        return next((name for name, value in self.ratings.items() if value == values.get(self.rating)), "")

    def says_do_not_contact(self, values: Mapping[str, Any]) -> bool:
        return any(values.get(name) for name in self.do_not_contact)


@dataclass(frozen=True, slots=True)
class Existing:
    """An existing record.

    `values` are the fields that were read. `ours`: the app made the record. `edited`: another user has changed the record since.
    `last_rating` is the rating that the app gave the record last.
    """

    values: Mapping[str, Any]
    ours: bool
    edited: bool
    last_rating: str


class WithoutChanges:
    """Decides whether a stage is stored without its changes to the record.

    `decided` is set after a refusal for good, or after `CONFLICTS_AT_MOST` conflicts.
    """

    def __init__(self) -> None:
        self.decided = False
        self._conflicts = 0

    def decide(self, refusal: ErrorKind) -> bool:
        """Count a refusal. Returns whether the next try leaves the changes out because of this refusal."""
        self._conflicts += refusal is ErrorKind.CHANGED_MEANWHILE
        if self.decided or not (refusal in REFUSES_CHANGES or self._conflicts >= CONFLICTS_AT_MOST):
            return False
        self.decided = True
        return True


def changes_to(
    found: Existing, fields: Mapping[str, Any], outgoing: "OutgoingLead", vocabulary: Vocabulary
) -> dict[str, Any]:
    """The fields to write for this stage. `fields` are the mapped fields with their values."""
    untouched = found.ours and not found.edited
    if outgoing.overwrite:
        changes = dict(fields)
    elif untouched or not found.ours:
        changes = {name: value for name, value in fields.items() if _fills(value, found.values.get(name, value))}
    else:
        changes = {}
    rating, now = outgoing.follow_up.rating, vocabulary.rating_in(found.values)
    is_our_rating = found.ours and now != "" and now == found.last_rating
    may_rate = untouched or is_our_rating or not found.values.get(vocabulary.rating) or outgoing.overwrite
    if rating and vocabulary.ratings and vocabulary.rating not in fields and may_rate and is_hotter(rating, now):
        changes[vocabulary.rating] = vocabulary.ratings[rating]
    if untouched and outgoing.asks_for_contact:
        flags = [name for name in vocabulary.do_not_contact if found.values.get(name) and name not in fields]
        changes |= dict.fromkeys(flags, False)
    return changes


def _fills(value: Any, present: Any) -> bool:
    """Whether the present value is empty or a placeholder, and the new value is neither."""
    return present in (None, "", NOT_PROVIDED) and value != NOT_PROVIDED
