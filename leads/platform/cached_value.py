"""What many threads use and one of them reads for all: no lock is held while it does."""

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
"""A failure that came as quickly as this is the reading thread's alone: it may have been a moment's, and the next one asks
for itself. One that took longer is everybody's."""
PAUSE: Final = timedelta(seconds=5)
"""After a failure that took longer nobody asks for so long."""
WAIT_SECONDS: Final = 60.0
"""A thread waits for others that read no longer than this, nor past its own deadline."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Until when a value need not be read anew, and until when it may be used where it can't be."""

    fresh_until: datetime
    usable_until: datetime


def fresh_for(seconds: float) -> Callable[[object], Lifetime]:
    """Fresh for so many seconds, usable for twice as many."""

    def lasts(_: object) -> Lifetime:
        now = clock.now()
        return Lifetime(now + timedelta(seconds=seconds), now + timedelta(seconds=2 * seconds))

    return lasts


class CachedValue(Generic[T]):
    """A value, never None, that is read at its first use and whenever it is not fresh any more.

    One thread reads. The others take what is known while it may be used, else they wait for the one.
    """

    def __init__(self, lasts: Callable[[T], Lifetime], too_late: Callable[[], Exception]) -> None:
        """`too_late` makes what is raised where others read for too long."""
        self._lasts = lasts
        self._too_late = too_late
        self._lock = Lock()
        self._known: tuple[T, Lifetime] | None = None
        self._reading: Future[T | None] | None = None
        """The reading under way, or one that has failed for everybody; its result is None where it failed quickly."""
        self._failed_at: datetime | None = None

    def get(self, read: Callable[[], T]) -> T:
        """The value. Raises what `read` raises, in this thread or in the one that has just asked."""
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
        """The value as it is from now on, whatever is known: read by this thread, and then what the others use.

        Raises what `read` raises, and `too_late` where a reading has just failed for everybody.
        """
        with self._lock:
            if self._failed_at is not None and clock.now() - self._failed_at < PAUSE:
                raise self._too_late()
            reading = self._reading = Future()
            self._failed_at = None
        return self._read_for_all(read, reading, None)

    def peek(self) -> T | None:
        """What is known, however old."""
        known = self._known
        return known[0] if known is not None else None

    def forget(self) -> None:
        """What is known, or being read at this moment, is not what the next use gets."""
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
        """What another thread reads. None: it failed quickly, or there is no more time for others."""
        try:
            error = reading.exception(max(0.0, wait_until - monotonic()))
        except TimeoutError:
            raise self._too_late() from None
        if error is not None:
            raise error.with_traceback(None)  # each raising would add to it
        return reading.result()
