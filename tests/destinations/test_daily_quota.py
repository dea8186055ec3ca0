"""A daily quota that all instances share: never more than the limit in any 24 hours, also with concurrent uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError
from hypothesis import example, given
from hypothesis import strategies as st

from leads.core import clock
from leads.destinations import daily_quota
from leads.destinations.daily_quota import SKEW, DailyQuota, UsedUp
from leads.destinations.rate_limiter import ALLOWANCES_TABLE
from leads.platform.settings import Settings
from leads.platform.storage import Storage, StorageBusy, StorageError, Table
from tests.support.memory import memory_account

START = datetime(2026, 1, 31, 14, 20, tzinfo=UTC)
ON_THE_HOUR = datetime(2026, 1, 31, 14, 0, 20, tzinfo=UTC)
DAY = timedelta(hours=24)


class Time:
    """The time of the test, and how far the clock of the instance that acts now is ahead of it."""

    def __init__(self) -> None:
        self.now, self.ahead = START, timedelta()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clock, "now", lambda: made.now + made.ahead)
    return made


def quota(connection_string: str, limit: int, account: str = "00Dxx0000001gER") -> DailyQuota:
    """A quota as an instance makes it when it starts."""
    storage = Storage(Settings.model_validate({"LeadsStorage": connection_string}))
    return DailyQuota(storage.table(ALLOWANCES_TABLE), "vendor", account, limit)


def take_all(taking: DailyQuota) -> int:
    """Use up the quota. Returns the number of uses."""
    taken = 0
    while True:
        try:
            taking.take()
        except UsedUp:
            return taken
        taken += 1


def test_no_more_than_the_limit_is_given_out_and_it_says_until_when(fresh_storage: str, time: Time) -> None:
    shared = quota(fresh_storage, 3)
    assert take_all(shared) == 3
    with pytest.raises(UsedUp) as used_up:
        shared.take()
    assert used_up.value.until == datetime(2026, 2, 1, 15, 5, tzinfo=UTC)
    assert shared.used_up_until() == used_up.value.until
    time.now = used_up.value.until - timedelta(seconds=1)
    assert take_all(shared) == 0
    time.now = used_up.value.until
    assert shared.used_up_until() is None
    assert take_all(shared) == 3


def test_each_hour_comes_free_by_itself(fresh_storage: str, time: Time) -> None:
    shared = quota(fresh_storage, 5)
    for _ in range(2):
        shared.take()
    time.now += timedelta(hours=3)
    assert take_all(shared) == 3
    time.now += timedelta(hours=22)
    assert take_all(shared) == 2
    assert shared.used_up_until() == datetime(2026, 2, 1, 18, 5, tzinfo=UTC)


def test_instances_and_accounts_count_together_and_apart(fresh_storage: str, time: Time) -> None:
    first, second = quota(fresh_storage, 4), quota(fresh_storage, 4)
    for taking in (first, second, first):
        taking.take()
    assert take_all(second) == 1
    assert take_all(first) == 0
    assert take_all(quota(fresh_storage, 4, "00Dxx0000001gEr")) == 4


def test_a_limit_that_was_lowered_waits_until_there_is_room_below_it(fresh_storage: str, time: Time) -> None:
    for _ in range(3):
        take_all(quota(fresh_storage, 2))
        time.now += timedelta(hours=1)
    more = quota(fresh_storage, 4)
    assert take_all(more) == 2
    assert quota(fresh_storage, 1).used_up_until() == datetime(2026, 2, 1, 18, 5, tzinfo=UTC)


def test_an_unused_count_is_given_back(fresh_storage: str, time: Time) -> None:
    first, second = quota(fresh_storage, 1), quota(fresh_storage, 1)
    taken = first.take()
    assert take_all(second) == 0
    first.give_back(taken)
    assert second.used_up_until() is None
    assert take_all(second) == 1


def test_without_other_instances_a_use_needs_one_request(
    fresh_storage: str, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = quota(fresh_storage, 10)
    shared.take()
    requests: list[str] = []
    for name in ("get", "write"):
        monkeypatch.setattr(Table, name, counted(getattr(Table, name), requests))
    for _ in range(5):
        shared.take()
    assert requests == ["write"] * 5


def counted(method: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        calls.append(method.__name__)
        return method(*args, **options)

    return call


def test_threads_and_instances_at_once_get_no_more_than_the_limit(fresh_storage: str) -> None:
    instances = [quota(fresh_storage, 40) for _ in range(3)]
    with ThreadPoolExecutor(12) as threads:
        assert sum(threads.map(take_all, instances * 4)) == 40


def _take_all_in_a_process(connection_string: str) -> int:
    shared = quota(connection_string, 60)
    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(take_all, [shared] * 4))


@pytest.mark.storage("azurite")
def test_processes_at_once_get_no_more_than_the_limit(fresh_storage: str) -> None:
    forking = get_context("forkserver")
    forking.set_forkserver_preload([__name__])
    with forking.Pool(4) as processes:
        assert sum(processes.map(_take_all_in_a_process, [fresh_storage] * 4, chunksize=1)) == 60


def test_storage_that_does_not_answer_is_an_error_and_what_it_may_have_counted_is_read_again(
    fresh_storage: str, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = quota(fresh_storage, 5)
    shared.take()
    write = Table.write

    def lose_answer(table: Table, operations: Any) -> Any:
        write(table, operations)
        raise ServiceRequestError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Table, "write", lose_answer)
        with pytest.raises(StorageError):
            shared.take()
    assert take_all(shared) == 3


def test_no_thread_waits_long_behind_one_that_storage_keeps_waiting(
    fresh_storage: str, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily_quota, "_LINE_SECONDS", 0.05)
    shared = quota(fresh_storage, 5)
    with shared._in_line(), ThreadPoolExecutor(1) as threads, pytest.raises(StorageBusy):
        threads.submit(shared.take).result()


# --- Any times, any clocks ----------------------------------------------------------------------------------------------


def seconds(least: int, most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(least, most).map(lambda number: timedelta(seconds=number))


waits = seconds(0, 200) | seconds(3400, 3800) | seconds(24 * 3600 - 200, 25 * 3600 + 500) | seconds(0, 6 * 3600)
steps = st.lists(st.tuples(waits, seconds(-150, 150), st.booleans()), max_size=60)
"""For each use: the time since the use before, how far the instance's clock is ahead, and whether the use is given back."""


@example(
    [(timedelta(), timedelta(seconds=-150), False), (DAY - timedelta(seconds=170), timedelta(seconds=150), False)], 1
)
@given(steps, st.integers(1, 6))
def test_in_no_24_hours_there_are_more_than_the_limit_however_the_clocks_differ(
    steps: list[tuple[timedelta, timedelta, bool]], limit: int
) -> None:
    time = Time()
    used: list[datetime] = []
    time.now = ON_THE_HOUR
    with pytest.MonkeyPatch.context() as patch, memory_account() as storage:
        patch.setattr(clock, "now", lambda: time.now + time.ahead)
        table = Storage(Settings.model_validate({"LeadsStorage": storage})).table(ALLOWANCES_TABLE)
        for later, ahead, give_back in steps:
            time.now, time.ahead = time.now + later, ahead
            instance = DailyQuota(table, "vendor", "account", limit)
            try:
                taken = instance.take()
            except UsedUp as used_up:
                assert used_up.until > clock.now()
                long_ago = time.now - DAY - timedelta(hours=1) - 2 * SKEW
                assert sum(moment >= long_ago for moment in used) >= limit, "it had to be refused"
                continue
            if give_back:
                instance.give_back(taken)
            else:
                used.append(time.now)
        row = table.get("vendor", "account")
        assert row is None or len(json.loads(row["hours"])) <= 27
    for start in used:
        assert sum(start <= moment < start + DAY for moment in used) <= limit
