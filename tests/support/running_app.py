"""The app as its own process on the local host, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
HOST_KEY = "test-host-key"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class RunningApp:
    """A host process with the app in it."""

    base_url: str
    function_keys: dict[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    def call(self, method: str, path: str, body: bytes | None = None, *, key: str = HOST_KEY, **headers: str) -> Answer:
        """One request with a connection of its own."""
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {"x-functions-key": key} | names if key else names)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def post(self, body: Any, path: str = "/api/leads") -> Answer:
        """Post a lead."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, raw, Content_Type="application/json")

    def wait_for(self, lead_id: str, *states: str, seconds: float = 30) -> dict[str, Any]:
        """The lead's status once it is in one of these states."""
        deadline = time.monotonic() + seconds
        while True:
            status: dict[str, Any] = self.call("GET", f"/api/status/{lead_id}").json()
            if status["state"] in states:
                return status
            assert time.monotonic() < deadline, f"still {status}; the log ends in {self.log.read_text()[-2000:]}"
            time.sleep(0.05)


@contextlib.contextmanager
def running_app(storage: str, folder: Path, *options: str, **environment: str) -> Iterator[RunningApp]:
    """Start the app on a storage account; it ends with the block."""
    number = len(list(folder.glob("*.log")))
    log, ready = folder / f"host{number}.log", folder / f"host{number}.json"
    command = [sys.executable, "-m", "devhost", "--app-dir", str(ROOT), "--port", "0", "--function-key", HOST_KEY]
    command += ["--ready-file", str(ready), "--with", "tests.support.recording", *options]
    settings = {"LeadsStorage": storage, "AzureWebJobsStorage": storage, **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        told = json.loads(ready.read_text())
        yield RunningApp(told["base_url"], told["function_keys"], process, log)
    finally:
        process.terminate()
        process.wait(30)
