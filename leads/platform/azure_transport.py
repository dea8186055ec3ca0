"""The transport of the Azure SDK's clients.

Each request has time-outs and ends at the deadline. It is guarded unless the operator's settings name its host, and it follows
no redirect.
"""

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
"""Time limit of a whole request, including a slow answer."""
LONGEST_PAUSE_SECONDS: Final = 2.0
"""The longest pause before the SDK retries, also if the service asks for more. Longer waits happen on the queue."""


class NotAllowed(ServiceRequestError):
    """The request was not sent, because its address is not allowed."""


class BoundedTransport(RequestsTransport):  # type: ignore[misc]
    """Keeps up to `connections` to a host open, one for each thread that may send.

    The SDK's own transport keeps ten, and each further request needs a TLS handshake. The time-outs are set here, because a
    client passes the time-outs of its options only to a transport that it made itself.
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
        """Do not guard requests to the hosts of these addresses: allow plain http, private networks and the machine's proxy.

        Only for hosts that the operator's settings or the platform name, never an offer. Call it before the first request.
        """
        with self._trusting:
            for address in addresses:
                parts = urlsplit(address)
                prefix = f"{parts.scheme}://{parts.netloc}/"
                if prefix not in self.session.adapters:  # `mount` reorders a dict that other threads may be reading
                    self.session.mount(prefix, BoundedAdapter(self._connections))  # the SDK itself retries

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request. Raises `NotAllowed`; if the deadline comes before the answer, the SDK's time-out error."""
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
        """Wait before a retry, but not past the deadline."""
        super().sleep(max(0.0, min(duration, LONGEST_PAUSE_SECONDS, deadline.remaining())))
