"""A cached value for many threads. One thread reads it for all, and holds no lock while it reads."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Final, Generic, TypeVar

from leads.core import clock
from leads.platform import deadline

QUICK_SECONDS: Final = 1.0
"""A faster failure is raised only in the reading thread, and the next thread reads again. A slower failure is raised in all
waiting threads."""
PAUSE: Final = timedelta(seconds=5)
"""After a slow failure, no thread reads for this long."""
WAIT_SECONDS: Final = 60.0
"""The longest time that a thread waits for the reading thread. It never waits past its own deadline."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Until when a value is not read again, and until when it may be used if reading fails."""

    fresh_until: datetime
    usable_until: datetime


def fresh_for(seconds: float) -> Callable[[object], Lifetime]:
    """A lifetime: fresh for `seconds`, usable for twice as long."""

    def lasts(_: object) -> Lifetime:
        now = clock.now()
        return Lifetime(now + timedelta(seconds=seconds), now + timedelta(seconds=2 * seconds))

    return lasts


class CachedValue(Generic[T]):
    """A value, never None, that is read at its first use and whenever it is no longer fresh.

    One thread reads. The others use the known value while it is usable, else they wait for the reading thread.
    """

    def __init__(self, lasts: Callable[[T], Lifetime], too_late: Callable[[], Exception]) -> None:
        """`too_late` makes the exception for a thread that has waited too long for the reading thread."""
        self._lasts = lasts
        self._too_late = too_late
        self._lock = Lock()
        self._known: tuple[T, Lifetime] | None = None
        self._reading: Future[T | None] | None = None
        """The reading in progress, or the last reading if it failed for all threads. Result None: it failed quickly."""
        self._failed_at: datetime | None = None

    def get(self, read: Callable[[], T]) -> T:
        """The value. Raises what `read` raises, in this thread or in the one that reads for it."""
        wait_until = monotonic() + min(WAIT_SECONDS, deadline.remaining())
        while True:
            with self._lock:
                known, now = self._known, clock.now()
                if known is not None and now < known[1].fresh_until:
                    return known[0]
                if known is not None and now >= known[1].usable_until:
                    known = None
                reading = self._reading
                if asks := reading is None or (self._failed_at is not None and now - self._failed_at >= PAUSE):
                    reading = self._reading = Future()
                    self._failed_at = None
            assert reading is not None  # noqa: S101
            if asks:
                return self._read_for_all(read, reading, known)
            if known is not None:
                return known[0]
            if (value := self._read_by_another(reading, wait_until)) is not None:
                return value

    def renew(self, read: Callable[[], T]) -> T:
        """Read the value in this thread, even if a fresh value is known. Other threads then use the new value.

        Raises what `read` raises, and `too_late` if a reading has just failed for all threads.
        """
        with self._lock:
            if self._failed_at is not None and clock.now() - self._failed_at < PAUSE:
                raise self._too_late()
            reading = self._reading = Future()
            self._failed_at = None
        return self._read_for_all(read, reading, None)

    def peek(self) -> T | None:
        """The known value, however old; None without one."""
        known = self._known
        return known[0] if known is not None else None

    def forget(self) -> None:
        """Drop the known value and the reading under way: the next use reads again."""
        with self._lock:
            self._known = self._reading = self._failed_at = None

    def _read_for_all(self, read: Callable[[], T], reading: "Future[T | None]", known: tuple[T, Lifetime] | None) -> T:
        began = monotonic()
        try:
            value = read()
            now_known = (value, self._lasts(value))
        except BaseException as error:
            alone = monotonic() - began < QUICK_SECONDS or not isinstance(error, Exception)
            with self._lock:
                if self._reading is reading:
                    self._reading, self._failed_at = (None, None) if alone else (reading, clock.now())
            if alone:
                reading.set_result(None)
            else:
                reading.set_exception(error)
            if known is not None and isinstance(error, Exception):
                return known[0]
            raise
        with self._lock:
            if self._reading is reading:
                self._known, self._reading = now_known, None
        reading.set_result(value)
        return value

    def _read_by_another(self, reading: "Future[T | None]", wait_until: float) -> T | None:
        """The value that another thread reads; None if it failed quickly."""
        try:
            error = reading.exception(max(0.0, wait_until - monotonic()))
        except TimeoutError:
            raise self._too_late() from None
        if error is not None:
            raise error.with_traceback(None)  # each raising would add to it
        return reading.result()
