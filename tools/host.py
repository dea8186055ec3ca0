"""Starts a host for function_app.py: Azure Functions Core Tools where they are there, else devhost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 7071  # that of `func start`
START_SECONDS = 60.0


class RunError(Exception):
    """It cannot go on; the text says in one line why and what to do."""


@dataclass
class Host:
    """A running host. `key` is the key that opens every function."""

    name: str  # "devhost" or "Azure Functions Core Tools"
    base_url: str  # without a slash at its end
    key: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """Let running functions finish, then end it; returns when it has ended."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # see tools/tether.py
        self.process.wait()


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 at this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_port(asked: int | None) -> int:
    """The port asked for, else 7071, else any free one. Raises RunError where the one asked for is taken."""
    if asked is not None:
        if port_is_free(asked):
            return asked
        raise RunError(f"PORT={asked} is in use by another program: choose another one, or leave PORT out")
    if port_is_free(DEFAULT_PORT):
        return DEFAULT_PORT
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_func(kind: str) -> str | None:
    """Core Tools, where they are on PATH and wanted. Raises RunError where they alone are wanted and are not there."""
    func = None if kind == "devhost" else shutil.which("func")
    if kind == "func" and func is None:
        raise RunError("Azure Functions Core Tools (func) are not on PATH: install them, or use HOST=devhost")
    return func


def start(kind: str, port: int, key: str, settings: dict[str, str], folder: Path) -> Host:
    """Start the host that `kind` names: "func", "devhost", or "auto" for the first of them that comes up.

    `settings` are the app settings; logs go into `folder`. Raises RunError where the host does not come up.
    """
    func = find_func(kind)
    if func:
        try:
            return start_func(func, port, key, settings, folder)
        except RunError as error:
            if kind == "func":
                raise
            print(f"{error}; using devhost instead", flush=True)
    elif kind == "auto":
        print("Azure Functions Core Tools (func) are not on PATH: using devhost", flush=True)
    return start_devhost(port, key, settings, folder)


def start_func(func: str, port: int, key: str, settings: dict[str, str], folder: Path) -> Host:
    """Core Tools. They do not check keys on a developer's machine, so `key` is as good as any."""
    environment = {**settings, "VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"}
    log = folder / "func.log"
    process = _tethered([func, "start", "--port", str(port)], environment, log)
    host = Host("Azure Functions Core Tools", f"http://127.0.0.1:{port}", key, process, log)
    _wait(host, lambda: _is_healthy(port))
    return host


def start_devhost(port: int, key: str, settings: dict[str, str], folder: Path) -> Host:
    log, ready = folder / "devhost.log", folder / "devhost.json"
    command = [sys.executable, "-m", "devhost", "--app-dir", str(ROOT), "--port", str(port)]
    command += [f"--function-key={key}", "--ready-file", str(ready)]  # a key may begin with "-"
    host = Host("devhost", f"http://127.0.0.1:{port}", key, _tethered(command, settings, log), log)
    _wait(host, ready.exists)
    host.base_url = json.loads(ready.read_text())["base_url"].rstrip("/")
    return host


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"


def _tethered(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tools.tether", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(host: Host, is_ready: Callable[[], bool]) -> None:
    try:
        problem = _wait_for(host, is_ready)
    except BaseException:
        host.stop()
        raise
    if problem:
        host.stop()
        raise RunError(f"{host.name} {problem}: {last_line(host.log)}")


def _wait_for(host: Host, is_ready: Callable[[], bool]) -> str:
    """ "" once it is ready, else why it is not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if is_ready():
            return ""
        if host.process.poll() is not None:
            return "did not start"
        time.sleep(0.1)
    return f"did not come up within {START_SECONDS:.0f} s"


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    return False
