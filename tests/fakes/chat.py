"""The incoming webhook of a chat, such as Teams or Slack. It keeps what is posted."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority


class Chat(VendorServer):
    """`posts` holds each body that was taken; `status` is what it answers."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.posts: list[dict[str, Any]] = []
        self.status = 200

    def answer(self, request: Request) -> Response:
        if request.method != "POST" or request.headers.get("content-type") != "application/json":
            return Response(400)
        if self.status < 300:
            self.posts.append(json.loads(request.body))
        return Response(self.status, b"ok")
