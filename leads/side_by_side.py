"""Threads: the one way in which the app runs things side by side, and what runs in the background.

The Functions host drops what is logged in a thread that belongs to no invocation, without a word. So what runs here returns
what there is to tell, and the caller, who takes the results in the invocation's own thread, emits it.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Thread
from time import monotonic
from typing import TypeVar

from leads import deadline

Item = TypeVar("Item")
Result = TypeVar("Result")


class NotDoneInTime(Exception):
    """Some of what ran side by side was not done within the time for all of it. The text says how much of it."""


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, at_most: int, seconds: float
) -> Iterator[Result]:
    """Call the function for each item in `at_most` threads, and yield the results in the items' order as they come.

    A call sees the context variables of the caller. One that raises keeps no other from being made: what the first of them has
    raised is raised after the last result. After `seconds`, or at the deadline of the caller, no call is begun or waited for any
    more, which raises `NotDoneInTime`; a thread can't be ended, so each call has to heed the deadline by itself.
    """
    late = 0
    fault: BaseException | None = None
    pool = ThreadPoolExecutor(at_most, thread_name_prefix="side-by-side")
    try:
        with deadline.within(seconds):
            ends_at = monotonic() + deadline.remaining()
            calls = [pool.submit(copy_context().run, function, item) for item in items]
        for call in calls:
            if call not in wait([call], max(0.0, ends_at - monotonic())).done:
                late += 1
            elif (raised := call.exception()) is not None:
                fault = fault or raised
            else:
                yield call.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if late:
        raise NotDoneInTime(f"{late} of {len(calls)} were not done in time") from fault
    if fault is not None:
        raise fault


def in_background(task: Callable[[], None], name: str) -> None:
    """Run the task in a thread that does not keep the process alive. It must not log anything."""
    Thread(target=task, name=name, daemon=True).start()
