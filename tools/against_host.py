"""`make proof`: runs the samples, the end-to-end tests and a short chaos test on a host, and shows the results in a table.

    python -m tools.against_host [--host devhost|func|ADDRESS] [--leads N] [--only samples|tests|chaos]

Without --host, the host is the one that HOST names (see tools/target.py), else Core Tools if they are on PATH, else devhost.
The exit status is 0 if nothing failed, 1 if something failed, and 2 if the host can't be started or reached.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from devhost.supervisor import Supervisor
from leads.app import App
from leads.offers.model import read_offer
from leads.platform.settings import Settings
from tests.chaos.on_a_host import storm
from tests.support.pipeline import crm
from tests.support.vendor import Vendor
from tools import check, demo, host, run
from tools.azurite import Azurite, AzuriteError
from tools.host import Host, RunError
from tools.target import Target, read_target

LEADS = 150
TEST_PROCESSES = 2
"""Each end-to-end test starts a host, and a starting host uses one core."""
DEVHOST_OPTIONS = ("--lease-seconds", "30")
"""The real host's lease is ten minutes, and can't be shortened."""
LOG_LINES = 40


@dataclass(frozen=True)
class Row:
    """A check and its result."""

    name: str
    result: str  # "passed", "failed" or "skipped"
    numbers: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks. Returns the exit status."""
    # Storage and host are on this machine, so requests must not go through a proxy.
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1"]))
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else run.WIDTH, highlight=False)
    try:
        default = "func" if shutil.which("func") else "devhost"
        target = read_target(os.environ | ({"HOST": options.host} if options.host else {}), default)
        if not target.address:
            host.find_func(target.kind)
        checks: dict[str, Callable[[], Row]] = {
            "samples": lambda: samples(target, console),
            "tests": lambda: tests(target),
            "chaos": lambda: chaos(target, console, options.leads),
        }
        rows = [check() for name, check in checks.items() if options.only in {None, name}]
    except (RunError, AzuriteError) as error:
        print(f"against_host: {error}", file=sys.stderr)
        return 2
    console.print(as_table(target, rows))
    return 1 if any(row.result == "failed" for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.against_host", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--host", help="devhost, func, or the address of a running host (with HOST_KEY and HOST_STORAGE)"
    )
    parser.add_argument("--leads", type=int, default=LEADS, help=f"how many leads the chaos posts (default: {LEADS})")
    parser.add_argument("--only", choices=("samples", "tests", "chaos"), help="one check alone")
    return parser


def as_table(target: Target, rows: list[Row]) -> Table:
    """One line for each check."""
    table = Table("Check", "Result", "Numbers", title=f"On {target.name}", title_justify="left", box=box.SIMPLE_HEAD)
    styles = {"passed": "green", "failed": "bold red", "skipped": "yellow"}
    for row in rows:
        table.add_row(row.name, Text(row.result, style=styles[row.result]), Text(row.numbers))
    return table


def samples(target: Target, console: Console) -> Row:
    """Post the samples, and check that each ends in the state of samples/expected.json."""
    started = time.monotonic()
    with contextlib.ExitStack() as ending:
        storage = target.storage or ending.enter_context(Azurite()).connection_string
        demo.configure_offers(storage)
        running = (
            host.attach(target.address, target.key) if target.address else ending.enter_context(_host(target, storage))
        )
        posted = list(demo.post_samples(running))
        demo.settle(running, posted, storage)
        # At an address, the same samples may have been posted a moment ago. Then they are redeliveries.
        wrong = [sample for sample in posted if not sample.is_right(kept_storage=bool(target.address))]
        for sample in wrong:
            console.print(Text(demo.complaint(sample), style="red"))
        if wrong:
            _show_end(running, console)
    numbers = f"{len(posted) - len(wrong)} of {len(posted)} where they should be; {time.monotonic() - started:.0f} s"
    return Row("samples", "failed" if wrong else "passed", numbers)


def tests(target: Target) -> Row:
    """Run tests/e2e."""
    started = time.monotonic()
    os.environ["HOST"] = target.name
    arguments = ["tests/e2e", "-n", str(TEST_PROCESSES), "--dist", "loadfile"]
    totals = check.pytest_totals(f"end-to-end tests on {target.name}", arguments)
    numbers = f"{totals}; {time.monotonic() - started:.0f} s"
    return Row("end-to-end tests", "failed" if totals.failed else "passed", numbers)


def chaos(target: Target, console: Console, leads: int) -> Row:
    """Kill worker and host while leads come in, and check that each lead arrives once."""
    if target.address:
        return Row("chaos", "skipped", "a host that was not started here is not killed")
    with Azurite() as azurite, Vendor() as vendor:
        storage = azurite.connection_string
        app = App(Settings.model_validate({"LeadsStorage": storage}))
        app.offers.save(read_offer({"id": "*", "destinations": [crm(vendor.url)]}))
        with _starting(target, storage) as start, Supervisor(start) as kept:
            report = storm(kept, vendor, leads, say=console.print)
            for line in report.wrong[:20]:
                console.print(Text(line, style="red"))
            if report.wrong:
                _show_end(kept.host, console)
    return Row("chaos", "failed" if report.wrong else "passed", str(report))


@contextlib.contextmanager
def _starting(target: Target, storage: str) -> Iterator[Callable[[], Host]]:
    """Yields a function that starts a host on the account. All its hosts have the same keys, as instances of an app have."""
    key = secrets.token_hex(24)
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        settings, modules = run.settings(storage), ["tests.support.recording"]
        yield lambda: host.start(
            target.kind, 0, key, settings, Path(folder), modules=modules, devhost_options=DEVHOST_OPTIONS
        )


@contextlib.contextmanager
def _host(target: Target, storage: str) -> Iterator[Host]:
    with _starting(target, storage) as start, start() as running:
        yield running


def _show_end(running: Host, console: Console) -> None:
    console.print(f"The host's log ends in\n{Text(chr(10).join(running.log.splitlines()[-LOG_LINES:]))}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
