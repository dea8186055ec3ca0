"""Slots of connections and turns of customers: limits on the concurrent sends of this process.

An attempt waits for its turn if the wait is short. Otherwise its message is put back on the queue. The more messages wait, the
longer the delay.
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
"""Longer turns are slow. No attempt waits for a slow turn, and all slow connections together leave slots for the others."""
TURNS_REMEMBERED: Final = 10
ASSUMED_SECONDS: Final = 0.25
"""The assumed length of a turn before the first one has ended."""
RETRY_IN_SECONDS: Final = (2, 10)
RETRY_AT_LATEST_SECONDS: Final = 300
"""The longest delay, however many messages wait: the vendor may be quick again by then."""
MAX_WAITING: Final = 4
"""Leads of one customer that wait for their turn in threads. With four, the turn passes to the next lead without a gap."""
CUSTOMERS_REMEMBERED: Final = 1000


class TryLater(Exception):
    """The message can't be handled now. `seconds`: the delay before the next try."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"in {seconds} s")
        self.seconds = seconds


class NoFreeSlot(TryLater):
    """All slots of the connection on this instance are in use."""


class ClaimHeld(TryLater):
    """Another attempt has claimed the customer."""


def short_delay() -> int:
    """Random seconds before the next try, for a short obstacle."""
    return random.randint(*RETRY_IN_SECONDS)  # noqa: S311 - spreads load, keeps no secret


class Line:
    """The attempts of this process that share one limit: some have their turn, some wait in threads, others were put back."""

    def __init__(self) -> None:
        self.waiting = 0
        self.claimed_elsewhere = 0
        """How often another process had the claim. With each, the attempts in this line stop waiting."""
        self._begun: dict[object, float] = {}
        self._took: deque[float] = deque(maxlen=TURNS_REMEMBERED)
        self._served_until = 0.0
        """When all attempts that were put back will have had their turn, at the present pace."""

    @property
    def holders(self) -> int:
        return len(self._begun)

    def begin(self) -> object:
        turn = object()
        self._begun[turn] = monotonic()
        return turn

    def end(self, turn: object, *, counts: bool) -> None:
        """End a turn. `counts`: its length is used to estimate later turns."""
        took = monotonic() - self._begun.pop(turn)
        if counts:
            self._took.append(took)

    def seconds(self) -> float:
        """The expected length of a turn: the mean of the last turns, or the age of the oldest present turn if that is longer."""
        now = monotonic()
        usual = fmean(self._took) if self._took else ASSUMED_SECONDS
        return max(usual, now - min(self._begun.values(), default=now))

    @property
    def is_slow(self) -> bool:
        return self.seconds() > QUICK_SECONDS

    @property
    def is_quick(self) -> bool:
        """Whether turns are known to be quick. A line without a finished turn is neither quick nor slow."""
        return bool(self._took) and not self.is_slow

    @property
    def is_wanted(self) -> bool:
        return bool(self._begun) or self.waiting > 0 or monotonic() < self._served_until

    def retry_in(self, at_once: int) -> int:
        """Seconds before the next try of an attempt that can't wait. `at_once`: how many turns run at the same time."""
        now = monotonic()
        self._served_until = max(self._served_until, now) + self.seconds() / at_once
        backlog = self._served_until - now
        if backlog > RETRY_AT_LATEST_SECONDS:
            self._served_until = now + RETRY_AT_LATEST_SECONDS
            backlog = RETRY_AT_LATEST_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
        return round(backlog) + short_delay()


class Slots:
    """Limits the concurrent sends of each connection on this instance.

    A quick connection has `at_most` slots. Slow and unknown connections share `slow_at_most`; the first send of each may also use
    all other slots but one. So the instance has room for other leads: the host fetches messages only while few are in progress.
    """

    def __init__(self, at_most: int, slow_at_most: int) -> None:
        self._at_most = at_most
        self._slow_at_most = slow_at_most
        self._changed = Condition()
        self._lines = defaultdict[str, Line](Line)

    @contextmanager
    def slot(self, connection_id: str) -> Iterator[None]:
        """Hold one of the connection's slots during the block. Raises `NoFreeSlot`; for a quick connection after a short wait.

        Sends to a quick vendor wait in their threads, because putting their messages back would cost more.
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
    """Sends one lead of a customer at a time in this process, and the next one directly after it, without a storage request."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._lines: dict[str, Line] = {}

    @contextmanager
    def turn(self, customer: str) -> Iterator[bool]:
        """Hold the customer's turn during the block. Raises `ClaimHeld` if other leads keep the turn after a short wait.

        Yields whether other leads of the customer want the turn, or wanted it a moment ago.
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
        """Note that an attempt of another process has claimed the customer. Returns the exception to raise."""
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
    """Wait for a turn. Returns whether there is one. The lock of `changed` is held on return."""
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
    """End the turn with the block. A turn with an exception does not count for the expected length of turns."""
    done = False
    try:
        yield
        done = True
    finally:
        with changed:
            line.end(turn, counts=done)
            changed.notify_all()
