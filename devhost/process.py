"""A devhost as a child process, for tests, tools and benchmarks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol, Self

ROOT = Path(__file__).resolve().parent.parent


class Process(Protocol):
    """The part of `subprocess.Popen` that a host's process needs."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: signal.Signals) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Printing:
    """A host with its output in `log_file`."""

    log_file: Path

    @property
    def log(self) -> str:
        """The output so far, stdout and stderr."""
        return self.log_file.read_text("utf-8", "replace")

    def says(self, text: str, within: float = 30.0) -> bool:
        """Whether the output contains a text within so many seconds. Records of functions are printed a moment later."""
        deadline = time.monotonic() + within
        while text not in self.log:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


class DevhostProcess(Printing):
    """`python -m devhost` on a free port with the given arguments, ready when the constructor returns.

    `env` is added to this process's environment. The output goes to `log_file`. Raises RuntimeError with the end of the log if
    devhost is not ready within `timeout` seconds.
    """

    def __init__(
        self, app_dir: Path, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="devhost-")
        self.ready_file = Path(self._folder.name) / "ready.json"
        self.log_file = Path(self._folder.name) / "log.txt"
        given = ["--app-dir", str(app_dir), "--ready-file", str(self.ready_file)]
        if "--port" not in arguments:
            given += ["--port", "0"]
        search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": search_path, **(env or {})}
        with self.log_file.open("wb") as log:
            self._process = self._begin([*given, *arguments], environment, self._folder.name, log)
        self._ready = self._wait_until_ready(timeout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def base_url(self) -> str:
        """For instance `http://127.0.0.1:7071`; empty with --no-http."""
        return str(self._ready["base_url"])

    @property
    def host_key(self) -> str:
        return str(self._ready["host_key"])

    @property
    def function_keys(self) -> dict[str, str]:
        """Each HTTP function's own key by its name."""
        return dict(self._ready["function_keys"])

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for the end, and return the exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def stop(self, timeout: float = 45.0) -> int:
        """End devhost as Ctrl-C would, or kill it after `timeout` seconds. Returns the exit status."""
        self._process.terminate()
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill devhost, as a crash would. Returns the exit status."""
        self._process.kill()
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._folder.cleanup()

    def _begin(self, arguments: list[str], environment: dict[str, str], folder: str, log: IO[bytes]) -> Process:
        command = [sys.executable, "-m", "devhost", *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def _wait_until_ready(self, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while not self.ready_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"devhost did not start: {self.log[-2000:]}")
            time.sleep(0.02)
        ready: dict[str, Any] = json.loads(self.ready_file.read_text("utf-8"))
        return ready
