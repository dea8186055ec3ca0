"""Kestrel's limits on requests, and how Kestrel reads a body. Kestrel is the web server of the Azure Functions host.

Source of the limits: https://learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/options
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

MAX_REQUEST_LINE = 8192
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32_768
MIN_BODY_RATE = 240.0

# aiohttp refuses larger heads with its own answer.
PARSER_LIMIT = 1_048_576

TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """The most bytes of a body, and the time limits for its first bytes and for a request's head, in seconds."""

    body_bytes: int = 104_857_600  # ScriptConstants.DefaultMaxRequestBodySize of Azure/azure-functions-host
    body_seconds: float = 5.0
    head_seconds: float = 30.0


class BodyError(Exception):
    """The body cannot be read. The text says why."""


class Server(web.Server):
    """aiohttp's server with Kestrel's limits."""

    def __init__(self, handler: Any, limits: Limits) -> None:
        super().__init__(handler, request_factory=_request)
        self._limits = limits
        logging.getLogger("aiohttp.server").addFilter(_is_the_hosts_fault)

    def __call__(self) -> RequestHandler:
        return _Connection(self, self._limits.head_seconds)


class _Connection(RequestHandler):
    """A connection that ends if the head of its first request does not come in time."""

    def __init__(self, server: Server, head_seconds: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # its lines hold addresses with their keys
            auto_decompress=False,  # an encoded body stays as it is
            max_line_size=PARSER_LIMIT,
            max_field_size=PARSER_LIMIT,
            max_headers=PARSER_LIMIT,
        )
        self._head_seconds = head_seconds
        self._waiting: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(self._head_seconds, self._too_late)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.head_is_here()
        super().connection_lost(exc)

    def head_is_here(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _too_late(self) -> None:
        if self.transport is not None:
            self.transport.write(TOO_LATE)
        self.force_close()


def refusal(request: web.BaseRequest) -> int | None:
    """The status that Kestrel answers by itself; None if Kestrel passes the request to the host."""
    if len(f"{request.method} {request.raw_path} HTTP/1.1\r\n") > MAX_REQUEST_LINE:
        return 414
    # A line of a header has ": " in the middle and ends with "\r\n".
    size = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    if len(request.raw_headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        return 431
    if "%00" in request.raw_path or not all(_is_utf8(value) for _, value in request.raw_headers):
        return 400
    return None


async def read_body(request: web.BaseRequest, limits: Limits) -> bytes:
    """The body that the function gets: empty without a Content-Length. Raises BodyError."""
    length = request.content_length or 0
    if length > limits.body_bytes:
        raise BodyError("request body too large")
    if request.headers.get("Expect", "").lower() == "100-continue" and length and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    began = asyncio.get_running_loop().time()
    chunks: list[bytes] = []
    received = 0
    try:
        while received < length:
            async with asyncio.timeout_at(began + max(limits.body_seconds, received / MIN_BODY_RATE)):
                chunks.append(await request.content.readany())
            received += len(chunks[-1])
    except TimeoutError:
        raise BodyError("request body came too slowly") from None
    except (ConnectionError, web.RequestPayloadError):
        raise BodyError("unexpected end of request content") from None
    return b"".join(chunks)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    if isinstance(protocol, _Connection):
        protocol.head_is_here()
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


def _is_the_hosts_fault(record: logging.LogRecord) -> bool:
    """Whether a log record is not about a broken request. aiohttp logs those with their address, which may have a key."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
