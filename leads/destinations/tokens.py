"""Access tokens: one for each credential, kept until shortly before it expires, fetched anew once a vendor refuses it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from leads import clock
from leads.destinations.base import Misconfigured, Retry

RENEWED_BEFORE: Final = timedelta(minutes=5)
"""How long before its end a token is replaced, where the vendor gives a new one then."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when it ends."""

    value: str
    expires_at: datetime


class NoToken(Exception):
    """The vendor gave no token. `outcome` says whether that is a fault in the settings or passes by itself."""

    def __init__(self, outcome: Misconfigured | Retry) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


class TokenSource:
    """The token of one credential, shared by all threads. `fetch` gets a new one or raises `NoToken`.

    A vendor that gives the same token again until it has ended is asked `renewed_before` = 0 before its end.
    """

    def __init__(self, fetch: Callable[[], Token], renewed_before: timedelta = RENEWED_BEFORE) -> None:
        self._fetch = fetch
        self._renewed_before = renewed_before
        self._lock = Lock()
        self._token: Token | None = None

    def get(self) -> Token:
        """A token that is good for `renewed_before` at least. Raises `NoToken`, or what `fetch` raises."""
        with self._lock:
            if self._token is None or self._token.expires_at - clock.now() <= self._renewed_before:
                self._token = self._fetch()
            return self._token

    def renewed(self, refused: Token) -> Token:
        """Another token than the one that the vendor has just refused, fetched once for all threads."""
        with self._lock:
            if self._token is None or self._token.value == refused.value:
                self._token = self._fetch()
            return self._token
