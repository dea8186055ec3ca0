"""What a vendor's refusals teach while one lead is sent: what is left out, so that the rest of the lead is stored."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from leads.destinations.changes import WithoutChanges
from leads.destinations.mapping import is_template
from leads.destinations.vendor_errors import ErrorKind, VendorError

if TYPE_CHECKING:
    from leads.destinations.base import MappingValue

_CODE_CHARACTERS: Final = 100


class Lessons:
    """Empty at first. `learn` adds to them, or raises the refusal where it teaches nothing new.

    `optional` are the fields beside the mapping's that a lead can be stored without, such as an owner.
    """

    def __init__(self, vendor: str, mapping: Mapping[str, "MappingValue"], optional: Collection[str] = ()) -> None:
        self._vendor = vendor
        self._mapping = mapping
        self._optional = optional
        self._left_out: set[str] = set()
        self._without_changes = WithoutChanges()
        self._failed_extras: list[str] = []

    def learn(self, refused: VendorError, *, changes_record: bool) -> None:
        """Leave out the fields that were refused; where the record was to be changed and nothing else helps, all changes.

        Raises the refusal otherwise: as one of the settings, where a constant of the mapping is refused.
        """
        problem = refused.problem
        is_about_fields = problem.kind is ErrorKind.FIELD
        constants = [name for name in problem.fields if not self._can_be_left_out(name)]
        if is_about_fields and not constants and not self._left_out.issuperset(problem.fields):
            self._left_out.update(problem.fields)
        elif not (changes_record and self._without_changes.decide(problem.kind)):
            if is_about_fields and constants:
                words = f"{self._vendor} does not take what the mapping fills in: check {', '.join(constants)}."
                raise VendorError(replace(problem, kind=ErrorKind.SETTINGS, words=words))
            raise refused

    def _can_be_left_out(self, name: str) -> bool:
        return name in self._optional or is_template(self._mapping.get(name))

    def writable(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields without those that the vendor has refused."""
        return {name: value for name, value in fields.items() if name not in self._left_out}

    def changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What may be changed in a record that is there."""
        return {} if self._without_changes.decided else dict(changes)

    def try_extra(self, name: str, extra: Callable[[], None]) -> None:
        """Do what a lead can be stored without. What only passes is raised, so that it is tried again with the lead."""
        try:
            extra()
        except VendorError as refused:
            if refused.problem.kind is ErrorKind.TRANSIENT:
                raise
            self._failed_extras.append(f"{name}:{refused.problem.code}")

    @property
    def remarks(self) -> list[str]:
        """What a person is told beside the lead."""
        return [f"{self._vendor} did not take: {', '.join(sorted(self._left_out))}."] if self._left_out else []

    @property
    def code(self) -> str:
        """For the attempt: what was left out or has failed, "" if nothing."""
        left_out = [f"left_out:{','.join(sorted(self._left_out))}"] if self._left_out else []
        refused = ["changes_refused"] if self._without_changes.decided else []
        return " ".join([*left_out, *refused, *dict.fromkeys(self._failed_extras)])[:_CODE_CHARACTERS]
