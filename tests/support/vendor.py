"""A fake vendor over HTTP. It answers as the test says, and records each call and each record.

It is a separate server, so a lost answer is really lost, and a second record would be found.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.https_server import LOSE_ANSWER, Broken, Request, Response, VendorServer

DELIVERED = {"outcome": "delivered"}
RETRY = {"outcome": "retry", "code": "503"}
KEY_REFUSED = RETRY | {"key_refused": True}
"""The vendor stores nothing under the idempotency key, and repeats this refusal for the same key."""
REJECTED = {"outcome": "rejected", "code": "bad-field", "reason": "the field is not accepted"}
MISCONFIGURED = {"outcome": "misconfigured", "code": "401", "reason": "the secret has expired"}
UNKNOWN = {"outcome": "unknown", "code": "lost"}
LOST_ANSWER = {"outcome": "delivered", "lose_answer": True}
"""The vendor stores the record and the connection breaks before the answer."""


@dataclass(frozen=True)
class Call:
    """One `send` as received."""

    key: str
    customer: str
    customer_record: str
    idempotency_key: str
    stage: str
    repeat_of: str
    lead: dict[str, Any]


@dataclass
class Vendor:
    """Answers `send` as `answer` says (default: delivered), and `check` as `checked` says."""

    answer: Callable[[Call], dict[str, Any]] = lambda call: DELIVERED
    checked: dict[str, Any] = field(default_factory=lambda: {"ok": True})
    calls: list[Call] = field(default_factory=list)
    checks: int = 0
    records: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Vendor:
        self._server = _Server(self).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    @property
    def url(self) -> str:
        return self._server.url

    def answers(self, *answers: dict[str, Any]) -> None:
        """Give these answers in order, then repeat the last one."""
        remaining = list(answers)

        def next_answer(call: Call) -> dict[str, Any]:
            with self.lock:
                return remaining.pop(0) if len(remaining) > 1 else remaining[0]

        self.answer = next_answer

    def fails(self) -> None:
        """Be down: every send is a `Retry`, and the check fails, too."""
        self.answer, self.checked = lambda call: RETRY, {"ok": False, "transient": True, "code": "503"}

    def works(self) -> None:
        """Work again."""
        self.answer, self.checked = lambda call: DELIVERED, {"ok": True}

    def refuses(self) -> None:
        """Refuse each send and check because of an expired secret."""
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


class _Server(VendorServer):
    """Unlike at other fake vendors, requests take effect concurrently."""

    def __init__(self, vendor: Vendor) -> None:
        super().__init__(None)
        self._vendor = vendor

    def receive(self, request: Request) -> tuple[Response | None, Broken | None]:
        if request.path == "/check":
            self._vendor.checks += 1
            return Response(200, self._vendor.checked), None
        answer = self._vendor.receive(Call(**json.loads(request.body)))
        return Response(200, answer), LOSE_ANSWER if answer.get("lose_answer") else None
