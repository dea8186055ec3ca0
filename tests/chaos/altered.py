"""Imported into a worker by devhost's `--with`: what a test alters in it, read from the environment.

`CHAOS_CLOCK_OFFSET`: seconds by which this worker's clock is ahead (negative: behind).
`CHAOS_CRASH_DELAY`: seconds of the app's time after which a crashed lead is tried again, instead of hours; a poison message
whose reader died is seen again soon, too.
`CHAOS_DEADLY`: the lead of this e-mail address kills the process while it is sent, as native code does, or the kernel where
memory has run out, and adds a line to the file `CHAOS_DEATHS`; until that file is gone.
`CHAOS_CLAIM_SECONDS`: how long a claim holds its customer.
`CHAOS_RATE_LIMIT`: another rate limit than Marketo's own: `at_once calls seconds longest_call lease`.

SIGUSR1 is a tick of the timers, for workers without timers of their own: a test that kills at every request says when.
"""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from pathlib import Path

from leads.app import get_app
from leads.core import clock
from leads.core.outcomes import Outcome
from leads.destinations.base import Customer, OutgoingLead
from leads.ledger import transactions
from leads.watch import poison, tick
from tests.support.recording import Recording

_offset = timedelta(seconds=float(os.environ.get("CHAOS_CLOCK_OFFSET", "0")))
_right_time = clock.now
if _offset:
    clock.now = lambda: _right_time() + _offset

if "CHAOS_CRASH_DELAY" in os.environ:
    _delay = timedelta(seconds=float(os.environ["CHAOS_CRASH_DELAY"]))
    poison.CRASH_DELAYS = (_delay,) * 100  # type: ignore[misc, assignment]
    poison.POISON_HIDDEN_SECONDS = 3  # type: ignore[misc]

if "CHAOS_DEADLY" in os.environ:
    _deaths = Path(os.environ["CHAOS_DEATHS"])

    def _deadly(self: Recording, lead: OutgoingLead, customer: Customer) -> Outcome:
        if lead.lead.email == os.environ["CHAOS_DEADLY"] and _deaths.exists():
            with _deaths.open("a") as deaths:
                deaths.write("died\n")
            os._exit(9)
        return _send(self, lead, customer)

    _send = Recording.send
    Recording.send = _deadly  # type: ignore[assignment, method-assign]

if "CHAOS_CLAIM_SECONDS" in os.environ:
    transactions.CLAIM_LEASE_SECONDS = int(os.environ["CHAOS_CLAIM_SECONDS"])

if "CHAOS_RATE_LIMIT" in os.environ:
    from leads.destinations.rate_limiter import RateLimit
    from leads.destinations.vendors import marketo

    _at_once, _calls, *_seconds = os.environ["CHAOS_RATE_LIMIT"].split()
    marketo.RATE_LIMIT = RateLimit(int(_at_once), int(_calls), *map(float, _seconds))  # type: ignore[misc]


def _tick() -> None:
    tick.watch(get_app())


signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=_tick, daemon=True).start())
