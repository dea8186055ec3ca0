"""Guarded requests to addresses that an offer or a vendor names: with TLS only, and never to a private network."""

import ssl
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

from requests import PreparedRequest, Response, Session
from urllib3.exceptions import ConnectTimeoutError, SSLError

from leads.platform.machine import Network
from leads.platform.network import BoundedAdapter, SecureConnection

Address = IPv4Address | IPv6Address

_AZURE_WIRE_SERVER: Final = ip_address("168.63.129.16")
"""The public address of Azure's platform services (Microsoft Learn, "What is IP address 168.63.129.16?")."""
_IPV6_UNICAST: Final = ip_network("2000::/3")
"""The public part of IPv6. All other addresses are local, reserved, or IPv4 embedded in IPv6."""
_NOT_VENDORS: Final = tuple(
    ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")
)
"""Networks for protocols and documents (6to4, Teredo, ORCHID, …) that some Python versions count as public."""


def is_public(address: Address, allowed: tuple[Network, ...] = ()) -> bool:
    """Whether a request may go to this address: it is public, or in a network that the settings allow."""
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


class HandshakeFailed(SSLError):
    """The TLS handshake failed, or the certificate is not the host's. Nothing was sent."""


class _GuardedConnection(SecureConnection):
    """Checks each address before connecting. So no one can probe private ports, or change a name between check and connection."""

    allowed_networks: tuple[Network, ...] = ()

    def admits(self, address: str) -> bool:
        return is_public(ip_address(address.partition("%")[0]), self.allowed_networks)

    def connect(self) -> None:
        try:
            super().connect()
        except TimeoutError:
            raise ConnectTimeoutError(self, "the TLS handshake") from None
        except (ssl.SSLError, SSLError) as error:
            raise HandshakeFailed(type(error).__name__) from None


class _GuardedAdapter(BoundedAdapter):
    """Ignores the machine's proxies, which must not receive customers' data."""

    def __init__(self, connections: int, allowed_networks: tuple[Network, ...]) -> None:
        connection = type("_Connection", (_GuardedConnection,), {"allowed_networks": allowed_networks})
        super().__init__(connections, secure=connection, plain=None)

    def send(self, request: PreparedRequest, **options: Any) -> Response:  # type: ignore[override]
        return super().send(request, **(options | {"proxies": None}))


def guarded_session(connections: int, allowed_networks: tuple[Network, ...]) -> Session:
    """A session that guards all requests and refuses http. It keeps up to `connections` to a host open."""
    session = Session()
    session.adapters.clear()
    session.mount("https://", _GuardedAdapter(connections, allowed_networks))
    return session


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and the errors that requests, urllib3 and Azure's SDK have wrapped in it."""
    while error is not None:
        yield error
        inner = (
            getattr(error, "reason", None)
            or getattr(error, "inner_exception", None)
            or next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        )
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
