"""Deadlines: every wait of a piece of work ends at the deadline of that work.

A deadline belongs to the thread that sets it. `copy_context` passes it to other threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic

_ends_at: ContextVar[float] = ContextVar("deadline", default=inf)
"""On the clock of `time.monotonic`."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Set a deadline for the block: in `seconds`, or at the present deadline if that is sooner."""
    token = _ends_at.set(min(_ends_at.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


@contextmanager
def leaving(seconds: float) -> Iterator[None]:
    """Set a deadline for the block, `seconds` before the present deadline."""
    token = _ends_at.set(_ends_at.get() - seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def remaining() -> float:
    """Seconds until the deadline, below 0 after it; infinite without one."""
    return _ends_at.get() - monotonic()
