"""Workers: devhost processes that are forked, killed and started again within milliseconds."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from devhost.process import ROOT
from tests.support.running_app import Answer

ALWAYS = ("--port", "0", "--time", "timer_lease=15", "--time", "timer_look=1")


@dataclass
class Worker:
    """A running devhost; its functions run in its own process, or in one that it has forked."""

    pid: int
    log_file: Path
    ready_file: Path
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def log(self) -> str:
        """Everything it has printed."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def has_ended(self) -> bool:
        return self.ended.is_set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL, if it has not ended, and wait until it has."""
        self._signal(signal.SIGKILL)
        assert self.ended.wait(60), "a killed process has to end"

    def tick(self) -> None:
        """Let its timers fire (see tests/chaos/altered.py)."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody has said so yet
                os.kill(self.pid, number)

    def ready(self, seconds: float = 60) -> dict[str, Any]:
        """What devhost says once it is ready: `base_url`, `host_key`, …"""
        deadline = time.monotonic() + seconds
        while not self.ready_file.exists():
            if self.ended.is_set() or time.monotonic() > deadline:
                raise AssertionError(f"the worker did not become ready:\n{self.log[-3000:]}")
            time.sleep(0.01)
        answer: dict[str, Any] = json.loads(self.ready_file.read_text("utf-8"))
        return answer

    def post(self, body: bytes, seconds: float = 30) -> Answer:
        """Post a lead, over a connection of its own. Raises OSError or HTTPException where no answer comes."""
        ready = self.ready()
        address = urlsplit(ready["base_url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=seconds)
        with contextlib.closing(connection):
            connection.request("POST", "/api/leads", body, {"x-functions-key": ready["host_key"]})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())


class ForkServer:
    """Starts workers; safe to use from many threads. All workers end with it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="workers-")
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, queue.SimpleQueue[int]] = {}
        self._workers: dict[int, Worker] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.forkserver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, arguments: Sequence[str], env: Mapping[str, str]) -> Worker:
        """A worker with these arguments of devhost and these settings."""
        number = next(self._ids)
        log, ready = (Path(self._folder.name, f"{number}.{end}") for end in ("log", "json"))
        answer = self._answers[number] = queue.SimpleQueue()
        order = {
            "id": number,
            "arguments": [*ALWAYS, "--app-dir", str(ROOT), "--ready-file", str(ready), *arguments],
            "env": dict(env),
            "log": str(log),
        }
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        worker = self._workers[answer.get(timeout=60)]
        worker.log_file, worker.ready_file = log, ready
        return worker

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            said = json.loads(line)
            if "ended" in said:
                self._workers[said["ended"]].ended.set()
            else:
                self._workers[said["pid"]] = Worker(said["pid"], Path(), Path())
                self._answers.pop(said["id"]).put(said["pid"])
