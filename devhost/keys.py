"""Function keys as in Azure: who may call which HTTP function.

A function's own key opens that function only, the host key opens every function of level `function`, the
master key opens everything (https://learn.microsoft.com/azure/azure-functions/function-keys-how-to).
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """The keys of one host; `functions` maps a function's name to its own key."""

    host: str
    master: str
    functions: dict[str, str]

    @classmethod
    def create(cls, host_key: str | None, functions: Iterable[str]) -> Keys:
        """Keys for these functions; a random host key where none is given.

        All others follow from the host key: devhosts that share it share all keys, as instances in Azure do.
        """
        host = host_key or secrets.token_hex(24)  # not urlsafe: "-k…" would be an option when it is given back
        return cls(host, _derive(host, "master"), {name: _derive(host, f"function {name}") for name in functions})

    def allows(self, auth_level: str, function: str, presented: str | None) -> bool:
        """Whether who presents this key may call a function of this level (as its binding spells it)."""
        level = auth_level.lower()
        if level == "anonymous":
            return True
        if not presented:
            return False
        accepted = [self.master]
        if level == "function":
            accepted += [self.host, self.functions[function]]
        return any(hmac.compare_digest(key.encode(), presented.encode()) for key in accepted)


def _derive(host_key: str, purpose: str) -> str:
    digest = hmac.digest(host_key.encode(), f"devhost {purpose}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
