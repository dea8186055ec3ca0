"""A webhook receiver over TLS that verifies signatures with the Standard Webhooks library and remembers each id once."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.fakes.tls import Authority


@dataclass
class Receiver:
    """`records` holds each accepted body by its webhook-id; `calls` every id as it came."""

    authority: Authority
    secrets: list[str]
    status: Callable[[int], tuple[int, dict[str, str]]] = lambda number: (200, {})
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __enter__(self) -> Receiver:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._server.socket = self.authority.server_context().wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}/leads"

    def receive(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        self.calls.append(headers["webhook-id"])
        self.headers.append(headers)
        if not any(_verifies(secret, body, headers) for secret in self.secrets):
            return 401, {}
        status, more = self.status(len(self.calls))
        if status < 300:
            self.records.setdefault(headers["webhook-id"], json.loads(body))
        return status, more


def _verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


class _Server(http.server.ThreadingHTTPServer):
    receiver: Receiver
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that refuses the certificate is no error of the server's."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = {name.lower(): value for name, value in self.headers.items()}
        self._reply(*self.server.receiver.receive(found, body))  # type: ignore[attr-defined]

    def do_HEAD(self) -> None:
        self._reply(405, {})

    def _reply(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""
