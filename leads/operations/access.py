"""Who may see what: the three levels, who is asking, and what that person or program may do."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from leads.operations.problems import Forbidden


class AccessLevel(StrEnum):
    """How much somebody may see and do. Each level holds the ones before."""

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
"""The functions that answer operations to whoever has their key, and the level that it opens. Each function has keys of its own
(Microsoft Learn, "Work with access keys in Azure Functions", section "Understand keys")."""


def base_of(function: str) -> str:
    """Where the operations' addresses begin that a function answers."""
    return f"/api/{function}"


BASE: Final = base_of("manage")
SIGNED_IN: Final = "signed-in"
"""Below `/api/signed-in` people and programs need no key: they have signed in with Entra ID."""


def role_of(level: AccessLevel) -> str:
    """The app role of Entra ID that gives a level."""
    return f"Leads.{level.capitalize()}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `who` is never a name: `key`, `shell`, or an object id of Entra ID. `base` is where the addresses begin."""

    level: AccessLevel
    by: Literal["key", "entra", "shell"]
    who: str
    base: str = BASE

    @property
    def function(self) -> str:
        return self.base.rpartition("/")[2]


SHELL: Final = Caller(AccessLevel.PERSONAL, "shell", "shell")
"""Whoever has rights on the storage account."""


def caller_with_key(function: str) -> Caller:
    """Whoever has a key of this function: the host has looked at it."""
    return Caller(LEVEL_OF_KEY[function], "key", "key", base_of(function))


class LevelTooLow(Forbidden):
    """Whoever asks has a level below the one that the operation needs, which is `needed`."""

    title = "The level is too low"

    def __init__(self, caller: Caller, needed: AccessLevel) -> None:
        function = next(name for name, level in LEVEL_OF_KEY.items() if level is needed)
        remedy = (
            f"take the key of the function {function}"
            if caller.by == "key"
            else f"have yourself given the app role {role_of(needed)}"
        )
        super().__init__(
            f"This needs the level {needed} ({needed.in_words}), and you have {caller.level} ({caller.level.in_words}); {remedy}."
        )
        self.needed = needed
