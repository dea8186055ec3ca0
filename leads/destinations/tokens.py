"""Access tokens: one for each connection, renewed shortly before it expires or when the vendor refuses it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from leads.core import clock
from leads.core.outcomes import Misconfigured, Retry
from leads.platform.cached_value import CachedValue, Lifetime

if TYPE_CHECKING:
    from leads.destinations.http import Answer, HttpClient

RENEWED_BEFORE: Final = timedelta(minutes=5)
"""How long before its end a token is replaced."""
_LONGEST_SECONDS: Final = 1e6


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and its end."""

    value: str
    expires_at: datetime


class NoToken(Exception):
    """The vendor gave no token. `outcome` is a fault in the settings, or a retry."""

    def __init__(self, outcome: Misconfigured | Retry) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


def request_token(http: "HttpClient", url: str, form: Mapping[str, str]) -> "Answer":
    """The answer of a token endpoint (RFC 6749, section 4.4.2). The form travels in the body, because URLs are logged."""
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    return http.request("POST", url, headers=headers, body=urlencode(form))


def token_in(answer: "Answer", default_seconds: float | None = None) -> Token | None:
    """The token in the answer of a token endpoint (RFC 6749, section 5.1). None if the answer holds no usable token.

    `default_seconds` is the token's lifetime in seconds if the vendor does not send `expires_in`.
    """
    body = answer.json()
    if answer.status != 200 or not isinstance(body, dict):
        return None
    value, seconds = body.get("access_token"), body.get("expires_in", default_seconds)
    if not isinstance(value, str) or not value or not value.isascii():
        return None
    if not isinstance(seconds, int | float) or not 0 <= seconds < _LONGEST_SECONDS:
        return None
    return Token(value, clock.now() + timedelta(seconds=seconds))


class TokenSource:
    """The token of one credential, shared by all threads. `fetch` gets a new token or raises `NoToken`."""

    def __init__(self, fetch: Callable[[], Token], renewed_before: timedelta = RENEWED_BEFORE) -> None:
        self._fetch = fetch
        self._renewed_before = renewed_before
        self._kept = CachedValue[Token](self._lasts, lambda: NoToken(Retry("sign_in_takes_long")))

    def get(self) -> Token:
        """The current token. Raises `NoToken`, or what `fetch` raises."""
        try:
            return self._kept.get(self._fetch)
        except NoToken as error:
            if isinstance(error.outcome, Misconfigured):
                self._kept.forget()  # the check that follows must not get the same error from the cache
            raise

    def renewed(self, refused: Token) -> Token:
        """A token that replaces the refused token. One thread fetches the token for all threads."""
        known = self._kept.peek()
        if known is not None and known.value == refused.value:
            self._kept.forget()
        return self.get()

    def _lasts(self, token: Token) -> Lifetime:
        return Lifetime(token.expires_at - self._renewed_before, token.expires_at)
