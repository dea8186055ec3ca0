"""A cached value is read by one thread for all, and no thread queues behind a failed read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event, Semaphore
from typing import Any

import pytest

from leads.core import clock
from leads.platform import cached_value, deadline
from leads.platform.cached_value import PAUSE, CachedValue, fresh_for

THREADS = 24
LONG = 30.0
"""A wait that ends only because of a defect."""


class OutOfReach(Exception):
    """The source of the value can't be reached."""


class TooLate(Exception):
    """Another thread has been reading for too long."""


class Source:
    """The source of the value. It `hangs` until the test releases it."""

    def __init__(self) -> None:
        self.reads = 0
        self.value = 1
        self.error: BaseException | None = None
        self.asked = Semaphore(0)
        self.may_answer = Event()
        self.may_answer.set()

    def read(self) -> int:
        self.reads += 1
        self.asked.release()
        assert self.may_answer.wait(LONG)
        if self.error is not None:
            raise self.error
        return self.value


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [datetime(2026, 3, 1, tzinfo=UTC)]
    monkeypatch.setattr(clock, "now", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    return forward


@pytest.fixture
def every_failure_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_value, "QUICK_SECONDS", -1.0)


def ten_seconds() -> CachedValue[int]:
    return CachedValue(fresh_for(10), TooLate)


class Waiting:
    """Threads that get the value. The first thread reads, and hangs."""

    def __init__(self, kept: CachedValue[int], source: Source, others: int = THREADS - 1) -> None:
        source.may_answer.clear()
        self._pool = ThreadPoolExecutor(others + 1)
        self.reader: Future[int] = self._pool.submit(kept.get, source.read)
        assert source.asked.acquire(timeout=LONG)
        self.others: list[Future[int]] = [self._pool.submit(kept.get, source.read) for _ in range(others)]

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def outcome(asked: Future[int]) -> Any:
    return asked.result(LONG) if asked.exception(LONG) is None else type(asked.exception())


def test_it_is_read_once_while_it_is_fresh(source: Source, pass_time: Callable[[float], None]) -> None:
    kept = ten_seconds()
    for seconds, reads in ((0, 1), (9, 1), (1, 2)):
        pass_time(seconds)
        source.value = reads
        assert (kept.get(source.read), source.reads) == (reads, reads)


def test_those_that_know_nothing_wait_for_the_one_that_reads(source: Source) -> None:
    with Waiting(ten_seconds(), source) as waiting:
        source.may_answer.set()
        assert [outcome(one) for one in (waiting.reader, *waiting.others)] == [1] * THREADS
    assert source.reads == 1


def test_those_that_know_an_older_value_take_it_meanwhile(source: Source, pass_time: Callable[[float], None]) -> None:
    kept = ten_seconds()
    kept.get(source.read)
    pass_time(15)
    source.value = 2
    assert source.asked.acquire(timeout=LONG)
    with Waiting(kept, source) as waiting:
        assert [outcome(one) for one in waiting.others] == [1] * (THREADS - 1)
        source.may_answer.set()
        assert outcome(waiting.reader) == 2


def test_a_value_that_is_too_old_is_not_taken(source: Source, pass_time: Callable[[float], None]) -> None:
    kept = ten_seconds()
    kept.get(source.read)
    pass_time(20)
    source.error = OutOfReach()
    with pytest.raises(OutOfReach):
        kept.get(source.read)


def test_where_it_cant_be_read_the_older_value_is_taken(source: Source, pass_time: Callable[[float], None]) -> None:
    kept = ten_seconds()
    kept.get(source.read)
    pass_time(15)
    source.error = OutOfReach()
    assert kept.get(source.read) == 1


@pytest.mark.usefixtures("every_failure_is_slow")
def test_all_that_wait_fail_with_the_one_that_reads_and_nobody_asks_for_a_while(
    source: Source, pass_time: Callable[[float], None]
) -> None:
    kept = ten_seconds()
    with Waiting(kept, source) as waiting:
        source.error = OutOfReach()
        source.may_answer.set()
        assert [outcome(one) for one in (waiting.reader, *waiting.others)] == [OutOfReach] * THREADS
    pass_time(PAUSE.total_seconds() - 1)
    with pytest.raises(OutOfReach):
        kept.get(source.read)
    assert source.reads == 1
    pass_time(1)
    source.error = None
    assert (kept.get(source.read), source.reads) == (1, 2)


def test_a_quick_failure_is_that_of_one_thread(source: Source) -> None:
    kept = ten_seconds()
    source.error = OutOfReach()
    with pytest.raises(OutOfReach):
        kept.get(source.read)
    source.error = None
    assert kept.get(source.read) == 1


def test_a_thread_that_ends_leaves_the_reading_to_another(source: Source) -> None:
    kept = ten_seconds()
    source.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kept.get(source.read)
    source.error = None
    assert kept.get(source.read) == 1


def test_nobody_waits_for_another_past_the_own_deadline(source: Source) -> None:
    kept = ten_seconds()
    with Waiting(kept, source, others=0) as waiting:
        with deadline.within(0.01), pytest.raises(TooLate):
            kept.get(source.read)
        source.may_answer.set()
        assert outcome(waiting.reader) == 1


@pytest.mark.usefixtures("every_failure_is_slow")
def test_what_is_forgotten_is_read_anew_also_after_a_failure(source: Source) -> None:
    kept = ten_seconds()
    source.error = OutOfReach()
    with pytest.raises(OutOfReach):
        kept.get(source.read)
    source.error = None
    for reads in (2, 3):
        kept.forget()
        assert (kept.get(source.read), source.reads) == (1, reads)


def test_what_was_being_read_when_it_was_forgotten_is_not_kept(source: Source) -> None:
    kept = ten_seconds()
    with Waiting(kept, source, others=0) as waiting:
        kept.forget()
        source.may_answer.set()
        assert outcome(waiting.reader) == 1
    source.value = 2
    assert kept.get(source.read) == 2


def test_what_one_thread_renews_is_what_all_use_then_and_nobody_waits_for_it(source: Source) -> None:
    kept = ten_seconds()
    assert kept.get(source.read) == 1
    source.value = 2
    source.may_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(kept.renew, source.read)
        for _ in range(2):
            assert source.asked.acquire(timeout=LONG)
        assert kept.get(source.read) == 1
        source.may_answer.set()
        assert outcome(renewing) == 2
    assert (kept.get(source.read), source.reads) == (2, 2)


@pytest.mark.usefixtures("every_failure_is_slow")
def test_where_it_cant_be_renewed_that_is_said_at_once_for_a_while_and_what_is_known_stays(
    source: Source, pass_time: Callable[[float], None]
) -> None:
    kept = ten_seconds()
    kept.get(source.read)
    source.error = OutOfReach()
    with pytest.raises(OutOfReach):
        kept.renew(source.read)
    with pytest.raises(TooLate):
        kept.renew(source.read)
    assert (kept.get(source.read), source.reads) == (1, 2)
    source.error = None
    pass_time(PAUSE.total_seconds())
    assert kept.renew(source.read) == 1
