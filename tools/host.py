"""Starts a host for function_app.py: Azure Functions Core Tools if they are installed, else devhost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from devhost.process import Printing
from tools import core_tools

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 7071  # that of `func start`
START_SECONDS = 180.0  # at their first start, Core Tools download the extension bundle
NO_TRIGGERS = ("--no-queues", "--no-timers")


class RunError(RuntimeError):
    """The tool cannot continue. The text says in one line why, and what to do."""


@dataclass
class Host(Printing):
    """A running host. `key` opens every function. `function_keys`: function's name → its own key.

    A host that was started elsewhere has an empty `log` and no `process`.
    """

    name: str  # "devhost" or "Azure Functions Core Tools"; the address of a host that was started elsewhere
    base_url: str  # without a slash at its end
    key: str
    log_file: Path = Path(os.devnull)
    process: subprocess.Popen[bytes] | None = None  # the tether of the host
    function_keys: dict[str, str] = field(default_factory=dict)
    temporary: Path | None = None  # removed after the host has ended

    def has_ended(self) -> bool:
        """Whether the host has ended. False for a host that was started elsewhere."""
        return self.process is not None and self.process.poll() is not None

    def host_process(self) -> psutil.Process:
        """The host's process: a child of the tether, or of Node if npm has installed Core Tools.

        Raises psutil.NoSuchProcess if the host has ended.
        """
        assert self.process
        process = psutil.Process(self.process.pid)
        while True:
            child = next(iter(process.children()), None)
            if child is None:
                raise psutil.NoSuchProcess(process.pid)
            if Path(child.exe()).name != "node":
                return child
            process = child

    def workers(self) -> list[psutil.Process]:
        """The host's worker processes, which run the app's code. Empty between the end of a worker and the next worker."""
        try:
            found = self.host_process().children()
            return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let running functions finish, then end the host. Returns when the host has ended."""
        if self.process:
            assert self.process.stdin
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()  # see tools/tether.py
            self.process.wait()
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_port(asked: int | None) -> int:
    """The port `asked`; if None, 7071 or any free port. Raises RunError if the port `asked` is taken."""
    if asked is not None:
        if port_is_free(asked):
            return asked
        raise RunError(f"PORT={asked} is in use by another program: choose another one, or leave PORT out")
    return DEFAULT_PORT if port_is_free(DEFAULT_PORT) else free_port()


def free_port() -> int:
    """A free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_func(kind: str) -> str | None:
    """The path of Core Tools; None if missing or not wanted. Raises RunError if `kind` is "func" and they are missing."""
    func = None if kind == "devhost" else shutil.which("func")
    if kind == "func" and func is None:
        raise RunError("Azure Functions Core Tools (func) are not on PATH: install them, or use HOST=devhost")
    return func


def start(
    kind: str,
    port: int,
    key: str,
    settings: Mapping[str, str],
    folder: Path,
    *,
    modules: Sequence[str] = (),
    only_http: bool = False,
    devhost_options: Sequence[str] = (),
) -> Host:
    """Start the host that `kind` names: "func", "devhost", or "auto" for the first of them that starts.

    `settings`: the app settings. `folder`: for logs. `modules`: imported by the worker before the app. `only_http`: no queues and
    no timers. `devhost_options`: only for devhost. Raises RunError if the host does not start.
    """
    func = find_func(kind)
    if func:
        try:
            return start_func(func, port, key, settings, folder, modules, only_http)
        except RunError as error:
            if kind == "func":
                raise
            print(f"{error}; using devhost instead", flush=True)
    elif kind == "auto":
        print("Azure Functions Core Tools (func) are not on PATH: using devhost", flush=True)
    options = [*devhost_options, *(f"--with={module}" for module in modules)]
    return start_devhost(port, key, settings, folder, [*options, *(NO_TRIGGERS if only_http else ())])


def start_func(
    func: str,
    port: int,
    key: str,
    settings: Mapping[str, str],
    folder: Path,
    modules: Sequence[str] = (),
    only_http: bool = False,
) -> Host:
    """Start Core Tools at `port`, 0 = any. Other parameters: as in `start`."""
    port = port or free_port()
    log = folder / "func.log"
    # Not in `folder`, because the path of a .NET process's diagnostic socket has at most 108 characters.
    temporary = Path(tempfile.mkdtemp(prefix="func-"))
    master = core_tools.seed_keys(temporary, key)
    app = core_tools.preloading_app(temporary / "app", modules) if modules else ROOT
    environment = {**core_tools.environment(port, temporary), **settings}
    process = _tethered(core_tools.command(func, port, only_http), environment, log, app)
    host = Host("Azure Functions Core Tools", f"http://127.0.0.1:{port}", key, log, process, temporary=temporary)
    _wait(host, lambda: _is_healthy(port))
    _ask_for_keys(host, master)
    return host


def start_devhost(port: int, key: str, settings: Mapping[str, str], folder: Path, options: Sequence[str] = ()) -> Host:
    """Start devhost at `port`, 0 = any. Other parameters: as in `start`."""
    log, ready = folder / "devhost.log", folder / "devhost.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "devhost", "--app-dir", str(ROOT), "--port", str(port)]
    command += [f"--function-key={key}", "--ready-file", str(ready), *options]  # a key may begin with "-"
    host = Host("devhost", f"http://127.0.0.1:{port}", key, log, _tethered(command, settings, log))
    _wait(host, ready.exists)
    facts = json.loads(ready.read_text())
    host.base_url, host.function_keys = facts["base_url"].rstrip("/"), facts["function_keys"]
    return host


def attach(base_url: str, master: str) -> Host:
    """A host that was started elsewhere, by its address and master key. Raises RunError if it does not answer."""
    host = Host(base_url, base_url.rstrip("/"), "")
    _ask_for_keys(host, master)
    return host


def _ask_for_keys(host: Host, master: str) -> None:
    try:
        host.key = host.key or core_tools.host_key(host.base_url, master)
        host.function_keys = core_tools.function_keys(host.base_url, master)
    except core_tools.AdminError as error:
        host.stop()
        raise RunError(str(error)) from None


def last_line(log: str) -> str:
    """The last line of a log that is not blank."""
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"


def _tethered(
    command: list[str], environment: Mapping[str, str], log: Path, folder: Path = ROOT
) -> subprocess.Popen[bytes]:
    """Start the command in `folder`, so that it ends with this process."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", str(ROOT / "tools/tether.py"), *command],
            cwd=folder,
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
    """Wait until the host is ready. Returns "" or why it is not ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if is_ready():
            return ""
        if host.has_ended():
            return "did not start"
        time.sleep(0.1)
    return f"did not come up within {START_SECONDS:.0f} s"


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    return False
