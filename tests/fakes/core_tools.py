"""A `func` of the tests' own: devhost behind the command line, the key files and the admin API of Azure Functions Core Tools.

    python -m tests.fakes.core_tools start --port N --enableAuth [--functions NAME …]

It knows what tools/core_tools.py relies on, as the sources named there have it, and nothing else: keys are read from
`$TMPDIR/secrets/functions/secrets/host.json` and asked for only with `--enableAuth`; `/admin` opens to the master key alone.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.https_server import Broken, Request, Response, VendorServer


class CoreTools(VendorServer):
    """The address of Core Tools; `behind` is what devhost says of itself."""

    def __init__(self, port: int, master: str, behind: dict[str, Any]) -> None:
        super().__init__(None, port)
        self._master, self._behind = master, behind

    def receive(self, request: Request) -> tuple[Response | None, Broken | None]:
        if request.method == "GET" and request.path.startswith("/admin/"):
            return self._administer(request), None
        return self._pass_on(request), None

    def _administer(self, request: Request) -> Response:
        path, keys = request.path.removeprefix("/admin/").split("/"), self._behind["function_keys"]
        if request.headers.get("x-functions-key") != self._master:
            return Response(401)
        if path == ["functions"]:
            return Response(200, [{"name": name} for name in keys])
        key = self._behind["host_key"] if path == ["host", "keys"] else keys[path[1]]
        return Response(200, {"keys": [{"name": "default", "value": key}], "links": []})

    def _pass_on(self, request: Request) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self._behind["base_url"]).port, timeout=60)
        with contextlib.closing(connection):
            connection.request(request.method, request.target, request.body, dict(request.headers))
            response = connection.getresponse()
            headers = {name: value for name, value in response.getheaders() if name.lower() not in _OF_A_CONNECTION}
            return Response(response.status, response.read(), headers)


_OF_A_CONNECTION = {"content-length", "transfer-encoding", "connection", "date", "server"}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["start"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--enableAuth", action="store_true", required=True)
    parser.add_argument("--functions", nargs="*")
    options = parser.parse_args()
    settings = dict(os.environ)
    assert settings["AzureWebJobsSecretStorageType"] == "files"
    assert settings["FUNCTIONS_WORKER_RUNTIME"] == "python"
    keys = json.loads(Path(settings["TMPDIR"], "secrets/functions/secrets/host.json").read_text())
    arguments = [f"--function-key={keys['functionKeys'][0]['value']}", "--port", "0"]
    if options.functions is not None:
        arguments += ["--no-queues", "--no-timers"]
    ready = Path(settings["TMPDIR"], "ready.json")
    with subprocess.Popen([sys.executable, "-m", "devhost", "--ready-file", str(ready), *arguments]) as devhost:
        signal.signal(signal.SIGTERM, lambda *_: devhost.terminate())
        while not ready.exists():
            if devhost.poll() is not None:
                return 1
            time.sleep(0.02)
        with CoreTools(options.port, keys["masterKey"]["value"], json.loads(ready.read_text())):
            return devhost.wait()


if __name__ == "__main__":
    sys.exit(main())
