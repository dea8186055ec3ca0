"""`make chaos`: a storm as long as one likes. `N` leads, `WORKERS` processes, `SEED` to see one again, from the environment."""

from __future__ import annotations

import os
import sys
import time
from random import SystemRandom

from leads.core import clock
from tests.chaos.case import Case
from tests.chaos.storm import Storm, Weather, fast_clock
from tests.chaos.workers import ForkServer
from tools.azurite import Azurite

CUSTOMERS = 300


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not int(text):
        sys.exit(f"{name}: write a whole number above 0, such as {name}={default}")
    return int(text)


def main() -> int:
    """The exit status is 0 only where every accepted lead is at the vendor, once."""
    leads, workers = _number("N", 2000), _number("WORKERS", 2)
    seed = _number("SEED", SystemRandom().randrange(1, 10**6))
    print(f"{leads} leads of {CUSTOMERS} customers, {workers} workers; see it again with SEED={seed}", flush=True)
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {line}", flush=True)

    fast = fast_clock()
    clock.now = fast.now
    with (
        Azurite(accounts=1) as azurite,
        ForkServer() as forks,
        Case(azurite.account_connection_strings[0], forks, fast) as case,
    ):
        storm = Storm(
            case, leads=leads, customers=CUSTOMERS, workers=workers, seed=seed, weather=Weather(of_worker=0.5), say=say
        )
        report = storm.run(patience=600)
    for line in report.wrong[:20]:
        print(line)
    print(report)
    print(f"WRONG: {len(report.wrong)} things" if report.wrong else "Nothing lost, no second record, no lead stuck.")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
