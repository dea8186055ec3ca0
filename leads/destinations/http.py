"""HTTPS to vendors: time-outs, connection reuse, a size limit, no redirects, and no address inside the app's own network.

Exceptions and logs hold no URL, header or body, because each of these can hold a secret or personal data.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final, Self

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError, ReadTimeoutError

from leads.core import clock
from leads.platform import deadline
from leads.platform.address_guard import HandshakeFailed, causes, guarded_session
from leads.platform.libraries import silence_urllib3
from leads.platform.machine import Network
from leads.platform.network import AddressRefused, limit_of_request
from leads.platform.settings import Settings

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
TOTAL_SECONDS: Final = 120
"""The limit for a whole request, also with a slow answer. An earlier deadline shortens the limit."""
MAX_ANSWER_BYTES: Final = 1024 * 1024

silence_urllib3()


class Failure(StrEnum):
    """The reason why a request got no answer. The values are codes in the attempt's history."""

    ADDRESS_REFUSED = "address_refused"
    NO_SUCH_HOST = "no_such_host"
    CONNECTION_REFUSED = "connection_refused"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    ANSWER_TOO_LARGE = "answer_too_large"


NOT_SENT: Final = frozenset(
    {
        Failure.ADDRESS_REFUSED,
        Failure.NO_SUCH_HOST,
        Failure.CONNECTION_REFUSED,
        Failure.TLS,
        Failure.CONNECT_TIMEOUT,
    }
)
"""Failures before the first byte of the request was sent, so that the vendor can't have acted."""


def is_transient(status: int) -> bool:
    """Whether a later request may succeed: time-out, too early, too many requests, or a server error.

    Sources: RFC 9110, section 15; RFC 8470, section 5.2; RFC 6585, section 4.
    """
    return status in {408, 425, 429} or status >= 500


class NoAnswer(Exception):
    """The request got no usable answer. `sent`: the vendor may have acted on the request."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure

    @property
    def sent(self) -> bool:
        return self.failure not in NOT_SENT


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's complete answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded JSON, or None if the body is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from either form of `Retry-After` (RFC 9110, section 10.2.3). None without the header."""
        text = self.headers.get("retry-after", "").strip()
        if not text:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(text) - clock.now()).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None


class HttpClient:
    """The HTTPS client of one connection. Threads share its pool, which has one TCP connection for each slot."""

    def __init__(self, slots: int, allowed_networks: tuple[Network, ...] = (), ca_bundle: str = "") -> None:
        self._session = guarded_session(slots, allowed_networks)
        self._session.trust_env = False  # credentials from the machine's .netrc must not be sent to a vendor
        self._session.verify = ca_bundle or True

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The client for one connection of the app."""
        return cls(settings.connection_slots, settings.allowed_networks, settings.ca_bundle)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        read_seconds: float = READ_SECONDS,
        at_most: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Send a request once. Raises `NoAnswer`, also for an answer of more than `at_most` bytes. A status raises nothing."""
        data = body.encode() if isinstance(body, str) else body
        seconds = min(TOTAL_SECONDS, deadline.remaining())
        if seconds <= 0:
            raise NoAnswer(Failure.TIMEOUT)
        with limit_of_request(seconds) as limit:
            try:
                with self._session.request(
                    method,
                    url,
                    headers={"User-Agent": "marketplace-leads", "Accept-Encoding": "identity", **(headers or {})},
                    data=data,
                    timeout=(min(CONNECT_SECONDS, seconds), min(read_seconds, seconds)),
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    found = {name.lower(): value for name, value in response.headers.items()}
                    answer = Answer(response.status_code, found, _capped(response, at_most))
            except (requests.RequestException, HTTPError, OSError, ValueError) as error:
                raise NoAnswer(Failure.TIMEOUT if limit.reached else _failure(error)) from None
            if limit.reached:
                raise NoAnswer(Failure.TIMEOUT)
            return answer


def _capped(response: requests.Response, at_most: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65_536):
        body += chunk
        if len(body) > at_most:
            raise NoAnswer(Failure.ANSWER_TOO_LARGE)
    return bytes(body)


def _failure(error: BaseException) -> Failure:
    """The failure, from the causes of an exception of requests or urllib3."""
    seen = list(causes(error))
    for kind, failure in (
        (AddressRefused, Failure.ADDRESS_REFUSED),
        (requests.exceptions.InvalidSchema, Failure.ADDRESS_REFUSED),
        (NameResolutionError, Failure.NO_SUCH_HOST),
        (NewConnectionError, Failure.CONNECTION_REFUSED),
        (ConnectTimeoutError, Failure.CONNECT_TIMEOUT),
        (requests.exceptions.InvalidURL, Failure.NO_SUCH_HOST),
        (UnicodeError, Failure.NO_SUCH_HOST),
        (HandshakeFailed, Failure.TLS),
        (ReadTimeoutError, Failure.TIMEOUT),
        (TimeoutError, Failure.TIMEOUT),
    ):
        if any(isinstance(cause, kind) for cause in seen):
            return failure
    return Failure.CONNECTION_LOST
