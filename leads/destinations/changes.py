"""What a later stage changes in a record that is there: one rule for every CRM.

Nothing that a person may have edited is changed. Empty fields are filled. The rating rises if the present one is ours. Our own
do-not-contact flags are cleared if no other user has changed the record. The policy `overwrite` replaces every mapped field.
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
"""After this many conflicts with other people's changes, the stage is written without changes to the record."""

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
"""Refusals that may be about the changes to the record."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vendor's names: the field of the rating, its value for each of ours, and the flags that say not to contact.

    A vendor whose records have no such fields leaves them out.
    """

    rating: str = ""
    ratings: Mapping[str, str | int] = field(default_factory=dict)
    do_not_contact: tuple[str, ...] = ()

    def rating_in(self, values: Mapping[str, Any]) -> str:
        """Our name of a record's rating, "" if the app does not know the rating."""
        return next((name for name, value in self.ratings.items() if value == values.get(self.rating)), "")

    def says_do_not_contact(self, values: Mapping[str, Any]) -> bool:
        return any(values.get(name) for name in self.do_not_contact)


@dataclass(frozen=True, slots=True)
class Existing:
    """A record as it was read.

    `values` are those that were asked for. `ours`: the app has made the record. `edited`: somebody else has touched it since.
    `last_rating` is the rating that the app gave it last.
    """

    values: Mapping[str, Any]
    ours: bool
    edited: bool
    last_rating: str


class WithoutChanges:
    """Whether a stage is stored without its changes to the record. The stage counts for more than the changes.

    That is decided once the vendor has refused the changes for good, or after `CONFLICTS_AT_MOST` conflicts.
    """

    def __init__(self) -> None:
        self.decided = False
        self._conflicts = 0

    def decide(self, refusal: ErrorKind) -> bool:
        """Count a refusal of the last try. Returns whether the next try leaves the changes out because of it."""
        self._conflicts += refusal is ErrorKind.CHANGED_MEANWHILE
        if self.decided or not (refusal in REFUSES_CHANGES or self._conflicts >= CONFLICTS_AT_MOST):
            return False
        self.decided = True
        return True


def changes_to(
    found: Existing, fields: Mapping[str, Any], outgoing: "OutgoingLead", vocabulary: Vocabulary
) -> dict[str, Any]:
    """The fields to write for this stage; `fields` are those that the mapping fills."""
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
    """Whether the field is empty or holds a placeholder, and the value is more than a placeholder."""
    return present in (None, "", NOT_PROVIDED) and value != NOT_PROVIDED
