"""A `func` of the tests' own: devhost behind the command line, the key files and the admin API of Azure Functions Core Tools.

    python -m tests.fakes.core_tools start --port N --enableAuth [--functions NAME …]

It knows what tools/core_tools.py relies on, as the sources named there have it, and nothing else: keys are read from
`$TMPDIR/secrets/functions/secrets/host.json` and asked for only with `--enableAuth`; `/admin` opens to the master key alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Server(ThreadingHTTPServer):
    """The address of Core Tools."""

    daemon_threads = True
    request_queue_size = 256
    master: str
    behind: dict[str, Any]  # what devhost says of itself


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path.startswith("/admin/"):
            self._administer(self.path.removeprefix("/admin/").split("/"))
        else:
            self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = do_TRACE = do_QUERY = do_POST

    def _administer(self, path: list[str]) -> None:
        keys = self.server.behind["function_keys"]
        if self.headers["x-functions-key"] != self.server.master:
            return self._answer(401, b"", {})
        if path == ["functions"]:
            return self._answer(200, json.dumps([{"name": name} for name in keys]).encode(), {})
        key = self.server.behind["host_key"] if path == ["host", "keys"] else keys[path[1]]
        found = {"keys": [{"name": "default", "value": key}], "links": []}
        return self._answer(200, json.dumps(found).encode(), {})

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(self.server.behind["base_url"]).port, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        response = connection.getresponse()
        text = response.read()
        connection.close()
        self._answer(response.status, text, dict(response.getheaders()))

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


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
        server = Server(("127.0.0.1", options.port), Handler)
        server.master, server.behind = keys["masterKey"]["value"], json.loads(ready.read_text())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return devhost.wait()


if __name__ == "__main__":
    sys.exit(main())
