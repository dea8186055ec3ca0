"""What every vendor's stand-in shares: HTTPS on this machine, a journal of what arrived, and answers that are lost on request."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
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
    """An answer; a body that is no bytes goes out as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


LOSE_ANSWER: Literal["lose the answer"] = "lose the answer"
"""The vendor acts, and the connection breaks before it has answered."""

Fault = Response | Literal["lose the answer"] | None


class VendorServer:
    """Serves until the block ends. `fault` is asked for each request: what to answer instead of acting, or None."""

    def __init__(self, authority: Authority) -> None:
        self.journal: list[Request] = []
        self.fault: Callable[[Request], Fault] = lambda request: None
        self.busiest = 0
        """The greatest number of requests that were under way at once."""
        self.lock = threading.RLock()
        self._busy = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.vendor = self
        self._server.context = authority.server_context()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    def fail_next(self, fault: Fault, when: Callable[[Request], bool] = lambda request: True) -> None:
        """Do this to the next request that `when` chooses, once."""
        left = [fault]

        def decide(request: Request) -> Fault:
            return left.pop() if left and when(request) else None

        self.fault = decide

    def answer(self, request: Request) -> Response:
        """What the vendor does. Called with `lock` held: requests act one after the other."""
        raise NotImplementedError

    def receive(self, request: Request) -> Response | None:
        """The answer, or None where it is lost."""
        with self.lock:
            self.journal.append(request)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            fault = self.fault(request)
        try:
            if isinstance(fault, Response):
                return fault
            with self.lock:
                response = self.answer(request)
            return None if fault == LOSE_ANSWER else response
        finally:
            with self.lock:
                self._busy -= 1


class _Server(http.server.ThreadingHTTPServer):
    vendor: VendorServer
    context: ssl.SSLContext
    daemon_threads = True
    request_queue_size = 256

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake belongs to the connection's own thread: a client that dawdles must not keep others waiting.
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, *_: object) -> None:
        """A client that vanishes or refuses the certificate is no error of the vendor's."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        vendor: VendorServer = self.server.vendor  # type: ignore[attr-defined]
        response = vendor.receive(Request(self.command, self.path, headers, body))
        if response is None:
            self.close_connection = True
            return
        content = response.content
        self.send_response(response.status)
        if not isinstance(response.body, bytes):
            self.send_header("Content-Type", "application/json; odata.metadata=minimal")
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


def eventually(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
