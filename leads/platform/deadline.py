"""Deadlines: nothing waits past the deadline of the work that it is part of.

A deadline holds for the thread that sets it. Work that it hands to other threads takes the deadline along (`copy_context`).
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
    """A deadline for the block, in this many seconds or at the deadline around it, whichever is sooner."""
    token = _ends_at.set(min(_ends_at.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


@contextmanager
def leaving(seconds: float) -> Iterator[None]:
    """A deadline for the block, this many seconds before the deadline around it."""
    token = _ends_at.set(_ends_at.get() - seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def remaining() -> float:
    """Seconds until the deadline, below 0 after it; infinite without one."""
    return _ends_at.get() - monotonic()
