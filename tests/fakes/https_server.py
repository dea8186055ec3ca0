"""The base of the vendors' fakes: an HTTPS server on this machine, a journal of requests, and faults on request."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes.tls import Authority


@dataclass(frozen=True)
class Request:
    """A request as it arrived. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def form(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Response:
    """An answer. A body other than bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Broken:
    """A broken answer: whether the vendor acts before it, and which bytes are sent instead."""

    acts: bool
    say: Callable[[BufferedIOBase, bytes], None] = lambda wire, whole: None


LOSE_ANSWER: Final = Broken(acts=True)
"""The vendor acts, and the connection breaks before it has answered."""

Fault = Response | Broken | None


class VendorServer:
    """Serves until the block ends. `fault` is asked for each request: what to do instead of acting and answering, or None.

    Without an authority it speaks plain HTTP. Port 0 is any that is free.
    """

    def __init__(self, authority: Authority | None, port: int = 0) -> None:
        self.journal: list[Request] = []
        self.fault: Callable[[Request], Fault] = lambda request: None
        self.busiest = 0
        """The greatest number of concurrent requests."""
        self.lock = threading.RLock()
        self._busy = 0
        self._scheme = "https" if authority else "http"
        self._context = authority.server_context() if authority else None
        self._server = _Server(("127.0.0.1", port), self)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_listening()

    def _listen(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _stop_listening(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def refusing_connections(self) -> Iterator[None]:
        """Refuse connections until the block ends, and cut off the present ones."""
        port = self.port
        self._stop_listening()
        self._server.cut_all()
        try:
            yield
        finally:
            self._server = _Server(("127.0.0.1", port), self)
            self._listen()

    @contextlib.contextmanager
    def with_certificate_of(self, authority: Authority) -> Iterator[None]:
        """Use a certificate of another authority until the block ends."""
        right, self._context = self._context, authority.server_context()
        self._server.cut_all()
        try:
            yield
        finally:
            self._context = right

    def secured(self, sock: socket.socket) -> socket.socket:
        return self._context.wrap_socket(sock, server_side=True) if self._context else sock

    def fail_next(self, fault: Fault, when: Callable[[Request], bool] = lambda request: True) -> None:
        """Apply this fault once, to the next request that `when` chooses."""
        left = [fault]

        def decide(request: Request) -> Fault:
            return left.pop() if left and when(request) else None

        self.fault = decide

    def answer(self, request: Request) -> Response:
        """What the vendor does. Called with `lock` held: requests act one after the other."""
        raise NotImplementedError

    def receive(self, request: Request) -> tuple[Response | None, Broken | None]:
        """The answer if the vendor acts, and the fault if the answer is broken."""
        with self.lock:
            self.journal.append(request)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            fault = self.fault(request)
        try:
            if isinstance(fault, Response):
                return fault, None
            if fault is not None and not fault.acts:
                return None, fault
            with self.lock:
                return self.answer(request), fault
        finally:
            with self.lock:
                self._busy -= 1


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], vendor: VendorServer) -> None:
        super().__init__(address, _Handler)
        self.vendor = vendor
        self._connected: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake belongs to the connection's own thread: a client that dawdles must not keep others waiting.
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.vendor.secured(request) as secured:
            self._connected.add(secured)
            try:
                super().finish_request(secured, client_address)
            finally:
                self._connected.discard(secured)

    def cut_all(self) -> None:
        for sock in list(self._connected):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Ignore a client that vanishes or refuses the certificate."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        server: _Server = self.server  # type: ignore[assignment]
        response, broken = server.vendor.receive(Request(self.command, self.path, headers, body))
        whole = b"" if response is None else _on_the_wire(response, self.command != "HEAD")
        if broken is None:
            self.wfile.write(whole)
        else:
            self.close_connection = True
            broken.say(self.wfile, whole)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_TRACE = do_QUERY = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def _on_the_wire(response: Response, with_body: bool) -> bytes:
    headers = dict(response.headers)
    if not isinstance(response.body, bytes):
        headers.setdefault("Content-Type", "application/json; odata.metadata=minimal")
    headers["Content-Length"] = str(len(response.content))
    lines = [f"HTTP/1.1 {response.status} Answer", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + (response.content if with_body else b"")
