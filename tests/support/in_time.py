"""Whether a block ended by its deadline and not by a library's time-out, without exact times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

LONG = 25.0
"""Seconds: longer than any deadline of the tests on a busy machine, shorter than the libraries' time-outs."""


@contextmanager
def in_time() -> Iterator[None]:
    """The deadline must end the block."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LONG
