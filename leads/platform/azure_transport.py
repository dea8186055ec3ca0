"""What the Azure SDK's requests travel over: each of them keeps to its time-outs and to the deadline, goes the guarded way unless
the operator has named its host, and is redirected nowhere."""

from collections.abc import Mapping
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.exceptions import ServiceRequestError, ServiceRequestTimeoutError, ServiceResponseTimeoutError
from azure.core.pipeline.transport import RequestsTransport
from requests.exceptions import InvalidSchema

from leads.platform import deadline
from leads.platform.address_guard import causes, guarded_session
from leads.platform.machine import Network, network_is_described
from leads.platform.network import AddressRefused, BoundedAdapter, limit_of_request

WHOLE_SECONDS: Final = 60.0
"""All of one request, however slowly its answer drips."""
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Before the SDK tries again, whatever the service asks for: what has to wait longer waits on the queue."""


class NotAllowed(ServiceRequestError):
    """A request may not go where it was to go, and was not sent."""


class BoundedTransport(RequestsTransport):  # type: ignore[misc]
    """Up to `connections` to a host are kept open, one for each thread that may send.

    The SDK's own keeps ten, and every request beyond them would pay for a TLS handshake. The time-outs stand here because a
    client gives those of its options only to a transport that it makes itself.
    """

    def __init__(
        self, connections: int, timeouts: Mapping[str, Any], allowed_networks: tuple[Network, ...] = ()
    ) -> None:
        session = guarded_session(connections, allowed_networks)
        session.trust_env = network_is_described()
        self._connections = connections
        self._trusting = Lock()
        self._timeouts = {name: float(timeouts[name]) for name in ("connection_timeout", "read_timeout")}
        super().__init__(session=session, session_owner=False, **self._timeouts)

    def trust(self, *addresses: str) -> None:
        """Let requests to the hosts of these addresses go as they are: without TLS if the address says so, to any network, by the
        machine's proxy. For hosts that the operator's settings or the platform name, never an offer. Only before requests.
        """
        with self._trusting:
            for address in addresses:
                parts = urlsplit(address)
                prefix = f"{parts.scheme}://{parts.netloc}/"
                if prefix not in self.session.adapters:  # `mount` moves what other threads may be going through
                    self.session.mount(prefix, BoundedAdapter(self._connections))  # trying again is the SDK's matter

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request. Raises `NotAllowed`, and the SDK's own time-out if the deadline comes before the answer."""
        seconds = min(WHOLE_SECONDS, deadline.remaining())
        if seconds <= 0:
            raise ServiceRequestTimeoutError("the deadline was reached before the request")
        for name, usual in self._timeouts.items():
            options[name] = min(options.get(name, usual), seconds)
        with limit_of_request(seconds) as limit:
            try:
                response = super().send(request, **options)
            except Exception as error:
                if not limit.reached:
                    if any(isinstance(cause, AddressRefused | InvalidSchema) for cause in causes(error)):
                        raise NotAllowed("the address is not public, or is without TLS") from None
                    raise
        if limit.reached:
            raise ServiceResponseTimeoutError("the request took too long")
        response.headers.pop("Location", None)  # the SDK would follow it, with the token
        return response

    def sleep(self, duration: float) -> None:
        """Wait before another try, but not past the deadline."""
        super().sleep(max(0.0, min(duration, LONGEST_PAUSE_SECONDS, deadline.remaining())))
