"""The findings of the doctor, in words and with a remedy."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Final, TypeVar

from pydantic import BaseModel, Field

from leads.core.problems import code_location
from leads.platform import deadline
from leads.platform.storage import StorageError
from leads.platform.storage_errors import storage_problem
from leads.platform.threads import NotDoneInTime, map_in_order

_AT_ONCE: Final = 16

T = TypeVar("T")


class Area(StrEnum):
    """The areas that are checked, in the order in which to fix them."""

    SETTINGS = "settings"
    IDENTITY = "identity"
    QUEUES = "queues"
    TABLES = "tables"
    OFFERS = "offers"
    SECRETS = "secrets"
    CONNECTIONS = "connections"
    INTAKE = "intake"
    APP = "app"


class Level(StrEnum):
    """`wrong` needs a person. `note` passes by itself, or may be intended."""

    WRONG = "wrong"
    NOTE = "note"
    FINE = "fine"


class Finding(BaseModel):
    """The result of a check, and what to do."""

    area: Area
    about: str
    level: Level
    says: str
    remedy: str = ""
    answer: str = Field(default="", exclude=True)
    """An excerpt of a vendor's answer, for the shell only and never over HTTP."""


def wrong(area: Area, about: str, says: str, remedy: str, answer: str = "") -> Finding:
    return Finding(area=area, about=about, level=Level.WRONG, says=says, remedy=remedy, answer=answer)


def note(area: Area, about: str, says: str, remedy: str = "", answer: str = "") -> Finding:
    return Finding(area=area, about=about, level=Level.NOTE, says=says, remedy=remedy, answer=answer)


def fine(area: Area, about: str, says: str) -> Finding:
    return Finding(area=area, about=about, level=Level.FINE, says=says)


def failed(area: Area, about: str, error: Exception) -> Finding:
    """The finding for a check that failed."""
    if isinstance(error, StorageError):
        found = storage_problem(error)
        return wrong(area, about, found.says, found.remedy)
    return wrong(area, about, f"can't be checked ({code_location(error)})", "check the setting LeadsStorage")


def guarded(area: Area, step: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a step. If the step fails, the last finding says so."""
    try:
        yield from step()
    except Exception as error:  # noqa: BLE001 - a failed check does not stop the others
        yield failed(area, "all", error)


def side_by_side(area: Area, look: Callable[[T], Finding], things: list[T]) -> Iterator[Finding]:
    """Check several things at once, within the deadline."""
    try:
        yield from map_in_order(look, things, at_most=_AT_ONCE, seconds=deadline.remaining())
    except NotDoneInTime as error:
        yield note(area, "some", str(error), "run the doctor again: what hangs now may answer then")


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, with those that differ only in `about` joined."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        key = (finding.area, finding.level, finding.says, finding.remedy, finding.answer)
        about = groups.setdefault(key, [])
        if finding.about not in about:
            about.append(finding.about)
    return [
        Finding(area=Area(area), level=Level(level), says=says, remedy=remedy, answer=answer, about=", ".join(about))
        for (area, level, says, remedy, answer), about in groups.items()
    ]
