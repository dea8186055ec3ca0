"""Four workers at once, killed at random while storage and the vendor fail at random. `make chaos` does it longer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from leads.core import clock
from tests.chaos.case import Case
from tests.chaos.storm import Storm, Weather, fast_clock
from tests.chaos.workers import ForkServer

SEED = 20265


def test_no_lead_is_lost_doubled_or_stuck(
    forks: ForkServer,
    accounts: Iterator[str],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    fast = fast_clock()
    monkeypatch.setattr(clock, "now", fast.now)
    with Case(next(accounts), forks, fast) as case:
        weather = Weather(kill=0.015, of_worker=0.5)
        report = Storm(case, leads=120, customers=20, workers=4, seed=SEED, weather=weather).run()
    assert not report.wrong, f"{report}\n" + "\n".join(report.wrong[:10])
    kills = report.faults["Kill"], report.faults["KillWorker"]
    assert min(kills) >= 1, f"a storm has kills of both in it: {report}"
    assert report.faults.total() > sum(kills)
    record_property("summary", f"storm, {report}")
