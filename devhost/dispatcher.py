"""Calls functions in a worker process, which it starts, kills and replaces as the Azure Functions host does.

Sources: RpcFunctionInvocationDispatcher.cs and WebScriptHostExceptionHandler.cs of Azure/azure-functions-host.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from devhost.channel import Channel
from devhost.errors import HostEnd, StartError
from devhost.functions import App, Function, HttpResult, InvocationResult, Setup
from devhost.times import Times

logger = logging.getLogger("devhost.worker")

CRASHES = 3
"""This number of crashes of worker processes within `Times.crash_window` ends the host."""
END_SECONDS = 5.0
FAILED = InvocationResult(False, "the call did not end")


class Process(Protocol):
    """The part of `subprocess.Popen` that a worker uses."""

    pid: int

    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def start_process(end: socket.socket) -> Process:
    """Start a worker process with this end of the socket."""
    command = [sys.executable, "-m", "devhost.worker", str(end.fileno())]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[end.fileno()])


class Worker:
    """One worker process. It calls `on_end` when it takes no more calls."""

    def __init__(self, channel: Channel, process: Process, on_end: Callable[[], None]) -> None:
        self.process = process
        self.ended = asyncio.Event()
        self.was_killed = False
        self._channel = channel
        self._on_end = on_end
        self._numbers = itertools.count()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, setup: Setup, on_end: Callable[[], None]) -> tuple[Worker, dict[str, Function]]:
        """Start a worker that has loaded the app, and return it with the app's functions. Raises StartError if loading fails."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = start_process(theirs)
        channel = await Channel.open(ours)
        channel.send(setup)
        try:
            functions = await channel.receive()
        except EOFError:
            functions = f"the worker process ended with status {process.wait()}"
        if isinstance(functions, str):
            process.wait()
            raise StartError(functions)
        return cls(channel, process, on_end), functions

    def call(self, method: str, args: Any, kwargs: Any) -> tuple[asyncio.Future[Any], Callable[[], None]]:
        """Begin a call. Returns its future result (None: the process crashed), and a function that kills the process if the call
        still runs."""
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        self._channel.send((number, method, args, kwargs))
        return answer, partial(self._kill_if_calling, number)

    def _kill_if_calling(self, number: int) -> None:
        if number in self._calls and not self.ended.is_set():
            logger.warning("killing the worker process: a call is past functionTimeout")
            self.was_killed = True
            self._on_end()
            self.process.kill()

    async def close(self) -> None:
        """Close the connection, so that the process prints its last lines and ends. Kill the process if it does not end."""
        if self.ended.is_set():
            return
        self._listening.cancel()
        self._channel.close()
        try:
            await asyncio.to_thread(self.process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()

    async def _listen(self) -> None:
        try:
            while True:
                number, result = await self._channel.receive()
                answer = self._calls.pop(number)
                if not answer.done():
                    answer.set_result(result)
        except EOFError:
            self._channel.close()
        status = self.process.wait()
        if not self.was_killed:
            logger.error("the worker process ended by itself with status %d", status)
            for answer in self._calls.values():
                if not answer.done():
                    answer.set_result(None)
        # After a kill, each running call fails at its own time limit, as in the host.
        self._on_end()
        self.ended.set()


class Dispatcher(App):
    """The app in a worker process. `start` starts the process; `run` replaces it when it ends."""

    def __init__(self, setup: Setup, function_timeout: float | None, times: Times) -> None:
        self._setup = setup
        self._function_timeout = function_timeout
        self._times = times
        self._is_available = asyncio.Event()
        self._is_broken = False

    async def start(self) -> None:
        """Start the worker process. Raises StartError if the app does not load."""
        self._worker, self.functions = await Worker.start(self._setup, self._is_available.clear)
        self._is_available.set()

    async def run(self) -> None:
        """Replace the worker process when it ends. Raises HostEnd after too many crashes."""
        crashes: list[float] = []
        while True:
            await self._worker.ended.wait()
            if not self._worker.was_killed:
                now = time.monotonic()
                crashes = [crash for crash in crashes if crash > now - self._times.crash_window] + [now]
                await self._wait_after(len(crashes))
            try:
                await self.start()
            except StartError as error:
                raise HostEnd(f"no other worker process starts: {error}") from None

    async def _wait_after(self, crashes: int) -> None:
        if crashes >= CRASHES:
            self._is_broken = True
            self._is_available.set()
            raise HostEnd(f"the worker process died {CRASHES} times within {self._times.crash_window:g} s")
        await asyncio.sleep(self._times.restart if crashes == 1 else self._times.second_restart)

    async def close(self) -> None:
        await self._worker.close()

    async def invoke_http_async(self, *args: Any, **kwargs: Any) -> HttpResult:
        return await self._invoke("invoke_http_async", args, kwargs) or HttpResult(500)

    async def invoke_queue_async(self, *args: Any, **kwargs: Any) -> InvocationResult:
        return await self._invoke("invoke_queue_async", args, kwargs) or FAILED

    async def invoke_timer_async(self, *args: Any, **kwargs: Any) -> InvocationResult:
        return await self._invoke("invoke_timer_async", args, kwargs) or FAILED

    async def _invoke(self, method: str, args: Any, kwargs: Any) -> Any:
        """The call's result, or None if the call exceeds its time limit or its process crashes."""
        kill: Callable[[], None] = _nothing
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._function_timeout):
                await self._is_available.wait()
                if self._is_broken:
                    return None
                answer, kill = self._worker.call(method, args, kwargs)
                return await answer
        logger.error("%s: functionTimeout of %g s exceeded", args[0], self._function_timeout)
        asyncio.get_running_loop().call_later(self._times.kill, kill)
        return None


def _nothing() -> None:
    """Kill nothing: the call has not begun."""
