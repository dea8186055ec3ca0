"""`make bench`: measure, print one table, write benchmarks/latest.json.

make bench                         everything
make bench ROWS=intake,delivery    a choice of: intake, requests, delivery, waiting, listing, latency, neighbour, import,
                                   vendor, logs, coldstart, bytecode, memory, shell
make bench STRICT=1                exit status 1 where a target is not met
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import (
    bytecode,
    coldstart,
    delivery,
    importing,
    intake,
    latency,
    listing,
    logs,
    memory,
    neighbour,
    requests,
    shell,
    vendor,
    waiting,
)
from benchmarks.effort import FULL, Effort
from benchmarks.report import Result, as_table, notes, write_json

LATEST = Path(__file__).with_name("latest.json")

Measurement = Callable[[Effort, Callable[[str], None]], list[Result]]
MEASUREMENTS: Final[dict[str, Measurement]] = {
    "intake": intake.measure,
    "requests": requests.measure,
    "delivery": delivery.measure,
    "waiting": waiting.measure,
    "listing": listing.measure,
    "latency": latency.measure,
    "neighbour": neighbour.measure,
    "import": importing.measure,
    "vendor": vendor.measure,
    "logs": logs.measure,
    "coldstart": coldstart.measure,
    "bytecode": bytecode.measure,
    "memory": memory.measure,
    "shell": shell.measure,
}


def choose(environment: Mapping[str, str]) -> list[str]:
    """The measurements that ROWS names, all without it. Raises ValueError that lists the ones there are."""
    names = [name.strip() for name in environment.get("ROWS", "").split(",") if name.strip()]
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise ValueError(f"ROWS={unknown[0]}: there is no such measurement; use some of {', '.join(MEASUREMENTS)}")
    return names or list(MEASUREMENTS)


def run(names: Sequence[str], effort: Effort) -> list[Result]:
    """Measure one after the other, telling how far it is."""
    results: list[Result] = []
    for name in names:
        started = time.monotonic()
        results += MEASUREMENTS[name](effort, _teller(name, started))
    return results


def _teller(name: str, started: float) -> Callable[[str], None]:
    def tell(text: str) -> None:
        print(f"{name} {time.monotonic() - started:4.0f} s  {text}", file=sys.stderr, flush=True)

    return tell


def main(environment: Mapping[str, str]) -> int:
    """0 if everything ran; with STRICT=1, 1 where a target is not met; 2 where ROWS can't be understood."""
    try:
        names = choose(environment)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    results = run(names, FULL)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(as_table(results))
    for note in notes(results):
        console.print(note, highlight=False)
    write_json(results, LATEST)
    unmet = [item.row.what for item in results if not item.row.met]
    if unmet:
        console.print(f"{len(unmet)} of {len(results)} targets not met.", highlight=False)
    return 1 if unmet and environment.get("STRICT", "") == "1" else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
