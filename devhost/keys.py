"""Function keys as in Azure: they decide who may call an HTTP function.

A function's own key opens only that function. The host key opens every function of level `function`. The master key opens
everything (https://learn.microsoft.com/azure/azure-functions/function-keys-how-to).
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

LEVELS = ("anonymous", "function", "admin")


@dataclass(frozen=True)
class Keys:
    """The keys of one host. `functions`: function's name → its own key."""

    host: str
    master: str
    functions: dict[str, str]
    _known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def create(cls, host_key: str | None, functions: Iterable[str]) -> Keys:
        """Keys for these functions. `host_key` None: a random host key.

        All other keys are derived from the host key. So devhosts with the same host key share all keys, as instances in Azure do.
        """
        host = host_key or secrets.token_hex(
            24
        )  # not urlsafe: a key such as "-k…" would be read as an option on a command line
        return cls(host, _derive(host, "master"), {name: _derive(host, f"function {name}") for name in functions})

    def allows(self, auth_level: str, function: str, presented: str | None) -> bool:
        """Whether this key opens a function of this level. `auth_level`: as in the function's binding."""
        return LEVELS.index(self.level(presented, function)) >= LEVELS.index(auth_level.lower())

    def level(self, presented: str | None, function: str = "") -> str:
        """The level of a key: `admin`, `function`, or `anonymous` for a wrong or missing key.

        A key that was accepted once is then accepted in any letter case, as by the host's SecretManager.
        """
        if not presented:
            return "anonymous"
        remembered = f"{presented}{function}".upper()
        if remembered not in self._known:
            level = self._level(presented, function)
            if level == "anonymous":
                return level
            self._known[remembered] = level
        return self._known[remembered]

    def _level(self, presented: str, function: str) -> str:
        if _equal(presented, self.master):
            return "admin"
        own = self.functions.get(function, self.host)
        return "function" if _equal(presented, self.host) or _equal(presented, own) else "anonymous"


def _equal(presented: str, key: str) -> bool:
    return hmac.compare_digest(key.encode(), presented.encode())


def _derive(host_key: str, purpose: str) -> str:
    digest = hmac.digest(host_key.encode(), f"devhost {purpose}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
