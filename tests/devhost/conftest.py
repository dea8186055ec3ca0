"""A recorder for the sample app, a queue for it, and devhosts that run it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import pytest
from azure.storage.queue import QueueClient, TextBase64EncodePolicy
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from devhost.__main__ import main
from devhost.process import DevhostProcess
from tests.support.forked import Forked

SAMPLE_APP = Path(__file__).parent / "app"
WORK_QUEUE = "work"
Start = Callable[..., DevhostProcess]
AppWith = Callable[..., Path]


class Devhost(DevhostProcess):
    """A devhost in a forked process, which starts sooner."""

    def _begin(self, arguments: list[str], environment: dict[str, str], folder: str, log: IO[bytes]) -> Forked:
        with Path(os.devnull).open() as nothing:
            return Forked(main, arguments, environment, (nothing.fileno(), log.fileno(), log.fileno()), folder)


@dataclass
class Recorder:
    """A report of the sample app. `at`: this process's monotonic time."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def note(self, request: Request) -> Response:
        with self.came:
            self.events.append({**request.get_json(force=True), "at": time.monotonic()})
            self.came.notify_all()
        return Response(status=204)

    def of(self, event: str, **details: object) -> list[dict[str, Any]]:
        wanted = {"event": event, **details}.items()
        return [seen for seen in list(self.events) if wanted <= seen.items()]

    def wait_for(self, event: str, count: int = 1, timeout: float = 120.0, **details: object) -> list[dict[str, Any]]:
        """The first `count` events of this kind. Fails the test if they do not come in time."""
        with self.came:
            if not self.came.wait_for(lambda: len(self.of(event, **details)) >= count, timeout):
                pytest.fail(f"not within {timeout:g} s: {count} x {event} {details}")
        return self.of(event, **details)[:count]


class Gate:
    """A port of 127.0.0.1 that leads to another one, and can be closed and opened as if a server went and came.

    While it `breaks`, it accepts connections only to break them, and counts them in `broken`.
    """

    def __init__(self, target: int, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.broken = 0
        self._target = target
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = 0
        self.open()

    def open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def close(self) -> None:
        with self._lock:
            for connection in (self._server, *self._connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            self._connections.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = server.accept()[0]
                with self._lock:  # a connection that was accepted just before `close` must not outlive it
                    if self.breaks or server.fileno() < 0:
                        self.broken += self.breaks
                        near.close()
                        continue
                    far = socket.create_connection(("127.0.0.1", self._target))
                    self._connections |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def until(condition: Callable[[], bool], timeout: float = 120.0, what: str = "condition") -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout:g} s: {what}")
        time.sleep(0.1)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    seen = Recorder()
    with HTTPServer(threaded=True) as server:
        server.expect_request("/").respond_with_handler(seen.note)
        seen.url = server.url_for("/")
        yield seen


@pytest.fixture
def app_environment(fresh_storage: str, recorder: Recorder) -> dict[str, str]:
    """The settings the sample app needs; its timer fires once a year unless a test says otherwise."""
    return {
        "LeadsStorage": fresh_storage,
        "AzureWebJobsStorage": fresh_storage,
        "WORK_QUEUE": WORK_QUEUE,
        "TICK_SCHEDULE": "0 0 0 1 1 *",
        "RECORDER": recorder.url,
    }


@pytest.fixture
def start_devhost(app_environment: dict[str, str]) -> Iterator[Start]:
    """Call it with command-line arguments, `app_dir` and `env`. The devhosts end with the test.

    A start takes longer with a worker process (`in_process=False`).
    """
    with ExitStack() as stack:

        def start(
            *arguments: str, app_dir: Path = SAMPLE_APP, env: dict[str, str] | None = None, in_process: bool = True
        ) -> DevhostProcess:
            mode = ("--in-process",) if in_process else ()
            process = Devhost(app_dir, *mode, *arguments, env={**app_environment, **(env or {})})
            return stack.enter_context(process)

        yield start


@pytest.fixture
def work_queue(fresh_storage: str) -> QueueClient:
    """The empty queue of the sample app's function. It writes messages as the host expects them."""
    queue = QueueClient.from_connection_string(
        fresh_storage, WORK_QUEUE, message_encode_policy=TextBase64EncodePolicy()
    )
    queue.create_queue()
    return queue


@pytest.fixture
def poison_queue(fresh_storage: str) -> QueueClient:
    """The queue for failed messages. The host has to create it."""
    return QueueClient.from_connection_string(fresh_storage, f"{WORK_QUEUE}-poison")


def task(name: str, **what: object) -> str:
    """The text of a message for the sample app's queue function."""
    return json.dumps({"name": name, **what})


@pytest.fixture
def app_with(tmp_path: Path) -> AppWith:
    """A copy of the sample app with other settings in host.json and, on request, with a package `leads`."""

    def copy(*, leads: bool = False, function_timeout: str | None = None, **queue_settings: object) -> Path:
        app = tmp_path / "app"
        app.mkdir()
        shutil.copy(SAMPLE_APP / "function_app.py", app)
        host = json.loads((SAMPLE_APP / "host.json").read_text())
        host["extensions"]["queues"].update(queue_settings)
        if function_timeout:
            host["functionTimeout"] = function_timeout
        (app / "host.json").write_text(json.dumps(host))
        if leads:
            for package in ("leads", "leads/core", "leads/ledger"):
                (app / package).mkdir()
                (app / package / "__init__.py").touch()
            (app / "leads/ledger/transactions.py").write_text("CLAIM_LEASE_SECONDS = 240\n")
            (app / "leads/core/clock.py").write_text(
                "from datetime import UTC, datetime\n\ndef now() -> datetime:\n    return datetime.now(UTC)\n"
            )
        return app

    return copy
