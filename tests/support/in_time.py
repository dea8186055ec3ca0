"""Whether something ended by its deadline, told from an end by some library's own time-out without a stopwatch's precision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 25.0
"""Seconds: far more than any deadline of the tests on a busy machine, less than what libraries wait by themselves."""


@contextmanager
def in_time() -> Iterator[None]:
    """The deadline ends what is in the block."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LONG
