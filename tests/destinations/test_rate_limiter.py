"""The rate limiter in a simulation: processes with different clocks share a limit, and the vendor counts by the true time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leads.destinations import rate_limiter
from leads.destinations.http import Failure, NoAnswer
from leads.destinations.rate_limiter import RateLimit, RateLimited, RateLimiter, Slot
from leads.platform import deadline
from leads.platform.storage import Conflict, StorageError, Table

LIMIT = RateLimit(at_once=2, calls=4, seconds=20, longest_call=30)
MOMENT = datetime(2026, 1, 31, 12, 0, 0, 400_000, tzinfo=UTC)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class World:
    """The true time in seconds, how far the monotonic clock of the process that acts is from it, and the table."""

    now: float = 0.0
    offset: float = 0.0
    fails: list[str] = field(default_factory=list)
    rows: dict[str, tuple[dict[str, Any], float, int]] = field(default_factory=dict)
    requests: int = 0
    left_open: list[Any] = field(default_factory=list)
    """Slots of killed processes, kept from being closed by Python."""
    calls: list[tuple[float, float]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now + self.offset

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def judge(self) -> None:
        """Whether the vendor can have seen more at once, or more in any time span, than the limit allows."""
        for began, _ in self.calls:
            before = [end for other, end in self.calls if other < began]
            assert sum(end > began + 1e-6 for end in before) < LIMIT.at_once, "too many at once"
            assert sum(end > began - LIMIT.seconds + 1e-6 for end in before) < LIMIT.calls, "too many"


class SlowTable(Table):
    """Conditional writes, Timestamps, and answers with a Date in whole seconds."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, operations: list[Any]) -> list[str]:
        world, ((verb, row, options),) = self._world, operations
        self._request()
        fault = world.fails.pop() if world.fails else ""
        key = row["RowKey"]
        _, _, version = world.rows.get(key, ({}, 0.0, 0))
        if (version > 0) if verb == "create" else (options["etag"] != str(version)):
            raise Conflict(0, missing=False)
        if fault != "lost request":
            world.rows[key] = (dict(row), world.now, version + 1)
        world.now += 0.02
        if fault:
            raise StorageError(fault)
        return [str(version + 1)]

    def query(self, condition: str, **options: Any) -> Any:
        self._request()
        date = (MOMENT + timedelta(seconds=self._world.now)).replace(microsecond=0)
        headers = {"Date": format_datetime(date, usegmt=True)}
        found = [
            Entity(row, {"etag": str(version), "timestamp": MOMENT + timedelta(seconds=written)})
            for row, written, version in self._world.rows.values()
        ]
        self._world.now += 0.02
        options["raw_response_hook"](SimpleNamespace(http_response=SimpleNamespace(headers=headers)))
        return found

    def _request(self) -> None:
        self._world.requests += 1
        self._world.now += 0.03


class Entity(dict[str, Any]):
    def __init__(self, row: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        super().__init__(row)
        self.metadata = metadata


class Process:
    """A worker; `offset` is its monotonic clock's. It waits only a moment for room, and `slots` are those that it holds."""

    def __init__(self, world: World, offset: float) -> None:
        self.world, self.offset, self.others = world, offset, list[Process]()
        self.limiter = RateLimiter(SlowTable(world), "marketo;1", LIMIT)
        self.slots: list[tuple[AbstractContextManager[Slot], Slot]] = []

    def act(self, action: str, seconds: float) -> None:
        offset, self.world.offset = self.world.offset, self.offset
        with suppress(RateLimited, NoAnswer, Killed), deadline.within(1e6):
            getattr(self, action)(seconds)
        self.world.offset = offset

    def call(self, seconds: float) -> None:
        """The next call of the slot that was opened last."""
        self._call(lambda: self._vendor(seconds, min(seconds, LIMIT.longest_call)))

    def first_call(self, seconds: float) -> None:
        self._open()
        self.call(seconds)

    def call_while_another_does(self, seconds: float) -> None:
        def in_between() -> None:
            begun = self.world.now
            for other in self.others:
                other.act("first_call", seconds)
            self.world.calls.append((begun, self.world.now))

        self._open()
        self._call(in_between)

    def call_without_an_answer(self, seconds: float) -> None:
        def lost() -> None:
            self._vendor(min(seconds, LIMIT.longest_call), LIMIT.longest_call)
            raise NoAnswer(Failure.TIMEOUT)

        self._open()
        self._call(lost)

    def call_and_be_killed(self, seconds: float) -> None:
        def killed() -> None:
            self._vendor(0, LIMIT.longest_call)
            self.be_killed(seconds)
            raise Killed

        self._open()
        self._call(killed)

    def be_killed(self, _: float) -> None:
        self.world.left_open.append(self.slots)
        others = self.others
        self.__init__(self.world, self.offset + 1000)  # type: ignore[misc]
        self.others = others

    def close(self, _: float) -> None:
        if self.slots:
            self.slots.pop(0)[0].__exit__(None, None, None)

    def lose_the_next_request(self, _: float) -> None:
        self.world.fails = ["lost request"]

    def lose_the_next_answer(self, _: float) -> None:
        self.world.fails = ["lost answer"]

    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    def _open(self) -> None:
        context = self.limiter.slot(1.0)
        self.slots.append((context, context.__enter__()))

    def _call(self, request: Callable[[], None]) -> None:
        if self.slots:
            with deadline.within(1e6):
                self.slots[-1][1].call(request)

    def _vendor(self, seconds: float, busy_for: float) -> None:
        self.world.calls.append((self.world.now, self.world.now + busy_for))
        self.world.now += seconds


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


@contextmanager
def a_world() -> Iterator[World]:
    made = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_limiter, "time", made)
        yield made


def processes(world: World, *offsets: float) -> list[Process]:
    made = [Process(world, offset) for offset in offsets]
    for process in made:
        process.others = [other for other in made if other is not process]
    return made


ACTIONS = [name for name in vars(Process) if not name.startswith("_") and name != "act"]
SECONDS = [0.0, 0.3, 1.0, 4.0, 9.0, 10.0, 18.5, 19.5, 20.0, 25.0, 29.0, 39.0, 41.0]
steps = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([*ACTIONS, "first_call", "first_call"]), st.sampled_from(SECONDS)),
    min_size=5,
    max_size=30,
)


def story(text: str) -> list[tuple[int, str, float]]:
    """Steps of the processes `a` and `b`: `a first_call, b wait 9`."""
    words = (step.split() for step in text.split(", "))
    return [("ab".index(who), what, float(rest[0]) if rest else 0.0) for who, what, *rest in words]


@given(steps, st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2))
@example(story("a first_call, a call, a call, a close, b first_call"), [0.0, 5e5])
@example(story("a first_call, a call, a call, a close, b wait 18.5, b first_call"), [0.0, 5e5])
@example(story("a first_call 9, b first_call 9, a close, b close, a first_call, b first_call"), [7e5, -9e5])
@example(story("a call_while_another_does 4, b call_while_another_does 4"), [0.0, 1.0])
@example(story("a call_and_be_killed, b call_and_be_killed, b wait 39, a first_call"), [0.0, 1.0])
@example(story("a call_and_be_killed, b wait 121, b first_call, b call, b close, b first_call, b call"), [0.0, 1.0])
@example(story("a call_without_an_answer 4, a call_without_an_answer 4, a close, a close, a first_call"), [0.0, 0.0])
@example(story("a first_call, a lose_the_next_answer, a close, a first_call, a close, a first_call"), [0.0, 0.0])
@example(story("a first_call, a lose_the_next_request, a close, b first_call, a first_call, a call"), [0.0, 0.0])
@example(story("a first_call, b wait 115, b first_call, b close, b first_call, a call, a call"), [0.0, 0.0])
@example(
    story("a first_call, a first_call, b wait 121, b first_call, b call, b first_call, b call, a call, a call"),
    [0.0, 9.0],
)
@example(
    story("a first_call, a call, a lose_the_next_request, a close, a first_call, a call, a first_call, a call"),
    [0.0, 0.0],
)
@settings(max_examples=200)
def test_whatever_becomes_of_processes_the_vendor_sees_no_more_than_the_limit(
    todo: list[tuple[int, str, float]], offsets: list[float]
) -> None:
    with a_world() as world:
        both = processes(world, *offsets)
        for number, action, seconds in todo:
            both[number].act(action, seconds)
    world.judge()


def test_the_slot_of_a_killed_process_is_free_again_once_nothing_of_it_can_count(world: World) -> None:
    dead, other = processes(world, 0.0, 500.0)
    for _ in range(LIMIT.at_once):
        dead.act("call_and_be_killed", 1)
    other.act("wait", LIMIT.forgotten_after - 5)
    other.act("first_call", 1)
    assert len(world.calls) == LIMIT.at_once
    other.act("wait", 6)
    other.act("first_call", 1)
    assert len(world.calls) == LIMIT.at_once + 1


@pytest.mark.parametrize("fault", ["lose_the_next_request", "lose_the_next_answer"])
def test_a_slot_that_storage_did_not_release_is_given_back_with_the_next_call(world: World, fault: str) -> None:
    (process,) = processes(world, 0.0)
    for _ in range(6):
        process.act("first_call", 1)
        process.act(fault, 0)
        process.act("close", 0)
        process.act("wait", 8)
    assert len(world.calls) == 6


def test_processes_that_always_want_to_call_use_the_limit(world: World) -> None:
    one, two = processes(world, 0.0, 500.0)
    for _ in range(60):
        for process in (one, two):
            process.act("first_call", 0.0)
            process.act("call", 0.0)
            process.act("close", 0)
    begun = [begin for begin, _ in world.calls[20:]]
    used = (len(begun) - 1) / LIMIT.calls * LIMIT.seconds / (begun[-1] - begun[0])
    world.judge()
    assert 0.95 <= used <= 1


def test_a_slot_costs_three_requests_and_its_calls_none(world: World) -> None:
    (process,) = processes(world, 0.0)
    process.act("first_call", 1)
    process.act("call", 1)
    process.act("close", 0)
    assert world.requests == 3


def test_a_slot_that_the_release_before_has_written_is_understood(world: World) -> None:
    """The earlier release writes and reads only the ages of calls."""
    for number in range(LIMIT.at_once):
        row = {"RowKey": f"lane;{number}", "holder": "", "wanted_by": "", "ages": "[5.0, 2.0]"}
        world.rows[row["RowKey"]] = (row, world.now, 1)
    (process,) = processes(world, 0.0)
    process.act("first_call", 1)
    ((begun, _),) = world.calls
    assert 15 <= begun < 17
    assert {*row} <= {*world.rows["lane;0"][0]}
