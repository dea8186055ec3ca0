"""Access tokens: one for each credential, kept until shortly before it expires, fetched again when a vendor refuses it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode

from leads.core import clock
from leads.core.outcomes import Misconfigured, Retry
from leads.platform.cached_value import CachedValue, Lifetime
from leads.platform.secrets import Secrets

if TYPE_CHECKING:
    from leads.destinations.http import Answer, HttpClient

RENEWED_BEFORE: Final = timedelta(minutes=5)
"""How long before its end a token is replaced, where the vendor gives a new one then."""

SECRET_KEPT: Final = timedelta(hours=1)
"""How long a token that is a secret itself is used before the secret is read again; sooner where the vendor refuses it."""


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


def post_form(http: "HttpClient", url: str, form: Mapping[str, str]) -> "Answer":
    """What a token endpoint answers. The secret travels in the body: an address is written into too many logs."""
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    return http.request("POST", url, headers=headers, body=urlencode(form))


class TokenSource:
    """The token of one credential, shared by all threads. `fetch` gets a new one or raises `NoToken`.

    `renewed_before` is 0 for a vendor that repeats its token until that has ended.
    """

    def __init__(self, fetch: Callable[[], Token], renewed_before: timedelta = RENEWED_BEFORE) -> None:
        self._fetch = fetch
        self._renewed_before = renewed_before
        self._kept = CachedValue[Token](self._lasts, lambda: NoToken(Retry("sign_in_takes_long")))

    @classmethod
    def of_secret(cls, secrets: Secrets, reference: str) -> Self:
        """The source of a token that a person has entered as a secret; it raises `SettingsError` where that is not there."""
        return cls(lambda: Token(secrets.read(reference), clock.now() + SECRET_KEPT))

    def get(self) -> Token:
        """A token that is good for `renewed_before` at least. Raises `NoToken`, or what `fetch` raises."""
        try:
            return self._kept.get(self._fetch)
        except NoToken as error:
            if isinstance(error.outcome, Misconfigured):
                self._kept.forget()  # the check that follows asks once more
            raise

    def renewed(self, refused: Token) -> Token:
        """Another token than the one that the vendor has just refused, fetched once for all threads."""
        known = self._kept.peek()
        if known is not None and known.value == refused.value:
            self._kept.forget()
        return self.get()

    def _lasts(self, token: Token) -> Lifetime:
        return Lifetime(token.expires_at - self._renewed_before, token.expires_at)
