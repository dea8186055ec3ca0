"""Devhost processes at the price of a fork: `python -m tests.chaos.forkserver`.

This process has imported everything and opened nothing. Each line on its standard input is one worker to start, as JSON:
`{"id", "arguments" of devhost, "env", "log"}`. On its standard output it says `{"id", "pid"}`, and `{"ended": pid}` when
a worker has ended. Its end, and that of whoever started it, is the end of all workers.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import platform
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import devhost.__main__
import devhost.dispatcher
import devhost.worker
from leads.destinations import MODULES

PRELOADED = (
    *MODULES.values(),
    "email.generator",
    "azure.core.rest._requests_basic",
    "azure.data.tables",
    "azure.storage.queue",
    "iso3166",
    "requests",
    "function_app",
    "leads.operations.http",
    "leads.pipeline.delivery",
    "leads.platform.table_transactions",
    "leads.watch.poison",
    "leads.watch.tick",
    "tests.support.recording",
)


def main() -> None:
    """Serve until standard input ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    platform.platform()  # the SDK's user agent asks for it, and the first answer costs a process
    gc.freeze()
    wake_up, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tell)
    workers: set[int] = set()
    pending = b""
    try:
        while True:
            ready, _, _ = select.select([0, wake_up], [], [])
            if wake_up in ready:
                os.read(wake_up, 1024)
                _reap(workers)
            if 0 in ready:
                received = os.read(0, 1 << 20)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    _start(json.loads(line), workers)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


def _start(order: dict[str, Any], workers: set[int]) -> None:
    pid = os.fork()
    if pid == 0:
        _be_a_worker(order)
    workers.add(pid)
    _say({"id": order["id"], "pid": pid})


def _be_a_worker(order: dict[str, Any]) -> None:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, source in enumerate((nothing, log, log)):
            os.dup2(source, number)
        os.environ.update(order["env"])
        devhost.dispatcher.start_process = ForkedProcess
        status = devhost.__main__.main(order["arguments"])
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class ForkedProcess:
    """A worker process of a host that is forked itself, at the price of a fork."""

    def __init__(self, end: socket.socket) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _forget_the_host(end)
                devhost.worker.serve(end)
            finally:
                os._exit(1)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, however often it is asked for; raises subprocess.TimeoutExpired, as `subprocess.Popen` does."""
        if self._status is not None:
            return self._status
        deadline = time.monotonic() + (60 if timeout is None else timeout)
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
                return self._status
            time.sleep(0.005)
        raise subprocess.TimeoutExpired("a forked worker", deadline)


def _forget_the_host(end: socket.socket) -> None:
    """Close what is open of the host's, such as its port; the numbers stay taken, since objects of the host still name them."""
    signal.set_wakeup_fd(-1)
    logging.getLogger().handlers.clear()
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if number > 2 and number != end.fileno():
            os.dup2(nothing, number)


def _reap(workers: set[int]) -> None:
    while workers:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        workers.discard(pid)
        _say({"ended": pid})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
