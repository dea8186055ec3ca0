"""A process that has delivered thousands of leads holds no more than one that has delivered hundreds. `make soak`: 20,000."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from leads.core import clock
from tests.chaos.case import Case
from tests.chaos.soak import SAMPLES, Sample, faults, soak
from tests.chaos.storm import fast_clock
from tests.chaos.workers import ForkServer

LEADS = 240
MIB = 2**20


def test_memory_threads_and_connections_stay_flat(
    forks: ForkServer,
    accounts: Iterator[str],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    fast = fast_clock()
    monkeypatch.setattr(clock, "now", fast.now)
    with Case(next(accounts), forks, fast) as case:
        samples = soak(case, LEADS)
    assert not faults(samples), "\n".join(map(str, samples))
    record_property("summary", f"soak, first: {samples[0]}; last: {samples[-1]}")


@pytest.mark.parametrize(
    ("leak", "word"),
    [
        (lambda n: Sample(n, 80 * MIB + 2000 * n, 30, 40, Counter()), "memory"),
        (lambda n: Sample(n, 80 * MIB, 30 + n // 500, 40, Counter()), "threads"),
        (lambda n: Sample(n, 80 * MIB, 30, 40 + n // 100, Counter()), "open files"),
        (lambda n: Sample(n, 80 * MIB, 30, 40, Counter(CLOSE_WAIT=n // 5000)), "half open"),
    ],
)
def test_a_leak_is_seen(leak: Callable[[int], Sample], word: str) -> None:
    found = faults([leak(20_000 * number // SAMPLES) for number in range(1, SAMPLES + 1)])
    assert len(found) == 1
    assert word in found[0]
