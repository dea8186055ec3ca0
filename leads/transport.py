"""What the Azure SDK's requests travel over: each of them keeps to its time-outs and to the deadline."""

from collections.abc import Mapping
from typing import Any, Final

from azure.core.exceptions import ServiceRequestTimeoutError, ServiceResponseTimeoutError
from azure.core.pipeline.transport import RequestsTransport
from requests import Session

from leads import deadline
from leads.network import BoundedAdapter, limit_of_request
from leads.settings import network_is_described

WHOLE_SECONDS: Final = 60.0
"""All of one request, however slowly its answer drips."""
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Before the SDK tries again, whatever the service asks for: what has to wait longer waits on the queue."""


class BoundedTransport(RequestsTransport):  # type: ignore[misc]
    """Up to `connections` to a host are kept open, one for each thread that may send.

    The SDK's own keeps ten, and every request beyond them would pay for a TLS handshake. The time-outs stand here because a
    client gives those of its options only to a transport that it makes itself.
    """

    def __init__(self, connections: int, timeouts: Mapping[str, Any]) -> None:
        session = Session()
        session.trust_env = network_is_described()
        adapter = BoundedAdapter(connections)  # trying again is the SDK's matter
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        self._timeouts = {name: float(timeouts[name]) for name in ("connection_timeout", "read_timeout")}
        super().__init__(session=session, session_owner=False, **self._timeouts)

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request. Raises what the SDK takes for a time-out where the deadline is reached before or meanwhile."""
        seconds = min(WHOLE_SECONDS, deadline.remaining())
        if seconds <= 0:
            raise ServiceRequestTimeoutError("the deadline was reached before the request")
        for name, usual in self._timeouts.items():
            options[name] = min(options.get(name, usual), seconds)
        with limit_of_request(seconds) as limit:
            try:
                response = super().send(request, **options)
            except Exception:
                if not limit.reached:
                    raise
        if limit.reached:
            raise ServiceResponseTimeoutError("the request took too long")
        return response

    def sleep(self, duration: float) -> None:
        """Wait before another try, but not past the deadline."""
        super().sleep(max(0.0, min(duration, LONGEST_PAUSE_SECONDS, deadline.remaining())))
