"""devhost's HTTP server in this process, with functions that only record their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from devhost.functions import App, Function, HttpResult
from devhost.http import HttpServer
from devhost.kestrel import Limits
from devhost.keys import Keys

KEYS = Keys.create("the-host-key", ["open", "closed"])


def function(name: str, route: str, level: str = "anonymous") -> Function:
    return Function(name, name, ({"type": "httpTrigger", "name": "req", "route": route, "authLevel": level},))


class NotingApp(App):
    """Every function answers `result`."""

    def __init__(self, functions: list[Function], result: HttpResult) -> None:
        self.functions = {function.name: function for function in functions}
        self.result = result
        self.calls: list[dict[str, Any]] = []

    async def invoke_http_async(self, name: str, *args: Any, **kwargs: Any) -> HttpResult:
        self.calls.append({"name": name, **kwargs})
        return self.result


@dataclass
class Served:
    """A running server; `calls` is what reached a function."""

    base_url: str
    app: NotingApp
    calls: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.calls = self.app.calls


FUNCTIONS = [function("open", "open/{*rest}"), function("closed", "closed", "function")]


@contextmanager
def serve(
    *,
    functions: list[Function] | None = None,
    result: HttpResult | None = None,
    settings: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> Iterator[Served]:
    """Serve until the end of the block."""
    app = NotingApp(functions or FUNCTIONS, result or HttpResult(200, {"content-type": "text/plain"}, b"done"))
    server = HttpServer(app, "api", KEYS, settings or {}, limits)
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stopping = asyncio.Event()
        started.set_result((await server.start(0, 5.0), asyncio.get_running_loop(), stopping))
        await stopping.wait()
        await server.stop()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asyncio.run, run())
        port, loop, stopping = started.result(40)
        try:
            yield Served(f"http://127.0.0.1:{port}", app)
        finally:
            loop.call_soon_threadsafe(stopping.set)
            running.result(40)
