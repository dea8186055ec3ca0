"""A proxy between an app and Azurite's queue and table service, which numbers, counts and breaks storage requests.

    with Proxy(azurite.connection_string) as proxy:
        run_the_app(LeadsStorage=proxy.connection_string)
        print(proxy.counts())

It passes requests on as they are: the Host header is kept, and what is signed is the path, which names the account, so
signatures stay valid. Requests and answers pass whole, so that one that was cut off halfway never reaches storage.
All proxies of a process share one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

import psutil

from tests.support.account import named_parts
from tests.support.memory import require_reachable

T = TypeVar("T")
Service = Literal["queue", "table"]

EMPTY_POLL = "queue get (empty)"
"""The name of an empty poll in `Proxy.counts`."""


@dataclass(slots=True)
class Request:
    """A storage request; `status` is 0 until storage has answered.

    `number` counts all requests of the proxy from 1. `step` counts those that are not an empty poll, whose number hangs
    on chance; a poll has its `step` only once storage has answered, because nobody knows before that it is not empty.
    `change` counts those of them that are to leave storage another one, `effect` those that have, once storage has answered.
    `operation` says what is done ("put", "get", "query", "batch", …), `target` to which queue or table, and `inner` what
    a batch holds: a verb and the kind of row, such as "PUT cust".
    """

    number: int
    service: Service
    verb: str
    path: str
    operation: str
    target: str
    inner: tuple[str, ...] = ()
    step: int = 0
    change: int = 0
    effect: int = 0
    status: int = 0
    fault: str = ""
    arrived_at: float = field(default_factory=time.monotonic)

    @property
    def is_poll(self) -> bool:
        """Whether the request receives messages from a queue."""
        return self.service == "queue" and self.operation == "get"

    @property
    def changes_something(self) -> bool:
        """Whether the request changes storage. The renewal of a lease does not count, because it depends on time, not on a
        lead."""
        renewal = (self.service, self.operation) == ("queue", "update")
        return self.is_poll or (self.verb not in {"GET", "HEAD"} and not renewal)

    @property
    def name(self) -> str:
        """Service, operation and content of a batch: equal for requests that do the same."""
        what = f"({', '.join(self.inner)})" if self.inner else self.target
        return f"{self.service} {self.operation} {what}"


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the process `Proxy.pid`. The request is not passed on."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """SIGKILL the worker process of the host `Proxy.pid`, if it has one now. The request is not passed on."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Continue after this number of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Break:
    """Break the connection. Before storage's answer, storage gets no request; after it, the answer is lost."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Pass on half of the answer, then break the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Give this answer instead of storage's."""

    status: int


Fault = Kill | KillWorker | Delay | Break | Cut | Answer

ERROR_CODES = {
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServerBusy",
    507: "InsufficientStorage",
}


class Rule:
    """A rule for requests that does nothing. It is called in the proxy's thread, so it must not wait."""

    def before(self, request: Request) -> Fault | None:
        """The fault before storage gets the request."""

    def after(self, request: Request) -> Fault | None:
        """The fault after storage's answer, before the app gets the answer. `Answer` replaces it."""


class Proxy:
    """A proxy for one account. Read `journal`, `counts()`, `killed` from any thread; set `rule` and `pid` at any time."""

    def __init__(self, connection_string: str, rule: Rule | None = None, *, keep_journal: bool = True) -> None:
        require_reachable(connection_string)
        self.rule = rule or Rule()
        self.pid = 0
        """The process that `Kill` kills. `Kill` waits until this is set."""
        self.journal: list[Request] = []
        self.killed = threading.Event()
        """Set after `Kill` was carried out and storage has answered all running requests."""
        self.killed_at: Request | None = None
        self.writes = 0
        """The number of answered requests that may have changed something."""
        self._keep_journal = keep_journal
        self._counts: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._steps, self._changes, self._effects = itertools.count(1), itertools.count(1), itertools.count(1)
        self._under_way = 0
        self._fields = named_parts(connection_string)
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        _on_loop(self._open())

    @property
    def connection_string(self) -> str:
        """The account's connection string, with queue and table service behind this proxy."""
        return "".join(f"{name}={value};" for name, value in self._fields.items())

    def counts(self) -> Counter[str]:
        """Answered requests by service and operation, such as "table batch"; empty polls are `EMPTY_POLL`."""
        return Counter(self._counts)

    def protect(self, pid: int, rule: Rule | None = None) -> None:
        """Prepare for a new process, with a new rule."""
        self.killed.clear()
        self.killed_at = None
        self.rule = rule or Rule()
        self.pid = pid

    def forget(self) -> None:
        """Empty journal and counts. The numbers continue."""
        self.journal, self._counts = [], Counter()

    def close(self) -> None:
        """Break all connections, and stop to listen."""
        _on_loop(self._close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self) -> None:
        services: tuple[Service, ...] = ("queue", "table")
        for service in services:
            name = f"{service.capitalize()}Endpoint"
            endpoint = urlsplit(self._fields[name])
            backend = (endpoint.hostname or "", endpoint.port or 80)
            server = await asyncio.start_server(_Connection(self, service, backend).serve, "127.0.0.1", 0, backlog=256)
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]
            self._fields[name] = f"http://127.0.0.1:{port}{endpoint.path}"

    async def _close(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)  # Python 3.13.0's server fails on connections that end while it closes
        for server in self._servers:
            with contextlib.suppress(TypeError):
                server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    # The requests on a connection.

    def begin(self, service: Service, head: bytes, body: bytes) -> Request:
        request = _request(next(self._numbers), service, head, body)
        if not request.is_poll:
            self._count(request)
        if self._keep_journal:
            self.journal.append(request)
        return request

    def answered(self, request: Request, status: int, body: bytes) -> None:
        request.status = status
        empty = request.is_poll and b"<QueueMessage>" not in body
        if request.is_poll and not empty:
            self._count(request)
        if request.change and status < 400 and not _REFUSED.search(body):
            request.effect = next(self._effects)
        self.writes += request.verb not in {"GET", "HEAD"}
        self._counts[EMPTY_POLL if empty else f"{request.service} {request.operation}"] += 1

    def _count(self, request: Request) -> None:
        request.step = next(self._steps)
        if request.changes_something:
            request.change = next(self._changes)

    async def kill(self, request: Request) -> None:
        while not self.pid:
            await asyncio.sleep(0.001)
        if self.killed_at is not None:
            return
        self.killed_at = request
        os.kill(self.pid, signal.SIGKILL)
        while self._under_way > 1:  # the killed request counts
            await asyncio.sleep(0.001)
        self.killed.set()

    async def kill_workers(self) -> None:
        while not self.pid:
            await asyncio.sleep(0.001)
        with contextlib.suppress(psutil.NoSuchProcess):  # the host or its worker has just ended
            for child in psutil.Process(self.pid).children():
                child.kill()

    def add(self, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)

    def remove(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)

    def count_under_way(self, change: int) -> None:
        self._under_way += change


class _Broken(Exception):
    """The proxy breaks the connection to the app now."""


class _Connection:
    """Serves the app's connections to one service, each with a separate connection to storage."""

    def __init__(self, proxy: Proxy, service: Service, backend: tuple[str, int]) -> None:
        self._proxy = proxy
        self._service = service
        self._backend = backend

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = _Upstream(self._backend)
        self._proxy.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await _read_body(reader, head)
                await self._pass_on(head, body, upstream, writer)
        except (OSError, EOFError, _Broken):
            writer.transport.abort()
        finally:
            self._proxy.remove(writer)
            upstream.close()

    async def _pass_on(self, head: bytes, body: bytes, upstream: _Upstream, writer: asyncio.StreamWriter) -> None:
        proxy = self._proxy
        request = proxy.begin(self._service, head, body)
        proxy.count_under_way(1)
        try:
            answer = await self._carry_out(proxy.rule.before(request), request, b"")
            if not answer:
                answer, content = await upstream.exchange(head, body)
                proxy.answered(request, int(answer[9:12]), content)
                answer = await self._carry_out(proxy.rule.after(request), request, answer + content)
        finally:
            proxy.count_under_way(-1)
        if request.fault == "Cut":
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            writer.close()
            raise _Broken
        writer.write(answer)

    async def _carry_out(self, fault: Fault | None, request: Request, answer: bytes) -> bytes:
        """The answer after this fault; empty = ask storage."""
        if fault is None:
            return answer
        request.fault = type(fault).__name__
        match fault:
            case Kill():
                await self._proxy.kill(request)
                raise _Broken
            case KillWorker():
                await self._proxy.kill_workers()
                raise _Broken
            case Break():
                raise _Broken
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case Answer(status):
                return _error(self._service, status)
            case Cut():
                pass
        return answer


class _Upstream:
    """A connection to storage, opened at its first use. Storage closes idle connections after some seconds."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Send a request. Returns head and body of the answer."""
        if self._open is None or self._open[0].at_eof():
            self.close()
            self._open = await asyncio.open_connection(*self._address)
        reader, writer = self._open
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HEAD ") or answer[9:12] in {b"204", b"304"}:
            return answer, b""
        return answer, await _read_body(reader, answer)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].transport.abort()


_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body of a head, as on the wire."""
    if length := _LENGTH.search(head):
        return await reader.readexactly(int(length[1])) if length[1] != b"0" else b""
    if not _CHUNKED.search(head):
        return b""
    pieces = []
    while True:
        size = await reader.readuntil(b"\r\n")
        pieces += [size, await reader.readexactly(int(size, 16) + 2)]
        if int(size, 16) == 0:
            return b"".join(pieces)


_INNER = re.compile(rb"\n(POST|PUT|PATCH|MERGE|DELETE) (\S+) HTTP/1\.1")
_REFUSED = re.compile(rb"^HTTP/1\.1 [45]", re.MULTILINE)
"""The answer within a batch that storage has not carried out."""
_ROW_IN_PATH = re.compile(r"RowKey='([^;']*)")
_ROW_IN_BODY = re.compile(rb'"RowKey": *"([^;"]*)')


def _request(number: int, service: Service, head: bytes, body: bytes) -> Request:
    verb, path, _ = head[: head.index(b"\r\n")].decode().split(" ", 2)
    parts = path.split("?", 1)[0].split("/", 2)
    rest = parts[2] if len(parts) > 2 else ""
    if service == "queue":
        operation, target = _queue_operation(verb, path, rest), rest.partition("/")[0]
    else:
        operation, target = _table_operation(verb, rest, head), rest.partition("(")[0]
    inner = _inner_operations(body) if operation == "batch" else ()
    return Request(number, service, verb, path, operation, target, inner)


def _queue_operation(verb: str, path: str, rest: str) -> str:
    if "/messages" not in rest:
        return {"PUT": "create queue", "DELETE": "delete queue"}.get(verb, "properties")
    if "peekonly=true" in path:
        return "peek"
    return {"POST": "put", "GET": "get", "PUT": "update", "DELETE": "delete"}[verb]


def _table_operation(verb: str, rest: str, head: bytes) -> str:
    if rest == "$batch":
        return "batch"
    if verb == "POST":
        return "create table" if rest == "Tables" else "create"
    if verb == "GET":
        return "get" if "RowKey" in rest else "query"
    if verb in {"PUT", "PATCH", "MERGE"}:
        return "update" if b"\r\nif-match:" in head.lower() else "upsert"
    return "delete"


def _inner_operations(body: bytes) -> tuple[str, ...]:
    starts = list(_INNER.finditer(body))
    ends = [match.start() for match in starts[1:]] + [len(body)]
    operations = []
    for match, end in zip(starts, ends, strict=True):
        found = _ROW_IN_PATH.search(unquote(match[2].decode()))
        if found:
            row = found[1]
        else:
            created = _ROW_IN_BODY.search(body, match.end(), end)
            row = created[1].decode() if created else "?"
        operations.append(f"{match[1].decode()} {row}")
    return tuple(operations)


def _error(service: Service, status: int) -> bytes:
    code = ERROR_CODES[status]
    if service == "queue":
        kind = "application/xml"
        text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    else:
        kind = "application/json"
        text = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"{code}"}}}}}}'
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: {kind}\r\nx-ms-error-code: {code}\r\nContent-Length: {len(text)}"
    return f"{head}\r\n\r\n{text}".encode()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="storage proxies", daemon=True).start()
    return loop


def _on_loop(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(10)
