"""A vendor of the tests' own: answers as told over HTTP, and records every call and every record that it holds.

It stands for what is on the other side of a destination, so a lost answer is really lost, and a second record would be
there.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DELIVERED = {"outcome": "delivered"}
RETRY = {"outcome": "retry", "code": "503"}
KEY_REFUSED = RETRY | {"key_refused": True}
"""The vendor has stored nothing under the idempotency key, and repeats this for whoever sends it again."""
REJECTED = {"outcome": "rejected", "code": "bad-field", "reason": "the field is not accepted"}
MISCONFIGURED = {"outcome": "misconfigured", "code": "401", "reason": "the secret has expired"}
UNKNOWN = {"outcome": "unknown", "code": "lost"}
LOST_ANSWER = {"outcome": "delivered", "lose_answer": True}
"""The vendor stores the record and the connection breaks before the answer."""


@dataclass(frozen=True)
class Call:
    """One `send` as it arrived."""

    key: str
    customer: str
    customer_record: str
    idempotency_key: str
    stage: str
    repeat_of: str
    lead: dict[str, Any]


@dataclass
class Vendor:
    """Answers `send` with what `answer` says (default: delivered) and `check` with `checked`."""

    answer: Callable[[Call], dict[str, Any]] = lambda call: DELIVERED
    checked: dict[str, Any] = field(default_factory=lambda: {"ok": True})
    calls: list[Call] = field(default_factory=list)
    checks: int = 0
    records: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Vendor:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.vendor = self
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answers(self, *answers: dict[str, Any]) -> None:
        """Give these answers one after another, then the last one for ever."""
        remaining = list(answers)

        def next_answer(call: Call) -> dict[str, Any]:
            with self.lock:
                return remaining.pop(0) if len(remaining) > 1 else remaining[0]

        self.answer = next_answer

    def fails(self) -> None:
        """Be down: every send is a `Retry` and the check does not get through either."""
        self.answer, self.checked = lambda call: RETRY, {"ok": False, "transient": True, "code": "503"}

    def works(self) -> None:
        """Be well again."""
        self.answer, self.checked = lambda call: DELIVERED, {"ok": True}

    def refuses(self) -> None:
        """Have an expired secret: every send and the check say so."""
        self.answer = lambda call: MISCONFIGURED
        self.checked = {"ok": False, "problem": "the secret has expired: make a new one", "code": "401"}

    def keys(self) -> list[str]:
        return [call.key for call in self.calls]

    def receive(self, call: Call) -> dict[str, Any]:
        with self.lock:
            self.calls.append(call)
        answer = self.answer(call)
        if answer["outcome"] == "delivered":
            with self.lock:
                self.records[call.key] = 1
        return answer


class _Server(ThreadingHTTPServer):
    vendor: Vendor
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that were killed in mid-call."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        vendor = self.server.vendor  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path == "/check":
            vendor.checks += 1
            self._reply(vendor.checked)
            return
        answer = vendor.receive(Call(**body))
        if answer.get("lose_answer"):
            self.close_connection = True
            self.connection.close()
        else:
            self._reply(answer)

    def _reply(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""
