"""Decides after a refusal by HubSpot which fields to leave out, so that the rest of the lead is stored."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from leads.destinations.base import MappingValue
from leads.destinations.changes import WithoutChanges
from leads.destinations.mapping import is_template
from leads.destinations.vendor_errors import ErrorKind, VendorError
from leads.destinations.vendors.hubspot.errors import OWNER

_CODE_CHARACTERS: Final = 100


class Lessons:
    """What the refusals of one lead have taught. Empty at first."""

    def __init__(self, mapping: Mapping[str, MappingValue]) -> None:
        self._mapping = mapping
        self._left_out: set[str] = set()
        self._without_changes = WithoutChanges()
        self._failed_extras: list[str] = []

    def learn(self, refused: VendorError, *, changes_record: bool) -> None:
        """Leave out the refused fields. If that does not help and the try changes a record, leave out all changes.

        Raises the refusal if there is nothing more to leave out. A refused constant of the mapping is raised as a fault of the
        settings.
        """
        problem = refused.problem
        is_about_fields = problem.kind is ErrorKind.FIELD
        constants = [name for name in problem.fields if name != OWNER and not is_template(self._mapping.get(name))]
        if is_about_fields and not constants and not self._left_out.issuperset(problem.fields):
            self._left_out.update(problem.fields)
        elif not (changes_record and self._without_changes.decide(problem.kind)):
            if is_about_fields and constants:
                words = f"HubSpot does not accept a constant of the mapping: check {', '.join(constants)}."
                raise VendorError(replace(problem, kind=ErrorKind.SETTINGS, words=words))
            raise refused

    def writable(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that the vendor has not refused."""
        return {name: value for name, value in fields.items() if name not in self._left_out}

    def changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The changes to an existing record, unless changes are left out."""
        return {} if self._without_changes.decided else dict(changes)

    def try_extra(self, name: str, extra: Callable[[], None]) -> None:
        """Do a step that a lead can be stored without. Raises a transient refusal, so that the lead is retried with the step."""
        try:
            extra()
        except VendorError as refused:
            if refused.problem.kind is ErrorKind.TRANSIENT:
                raise
            self._failed_extras.append(f"{name}:{refused.problem.code}")

    @property
    def remarks(self) -> list[str]:
        """Remarks for a person, stored with the lead."""
        return [f"HubSpot did not accept: {', '.join(sorted(self._left_out))}."] if self._left_out else []

    @property
    def code(self) -> str:
        """The code for the attempt's history: what was left out or has failed, "" if nothing."""
        left_out = [f"left_out:{','.join(sorted(self._left_out))}"] if self._left_out else []
        refused = ["changes_refused"] if self._without_changes.decided else []
        return " ".join([*left_out, *refused, *dict.fromkeys(self._failed_extras)])[:_CODE_CHARACTERS]
