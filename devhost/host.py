"""One devhost: serves the HTTP, queue and timer functions of one app until it is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from devhost.clock import Clock
from devhost.errors import StartError
from devhost.functions import App, Function
from devhost.hostjson import HostJson
from devhost.http import ADDRESS, HttpServer
from devhost.keys import Keys
from devhost.queues import LEASE_SECONDS, QueueListener
from devhost.storage import CALL_TIMEOUT, Service, find_account
from devhost.timers import TimerListener, TimerLock
from devhost.times import Times

ABOUT = (
    "devhost: a local stand-in that calls the app through Microsoft's worker library, not the Azure Functions host.",
    "Not here: scaling, keys kept in storage, output bindings, @retry, catching up on missed timers, telemetry.",
)


@dataclass(frozen=True)
class Options:
    """The options of the command line. `port`: 0 = a free port. `lease_seconds`: the queue lease, None = the host's."""

    port: int
    function_key: str | None
    ready_file: Path | None
    http: bool
    queues: bool
    timers: bool
    lease_seconds: int | None


class Host:
    """Runs one app until a signal or `stop`."""

    def __init__(
        self, app: App, host_json: HostJson, options: Options, clock: Clock, times: Times, environ: Mapping[str, str]
    ) -> None:
        self._app = app
        self._host_json = host_json
        self._options = options
        self._clock = clock
        self._times = times
        self._environ = environ
        self._http: HttpServer | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal, then let running functions end within `Times.drain`.

        Raises StartError if the host cannot start, and HostEnd if it ends itself.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        connector = aiohttp.TCPConnector(limit=0)
        await self._app.start()
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=CALL_TIMEOUT) as session:
                await self._serve(session)
        finally:
            await self._app.close()

    async def _serve(self, session: aiohttp.ClientSession) -> None:
        self._keys = Keys.create(self._options.function_key, (f.name for f in self._app.of_type("httpTrigger")))
        if self._options.http:
            self._http = HttpServer(self._app, self._host_json.route_prefix, self._keys, self._environ)
        timers = self._timer_listeners(session)
        listeners: list[QueueListener | TimerListener] = [*self._queue_listeners(session), *timers]
        stopping = asyncio.create_task(self._stopping.wait())
        opening = asyncio.create_task(_open(timers))
        await asyncio.wait([stopping, opening], return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            return
        port = await self._http.start(self._options.port, self._times.drain) if self._http else None
        self._announce(port)
        running = [asyncio.create_task(listener.run()) for listener in listeners]
        keeping = asyncio.create_task(self._app.run())
        await asyncio.wait([stopping, keeping, *running], return_when=asyncio.FIRST_COMPLETED)
        self._forget()
        for task in running:
            if task.done():
                task.result()  # a HostEnd, because storage is gone, ends the host at once
        print("Stopping: running functions may end; a second signal ends them at once.", flush=True)
        for listener in listeners:
            listener.stop()
        done, _ = await asyncio.wait([*running, asyncio.create_task(self._stop_http())], timeout=self._times.drain)
        for task in (*done, keeping):
            if task.done():
                task.result()

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._forget()
            os._exit(1)
        self._stopping.set()

    async def _stop_http(self) -> None:
        if self._http is not None:
            await self._http.stop()

    def _queue_listeners(self, session: aiohttp.ClientSession) -> list[QueueListener]:
        if not self._options.queues:
            return []
        queues = self._host_json.queues
        delay = self._clock.storage_seconds(int(queues.visibility_timeout))
        options = queues.model_copy(update={"visibility_timeout": delay})
        lease = self._options.lease_seconds or LEASE_SECONDS
        return [
            QueueListener(self._app, function, self._service(function, session), options, lease)
            for function in self._app.of_type("queueTrigger")
        ]

    def _service(self, function: Function, session: aiohttp.ClientSession) -> Service:
        account = find_account(function.connection, "queue", self._environ)
        if account is None:
            raise StartError(
                f"setting {function.connection} (connection of {function.name}) names no queue service: "
                f"set it to a connection string (for Azurite: UseDevelopmentStorage=true), "
                f"or set {function.connection}__queueServiceUri for a managed identity"
            )
        return Service(session, account, self._times.retry)

    def _timer_listeners(self, session: aiohttp.ClientSession) -> list[TimerListener]:
        functions = self._app.of_type("timerTrigger") if self._options.timers else []
        account = find_account("AzureWebJobsStorage", "blob", self._environ) if functions else None
        if functions and account is None:
            print("Timers run without a lock (AzureWebJobsStorage names no blob service): use one devhost only.")
        service = Service(session, account, self._times.retry) if account else None
        return [
            TimerListener(
                self._app,
                function,
                self._clock,
                self._times,
                TimerLock(service, function.name, self._times.timer_lease) if service else None,
            )
            for function in functions
        ]

    def _announce(self, port: int | None) -> None:
        base_url = f"http://{ADDRESS}:{port}" if port else ""
        for line in (*ABOUT, "", "Functions:", *self._function_lines(base_url), "", *self._key_lines()):
            print(line)
        print("Ready.", flush=True)
        if self._options.ready_file is not None:
            ready = {
                "base_url": base_url,
                "host_key": self._keys.host,
                "function_keys": self._keys.functions,
                "master_key": self._keys.master,
                "pid": os.getpid(),
            }
            self._write_ready_file(self._options.ready_file, json.dumps(ready, indent=2) + "\n")

    def _write_ready_file(self, path: Path, text: str) -> None:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            new.write_text(text, "utf-8")
            new.replace(path)
        except OSError as error:
            raise StartError(f"--ready-file {path} cannot be written: {error.strerror}") from None

    def _forget(self) -> None:
        if self._options.ready_file is not None:
            self._options.ready_file.unlink(missing_ok=True)

    def _function_lines(self, base_url: str) -> list[str]:
        lines = []
        for endpoint in self._http.endpoints if self._http else ():
            function = endpoint.function
            methods = ",".join(function.methods) or "any method"
            lines.append(f"  {function.name}: [{methods}] {base_url}/{endpoint.route.template} ({function.auth_level})")
        if self._options.queues:
            for function in self._app.of_type("queueTrigger"):
                lines.append(f"  {function.name}: queue {function.queue_name} in {function.connection}")
        if self._options.timers:
            lines += [f"  {function.name}: timer {function.schedule}" for function in self._app.of_type("timerTrigger")]
        return lines

    def _key_lines(self) -> list[str]:
        if self._http is None:
            return []
        levels = {endpoint.function.name: endpoint.function.auth_level for endpoint in self._http.endpoints}
        own = [f"  {name}: {self._keys.functions[name]}" for name, level in levels.items() if level == "function"]
        return [
            f"Host key (opens every function): {self._keys.host}",
            "Function keys (each opens its own function):",
            *own,
        ]


async def _open(timers: list[TimerListener]) -> None:
    for timer in timers:
        await timer.open()
