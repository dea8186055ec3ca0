"""Slots of connections and turns of customers: limits on what this process does at the same time.

An attempt that gets no turn waits for it if that takes a moment. Otherwise its message is put back on the queue, for longer the
more messages wait.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean
from threading import Condition
from time import monotonic
from typing import Final

from leads.platform import deadline

QUICK_SECONDS: Final = 1.0
"""Turns that take longer are slow: no attempt waits for one, and all slow connections together leave room for others."""
TURNS_REMEMBERED: Final = 10
ASSUMED_SECONDS: Final = 0.25
"""The assumed length of a turn before the first one has ended."""
RETRY_IN_SECONDS: Final = (2, 10)
RETRY_AT_LATEST_SECONDS: Final = 300
"""However many wait: the vendor may be quick again by then."""
MAX_WAITING: Final = 4
"""Leads of one customer that wait for their turn in a thread: enough that the turn passes from one to the next without a gap."""
CUSTOMERS_REMEMBERED: Final = 1000


class TryLater(Exception):
    """The message can't be handled now. `seconds`: after how long to try again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"in {seconds} s")
        self.seconds = seconds


class NoFreeSlot(TryLater):
    """All slots of the connection on this instance are in use."""


class ClaimHeld(TryLater):
    """Another attempt has claimed the customer."""


def short_delay() -> int:
    """Random seconds until the next try, where the obstacle lasts a moment."""
    return random.randint(*RETRY_IN_SECONDS)  # noqa: S311 - spreads load, keeps no secret


class Line:
    """The attempts of this process that want one thing: some hold it, some wait in their threads, the others were put back."""

    def __init__(self) -> None:
        self.waiting = 0
        self.claimed_elsewhere = 0
        """How often another process turned out to hold it: attempts stop waiting then."""
        self._begun: dict[object, float] = {}
        self._took: deque[float] = deque(maxlen=TURNS_REMEMBERED)
        self._served_until = 0.0
        """When all that were put back will have had their turn, at the present pace."""

    @property
    def holders(self) -> int:
        return len(self._begun)

    def begin(self) -> object:
        turn = object()
        self._begun[turn] = monotonic()
        return turn

    def end(self, turn: object, *, counts: bool) -> None:
        """`counts`: the turn's length is taken as a measure of the next ones."""
        took = monotonic() - self._begun.pop(turn)
        if counts:
            self._took.append(took)

    def seconds(self) -> float:
        """The expected length of a turn: the mean of the last ones, or the age of the oldest one under way if that is longer."""
        now = monotonic()
        usual = fmean(self._took) if self._took else ASSUMED_SECONDS
        return max(usual, now - min(self._begun.values(), default=now))

    @property
    def is_slow(self) -> bool:
        return self.seconds() > QUICK_SECONDS

    @property
    def is_quick(self) -> bool:
        """Whether turns are known to be quick. A line that has served no attempt yet is neither quick nor slow."""
        return bool(self._took) and not self.is_slow

    @property
    def is_wanted(self) -> bool:
        return bool(self._begun) or self.waiting > 0 or monotonic() < self._served_until

    def retry_in(self, at_once: int) -> int:
        """Seconds until the next try of an attempt that can't wait, if `at_once` attempts hold the thing at the same time."""
        now = monotonic()
        self._served_until = max(self._served_until, now) + self.seconds() / at_once
        backlog = self._served_until - now
        if backlog > RETRY_AT_LATEST_SECONDS:
            self._served_until = now + RETRY_AT_LATEST_SECONDS
            backlog = RETRY_AT_LATEST_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
        return round(backlog) + short_delay()


class Slots:
    """Limits how many sends each connection has under way on this instance.

    A quick connection may have `at_most`. Slow and unknown connections share `slow_at_most`; the first send of each may also use
    all other slots but one. So the instance stays free for other leads: the host hands it more only while it holds few.
    """

    def __init__(self, at_most: int, slow_at_most: int) -> None:
        self._at_most = at_most
        self._slow_at_most = slow_at_most
        self._changed = Condition()
        self._lines = defaultdict[str, Line](Line)

    @contextmanager
    def slot(self, connection_id: str) -> Iterator[None]:
        """Hold one of the connection's slots. Raises `NoFreeSlot`, for a quick connection after a short wait.

        Sends to a quick vendor wait in their threads: putting their messages back would cost more than it saves.
        """
        with self._changed:
            line = self._lines[connection_id]
            if not _wait(self._changed, line, lambda: self._is_free(line)):
                raise NoFreeSlot(line.retry_in(self._share(line)))
            turn = line.begin()
        with _ending_turn(self._changed, line, turn):
            yield

    def _is_free(self, line: Line) -> bool:
        if line.holders >= self._share(line):
            return False
        at_most = self._slow_at_most if line.holders else max(self._slow_at_most, self._at_most - 1)
        return line.is_quick or sum(other.holders for other in self._not_quick()) < at_most

    def _share(self, line: Line) -> int:
        """How many slots the connection may have now."""
        if line.is_quick:
            return self._at_most
        wanted = {id(other) for other in self._not_quick() if other.is_wanted} | {id(line)}
        return max(1, self._slow_at_most // len(wanted))

    def _not_quick(self) -> list[Line]:
        return [line for line in self._lines.values() if not line.is_quick]


class CustomerTurns:
    """One lead of a customer at a time in this process, and the next one right after it, without a request to storage."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._lines: dict[str, Line] = {}

    @contextmanager
    def turn(self, customer: str) -> Iterator[bool]:
        """Hold the customer's turn. Raises `ClaimHeld` if other leads of the customer have it, after a short wait at most.

        Yields whether other leads of the customer want the turn as well, or did a moment ago.
        """
        with self._changed:
            line = self._line(customer)
            contended = line.is_wanted
            full = line.waiting >= MAX_WAITING
            if full or not _wait(self._changed, line, lambda: not line.holders):
                raise ClaimHeld(line.retry_in(1))
            turn = line.begin()
        with _ending_turn(self._changed, line, turn):
            yield contended

    def claimed_elsewhere(self, customer: str) -> ClaimHeld:
        """An attempt of another process has claimed the customer. Returns the exception to raise."""
        with self._changed:
            line = self._line(customer)
            line.claimed_elsewhere += 1
            return ClaimHeld(line.retry_in(1))

    def _line(self, customer: str) -> Line:
        if customer not in self._lines:
            if len(self._lines) >= CUSTOMERS_REMEMBERED:
                self._lines = {key: line for key, line in self._lines.items() if line.is_wanted}
            self._lines[customer] = Line()
        return self._lines[customer]


def _wait(changed: Condition, line: Line, is_free: Callable[[], bool]) -> bool:
    """Wait for a turn; the lock of `changed` is held on return. Returns whether there is one."""
    wait_until = monotonic() + min(QUICK_SECONDS, deadline.remaining())
    claimed_elsewhere = line.claimed_elsewhere
    line.waiting += 1
    try:
        while line.claimed_elsewhere != claimed_elsewhere or not is_free():
            left = wait_until - monotonic()
            if left <= 0 or line.is_slow or line.claimed_elsewhere != claimed_elsewhere:
                return False
            changed.wait(left)
        return True
    finally:
        line.waiting -= 1


@contextmanager
def _ending_turn(changed: Condition, line: Line, turn: object) -> Iterator[None]:
    """The turn ends with the block. Only a turn without an exception counts for how long turns take."""
    done = False
    try:
        yield
        done = True
    finally:
        with changed:
            line.end(turn, counts=done)
            changed.notify_all()
