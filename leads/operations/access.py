"""Access: the three levels, the caller, and what the caller may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from leads.operations.problems import Forbidden


class AccessLevel(StrEnum):
    """What a caller may see and do. Each level includes the levels before it."""

    REPORT = "report"
    OPERATE = "operate"
    PERSONAL = "personal"

    def reaches(self, needed: "AccessLevel") -> bool:
        order = [*AccessLevel]
        return order.index(self) >= order.index(needed)

    @property
    def in_words(self) -> str:
        return _WORDS[self]


_WORDS: Final = {
    AccessLevel.REPORT: "numbers alone, no leads",
    AccessLevel.OPERATE: "everything but personal data",
    AccessLevel.PERSONAL: "everything, personal data included",
}

LEVEL_OF_KEY: Final = {
    "report": AccessLevel.REPORT,
    "operate": AccessLevel.OPERATE,
    "manage": AccessLevel.PERSONAL,
}
"""The functions that answer operations, and the level that the key of each gives. Each function has its own keys (Microsoft
Learn, "Work with access keys in Azure Functions", section "Understand keys")."""


def base_of(function: str) -> str:
    """The beginning of the addresses that a function answers."""
    return f"/api/{function}"


BASE: Final = base_of("manage")
SIGNED_IN: Final = "signed-in"
"""Below `/api/signed-in`, people and programs sign in with Entra ID and need no key."""


def role_of(level: AccessLevel) -> str:
    """The app role of Entra ID that gives a level."""
    return f"Leads.{level.capitalize()}"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller. `who`: `key`, `shell` or an object id of Entra ID, never a name. `base`: the beginning of the addresses."""

    level: AccessLevel
    by: Literal["key", "entra", "shell"]
    who: str
    base: str = BASE

    @property
    def function(self) -> str:
        return self.base.rpartition("/")[2]


SHELL: Final = Caller(AccessLevel.PERSONAL, "shell", "shell")
"""A person or program with rights on the storage account."""


def caller_with_key(function: str) -> Caller:
    """A caller with a key of this function, which the host has checked."""
    return Caller(LEVEL_OF_KEY[function], "key", "key", base_of(function))


class LevelTooLow(Forbidden):
    """The caller's level is below the level `needed`."""

    title = "The level is too low"

    def __init__(self, caller: Caller, needed: AccessLevel) -> None:
        function = next(name for name, level in LEVEL_OF_KEY.items() if level is needed)
        remedy = (
            f"take the key of the function {function}"
            if caller.by == "key"
            else f"ask for the app role {role_of(needed)}"
        )
        super().__init__(
            f"This needs the level {needed} ({needed.in_words}), and you have {caller.level} ({caller.level.in_words}); {remedy}."
        )
        self.needed = needed
