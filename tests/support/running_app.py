"""The app as its own process on the local host, spoken to over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from devhost.process import ROOT, DevhostProcess
from tests.support.markers import MARKERS, SECRETS, found_in


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RunningApp:
    """A host process with the app in it."""

    host: DevhostProcess

    def call(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        *,
        key: str | None = None,
        **headers: str,
    ) -> Answer:
        """One request with a connection of its own; by default with the key that opens every function.

        A body that comes piece by piece is sent in chunks, without a length.
        """
        address = urlsplit(self.host.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is None or key:
            sent["x-functions-key"] = key or self.host.host_key
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

    def post(self, body: Any, path: str = "/api/leads") -> Answer:
        """Post a lead."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, raw, Content_Type="application/json")

    def wait_for(self, lead_id: str, *states: str, seconds: float = 90) -> dict[str, Any]:
        """The lead's status once it is in one of these states."""
        deadline = time.monotonic() + seconds
        while True:
            status: dict[str, Any] = self.call("GET", f"/api/status/{lead_id}").json()
            if status["state"] in states:
                return status
            assert time.monotonic() < deadline, f"still {status}; the log ends in {self.host.log[-2000:]}"
            time.sleep(0.05)


PERSONAL_DATA_OVER_HTTP = {"LEADS_PERSONAL_DATA_OVER_HTTP": "true"}


@contextlib.contextmanager
def running_app(storage: str, *options: str, settings: Mapping[str, str] | None = None) -> Iterator[RunningApp]:
    """Start the app on a storage account, with the tests' own destination type; it ends with the block."""
    env = {"LeadsStorage": storage, "AzureWebJobsStorage": storage, **(settings or {})}
    with DevhostProcess(ROOT, "--with", "tests.support.recording", *options, env=env, timeout=60) as host:
        yield RunningApp(host)
        assert found_in(host.log) == [], "people and secrets are in the app's log"
