"""Slots of connections and turns of customers: who gets one, who waits, who is put back, and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from time import monotonic, sleep

import pytest

from leads.platform import slots as turns
from leads.platform.settings import FETCHED_BESIDE, read_settings
from leads.platform.slots import (
    MAX_WAITING,
    RETRY_AT_LATEST_SECONDS,
    RETRY_IN_SECONDS,
    ClaimHeld,
    CustomerTurns,
    NoFreeSlot,
    Slots,
    TryLater,
)
from tools.host import ROOT

AT_MOST, SLOW_AT_MOST = 16, 12
QUICK, SLOW = 0.1, 20.0
SHORTEST, LONGEST = RETRY_IN_SECONDS


class CutOff(Exception):
    """Ends a turn with an exception."""


class Time:
    """A fake `time.monotonic`. The test moves it; by itself it is not faster than real time."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return monotonic() + self.passed


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(turns, "monotonic", made)
    return made


@pytest.fixture
def slots(time: Time) -> Slots:
    return Slots(AT_MOST, SLOW_AT_MOST)


def send(slots: Slots, time: Time, connection: str, seconds: float, *, times: int = turns.TURNS_REMEMBERED) -> None:
    """Sends one after the other, each of this length."""
    for _ in range(times):
        with slots.slot(connection):
            time.passed += seconds


@contextmanager
def holding(slots: Slots, connection: str, count: int) -> Iterator[ExitStack]:
    """Calls of a connection that are in progress and end with an exception."""
    with suppress(CutOff), ExitStack() as held:
        for _ in range(count):
            held.enter_context(slots.slot(connection))
        yield held
        raise CutOff


def refused(slots: Slots, connection: str) -> int:
    """The delay of a lead that gets no slot, in seconds."""
    with pytest.raises(NoFreeSlot) as no_slot, slots.slot(connection):
        pass
    return no_slot.value.seconds


def test_a_quick_connection_alone_has_all_slots(slots: Slots, time: Time) -> None:
    send(slots, time, "quick", QUICK)
    with holding(slots, "quick", AT_MOST):
        time.passed += QUICK


def test_a_slow_connection_leaves_room_and_its_leads_do_not_wait_in_place(slots: Slots, time: Time) -> None:
    send(slots, time, "slow", SLOW)
    send(slots, time, "quick", QUICK)
    with holding(slots, "slow", SLOW_AT_MOST):
        before = time()
        refused(slots, "slow")
        assert time() - before < turns.QUICK_SECONDS
        with holding(slots, "quick", AT_MOST):
            pass


@pytest.mark.parametrize(("connections", "together"), [(1, 12), (2, 12), (5, 10), (12, 12), (20, AT_MOST - 1)])
def test_any_number_of_slow_connections_shares_the_same_room(
    slots: Slots, time: Time, connections: int, together: int
) -> None:
    names = [f"slow {number}" for number in range(connections)]
    for name in names:
        send(slots, time, name, SLOW)
    with ExitStack() as held:
        got = dict.fromkeys(names, 0)
        for _ in range(AT_MOST):
            for name in names:
                try:
                    held.enter_context(slots.slot(name))
                except NoFreeSlot:
                    continue
                got[name] += 1
        assert sum(got.values()) == together
        assert max(got.values()) - min(got.values()) <= 1, "in equal parts"


def test_a_connection_that_is_not_known_yet_is_taken_for_a_slow_one(slots: Slots) -> None:
    with holding(slots, "new", SLOW_AT_MOST):
        refused(slots, "new")


def test_a_connection_counts_as_slow_as_soon_as_a_call_under_way_takes_long(slots: Slots, time: Time) -> None:
    send(slots, time, "was quick", QUICK)
    with holding(slots, "was quick", SLOW_AT_MOST):
        time.passed += SLOW
        refused(slots, "was quick")
        send(slots, time, "quick", QUICK)


def test_a_slow_connection_that_has_become_quick_has_all_slots_again(slots: Slots, time: Time) -> None:
    send(slots, time, "vendor", SLOW)
    send(slots, time, "vendor", QUICK)
    with holding(slots, "vendor", AT_MOST):
        pass


def test_what_was_cut_off_says_nothing_of_how_long_calls_take(slots: Slots, time: Time) -> None:
    send(slots, time, "slow", SLOW)
    for _ in range(turns.TURNS_REMEMBERED):
        with pytest.raises(ClaimHeld), slots.slot("slow"):
            raise ClaimHeld(1)
    with holding(slots, "slow", SLOW_AT_MOST):
        refused(slots, "slow")


def test_the_more_leads_wait_the_later_they_come_back_at_the_pace_at_which_they_are_sent(
    slots: Slots, time: Time
) -> None:
    send(slots, time, "slow", SLOW)
    with holding(slots, "slow", SLOW_AT_MOST):
        back = [refused(slots, "slow") for _ in range(100)]
    for number, seconds in enumerate(back, 1):
        turn = number * SLOW / SLOW_AT_MOST
        assert turn + SHORTEST - 1 <= seconds <= turn + LONGEST + 1


def test_no_lead_stays_away_longer_than_some_minutes_and_a_thousand_do_not_come_back_at_once(
    slots: Slots, time: Time
) -> None:
    send(slots, time, "slow", SLOW)
    with holding(slots, "slow", SLOW_AT_MOST):
        back = [refused(slots, "slow") for _ in range(1000)]
    assert max(back) <= RETRY_AT_LATEST_SECONDS + LONGEST + 1
    late = [seconds for seconds in back if seconds > RETRY_AT_LATEST_SECONDS / 2]
    assert len(set(late)) > 50, "spread over minutes"


def test_a_lead_is_sent_within_few_tries_however_many_wait(slots: Slots, time: Time) -> None:
    """A simulation: 400 leads at 20 s a call. No lead is put back more often than needed."""
    send(slots, time, "slow", SLOW)
    waiting = dict.fromkeys(range(400), 0.0)
    tries = dict.fromkeys(waiting, 0)
    under_way: list[tuple[float, ExitStack]] = []
    began = time()
    while waiting:
        now = time() - began
        for ends, call in [call for call in under_way if call[0] <= now]:
            call.close()
            under_way.remove((ends, call))
        for lead in [lead for lead, due in waiting.items() if due <= now]:
            tries[lead] += 1
            call = ExitStack()
            try:
                call.enter_context(slots.slot("slow"))
            except NoFreeSlot as no_slot:
                waiting[lead] = now + no_slot.seconds
            else:
                del waiting[lead]
                under_way.append((now + SLOW, call))
        time.passed += 1
    hours = (time() - began) / 3600
    for _, call in under_way:
        call.close()
    assert sum(tries.values()) / len(tries) < 6
    assert hours < 1.5 * len(tries) * SLOW / SLOW_AT_MOST / 3600, "and the slots are used"


def test_the_numbers_go_with_what_the_host_hands_out() -> None:
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert queues["newBatchThreshold"] == FETCHED_BESIDE
    for threads in ("1", "2", "9", "32", "200"):
        settings = read_settings({"PYTHON_THREADPOOL_THREAD_COUNT": threads})
        assert 1 <= settings.slow_slots <= settings.connection_slots <= FETCHED_BESIDE
    assert (settings.connection_slots, settings.slow_slots) == (AT_MOST, SLOW_AT_MOST)
    assert SLOW_AT_MOST < FETCHED_BESIDE, "slow connections alone never keep the host from fetching"


# --- Customers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def customers(time: Time) -> CustomerTurns:
    return CustomerTurns()


def customer_refused(customers: CustomerTurns, customer: str) -> int:
    with pytest.raises(ClaimHeld) as held, customers.turn(customer):
        pass
    return held.value.seconds


def in_place(
    customers: CustomerTurns, count: int, found: Callable[[], Exception] | None = None
) -> tuple[list[bool], list[int]]:
    """So many leads of a customer come while it is another one's turn, which ends with what is `found`.

    Returns what those that had their turn were told, and when the others come back.
    """
    served: list[bool] = []
    back: list[int] = []

    def one() -> None:
        try:
            with customers.turn("ada") as contended:
                served.append(contended)
        except TryLater as not_now:
            back.append(not_now.seconds)

    threads = [Thread(target=one) for _ in range(count)]
    with suppress(ClaimHeld), customers.turn("ada") as contended, customers.turn("grace"):
        assert not contended
        for thread in threads:
            thread.start()
        while customers._lines["ada"].waiting + len(back) < count:
            sleep(0.001)
        if found is not None:
            raise found()
    for thread in threads:
        thread.join()
    return served, back


def test_the_turn_passes_to_those_that_wait_in_place_and_the_others_come_back(customers: CustomerTurns) -> None:
    served, back = in_place(customers, 20)
    assert served == [True] * MAX_WAITING
    assert len(back) == 20 - MAX_WAITING


def test_leads_of_a_customer_whose_turns_take_long_do_not_wait_in_place(customers: CustomerTurns, time: Time) -> None:
    with customers.turn("ada"):
        time.passed += SLOW
        back = [customer_refused(customers, "ada") for _ in range(10)]
    assert back[-1] > 9 * SLOW, "the more wait, the later they come back"


def test_nobody_waits_in_place_for_a_customer_that_another_process_has(customers: CustomerTurns) -> None:
    served, back = in_place(customers, 3, lambda: customers.claimed_elsewhere("ada"))
    assert (served, len(back)) == ([], 3)
    with customers.turn("ada"):
        pass


def test_customers_that_nobody_waits_for_are_forgotten(customers: CustomerTurns) -> None:
    with customers.turn("kept"):
        for number in range(3 * turns.CUSTOMERS_REMEMBERED):
            with customers.turn(f"customer {number}"):
                pass
        assert len(customers._lines) <= turns.CUSTOMERS_REMEMBERED + 1
        assert "kept" in customers._lines
