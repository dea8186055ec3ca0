"""Concurrent calls: in order, bounded, in time, and only through one module."""

from __future__ import annotations

import ast
import threading
from math import inf
from pathlib import Path
from threading import Barrier, current_thread

import pytest

from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.threads import NotDoneInTime, map_as_done, map_in_order
from leads.platform.tracing import trace_id, tracing
from tests.support.logs import logged

LEADS = Path(__file__).parents[2] / "leads"
GENEROUS = 60.0
OF_THREADS = {"concurrent", "multiprocessing", "asyncio", "_thread"}


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    second_is_done = threading.Event()

    def call(item: int) -> int:
        if item == 1:
            assert second_is_done.wait(GENEROUS)
        second_is_done.set()
        return item * 10

    assert list(map_in_order(call, [1, 2, 3], at_most=2, seconds=GENEROUS)) == [10, 20, 30]


def test_no_more_threads_are_used_than_allowed_and_all_of_them_at_once() -> None:
    together = Barrier(3)

    def call(_: int) -> str:
        together.wait(GENEROUS)
        return current_thread().name

    assert len(set(map_in_order(call, range(30), at_most=3, seconds=GENEROUS))) == 3


def test_a_result_is_taken_before_the_last_call_is_made() -> None:
    taken = threading.Event()
    results = map_in_order(lambda item: item == 1 or taken.wait(GENEROUS), [1, 2], at_most=1, seconds=GENEROUS)
    assert next(results) is True
    taken.set()
    assert list(results) == [True]


def test_a_call_that_raises_loses_no_other_result() -> None:
    def call(item: int) -> float:
        return 6 / item

    results: list[float] = []
    with pytest.raises(ZeroDivisionError):
        results.extend(map_in_order(call, [1, 0, 2, 0, 3], at_most=2, seconds=GENEROUS))
    assert results == [6, 3, 2]


def test_a_result_that_is_there_need_not_wait_for_those_before_it() -> None:
    taken = threading.Event()
    results = map_as_done(lambda item: item or taken.wait(GENEROUS), [0, 7], at_most=2, seconds=GENEROUS)
    assert next(results) == 7
    taken.set()
    assert list(results) == [True]


def test_what_a_call_emits_is_logged_in_the_callers_thread_also_where_it_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "leads")

    def call(number: int) -> str:
        emit(Event.LEAD_UNROUTED, lead_id=str(number))
        return str(1 / number)

    def nested(_: int) -> None:
        list(map_in_order(call, [1, 0], at_most=2, seconds=GENEROUS))

    with pytest.raises(ZeroDivisionError):
        list(map_as_done(nested, [1], at_most=1, seconds=GENEROUS))
    assert [fields["lead_id"] for fields in logged(caplog, "lead_unrouted")] == ["1", "0"]
    assert {record.thread for record in caplog.records} == {threading.get_ident()}


def test_what_hangs_is_not_waited_for_and_what_was_not_begun_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    now, hangs, end = [0.0], threading.Event(), threading.Event()
    begun: list[int] = []
    results: list[int] = []
    monkeypatch.setattr("leads.platform.threads.monotonic", lambda: now[0])

    def call(item: int) -> int:
        begun.append(item)
        if item == 2:
            hangs.set()
            end.wait(GENEROUS)
        return item

    with pytest.raises(NotDoneInTime, match="2 of 3 were not done in time"):
        for result in map_in_order(call, [1, 2, 3], at_most=1, seconds=GENEROUS):
            results.append(result)
            assert hangs.wait(GENEROUS)
            now[0] = GENEROUS
    end.set()
    assert (results, begun) == ([1], [1, 2])


def test_without_time_left_nothing_is_waited_for() -> None:
    end = threading.Event()
    with pytest.raises(NotDoneInTime):
        list(map_in_order(end.wait, [GENEROUS], at_most=1, seconds=-1))
    end.set()


def test_a_call_has_the_sooner_of_both_deadlines_and_the_callers_own_stays() -> None:
    def seconds_left(_: int) -> float:
        return deadline.remaining()

    with deadline.within(GENEROUS):
        (left,) = map_in_order(seconds_left, [1], at_most=1, seconds=10 * GENEROUS)
        assert 0 < left <= GENEROUS
    results = map_in_order(seconds_left, [1, 2], at_most=1, seconds=GENEROUS)
    assert 0 < next(results) <= GENEROUS
    assert deadline.remaining() == inf
    assert 0 < next(results) <= GENEROUS


def test_at_the_callers_deadline_nothing_is_waited_for() -> None:
    end = threading.Event()
    with deadline.within(-1), pytest.raises(NotDoneInTime):
        list(map_in_order(end.wait, [GENEROUS], at_most=1, seconds=GENEROUS))
    end.set()


def test_what_a_call_does_belongs_to_the_trace_of_the_caller() -> None:
    with tracing(f"00-{'1' * 32}-{'2' * 16}-01"):
        assert list(map_in_order(lambda _: trace_id(), [1], at_most=1, seconds=GENEROUS)) == ["1" * 32]


def test_nothing_to_do_is_done_at_once() -> None:
    assert list(map_in_order(str, [], at_most=8, seconds=0)) == []


def imported(path: Path) -> set[str]:
    """The modules that a file imports as a whole, and the names that it imports from others, such as `threading.Lock`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def starts_threads(name: str) -> bool:
    """Whether this name can start concurrent work. `threading` as a whole has `Thread`, too."""
    if name == "concurrent.futures.Future":
        return False
    return name in {"threading", "threading.Thread", "threading.Timer"} or name.partition(".")[0] in OF_THREADS


def test_threads_are_started_in_one_module_only() -> None:
    found = {path.relative_to(LEADS).as_posix(): imported(path) for path in LEADS.rglob("*.py")}
    assert [name for name, names in found.items() if any(map(starts_threads, names))] == ["platform/threads.py"]
