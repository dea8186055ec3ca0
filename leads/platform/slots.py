"""Turns: who of this process has now what not all can have at once, and when the others come back for it.

Whoever does not get a turn waits for it in place where that is over in a moment, else comes back: the later, the more do.
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
"""Turns that take longer are slow: nobody waits in place for one, and all slow connections together leave room for others."""
TURNS_REMEMBERED: Final = 10
UNKNOWN_SECONDS: Final = 0.25
"""How long a turn is taken to last of which nothing is known yet."""
BACK_IN_SECONDS: Final = (2, 10)
BACK_AT_LATEST_SECONDS: Final = 300
"""However many wait: nobody knows whether the vendor is quick again meanwhile."""
WAITING_IN_PLACE: Final = 4
"""Leads of one customer that wait in place for their turn: enough that it passes from one to the next without a gap."""
CUSTOMERS_REMEMBERED: Final = 1000


class TryLater(Exception):
    """It is not its turn. `seconds`: when to come back."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"in {seconds} s")
        self.seconds = seconds


class NoFreeSlot(TryLater):
    """The connection has as many sends under way on this instance as it may."""


class ClaimHeld(TryLater):
    """Another attempt has the customer at the moment."""


def short_delay() -> int:
    """Seconds after which something is tried again that is in the way for a moment."""
    return random.randint(*BACK_IN_SECONDS)  # noqa: S311 - spreads load, keeps no secret


class Line:
    """Those of this process that want one thing: some have it, some wait for it in place, the others come back for it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.found_taken = 0
        """How often another process has turned out to have it: those that wait in place then would wait for that."""
        self._begun: dict[object, float] = {}
        self._took: deque[float] = deque(maxlen=TURNS_REMEMBERED)
        self._served_until = 0.0
        """When all that come back will have had their turn, as things go."""

    @property
    def holders(self) -> int:
        return len(self._begun)

    def begin(self) -> object:
        turn = object()
        self._begun[turn] = monotonic()
        return turn

    def end(self, turn: object, *, counts: bool) -> None:
        """`counts`: how long the turn took says something about the next ones."""
        took = monotonic() - self._begun.pop(turn)
        if counts:
            self._took.append(took)

    def seconds(self) -> float:
        """How long a turn takes, by the last ones and by the oldest one under way."""
        now = monotonic()
        usual = fmean(self._took) if self._took else UNKNOWN_SECONDS
        return max(usual, now - min(self._begun.values(), default=now))

    @property
    def is_slow(self) -> bool:
        return self.seconds() > QUICK_SECONDS

    @property
    def is_quick(self) -> bool:
        """Whether that is known: neither is true of one that has served nobody yet."""
        return bool(self._took) and not self.is_slow

    @property
    def is_wanted(self) -> bool:
        return bool(self._begun) or self.waiting > 0 or monotonic() < self._served_until

    def back_in(self, at_once: int) -> int:
        """When the next one that can't wait in place comes back, in seconds, where `at_once` have their turn side by side."""
        now = monotonic()
        self._served_until = max(self._served_until, now) + self.seconds() / at_once
        backlog = self._served_until - now
        if backlog > BACK_AT_LATEST_SECONDS:
            self._served_until = now + BACK_AT_LATEST_SECONDS
            backlog = BACK_AT_LATEST_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
        return round(backlog) + short_delay()


class Slots:
    """How many sends each connection has under way on this instance.

    A quick connection may have `at_most`. The slow ones, and those that are not known yet, share `slow_at_most`, and may begin
    with one each in what is left but one. So the instance goes on with other leads, for the host hands it more only while it
    has few in hand.
    """

    def __init__(self, at_most: int, slow_at_most: int) -> None:
        self._at_most = at_most
        self._slow_at_most = slow_at_most
        self._changed = Condition()
        self._lines = defaultdict[str, Line](Line)

    @contextmanager
    def slot(self, connection_id: str) -> Iterator[None]:
        """Hold one of the connection's slots. Raises `NoFreeSlot`; where the connection is quick, after a short wait.

        The wait lets the sends of a quick vendor queue up in place: putting their messages back would cost more than it saves.
        """
        with self._changed:
            line = self._lines[connection_id]
            if not _wait(self._changed, line, lambda: self._is_free(line)):
                raise NoFreeSlot(line.back_in(self._share(line)))
            turn = line.begin()
        with _ending(self._changed, line, turn):
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


class Customers:
    """One lead of a customer at a time, and the next one right after it, without asking storage who has the customer."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._lines: dict[str, Line] = {}

    @contextmanager
    def turn(self, customer: str) -> Iterator[bool]:
        """Have a customer to oneself in this process. Raises `ClaimHeld` where others have it, after a short wait if any.

        Yields whether other leads of the customer want it, too, or did a moment ago.
        """
        with self._changed:
            line = self._line(customer)
            had_others = line.is_wanted
            full = line.waiting >= WAITING_IN_PLACE
            if full or not _wait(self._changed, line, lambda: not line.holders):
                raise ClaimHeld(line.back_in(1))
            turn = line.begin()
        with _ending(self._changed, line, turn):
            yield had_others

    def taken(self, customer: str) -> ClaimHeld:
        """An attempt of another process has the customer whose turn it is here. Returns what to raise then."""
        with self._changed:
            line = self._line(customer)
            line.found_taken += 1
            return ClaimHeld(line.back_in(1))

    def _line(self, customer: str) -> Line:
        if customer not in self._lines:
            if len(self._lines) >= CUSTOMERS_REMEMBERED:
                self._lines = {key: line for key, line in self._lines.items() if line.is_wanted}
            self._lines[customer] = Line()
        return self._lines[customer]


def _wait(changed: Condition, line: Line, is_free: Callable[[], bool]) -> bool:
    """Wait in place for a turn, holding the lock of `changed` in between. Returns whether there is one."""
    wait_until = monotonic() + min(QUICK_SECONDS, deadline.remaining())
    found_taken = line.found_taken
    line.waiting += 1
    try:
        while line.found_taken != found_taken or not is_free():
            left = wait_until - monotonic()
            if left <= 0 or line.is_slow or line.found_taken != found_taken:
                return False
            changed.wait(left)
        return True
    finally:
        line.waiting -= 1


@contextmanager
def _ending(changed: Condition, line: Line, turn: object) -> Iterator[None]:
    """The turn ends with the block. Only one that went through says how long turns take."""
    done = False
    try:
        yield
        done = True
    finally:
        with changed:
            line.end(turn, counts=done)
            changed.notify_all()
