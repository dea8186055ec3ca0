"""What the worker hands to the host to log: records, and bytes of their messages.

The app runs in this process, with the worker's handler on the root logger.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, result
from benchmarks.side import OURS, accounts, prepare
from benchmarks.typical import body
from devhost.runtime import load_app
from tests.support.pipeline import TestClock
from tests.support.process_app import forget_app
from tests.support.worker_log import Line, WorkerLog, deliver_visible, leads_queue, tick, worker_log


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Four rows."""
    clock = TestClock(datetime.now(UTC))
    with (
        accounts(1) as (storage,),
        patch.dict(os.environ, {"LeadsStorage": storage}),
        patch("leads.core.clock.now", clock.now),
        worker_log() as log,
    ):
        prepare(storage)
        forget_app()
        try:
            leads = _delivered(storage, effort.counted_leads, log)
            tell(f"a delivered lead: {len(leads) / effort.counted_leads:g} records")
            idle = _idle(clock, effort.idle_minutes, log)
            tell(f"{effort.idle_minutes} minutes without a lead: {len(idle)} records")
        finally:
            forget_app()
    hours = effort.idle_minutes / 60
    told = "; ".join(sorted({line.text.partition(" ")[0] for line in idle})) or "none"
    return [
        result("log records, a delivered lead", len(leads) / effort.counted_leads, Target("≤", 4, "ours")),
        result("log bytes, a delivered lead", _bytes(leads) / effort.counted_leads, Target("≤", 1500, "ours")),
        result(
            "log records, an idle hour",
            len(idle) / hours,
            Target("≤", 1.25, "ours"),
            note=f"those of {hours:g} h: {told}",
        ),
        result("log bytes, an idle hour", _bytes(idle) / hours, Target("≤", 200, "ours")),
    ]


def _delivered(storage: str, leads: int, log: WorkerLog) -> list[Line]:
    app = load_app(OURS)
    with leads_queue(storage) as queue:
        log.take()
        for number in range(leads):
            assert app.invoke_http("accept_lead", body=body(number)).status == 202
            deliver_visible(app, queue)
    return log.take()


def _idle(clock: TestClock, minutes: int, log: WorkerLog) -> list[Line]:
    app = load_app(OURS)
    for _ in range(minutes):
        clock.time += timedelta(minutes=1)
        tick(app)
    return log.take()


def _bytes(lines: list[Line]) -> int:
    return sum(len(line.text.encode()) for line in lines)
