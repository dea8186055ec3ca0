"""What Salesforce's refusals have taught while one lead is sent: which fields to leave out, and what else to do without."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from leads.destinations.changes import WithoutChanges
from leads.destinations.refusals import Kind, Problem
from leads.destinations.salesforce.client import ROWS, Client
from leads.destinations.salesforce.errors import HIDDEN_FIELD, OWNER_REFUSED, Refusal
from leads.destinations.salesforce.fields import REQUIRED, LeadFields

LEAD: Final = "lead"
"""The part of a transaction that changes the lead. A refusal without a part is about the record's making, or a query."""
TASK: Final = "task"
MEMBER: Final = "member"

_ABOUT_FIELDS: Final = frozenset({Kind.FIELD, Kind.TOO_LONG, Kind.GONE})


class Lessons:
    """Empty at first; `take` adds to them, or raises the refusal again where it teaches nothing new."""

    def __init__(self, client: Client, known: LeadFields, mapped: Mapping[str, Any], key_field: str | None) -> None:
        self._client = client
        self._known = known
        self._mapped = mapped
        self._has_idempotency_keys = key_field is None
        self._needed = REQUIRED | ({key_field} if key_field else set())
        self._refused: dict[str, set[str]] = {LEAD: set(), TASK: set()}
        self._sent: dict[str, set[str]] = {LEAD: set(), TASK: set()}
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
        kind, part = refusal.problem.kind, refusal.part
        if kind is Kind.CHANGED_MEANWHILE:
            if part == LEAD:
                self.without_changes.decide(kind)
            return True
        if part == MEMBER:
            return self._gave_up_campaign(kind)
        if not part and self._has_idempotency_keys and self._took_another_key(refusal.problem):
            return True
        learnt = self._asked(refusal) or self._left_out_more(refusal)
        if learnt or part.startswith(TASK):
            return learnt
        return part == LEAD and self.without_changes.decide(kind)

    def _gave_up_campaign(self, kind: Kind) -> bool:
        if self.without_campaign or kind not in {Kind.ALREADY_THERE, Kind.GONE}:
            return False
        self.without_campaign = True
        if kind is Kind.GONE:
            self._gone["campaign"] = None
        return True

    def _asked(self, refusal: Refusal) -> bool:
        """Whether the organisation has been asked for its fields now, because the refusal may hold for every lead."""
        problem = refusal.problem
        concerns_all = (
            problem.kind is Kind.TOO_LONG
            or problem.code in HIDDEN_FIELD
            or "Country" in problem.fields
            or (problem.kind is Kind.FIELD and not problem.fields and problem.code not in OWNER_REFUSED)
        )
        if self._known.are_known or not concerns_all or refusal.part.startswith(TASK):
            return False
        self._known.read(self._client)
        return True

    def _left_out_more(self, refusal: Refusal) -> bool:
        problem = refusal.problem
        part = TASK if refusal.part.startswith(TASK) else refusal.part or LEAD
        if part not in self._refused or problem.kind not in _ABOUT_FIELDS:
            return False
        named = problem.fields or (("OwnerId",) if problem.code in OWNER_REFUSED else ())
        more = (set(named) & self._sent[part]) - self._needed - self._refused[part]
        self._refused[part] |= more
        return bool(more)

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
        if problem.code == "REQUIRED_FIELD_MISSING" and set(problem.fields) - self._mapped.keys():
            words = f"Salesforce requires {', '.join(problem.fields)} in every lead: add it to the mapping."
            return Refusal(replace(problem, kind=Kind.SETTINGS, words=words), refusal.part)
        is_needed = refusal.part == ROWS or bool(self._needed & set(problem.fields))
        if problem.code in HIDDEN_FIELD and is_needed:
            words = "A field that every lead needs is hidden from the app's user: give it the permission set."
            return Refusal(replace(problem, kind=Kind.SETTINGS, words=words), refusal.part)
        return refusal
