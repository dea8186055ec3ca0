"""Decides after a refusal by Salesforce which fields and other parts of the lead to leave out."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from leads.destinations.changes import CONFLICTS_AT_MOST, WithoutChanges
from leads.destinations.vendor_errors import ErrorKind, Problem
from leads.destinations.vendors.salesforce.client import Client
from leads.destinations.vendors.salesforce.errors import (
    CHANGED_MEANWHILE,
    HIDDEN_FIELD,
    OWNER_REFUSED,
    TARGET_REFUSED,
    Refusal,
)
from leads.destinations.vendors.salesforce.fields import REQUIRED, LeadFields

LEAD: Final = "lead"
"""The part of a transaction that changes the lead. A refusal without a part concerns the record's creation, or a query."""
TASK: Final = "task"
MEMBER: Final = "member"

_ABOUT_FIELDS: Final = frozenset({ErrorKind.FIELD, ErrorKind.TOO_LONG, ErrorKind.GONE})
_PASSES: Final = frozenset({ErrorKind.TRANSIENT, ErrorKind.SIGN_IN_AGAIN})
"""Refusals that say nothing about the refused part."""
_LINKS: Final = frozenset({"WhoId", "WhatId"})
"""The fields that link a task to its record."""


class Lessons:
    """What the refusals of one lead have taught. Empty at first."""

    def __init__(self, client: Client, known: LeadFields, mapped: Mapping[str, Any], key_field: str | None) -> None:
        self._client = client
        self._known = known
        self._mapped = mapped
        self._has_idempotency_keys = key_field is None
        self._needed = REQUIRED | _LINKS | ({key_field} if key_field else set())
        self._refused: dict[str, set[str]] = {LEAD: set(), TASK: set()}
        self._sent: dict[str, set[str]] = {LEAD: set(), TASK: set()}
        self._rereads: Counter[ErrorKind] = Counter()
        self._has_read_fields = False
        self._gone: dict[str, None] = {}
        self.left_out: dict[str, None] = {}
        """The fields that the present try leaves out, in order."""
        self.duplicate_allowed = False
        self.other_keys = 0
        """The number of used up idempotency keys. For 30 days, Salesforce may repeat the refusal that it stored under a key."""
        self._key_is_new = False
        self._last_refusal: tuple[str, tuple[str, ...]] | None = None
        self.without_changes = WithoutChanges()
        self.without_campaign = False

    def begin(self) -> None:
        """Begin another try. The fields that its tasks leave out are known before the tasks' text is rendered."""
        self.left_out = {**self._gone, **dict.fromkeys(sorted(self._refused[TASK]))}

    def writable(self, part: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields to write. Notes the other fields as left out."""
        kept = {name: value for name, value in fields.items() if self._may_write(part, name)}
        self.left_out |= dict.fromkeys(name for name in fields if name not in kept)
        self._sent[part] |= kept.keys()
        return kept

    def _may_write(self, part: str, name: str) -> bool:
        if name in self._refused[part]:
            return False
        return part == TASK or name in self._needed or self._known.can_be_written(name)

    def learn(self, refusal: Refusal) -> None:
        """Note what the next try does differently after a refusal. Raises the refusal if another try would not help."""
        if not self._changes_next_try(refusal):
            raise self._in_context(refusal)

    def _changes_next_try(self, refusal: Refusal) -> bool:
        part = refusal.part
        # Every try may meet the limit, and the stage can be stored without these parts.
        kind = ErrorKind.LEAD if refusal.met_limit and part in {LEAD, MEMBER} else refusal.problem.kind
        if self._reads_again(refusal):
            return True
        if part == MEMBER:
            return self._leave_out_campaign(kind)
        if not part and self._has_idempotency_keys and self._use_another_key(refusal.problem):
            return True
        learnt = self._read_fields(refusal) or self._leave_out_more(refusal)
        if learnt or part.startswith(TASK):
            return learnt
        return part == LEAD and self.without_changes.decide(kind)

    def _reads_again(self, refusal: Refusal) -> bool:
        """Whether to read the record again, because someone may have changed, converted or deleted it."""
        kind = refusal.problem.kind
        if kind is ErrorKind.CHANGED_MEANWHILE and refusal.part == LEAD:
            self.without_changes.decide(kind)
        at_most = {ErrorKind.CHANGED_MEANWHILE: CONFLICTS_AT_MOST, ErrorKind.GONE: 1 if refusal.part else 0}.get(
            kind, 0
        )
        self._rereads[kind] += 1
        return self._rereads[kind] <= at_most

    def _leave_out_campaign(self, kind: ErrorKind) -> bool:
        if self.without_campaign or kind in _PASSES:
            return False
        self.without_campaign = True
        if kind is not ErrorKind.ALREADY_THERE:
            self._gone["campaign"] = None
        return True

    def _read_fields(self, refusal: Refusal) -> bool:
        """Read the organisation's fields if the refusal may concern every lead. Returns whether they were read."""
        problem = refusal.problem
        if self._has_read_fields or refusal.part.startswith(TASK):
            return False
        contradicts = problem.kind is ErrorKind.TOO_LONG or problem.code in HIDDEN_FIELD
        names_none = not problem.fields and (problem.kind is ErrorKind.FIELD or problem.code in TARGET_REFUSED)
        may_help = "Country" in problem.fields or (names_none and problem.code not in OWNER_REFUSED)
        if not contradicts and (self._known.are_known or not may_help):
            return False
        self._known.read(self._client)
        self._has_read_fields = True
        return True

    def _leave_out_more(self, refusal: Refusal) -> bool:
        more = self.to_leave_out(refusal)
        self._refused.get(_fields_of(refusal), set()).update(more)
        return bool(more)

    def to_leave_out(self, refusal: Refusal) -> set[str]:
        """The optional fields of the sent part that the refusal may concern."""
        part, problem = _fields_of(refusal), refusal.problem
        if part not in self._refused or problem.kind not in _ABOUT_FIELDS:
            return set()
        left = self._sent[part] - self._needed - self._refused[part]
        if problem.fields:
            return left & set(problem.fields)
        if "OwnerId" in left and problem.code in OWNER_REFUSED | TARGET_REFUSED:
            return {"OwnerId"}
        return left & self._known.references if part == LEAD and problem.code in TARGET_REFUSED else set()

    def _use_another_key(self, problem: Problem) -> bool:
        """Use another idempotency key if this may be a stored refusal: a repeated one, or of fields that were not sent.

        Returns whether another key is used.
        """
        before, self._last_refusal = self._last_refusal, (problem.code, problem.fields)
        is_old = before == self._last_refusal or (bool(problem.fields) and not self._sent[LEAD] & set(problem.fields))
        self._key_is_new = is_old and not self._key_is_new and problem.kind in _ABOUT_FIELDS
        self.other_keys += self._key_is_new
        return self._key_is_new

    def _in_context(self, refusal: Refusal) -> Refusal:
        """The refusal to raise. A refusal that concerns every lead becomes a fault of the settings."""
        problem = refusal.problem
        if problem.kind is ErrorKind.CHANGED_MEANWHILE:
            return refusal.with_problem(code=CHANGED_MEANWHILE)
        if problem.code == "REQUIRED_FIELD_MISSING" and set(problem.fields) - self._mapped.keys():
            words = f"Salesforce requires {', '.join(problem.fields)} in every lead: add it to the mapping."
            return refusal.with_problem(kind=ErrorKind.SETTINGS, words=words)
        if problem.code in HIDDEN_FIELD:
            words = "A field that every lead needs is hidden from the app's user: give it the permission set."
            return refusal.with_problem(kind=ErrorKind.SETTINGS, words=words)
        return refusal


def _fields_of(refusal: Refusal) -> str:
    """The part with the refused fields. A refusal without a part concerns the record's creation."""
    return TASK if refusal.part.startswith(TASK) else refusal.part or LEAD
