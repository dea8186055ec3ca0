"""When what is under way has to be over: whatever waits for others, waits no longer than that.

A deadline holds for the thread that sets it. What runs in other threads for it takes it along with the context (`copy_context`).
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
    """What the block does has to be over in so many seconds, or sooner where the deadline around it is sooner."""
    token = _ends_at.set(min(_ends_at.get(), monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


@contextmanager
def leaving(seconds: float) -> Iterator[None]:
    """What the block does has to be over so many seconds before the deadline around it."""
    token = _ends_at.set(_ends_at.get() - seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def remaining() -> float:
    """Seconds until the deadline, below 0 after it; infinite without one."""
    return _ends_at.get() - monotonic()
