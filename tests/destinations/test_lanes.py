"""Lanes, simulated: processes with clocks of their own take, use and lose them, and the vendor judges by the true time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leads.destinations import lanes
from leads.destinations.http import Failure, NoAnswer
from leads.destinations.lanes import RESERVED_SECONDS, Allowance, Lane, NoLane
from leads.platform.storage import Conflict, StorageError, Table

ALLOWANCE = Allowance(lanes=1, calls=2, seconds=20, longest_call=30)
MOMENT = datetime(2026, 1, 31, 12, 0, 0, 400_000, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class World:
    """The true time in seconds, how far the monotonic clock of the process that acts is from it, and the table."""

    now: float = 0.0
    offset: float = 0.0
    fails: int = 0
    rows: dict[str, tuple[dict[str, Any], float, int]] = field(default_factory=dict)
    calls: list[tuple[float, float]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now + self.offset

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def table(self) -> Table:
        return _Table(self)

    def judge(self) -> None:
        """Whether the vendor has seen more than one call at once in the lane, or more than its share in any time span."""
        ordered = sorted(self.calls)
        for before, after in pairwise(ordered):
            assert after[0] >= before[1] - 1e-6, "two at once"
        for before, after in zip(ordered, ordered[ALLOWANCE.calls :], strict=False):
            assert after[0] - before[1] >= ALLOWANCE.seconds - 1e-6, "too many"


class _Table(Table):
    """Conditional writes, Timestamps, and answers whose Date knows whole seconds only."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _answered(self) -> None:
        if self._world.fails:
            self._world.fails -= 1
            raise StorageError("down")
        self._world.now += 0.05

    def write(self, operations: list[Any]) -> list[str]:
        ((verb, row, options),) = operations
        self._answered()
        key = row["RowKey"]
        _, _, version = self._world.rows.get(key, ({}, 0.0, 0))
        if (version > 0) if verb == "create" else (options["etag"] != str(version)):
            raise Conflict(0, missing=False)
        self._world.rows[key] = (dict(row), self._world.now, version + 1)
        return [str(version + 1)]

    def get(self, partition: str, row: str, **options: Any) -> Any:
        self._answered()
        return self._entity(row) if row in self._world.rows else None

    def query(self, condition: str, **options: Any) -> Any:
        self._answered()
        date = (MOMENT + timedelta(seconds=self._world.now)).replace(microsecond=0)
        response = SimpleNamespace(http_response=SimpleNamespace(headers={"Date": format_datetime(date, usegmt=True)}))
        options["raw_response_hook"](response)
        return [self._entity(row) for row in sorted(self._world.rows)]

    def _entity(self, key: str) -> Any:
        row, written, version = self._world.rows[key]
        metadata = {"etag": str(version), "timestamp": MOMENT + timedelta(seconds=written)}
        return _Entity(row, metadata)


class _Entity(dict[str, Any]):
    def __init__(self, row: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        super().__init__(row)
        self.metadata = metadata


class Process:
    """A worker with lanes; `offset` is its monotonic clock's."""

    def __init__(self, world: World, offset: float) -> None:
        self.world, self.offset = world, offset
        self.rows = lanes._Rows(world.table, "marketo;1", ALLOWANCE)
        self.held: list[Any] = []

    def act(self, action: str, seconds: float) -> None:
        self.world.offset = self.offset
        with suppress(NoLane, StorageError, Conflict):
            getattr(self, action)(seconds)
        self.held = [held for held in self.held if not held.lost]

    def take(self, _: float) -> None:
        found = self.rows.take_best({held.number for held in self.held}, math.inf)
        if found is not None:
            self.held.append(found)

    def take_and_not_know(self, _: float) -> None:
        """The lane is taken, and the answer that says so is lost."""
        known = list(self.held)
        self.take(0)
        self.held[:] = known

    def give_back(self, _: float) -> None:
        if self.held:
            self.rows.give_back(self.held.pop(0))

    def give_back_in_vain(self, seconds: float) -> None:
        self.world.fails = 1
        self.give_back(seconds)

    def call(self, seconds: float) -> None:
        self._call(lambda: self._vendor(seconds, min(seconds, ALLOWANCE.longest_call)))

    def call_without_an_answer(self, seconds: float) -> None:
        def lost() -> None:
            self._vendor(min(seconds, ALLOWANCE.longest_call), ALLOWANCE.longest_call)
            raise NoAnswer(Failure.TIMEOUT)

        with suppress(NoAnswer):
            self._call(lost)

    def call_and_be_killed(self, seconds: float) -> None:
        def killed() -> None:
            self._vendor(0, ALLOWANCE.longest_call)
            raise Killed

        with suppress(Killed):
            self._call(killed)
        self.be_killed(seconds)

    def be_killed(self, _: float) -> None:
        self.__init__(self.world, self.offset + 1000)  # type: ignore[misc]

    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    def _call(self, request: Callable[[], None]) -> None:
        if self.held:
            Lane(self.rows, self.held[-1]).call(request)

    def _vendor(self, seconds: float, busy_for: float) -> None:
        self.world.calls.append((self.world.now, self.world.now + busy_for))
        self.world.now += seconds


@contextmanager
def clocks(world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "time", world)
        yield


ACTIONS = [name for name in vars(Process) if not name.startswith("_") and name != "act"]
SECONDS = [0.0, 0.3, 1.0, 4.0, 9.0, 10.0, 18.5, 19.5, 20.0, 25.0, 29.0, 39.0, 41.0]
steps = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([*ACTIONS, "call", "call", "take", "take"]), st.sampled_from(SECONDS)),
    min_size=5,
    max_size=30,
)


def story(text: str) -> list[tuple[int, str, float]]:
    """Steps of the processes `a` and `b`: `a take, b wait 9`."""
    words = (step.split() for step in text.split(", "))
    return [("ab".index(who), what, float(rest[0]) if rest else 0.0) for who, what, *rest in words]


@given(steps, st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2))
@example(story("a take, a call, a call, a give_back, b take, b call"), [0.0, 5e5])
@example(story("a take, a call, a call, a give_back, b wait 18.5, b take, b call"), [0.0, 5e5])
@example(story("a take, a call, a give_back, b take, b call, b call, b call"), [7e5, -9e5])
@example(story("a take, b wait 9, a call_and_be_killed, b wait 39, b take, b call"), [0.0, 1.0])
@example(story("a take, b wait 9, a call, a call_and_be_killed, b wait 42, b take, b call, b call"), [0.0, 1.0])
@example(story("a take, a call_without_an_answer 4, a call, a call"), [0.0, 0.0])
@example(story("a take, a call_without_an_answer 4, a give_back, b take, b call"), [0.0, 0.0])
@example(story("a take, a wait 70, b take, b call, b call, a call, a call"), [0.0, 0.0])
@example(story("a take, a call, a call, a give_back_in_vain, a take, a call, a call"), [0.0, 0.0])
@example(
    story("a take, a call, a call, a give_back_in_vain, a wait 70, b take, b call, b call, b give_back")
    + story("a take_and_not_know, a take, a call, a call"),
    [0.0, 0.0],
)
@settings(max_examples=300)
def test_whatever_becomes_of_processes_the_vendor_sees_no_more_than_the_allowance(
    todo: list[tuple[int, str, float]], offsets: list[float]
) -> None:
    world = World()
    with clocks(world):
        processes = [Process(world, offset) for offset in offsets]
        for number, action, seconds in todo:
            processes[number].act(action, seconds)
    world.judge()


def test_a_lane_of_a_killed_holder_is_free_again_once_nothing_of_it_can_count() -> None:
    world = World()
    with clocks(world):
        dead, other = Process(world, 0.0), Process(world, 500.0)
        dead.act("take", 0)
        dead.act("call", 1)
        other.act("wait", ALLOWANCE.forgotten_after - 5)
        other.act("take", 0)
        assert not other.held
        other.act("wait", 7)
        other.act("take", 0)
        assert len(other.held) == 1


def test_who_waits_is_shown_to_the_holder_and_gets_the_lane() -> None:
    world = World()
    with clocks(world):
        greedy, waiting, third = (Process(world, 0.0) for _ in range(3))
        greedy.act("take", 0)
        waiting.act("take", 0)
        assert not waiting.held
        world.now += ALLOWANCE.lease
        (held,) = greedy.held
        assert not held.wanted_by
        greedy.rows.renew(held)
        assert held.wanted_by
        greedy.act("give_back", 0)
        third.act("take", 0)
        greedy.act("take", 0)
        assert not third.held and not greedy.held, "it is kept for the one who asked"
        waiting.act("take", 0)
        assert waiting.held


def test_a_lane_that_was_kept_for_a_process_that_is_gone_goes_to_another() -> None:
    world = World()
    with clocks(world):
        holder, gone, other = (Process(world, 0.0) for _ in range(3))
        holder.act("take", 0)
        gone.act("take", 0)
        holder.act("give_back", 0)
        other.act("take", 0)
        assert not other.held
        other.act("wait", RESERVED_SECONDS + 1)
        other.act("take", 0)
        assert other.held
