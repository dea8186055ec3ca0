"""`make run`: the whole app on this machine, with storage, offers and sample leads, until Ctrl-C.

Settings, all from the environment:

    PORT=18071              the port; default: 7071, or a free port if 7071 is taken
    ONCE=1                  end after the table, with status 0 only if every sample has the expected result
    KEEP=1                  keep the storage in .run/storage for the next KEEP=1: stored offers stay as they are, and samples
                            are not posted again
    HOST=auto|func|devhost  Core Tools, devhost, or auto: Core Tools if they are installed and start, else devhost (default)
    DEMO=all                besides the samples, one customer's journey through every destination type, with fake vendors on
                            this machine, and 90 days of made-up leads for the numbers

.run/run.json has the addresses and keys for scripts, from the moment when the app is ready until it ends. If several copies run
in one checkout, the first copy has run.json; each copy also has .run/run-PORT.json.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient
from rich.console import Console
from rich.markup import escape

from leads.platform.storage import LEADS_QUEUE
from tools import demo, history, host, journey
from tools.azurite import Azurite, AzuriteError
from tools.host import ROOT, Host, RunError

RUN_FOLDER = ROOT / ".run"
WIDTH = 100


class Stop(BaseException):
    """A signal asked the program to end."""


@dataclass(frozen=True)
class Options:
    """The settings from the environment."""

    port: int | None  # None: any
    once: bool
    keep: bool
    kind: str  # "auto", "func" or "devhost"
    journey: bool = False


def read_options(environment: Mapping[str, str]) -> Options:
    """Read the settings. Raises RunError, which names a malformed setting."""
    port = environment.get("PORT", "").strip()
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise RunError(f"PORT must be a number from 1 to 65535, not {port!r}")
    kind = environment.get("HOST", "").strip() or "auto"
    if kind not in {"auto", "func", "devhost"}:
        raise RunError(f"HOST must be auto, func or devhost, not {kind!r}")
    wanted = environment.get("DEMO", "").strip()
    if wanted not in {"", "all"}:
        raise RunError(f"DEMO must be all, or left out, not {wanted!r}")
    once, keep = _switch(environment, "ONCE"), _switch(environment, "KEEP")
    return Options(int(port) if port else None, once, keep, kind, wanted == "all")


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "").strip().lower()
    if value in {"", "0", "false", "no"}:
        return False
    if value in {"1", "true", "yes"}:
        return True
    raise RunError(f"{name} must be 1 or 0, not {value!r}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Yields whether this process got the lock. The kernel releases the lock when the process ends."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def storage(keep: bool, folder: Path) -> Iterator[Azurite]:
    """Azurite, in memory or in `folder`/storage. Raises RunError if another copy uses that folder."""
    if not keep:
        with Azurite() as azurite:
            yield azurite
        return
    with locked(folder / "storage.lock") as mine:
        if not mine:
            raise RunError(f"another `make run KEEP=1` is using {shown(folder / 'storage')}: end it, or leave KEEP out")
        (folder / "storage").mkdir(exist_ok=True)
        with Azurite(folder / "storage") as azurite:
            yield azurite


def make_queue(connection: str) -> None:
    """Create the trigger's queue, because the host warns of a missing queue once a second."""
    with QueueClient.from_connection_string(connection, LEADS_QUEUE) as queue, contextlib.suppress(ResourceExistsError):
        queue.create_queue()


class Announcement:
    """The files run.json and run-PORT.json: written by `write`, removed at the end of the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: list[Path] = []
        self._lock = locked(folder / "run.lock")
        self._is_first = False

    def write(self, facts: dict[str, str | int], port: int) -> Path:
        """Write the file, or both files, of this copy. Returns the path for scripts."""
        paths = [self.folder / f"run-{port}.json"]
        if self._is_first:
            paths.append(self.folder / "run.json")
        for path in paths:
            self._written.append(path)
            part = path.with_suffix(f".{port}.part")
            part.write_text(json.dumps(facts, indent=2) + "\n")
            part.replace(path)
        return paths[-1]

    def __enter__(self) -> Self:
        self._is_first = self._lock.__enter__()
        if self._is_first:
            (self.folder / "run.json").unlink(missing_ok=True)  # of a copy that was killed
        return self

    def __exit__(self, *error: object) -> None:
        for path in self._written:
            path.unlink(missing_ok=True)
        self._lock.__exit__(None, None, None)


def run(options: Options, console: Console) -> int:
    """Start storage and host, show the samples, and serve. Returns the exit status after ending all that it started."""
    host.choose_port(options.port)  # report a wrong setting before starting anything
    host.find_func(options.kind)
    RUN_FOLDER.mkdir(exist_ok=True)
    with contextlib.ExitStack() as ending:
        announcement = ending.enter_context(Announcement(RUN_FOLDER))
        logs = ending.enter_context(log_folder(RUN_FOLDER / str(os.getpid())))
        connection = ending.enter_context(storage(options.keep, RUN_FOLDER)).connection_string
        kept = bool(demo.read_rows(connection))
        console.print("Storage: Azurite, " + ("kept in .run/storage" if options.keep else "in memory, empty"))
        make_queue(connection)
        demo.configure_offers(connection, only_missing=options.keep)
        console.print("Offers: those of samples/offers are configured" + (", unless kept" if options.keep else ""))
        vendors = ending.enter_context(journey.stand_ins()) if options.journey else None
        if vendors is not None:
            journey.configure(vendors, connection)
        if options.journey and not kept:  # before the app counts its first day
            console.print(f"History: {history.fill(connection)} made-up leads of the last {history.DAYS} days")
        running, port = start_host(options, settings(connection) | (vendors.settings if vendors else {}), logs)
        ending.callback(running.stop)
        console.print(f"App: {running.name} at {running.base_url}")
        if kept:
            console.print("Samples: an earlier run has posted them; its leads are kept as they are")
        right = kept or show_samples(running, connection, console)
        if vendors is not None:
            right = journey.show(vendors, running, connection, console) and right
        if not options.once:
            facts = facts_of(running, connection)
            show_addresses(facts, running, announcement.write(facts, port), console)
            console.print("[bold]Serving; Ctrl-C ends it and everything it started.[/] The host's log follows.")
            follow(running)
        return 0 if right else 1


@contextlib.contextmanager
def log_folder(folder: Path) -> Iterator[Path]:
    """An empty folder. If the block fails, the folder stays for a person to read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    except Stop:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def start_host(options: Options, app_settings: dict[str, str], logs: Path) -> tuple[Host, int]:
    """Start the host. Returns the host and its port."""
    key = secrets.token_urlsafe(24)
    while True:
        port = host.choose_port(options.port)
        if options.port is None and port != host.DEFAULT_PORT:
            print(f"Port {host.DEFAULT_PORT} is in use by another program: using {port}", flush=True)
        (RUN_FOLDER / f"run-{port}.json").unlink(missing_ok=True)  # of a copy that was killed
        try:
            return host.start(options.kind, port, key, app_settings, logs), port
        except RunError:
            # Another copy that started at the same moment may have taken the port.
            if options.port is not None or host.port_is_free(port):
                raise


def settings(connection: str) -> dict[str, str]:
    """The app settings of local.settings.example.json, with this run's storage."""
    example: dict[str, str] = json.loads((ROOT / "local.settings.example.json").read_text())["Values"]
    return example | {"AzureWebJobsStorage": connection, "LeadsStorage": connection}


def show_samples(running: Host, connection: str, console: Console) -> bool:
    """Post the samples and show their results. Returns whether each result is as expected."""
    posted = []
    total = len(demo.read_samples())
    with console.status("") as status:
        for sample in demo.post_samples(running):
            posted.append(sample)
            status.update(f"Posting samples: {len(posted)} of {total}")
        status.update("Waiting until each lead has settled")
        demo.settle(running, posted, connection)
    wrong = [sample for sample in posted if not sample.is_right()]
    arrived = sum(bool(sample.row) for sample in posted)
    console.print(f"Posted {len(posted)} samples; {arrived} of them are rows of table {demo.TABLE} now:")
    console.print(demo.as_table(posted))
    for sample in wrong:
        console.print(escape(demo.complaint(sample)), style="red", soft_wrap=True)
    if not wrong:
        console.print(f"All {len(posted)} samples are where they should be.")
    return not wrong


def facts_of(running: Host, connection: str) -> dict[str, str | int]:
    return {
        "intake_url": f"{running.base_url}/api/leads",
        "function_key": running.key,
        "management_url": f"{running.base_url}/api/manage",
        "storage_connection_string": connection,
        "pid": os.getpid(),
    }


def show_addresses(facts: dict[str, str | int], running: Host, file: Path, console: Console) -> None:
    """Print each value on a separate line without wrapping, so that it can be copied."""
    curl = (
        f"curl -i '{facts['intake_url']}' -H 'x-functions-key: {facts['function_key']}' "
        "-H 'Content-Type: application/json' --data-binary @samples/01-https-example.json"
    )
    lines = {
        "Intake address": str(facts["intake_url"]),
        "Post a lead": curl,
        "State of a lead": f"curl '{running.base_url}/api/status/LEAD_ID' -H 'x-functions-key: {facts['function_key']}'",
        "Console in the browser": f"{running.base_url}/api/console",
        "Key to sign in there": str(facts["function_key"]),
        "Management address": str(facts["management_url"]),
        "Storage connection string (for Storage Explorer or a script)": str(facts["storage_connection_string"]),
        "The same for scripts": shown(file),
        "Log of the host": shown(running.log_file),
    }
    for title, value in lines.items():
        console.print(f"\n[bold]{title}[/]")
        console.print(f"  {value}", markup=False, soft_wrap=True)
    console.print()


def follow(running: Host) -> None:
    """Show the host's log as it grows, until a signal. Raises RunError if the host ends by itself."""
    parent = os.getppid()
    with running.log_file.open(errors="replace") as log:
        log.seek(0, os.SEEK_END)
        while not running.has_ended():
            print(log.read(), end="", flush=True)
            if os.getppid() != parent:
                raise Stop  # make was killed, so no one can end this program
            time.sleep(0.3)
    raise RunError(f"{running.name} ended by itself, see {shown(running.log_file)}: {host.last_line(running.log)}")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def stop_on_signals() -> None:
    """Turn the first SIGINT, SIGTERM or SIGHUP into `Stop`. Later signals do not interrupt the shutdown."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks to ignore it
        numbers.append(signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Stop

    for number in numbers:
        signal.signal(number, stop)


def main() -> int:
    # Storage and app are on this machine, so requests must not go through a proxy.
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    stop_on_signals()
    try:
        return run(read_options(os.environ), console)
    except (RunError, AzuriteError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
    except Stop:
        console.print("\nEnded, with everything it started.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
