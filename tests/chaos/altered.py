"""Imported into a worker by devhost's `--with`: what a test alters in it, read from the environment.

`CHAOS_CLOCK_OFFSET`: seconds by which this worker's clock is ahead (negative: behind).
`CHAOS_CRASH_DELAY`: seconds of the app's time after which a crashed lead is tried again, instead of hours; a poison message
whose reader died is seen again soon, too.
"""

from __future__ import annotations

import os
from datetime import timedelta

from leads import clock, recovery

_offset = timedelta(seconds=float(os.environ.get("CHAOS_CLOCK_OFFSET", "0")))
_right_time = clock.now
if _offset:
    clock.now = lambda: _right_time() + _offset

if "CHAOS_CRASH_DELAY" in os.environ:
    _delay = timedelta(seconds=float(os.environ["CHAOS_CRASH_DELAY"]))
    recovery.CRASH_DELAYS = (_delay,) * 100  # type: ignore[misc, assignment]
    recovery.POISON_HIDDEN_SECONDS = 3  # type: ignore[misc]
