"""A webhook receiver over TLS that verifies signatures with the Standard Webhooks library and remembers each id once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority


class Receiver(VendorServer):
    """`records` holds each accepted body by its webhook-id; `calls` every id as it came. `status` answers by call number.

    A call that is not signed is answered `unsigned`: receivers differ in that. Bodies that are `odd` are answered 400.

    Where a test moves the app's clock, `real_time=False` leaves out the library's look at the clock.
    """

    def __init__(self, authority: Authority, secrets: list[str], *, real_time: bool = True) -> None:
        super().__init__(authority)
        self._verifies = _verifies if real_time else _is_signed
        self.secrets = secrets
        self.status: Callable[[int], tuple[int, dict[str, str]]] = lambda number: (200, {})
        self.unsigned = 401
        self.odd: Callable[[dict[str, Any]], bool] = lambda body: False
        self.records: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.calls: list[str] = []

    @property
    def url(self) -> str:
        return f"{super().url}/leads"

    def answer(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(405)
        headers = dict(request.headers)
        self.calls.append(headers["webhook-id"])
        self.headers.append(headers)
        if not any(self._verifies(secret, request.body, headers) for secret in self.secrets):
            return Response(self.unsigned)
        body = json.loads(request.body)
        if self.odd(body):
            return Response(400)
        status, more = self.status(len(self.calls))
        if status < 300:
            self.records.setdefault(headers["webhook-id"], body)
        return Response(status, headers=more)


def _verifies(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def _is_signed(secret: str, body: bytes, headers: dict[str, str]) -> bool:
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    return Webhook(secret).sign(headers["webhook-id"], at, body.decode()) in headers["webhook-signature"].split()
