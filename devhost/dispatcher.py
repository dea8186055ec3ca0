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
"""So many deaths of worker processes by themselves, within `Times.crash_window`, end the host."""
END_SECONDS = 5.0
FAILED = InvocationResult(False, "the call did not end")


class Process(Protocol):
    """A child process, as `subprocess.Popen` has it."""

    pid: int

    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def start_process(end: socket.socket) -> Process:
    """A worker process with this end of the socket."""
    command = [sys.executable, "-m", "devhost.worker", str(end.fileno())]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[end.fileno()])


class Worker:
    """One worker process. It calls `on_end` once it takes no more calls."""

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
        """One that has loaded the app. Raises StartError where it does not load."""
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
        """Begin a call. Returns its result (None: the process died by itself) and what kills the process while it still runs."""
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
        """Close the connection, so that the process prints what is left and ends; kill it where it does not."""
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
        # After a kill nobody answers: each call in hand fails at its own time limit, as in the host.
        self._on_end()
        self.ended.set()


class Dispatcher(App):
    """The app in a worker process. Make it with `start`; `run` replaces the process where it ends."""

    def __init__(self, setup: Setup, function_timeout: float | None, times: Times) -> None:
        self._setup = setup
        self._function_timeout = function_timeout
        self._times = times
        self._is_available = asyncio.Event()
        self._is_broken = False

    async def start(self) -> None:
        """Raises StartError where the app does not load."""
        self._worker, self.functions = await Worker.start(self._setup, self._is_available.clear)
        self._is_available.set()

    async def run(self) -> None:
        """Raises HostEnd once the worker process has died by itself too often."""
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
        """The call's result, or None where it is past its time limit or its process has died."""
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
    """Before a call has begun there is no process to kill."""
