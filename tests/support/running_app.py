"""The app in a separate process on this machine, reached over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.markers import MARKERS, SECRETS, found_in
from tools.host import Host, attach, start
from tools.target import read_target

TARGET = read_target(os.environ)
"""The host for these tests."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RunningApp:
    """A host process with the app."""

    host: Host

    def call(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        *,
        key: str | None = None,
        seconds: float = 60,
        **headers: str,
    ) -> Answer:
        """Send a request on a new connection, by default with the key that opens every function.

        A body in pieces is sent in chunks, without a length. Raises OSError or HTTPException if no answer comes in time.
        """
        address = urlsplit(self.host.base_url)
        connect = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = connect(address.hostname or "", address.port, timeout=seconds)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is None or key:
            sent["x-functions-key"] = key or self.host.key
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, found, response.read())
        # A preview answers the lead that it was sent, or a made-up one.
        markers = SECRETS if path.startswith("/api/manage/preview") else MARKERS
        assert found_in(f"{found} {answer.body.decode(errors='replace')}", markers) == [], (
            "people and secrets in an answer"
        )
        return answer

    def post(self, body: Any, path: str = "/api/leads", seconds: float = 60) -> Answer:
        """Post a lead."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, raw, seconds=seconds, Content_Type="application/json")

    def wait_for(self, lead_id: str, *states: str, seconds: float = 180) -> dict[str, Any]:
        """Wait until the lead is in one of these states. Returns its status."""
        deadline, pause = time.monotonic() + seconds, 0.02
        while True:
            status: dict[str, Any] = self.call("GET", f"/api/status/{lead_id}").json()
            if status["state"] in states:
                return status
            assert time.monotonic() < deadline, f"still {status}; the log ends in {self.host.log[-2000:]}"
            time.sleep(pause)
            pause = min(0.5, pause * 1.5)  # each request delays the app and its storage


PERSONAL_DATA_OVER_HTTP = {"LEADS_PERSONAL_DATA_OVER_HTTP": "true"}


@contextlib.contextmanager
def running_app(
    storage: str, *devhost_options: str, settings: Mapping[str, str] | None = None, only_http: bool = False
) -> Iterator[RunningApp]:
    """Start the app on a storage account, with the tests' own destination type; it ends with the block.

    With `only_http` nothing takes leads from the queue. `devhost_options` are for tests with the marker `devhost`.
    """
    with contextlib.ExitStack() as ending:
        if TARGET.address:
            host = attach(TARGET.address, TARGET.key)
        else:
            env = {"LeadsStorage": storage, "AzureWebJobsStorage": storage, **(settings or {})}
            folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="app-")))
            host = start(
                TARGET.kind,
                0,
                secrets.token_urlsafe(24),
                env,
                folder,
                modules=["tests.support.recording"],
                only_http=only_http,
                devhost_options=devhost_options,
            )
            ending.callback(host.stop)
        yield RunningApp(host)
        assert found_in(host.log) == [], "people and secrets are in the app's log"
