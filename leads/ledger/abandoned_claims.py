"""Claims that this process has given up. No attempt sends under them, although rows may still hold them."""

from threading import Lock
from time import monotonic
from typing import Final

KNOWN_FOR_SECONDS: Final = 720.0
"""Three times a claim's lease, because storage may carry out a write late."""


class GivenUp:
    """The tokens of given-up claims, each with whether a lead may have been sent under it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: dict[str, tuple[float, bool]] = {}

    def add(self, token: str, *, may_have_sent: bool) -> None:
        now = monotonic()
        with self._lock:
            for old in [old for old, (since, _) in self._tokens.items() if now - since > KNOWN_FOR_SECONDS]:
                del self._tokens[old]
            self._tokens[token] = (now, may_have_sent)

    def has(self, token: str, *, may_have_sent: bool | None = None) -> bool:
        """Whether the claim was given up; with `may_have_sent`, whether with this value."""
        found = self._tokens.get(token)
        return found is not None and may_have_sent in {None, found[1]}
