"""Threads for concurrent calls and background tasks.

The Functions host drops log records of threads without an invocation. So the events of a call are collected, and logged in the
caller's thread when it takes the result.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from threading import Thread
from time import monotonic
from typing import Generic, TypeVar

from leads.platform import deadline
from leads.platform.events import EmittedEvent, holding, release

Item = TypeVar("Item")
Result = TypeVar("Result")


class NotDoneInTime(Exception):
    """Some calls or items were not finished in time. The text says how many."""


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, at_most: int, seconds: float
) -> Iterator[Result]:
    """Call the function for each item in at most `at_most` threads, and yield the results in the items' order.

    A call has the caller's context variables. Its events are logged when its result is taken. A call that raises does not stop
    the others: the first exception is raised after the last result. After `seconds`, or at the caller's deadline, no more calls
    begin, and `NotDoneInTime` is raised. A thread can't be stopped: each call must end at the deadline by itself.
    """
    return _map(function, items, at_most, seconds, _in_order)


def map_as_done(
    function: Callable[[Item], Result], items: Iterable[Item], *, at_most: int, seconds: float
) -> Iterator[Result]:
    """As `map_in_order`, but yield each result as soon as its call is done."""
    return _map(function, items, at_most, seconds, _as_done)


@dataclass(frozen=True, slots=True)
class _Called(Generic[Result]):
    """A finished call: its result (a list of one or none), its exception, and its events."""

    results: list[Result]
    raised: BaseException | None
    events: list[EmittedEvent]


_Call = Future[_Called[Result]]
_Waiting = Callable[[Sequence[_Call[Result]], float], Iterator[_Call[Result]]]
"""Yields the calls that are done before a time of `time.monotonic`."""


def _map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    at_most: int,
    seconds: float,
    done_of: "_Waiting[Result]",
) -> Iterator[Result]:
    done = 0
    fault: BaseException | None = None
    pool = ThreadPoolExecutor(at_most, thread_name_prefix="side-by-side")
    try:
        with deadline.within(seconds):
            ends_at = monotonic() + deadline.remaining()
            calls = [pool.submit(copy_context().run, _call, function, item) for item in items]
        for call in done_of(calls, ends_at):
            done += 1
            called = call.result()
            release(called.events)
            fault = fault or called.raised
            yield from called.results
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if late := len(calls) - done:
        raise NotDoneInTime(f"{late} of {len(calls)} were not done in time") from fault
    if fault is not None:
        raise fault


def _call(function: Callable[[Item], Result], item: Item) -> _Called[Result]:
    with holding() as events:
        try:
            return _Called([function(item)], None, events)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            return _Called([], error, events)


def _in_order(calls: Sequence[_Call[Result]], ends_at: float) -> Iterator[_Call[Result]]:
    for call in calls:
        yield from wait([call], max(0.0, ends_at - monotonic())).done


def _as_done(calls: Sequence[_Call[Result]], ends_at: float) -> Iterator[_Call[Result]]:
    waiting = set(calls)
    while waiting:
        done, waiting = wait(waiting, max(0.0, ends_at - monotonic()), FIRST_COMPLETED)
        if not done:
            return
        yield from done


def in_background(task: Callable[[], None], name: str) -> None:
    """Run the task in a thread that does not keep the process alive. The task must not log."""
    Thread(target=task, name=name, daemon=True).start()
