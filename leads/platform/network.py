"""Connections with one time limit for name lookup, connecting, TLS handshake and reading together.

The libraries' own time-outs are not enough. Their connect time-out does not cover the name lookup, and restarts with each address
of a name. Their read time-out restarts with each byte.
"""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf
from threading import Condition, Lock, local
from time import monotonic
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse
from urllib3.util import connection

from leads.platform.threads import in_background

DIAL_SECONDS: Final = 10.0
"""The limit for a connection without a time-out."""


class NotAdmitted(OSError):
    """The host has no allowed address."""


def dial(
    host: str, port: int, seconds: float, options: Any = None, admits: Callable[[str], bool] = lambda _: True
) -> socket.socket:
    """Connect to an allowed address of a host, within `seconds` for all addresses together. `admits` says which are allowed.

    Raises TimeoutError or another OSError, and `NotAdmitted` if no address is allowed.
    """
    ends_at = monotonic() + seconds
    addresses = [address for address in _looked_up(host, port, seconds) if admits(address)]
    if not addresses:
        raise NotAdmitted
    error: OSError = TimeoutError("no address of the host answers")
    for number, address in enumerate(addresses):
        share = (ends_at - monotonic()) / (len(addresses) - number)
        if share <= 0:
            break
        try:
            return connection.create_connection((address, port), share, socket_options=options)
        except OSError as failed:
            error = failed
    raise error


# --- Names --------------------------------------------------------------------------------------------------------------

_looking: Final[dict[tuple[str, int], Future[list[str]]]] = {}
_looking_lock: Final = Lock()


def _looked_up(host: str, port: int, seconds: float) -> list[str]:
    """A host's addresses. Python can't interrupt a name lookup, so a background thread does it, one thread for each name."""
    key = (host, port)
    with _looking_lock:
        asked = _looking.get(key)
        if asks := asked is None:
            asked = _looking[key] = Future()
    assert asked is not None  # noqa: S101
    if asks:
        in_background(lambda: _look_up(key, asked), "names")
    return asked.result(seconds)


def _look_up(key: tuple[str, int], asked: "Future[list[str]]") -> None:
    try:
        found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
        asked.set_result(list(dict.fromkeys(str(address[0]) for *_, address in found)))
    except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
        asked.set_exception(error)
    finally:
        with _looking_lock:
            del _looking[key]


# --- Whole requests -----------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Limit:
    """The time limit of a request. `ends_at`: by `time.monotonic`. `sock`: the socket to shut down, None after the request."""

    ends_at: float
    sock: socket.socket | None = None
    reached: bool = False

    def end(self) -> None:
        sock = self.sock
        if sock is not None:
            self.reached = True
            with suppress(OSError):  # another thread may close it at the same moment
                # The plain socket's method: an SSL socket's would remove the TLS session while a thread reads from it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Watchdog:
    """Ends requests at their time limit. One thread serves all requests, and starts with the first one."""

    def __init__(self) -> None:
        self._current = local()
        self._limits: list[tuple[float, int, Limit]] = []
        self._changed = Condition()
        self._numbers = count()
        self._looks_at: float | None = None
        """When the thread checks next, by `time.monotonic`; None before the thread starts."""

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Limit]:
        """Limit the time that this thread spends on its connections within the block."""
        limit = Limit(monotonic() + seconds)
        self._current.limit = limit
        try:
            yield limit
        finally:
            limit.sock = None
            self._current.limit = None

    def guard(self, sock: socket.socket) -> None:
        limit: Limit | None = getattr(self._current, "limit", None)
        if limit is None or limit.ends_at == inf:
            return
        limit.sock = sock
        with self._changed:
            self._drop_what_is_over()
            heappush(self._limits, (limit.ends_at, next(self._numbers), limit))
            if self._looks_at is None:
                self._looks_at = inf
                in_background(self._run, "request-watchdog")
            if limit.ends_at < self._looks_at:
                self._changed.notify()

    def _drop_what_is_over(self) -> None:
        while self._limits and self._limits[0][2].sock is None:
            heappop(self._limits)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._drop_what_is_over()
                now = monotonic()
                self._looks_at = self._limits[0][0] if self._limits else now + _IDLE_SECONDS
                if self._looks_at > now:
                    self._changed.wait(self._looks_at - now)
                    continue
                _, _, limit = heappop(self._limits)
            limit.end()


_watchdog: Final = _Watchdog()
_IDLE_SECONDS: Final = 60.0

limit_of_request = _watchdog.limit


# --- Connections --------------------------------------------------------------------------------------------------------


class AddressRefused(NewConnectionError):
    """The host has no allowed address. Nothing was sent."""


class _Bounded(HTTPConnection):
    def admits(self, address: str) -> bool:
        """Whether the connection may go to this address of the host."""
        del address
        return True

    def _new_conn(self) -> socket.socket:
        seconds = self.timeout if isinstance(self.timeout, int | float) else DIAL_SECONDS
        try:
            sock = dial(self._dns_host.strip("[]"), self.port, seconds, self.socket_options, self.admits)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "the host does not answer") from error
        except NotAdmitted:
            raise AddressRefused(self, "the address is not public") from None
        except OSError as error:
            raise NewConnectionError(self, type(error).__name__) from error
        _watchdog.guard(sock)
        return sock

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        _watchdog.guard(self.sock)
        return super().getresponse()


class PlainConnection(_Bounded):
    """A connection without TLS."""


class SecureConnection(_Bounded, HTTPSConnection):
    """A connection with TLS."""


class BoundedAdapter(HTTPAdapter):
    """Keeps up to `connections` to a host open. No retries, no redirects; requests end at `limit_of_request`."""

    def __init__(
        self,
        connections: int,
        secure: type[SecureConnection] = SecureConnection,
        plain: type[PlainConnection] | None = PlainConnection,
    ) -> None:
        """`plain` None: http is not supported."""
        self._pools: dict[str, type[HTTPConnectionPool]] = {
            "https": type("_SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": secure})
        }
        if plain is not None:
            self._pools["http"] = type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain})
        super().__init__(pool_maxsize=connections, max_retries=Retry(total=False, redirect=False))

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager
