"""HTTPS to vendors: time-outs, connection reuse, a size cap, no redirects, and no address inside our own network.

Nothing that is raised or logged here holds a URL, a header or a body: each of them can hold a secret or what a customer wrote.
"""

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from leads import clock, deadline
from leads.libraries import silence_urllib3
from leads.network import BoundedAdapter, SecureConnection, limit_of_request
from leads.settings import Network, Settings

CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
TOTAL_SECONDS: Final = 120
"""All of a request, however slowly its answer drips; less where its deadline is sooner."""
MAX_ANSWER_BYTES: Final = 1024 * 1024

silence_urllib3()

Address = IPv4Address | IPv6Address

_AZURE_WIRE_SERVER: Final = ip_address("168.63.129.16")
"""Azure's platform services, on a public address (Microsoft Learn, "What is IP address 168.63.129.16?")."""
_IPV6_UNICAST: Final = ip_network("2000::/3")
"""All of IPv6 that is given out to the public; what stands outside is local, reserved, or an IPv4 address in other clothes."""
_NOT_VENDORS: Final = tuple(
    ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
)
"""Networks for protocols and documents that Python takes for public or did until lately: 6to4, Teredo, ORCHID and the like."""


class Failure(StrEnum):
    """Why there is no answer. The names are codes for the attempt's history."""

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
"""The vendor can't have acted: no byte of the request has left."""


class NoAnswer(Exception):
    """The request got no usable answer. `sent` says whether the vendor may have acted on it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.value)
        self.failure = failure

    @property
    def sent(self) -> bool:
        return self.failure not in NOT_SENT


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded JSON, or None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after(self) -> float | None:
        """Seconds until the vendor wants to hear from us again: both forms of RFC 9110, section 10.2.3."""
        text = self.headers.get("retry-after", "").strip()
        if not text:
            return None
        try:
            return max(0.0, float(text))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(text) - clock.now()).total_seconds())
        except (ValueError, TypeError):
            return None


class HttpClient:
    """One connection's way to its vendor: a pool as large as its slots, shared by its threads."""

    def __init__(self, slots: int, allowed_networks: tuple[Network, ...] = (), ca_bundle: str = "") -> None:
        self._session = requests.Session()
        # Proxies, .netrc and the like of the machine must not decide where a customer's data goes.
        self._session.trust_env = False
        self._session.verify = ca_bundle or True
        self._session.mount("https://", _guarded(slots, allowed_networks))

    @classmethod
    def of(cls, settings: Settings) -> "HttpClient":
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
        """Send one request, once, and read `at_most` bytes of answer. Raises `NoAnswer`; a status is never an exception."""
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
    """The reason at the bottom of what requests and urllib3 wrap around it."""
    seen = list(_causes(error))
    for kind, failure in (
        (AddressRefused, Failure.ADDRESS_REFUSED),
        (NameResolutionError, Failure.NO_SUCH_HOST),
        (NewConnectionError, Failure.CONNECTION_REFUSED),
        (ConnectTimeoutError, Failure.CONNECT_TIMEOUT),
        (requests.exceptions.InvalidURL, Failure.NO_SUCH_HOST),
        (UnicodeError, Failure.NO_SUCH_HOST),
        (_HandshakeFailed, Failure.TLS),
        (ReadTimeoutError, Failure.TIMEOUT),
        (TimeoutError, Failure.TIMEOUT),
    ):
        if any(isinstance(cause, kind) for cause in seen):
            return failure
    return Failure.CONNECTION_LOST


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


# --- The address guard ------------------------------------------------------------------------------------------------


class AddressRefused(NewConnectionError):
    """The host's address lies inside a network that vendors don't live in."""


class _HandshakeFailed(SSLError):
    """TLS could not be agreed on, or the certificate is not the host's: nothing was sent."""


def is_public(address: Address, allowed: tuple[Network, ...] = ()) -> bool:
    """Whether a request may go to this address: public ones, and those of the networks that the settings allow."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed if network.version == address.version):
        return True
    if address == _AZURE_WIRE_SERVER or any(
        address in network for network in _NOT_VENDORS if network.version == address.version
    ):
        return False
    if isinstance(address, IPv6Address) and address not in _IPV6_UNICAST:
        return False
    return address.is_global and not address.is_multicast


class _GuardedConnection(SecureConnection):
    """Looks at the address that was really dialled, before a byte of TLS is sent: names that change can't get past it."""

    allowed_networks: tuple[Network, ...] = ()

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        peer = ip_address(str(sock.getpeername()[0]).partition("%")[0])
        if not is_public(peer, self.allowed_networks):
            sock.close()
            raise AddressRefused(self, "the address is not public")
        return sock

    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError:
            raise ConnectTimeoutError(self, "the TLS handshake") from None
        except (ssl.SSLError, SSLError) as error:
            raise _HandshakeFailed(type(error).__name__) from None


def _guarded(slots: int, allowed_networks: tuple[Network, ...]) -> BoundedAdapter:
    connection = type("_Connection", (_GuardedConnection,), {"allowed_networks": allowed_networks})
    return BoundedAdapter(slots, secure=connection, plain=None)
