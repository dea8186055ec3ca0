"""The worker: loads the app and calls its functions, in the host's process or in a separate one.

The separate process is `python -m devhost.worker FD`. The file descriptor is one end of the host's socket.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pickle
import signal
import socket
import sys
from typing import Any, NoReturn

from devhost.channel import SIZE, Channel
from devhost.clock import module_exists, speed_up_app
from devhost.errors import StartError
from devhost.functions import Setup
from devhost.logs import log_to_stderr
from devhost.runtime import LoadedApp, current_function, load_app

CLAIM_LEASE_SHARE = 0.4
"""The app's claim lease as a share of the queue lease: 240 s of 600 s."""


def load(setup: Setup, function_timeout: float | None = None) -> LoadedApp:
    """Load the app in this process. Raises StartError if it does not load."""
    packages = setup.app_dir / ".python_packages/lib/site-packages"  # the platform's worker looks there, too
    sys.path[:0] = [str(path) for path in (setup.app_dir, packages) if path.is_dir()]
    if setup.clock.factor != 1.0:
        speed_up_app(setup.clock)
    if setup.lease_seconds is not None and module_exists("leads.ledger.transactions"):
        ledger = importlib.import_module("leads.ledger.transactions")
        ledger.CLAIM_LEASE_SECONDS = setup.lease_seconds * CLAIM_LEASE_SHARE  # type: ignore[attr-defined]
    for module in setup.modules:
        _import(module)
    return load_app(setup.app_dir, function_timeout)


def serve(end: socket.socket) -> NoReturn:
    """Run as the worker process of the host at the other end of the socket, until the host closes it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the host gets these signals, too, and ends the worker
    (size,) = SIZE.unpack(end.recv(SIZE.size, socket.MSG_WAITALL))
    setup: Setup = pickle.loads(end.recv(size, socket.MSG_WAITALL))
    log = log_to_stderr(setup.log_level, current_function)
    try:
        app: LoadedApp | StartError = load(setup)
    except StartError as error:
        app = error
    sys.stdout.flush()
    asyncio.new_event_loop().run_until_complete(_answer(end, app))
    log.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads of functions that have not ended would keep the process alive


async def _answer(end: socket.socket, app: LoadedApp | StartError) -> None:
    channel = await Channel.open(end)
    if isinstance(app, StartError):
        channel.send(str(app))
        return channel.close()
    channel.send(app.functions)
    calls = set[asyncio.Task[None]]()
    while True:
        try:
            number, method, args, kwargs = await channel.receive()
        except EOFError:
            return None
        call = asyncio.create_task(_call(channel, app, number, method, args, kwargs))
        calls.add(call)
        call.add_done_callback(calls.discard)


async def _call(channel: Channel, app: LoadedApp, number: int, method: str, args: Any, kwargs: Any) -> None:
    channel.send((number, await getattr(app, method)(*args, **kwargs)))


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise StartError(f"--with {module} cannot be imported: {type(error).__name__}: {error}") from None


if __name__ == "__main__":
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # not deployed, and slow to load
    serve(socket.socket(fileno=int(sys.argv[1])))
