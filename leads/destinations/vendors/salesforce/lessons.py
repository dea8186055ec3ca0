"""What Salesforce's refusals have taught while one lead is sent: which fields to leave out, and what else to do without."""

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
"""The part of a transaction that changes the lead. A refusal without a part is about the record's making, or a query."""
TASK: Final = "task"
MEMBER: Final = "member"

_ABOUT_FIELDS: Final = frozenset({ErrorKind.FIELD, ErrorKind.TOO_LONG, ErrorKind.GONE})
_PASSES: Final = frozenset({ErrorKind.TRANSIENT, ErrorKind.SIGN_IN_AGAIN})
"""What says nothing of the part that was refused."""
_LINKS: Final = frozenset({"WhoId", "WhatId"})
"""A task without them belongs nowhere."""


class Lessons:
    """Empty at first; `take` adds to them, or raises the refusal again where it teaches nothing new."""

    def __init__(self, client: Client, known: LeadFields, mapped: Mapping[str, Any], key_field: str | None) -> None:
        self._client = client
        self._known = known
        self._mapped = mapped
        self._has_idempotency_keys = key_field is None
        self._needed = REQUIRED | _LINKS | ({key_field} if key_field else set())
        self._refused: dict[str, set[str]] = {LEAD: set(), TASK: set()}
        self._sent: dict[str, set[str]] = {LEAD: set(), TASK: set()}
        self._looks_again: Counter[ErrorKind] = Counter()
        self._has_asked = False
        self._gone: dict[str, None] = {}
        self.left_out: dict[str, None] = {}
        """The fields that the present try does without, in order."""
        self.duplicate_allowed = False
        self.other_keys = 0
        """How many idempotency keys are used up: Salesforce may answer with what it has refused under one for 30 days."""
        self._key_is_new = False
        self._heard: tuple[str, tuple[str, ...]] | None = None
        self.without_changes = WithoutChanges()
        self.without_campaign = False

    def begin(self) -> None:
        """Another try. What it will do without in its tasks is known before their text is made."""
        self.left_out = {**self._gone, **dict.fromkeys(sorted(self._refused[TASK]))}

    def writable(self, part: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that Salesforce is asked to take; the others are noted as left out."""
        kept = {name: value for name, value in fields.items() if self._may_write(part, name)}
        self.left_out |= dict.fromkeys(name for name in fields if name not in kept)
        self._sent[part] |= kept.keys()
        return kept

    def _may_write(self, part: str, name: str) -> bool:
        if name in self._refused[part]:
            return False
        return part == TASK or name in self._needed or self._known.can_be_written(name)

    def take(self, refusal: Refusal) -> None:
        """Learn from a refusal what the next try does otherwise. Raises it where there is nothing to learn."""
        if not self._learnt_from(refusal):
            raise self._in_context(refusal)

    def _learnt_from(self, refusal: Refusal) -> bool:
        part = refusal.part
        # A limit may be met at every try, and the stage can do without these parts.
        kind = ErrorKind.LEAD if refusal.met_limit and part in {LEAD, MEMBER} else refusal.problem.kind
        if self._looks_once_more(refusal):
            return True
        if part == MEMBER:
            return self._gave_up_campaign(kind)
        if not part and self._has_idempotency_keys and self._took_another_key(refusal.problem):
            return True
        learnt = self._asked(refusal) or self._left_out_more(refusal)
        if learnt or part.startswith(TASK):
            return learnt
        return part == LEAD and self.without_changes.decide(kind)

    def _looks_once_more(self, refusal: Refusal) -> bool:
        """Whether the record may have become another one since it was read: changed, converted, deleted."""
        kind = refusal.problem.kind
        if kind is ErrorKind.CHANGED_MEANWHILE and refusal.part == LEAD:
            self.without_changes.decide(kind)
        at_most = {ErrorKind.CHANGED_MEANWHILE: CONFLICTS_AT_MOST, ErrorKind.GONE: 1 if refusal.part else 0}.get(
            kind, 0
        )
        self._looks_again[kind] += 1
        return self._looks_again[kind] <= at_most

    def _gave_up_campaign(self, kind: ErrorKind) -> bool:
        if self.without_campaign or kind in _PASSES:
            return False
        self.without_campaign = True
        if kind is not ErrorKind.ALREADY_THERE:
            self._gone["campaign"] = None
        return True

    def _asked(self, refusal: Refusal) -> bool:
        """Whether the organisation has been asked for its fields now, because the refusal may hold for every lead."""
        problem = refusal.problem
        if self._has_asked or refusal.part.startswith(TASK):
            return False
        contradicts = problem.kind is ErrorKind.TOO_LONG or problem.code in HIDDEN_FIELD
        names_none = not problem.fields and (problem.kind is ErrorKind.FIELD or problem.code in TARGET_REFUSED)
        may_help = "Country" in problem.fields or (names_none and problem.code not in OWNER_REFUSED)
        if not contradicts and (self._known.are_known or not may_help):
            return False
        self._known.read(self._client)
        self._has_asked = True
        return True

    def _left_out_more(self, refusal: Refusal) -> bool:
        more = self.to_leave_out(refusal)
        self._refused.get(_fields_of(refusal), set()).update(more)
        return bool(more)

    def to_leave_out(self, refusal: Refusal) -> set[str]:
        """The fields that a refusal may be about, of those that were sent and that the part can do without."""
        part, problem = _fields_of(refusal), refusal.problem
        if part not in self._refused or problem.kind not in _ABOUT_FIELDS:
            return set()
        left = self._sent[part] - self._needed - self._refused[part]
        if problem.fields:
            return left & set(problem.fields)
        if "OwnerId" in left and problem.code in OWNER_REFUSED | TARGET_REFUSED:
            return {"OwnerId"}
        return left & self._known.references if part == LEAD and problem.code in TARGET_REFUSED else set()

    def _took_another_key(self, problem: Problem) -> bool:
        """Whether this may be an old answer: a refusal that was heard before, or of fields that were not sent."""
        before, self._heard = self._heard, (problem.code, problem.fields)
        is_old = before == self._heard or (bool(problem.fields) and not self._sent[LEAD] & set(problem.fields))
        self._key_is_new = is_old and not self._key_is_new and problem.kind in _ABOUT_FIELDS
        self.other_keys += self._key_is_new
        return self._key_is_new

    def _in_context(self, refusal: Refusal) -> Refusal:
        """The refusal as it is to be judged: what holds for every lead is a matter of the settings."""
        problem = refusal.problem
        if problem.kind is ErrorKind.CHANGED_MEANWHILE:
            return refusal.judged(code=CHANGED_MEANWHILE)
        if problem.code == "REQUIRED_FIELD_MISSING" and set(problem.fields) - self._mapped.keys():
            words = f"Salesforce requires {', '.join(problem.fields)} in every lead: add it to the mapping."
            return refusal.judged(kind=ErrorKind.SETTINGS, words=words)
        if problem.code in HIDDEN_FIELD:
            words = "A field that every lead needs is hidden from the app's user: give it the permission set."
            return refusal.judged(kind=ErrorKind.SETTINGS, words=words)
        return refusal


def _fields_of(refusal: Refusal) -> str:
    """The part whose fields were sent; a refusal without a part is about the record's making."""
    return TASK if refusal.part.startswith(TASK) else refusal.part or LEAD
