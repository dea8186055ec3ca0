"""Every storage request of a worker, one after another, as the moment at which it is killed."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devhost.clock import Clock
from leads.core.states import State
from tests.chaos.case import LEASE_SECONDS, LONG_LEASE_SECONDS, Case, states
from tests.chaos.workers import ForkServer, Worker
from tests.support.app_folder import app_folder
from tests.support.pipeline import a_lead
from tests.support.proxy import Kill, Request, Rule
from tests.support.vendor import DELIVERED, KEY_REFUSED

Among = Literal["number", "step", "change", "effect"]
"""Which requests are counted: all, all but empty polls, those that are to change something, or that have (see `Request`)."""
Way = Literal["before", "after"]
EACH_REQUEST = os.environ.get("EACH_REQUEST", "") == "1"
AMONG: Among = "step" if EACH_REQUEST else "effect"
WAYS: tuple[Way, ...] = ("before", "after") if EACH_REQUEST else ("after",)
"""Whoever dies before a change, or after one that storage has refused, leaves storage as it is after the one before, unless it
has called a vendor in between: so without EACH_REQUEST it is killed after each change, and between each call and the next
change (`KillAfterCall`)."""
AT_ONCE = 24
"""Cases that run at the same time: nearly all of a case is waiting for a lease to end."""
QUIET_SECONDS = 1.0
"""The timers fire when a scenario waits for them and the worker has done nothing for so long: else ticks would overlap."""


@dataclass(frozen=True)
class KillAt(Rule):
    """Kill the worker at its request of this number, before storage hears of it or after storage has acted."""

    number: int
    way: Way
    among: Among

    def before(self, request: Request) -> Kill | None:
        return Kill() if self.way == "before" and self._is_meant(request) else None

    def after(self, request: Request) -> Kill | None:
        # What a poll is (empty or not) is known only after it, so it is killed then, whichever way is asked for.
        return Kill() if (self.way == "after" or request.is_poll) and self._is_meant(request) else None

    def _is_meant(self, request: Request) -> bool:
        return bool(getattr(request, self.among) == self.number)


@dataclass(frozen=True)
class KillAfterCall(Rule):
    """Kill the worker once a vendor has got the call of this number, before the next change: storage never hears of the call."""

    number: int
    calls: Callable[[], int]

    def before(self, request: Request) -> Kill | None:
        return Kill() if request.change and self.calls() >= self.number else None


# --- The scenarios ------------------------------------------------------------------------------------------------------


class Scenario:
    """What happens to a lead. `prepare` comes before the worker, `tend` over and over while workers run."""

    name = ""
    keys = 1
    """How many idempotency keys the customer uses: one, and another for each that was refused."""
    expected: frozenset[State] = frozenset({State.DELIVERED})
    """How every accepted lead ends."""
    on_new_storage = EACH_REQUEST
    """Whether the app makes its tables and queues meanwhile. One scenario without EACH_REQUEST shows it."""

    def prepare(self, case: Case) -> None:
        raise NotImplementedError

    def tend(self, case: Case, worker: Worker) -> None:
        """Do what a person or a sender does meanwhile."""

    def waits_for_timers(self, case: Case) -> bool:
        """Whether `watch` is to fire now. In between it would only add requests that find nothing."""
        return False

    def check(self, case: Case) -> None:
        """What is particular to this scenario in the end."""


class TwoDestinations(Scenario):
    name = "two destinations"

    def prepare(self, case: Case) -> None:
        case.offer("crm", "hub")
        case.post()


class LaterStage(Scenario):
    name = "later stage of a customer"

    def prepare(self, case: Case) -> None:
        case.offer("crm")
        case.post()
        case.deliver_all()
        case.post(action="PLT")

    def check(self, case: Case) -> None:
        first, later = case.accepted
        for call in case.vendors["crm"].calls:
            assert call.key == first or call.customer_record == first, "the stage lands on the customer's record"
        assert later in case.vendors["crm"].records


class Retried(Scenario):
    name = "a retry"
    keys = 2

    def prepare(self, case: Case) -> None:
        case.offer("crm")
        vendor = case.vendors["crm"]
        vendor.answer = lambda call: (
            KEY_REFUSED if call.idempotency_key == vendor.calls[0].idempotency_key else DELIVERED
        )
        case.post()


class Misconfigured(Scenario):
    """The connection pauses, the lead parks; a person mends it, `watch` probes it and sends the lead."""

    name = "a misconfigured connection, then mended"

    def prepare(self, case: Case) -> None:
        case.offer("crm")
        case.vendors["crm"].refuses()
        case.post()

    def tend(self, case: Case, worker: Worker) -> None:
        if not case.vendors["crm"].checked["ok"] and State.PARKED in states(case):
            case.vendors["crm"].works()

    def waits_for_timers(self, case: Case) -> bool:
        return bool(case.vendors["crm"].checked["ok"])


class Unrouted(Scenario):
    """Nobody takes the lead until its offer is configured."""

    name = "an unrouted lead whose offer appears"

    def prepare(self, case: Case) -> None:
        case.vendor("crm")
        case.post()

    def tend(self, case: Case, worker: Worker) -> None:
        if not self.waits_for_timers(case) and State.UNROUTED in states(case):
            case.offer("crm")

    def waits_for_timers(self, case: Case) -> bool:
        return bool(case.app.offers.all())


class Poison(Scenario):
    """A worker has died with the message in its hands, and one such death is all that this host.json allows."""

    name = "poison that is drained"

    def __init__(self, folder: Path) -> None:
        self._app = app_folder(folder, queues={"maxDequeueCount": 1})

    def prepare(self, case: Case) -> None:
        case.arguments = (*case.arguments, "--app-dir", str(self._app))
        case.env = {"CHAOS_CRASH_DELAY": "20"}
        case.offer("crm")
        (lead_id,) = [case.post()]
        assert [message.dequeue_count for message in case.app.queue.receive(1, 1)] == [1], lead_id

    def waits_for_timers(self, case: Case) -> bool:
        return case.app.poison.depth() > 0 or State.CRASHED in states(case)

    def check(self, case: Case) -> None:
        assert "moving message" in "".join(worker.log for worker in case.workers)


class Intake(Scenario):
    """The sender posts a lead of a new customer until it is told that it is stored; from then on it is not lost.

    Its body is above 48 KiB, and so is stored apart from the message: one change more than a small one makes.
    """

    name = "first lead of a customer"
    expected = frozenset({State.DELIVERED, State.DUPLICATE})
    on_new_storage = True
    description = "x" * 60_000

    def prepare(self, case: Case) -> None:
        case.arguments = ("--no-timers",)
        case.offer("crm")

    def tend(self, case: Case, worker: Worker) -> None:
        if case.accepted or not worker.ready_file.exists():
            return
        try:
            answer = worker.post(json.dumps(a_lead(Description=self.description)).encode())
        except (OSError, http.client.HTTPException):
            return
        assert answer.status in {202, 503}, answer
        if answer.status == 202:
            case.accepted.append(answer.json()["lead_id"])

    def check(self, case: Case) -> None:
        vendor = case.vendors["crm"]
        assert len(vendor.records) == 1, "sent again within minutes, it is one lead"
        assert {call.lead["description"] for call in vendor.calls} == {self.description}


# --- Running them -------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of one run.

    `requests` are those that count, `calls` what the vendors got, `wrong` is "" if nothing is. `stalled`: a worker so slow
    before its end that it lost a message, as if it had been killed there, so that how often a lead was sent shows nothing.
    """

    scenario: str
    kill: Rule | None = None
    requests: int = 0
    calls: int = 0
    killed: bool = False
    between_send_and_settle: bool = False
    repeated_calls: int = 0
    wrong: str = ""
    stalled: bool = False

    @property
    def spared(self) -> bool:
        """Whether the moment at which the worker was to be killed came, and the worker lived."""
        match self.kill:
            case KillAt(number=number):
                return not self.killed and self.requests >= number
            case KillAfterCall(number=number):
                return not self.killed and self.calls >= number
        return False


class Runs:
    """Runs scenarios on accounts of their own, many at once."""

    def __init__(self, forks: ForkServer, clock: Clock, accounts: Iterator[str]) -> None:
        self._forks = forks
        self._clock = clock
        self._accounts = accounts
        self._lock = threading.Lock()

    def every_request(self, scenarios: list[Scenario]) -> dict[str, list[Outcome]]:
        """Each scenario undisturbed, then with a kill after each call, then at every one of its requests that count.

        By scenario, in this order. Two runs are never quite the same: kills are tried until one comes too late.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            undisturbed = list(pool.map(self.run, scenarios))
            found = {scenario.name: [outcome] for scenario, outcome in zip(scenarios, undisturbed, strict=True)}
            runs = [
                (scenario, pool.submit(self.run, scenario, after_call(number)))
                for scenario in scenarios
                for number in range(1, found[scenario.name][0].calls + 1)
            ]
            wanted = {scenario: range(1, found[scenario.name][0].requests + 2) for scenario in scenarios}
            while wanted:
                runs += [
                    (scenario, pool.submit(self.run, scenario, at_request(number, way)))
                    for scenario, numbers in wanted.items()
                    for number in numbers
                    for way in WAYS
                ]
                for scenario, run in runs:
                    found[scenario.name].append(run.result())
                wanted = {
                    scenario: range(numbers.stop, numbers.stop + 1)
                    for scenario, numbers in wanted.items()
                    if any(outcome.killed for outcome in found[scenario.name][-len(WAYS) :])
                }
                runs = []
        return found

    def run(self, scenario: Scenario, kill: Callable[[Case], Rule] | None = None) -> Outcome:
        """One run with this kill; what goes wrong is said in the outcome."""
        with self._lock:
            account = next(self._accounts)
        with Case(account, self._forks, self._clock) as case:
            outcome = Outcome(scenario.name, kill(case) if kill else None)
            try:
                _run(scenario, case, outcome)
            except Exception as error:
                outcome.wrong = f"{scenario.name}, {outcome.kill}\n{type(error).__name__}: {error}\n{case.story()}"
        return outcome


def at_request(number: int, way: Way) -> Callable[[Case], Rule]:
    return lambda case: KillAt(number, way, AMONG)


def after_call(number: int) -> Callable[[Case], Rule]:
    return lambda case: KillAfterCall(number, case.calls)


def _run(scenario: Scenario, case: Case, outcome: Outcome) -> None:
    if not scenario.on_new_storage:
        case.make_storage()
    scenario.prepare(case)
    lost: dict[tuple[str, str], int] = {}
    case.lease_seconds = LEASE_SECONDS if outcome.kill else LONG_LEASE_SECONDS
    worker = case.start(outcome.kill)
    seen, ticked = -1, time.monotonic()

    def advance() -> bool:
        nonlocal worker, seen, ticked
        if case.proxy.killed.is_set() and len(case.workers) == 1:
            assert worker.ended.wait(60)
            lost.update(case.lost_calls())
            case.lease_seconds = LONG_LEASE_SECONDS
            worker = case.start()
        assert not worker.ended.is_set() or len(case.workers) == 1, "the second worker ended by itself"
        busy = max((request.arrived_at for request in case.proxy.journal if request.step), default=0.0)
        if time.monotonic() > max(ticked, busy) + QUIET_SECONDS and worker.ready_file.exists():
            ticked = time.monotonic()
            if scenario.waits_for_timers(case):
                worker.tick()
        # Looking costs storage more than the workers do, and there is nothing new to see unless one of them wrote.
        before, seen = seen, case.proxy.writes
        if before == seen and case.accepted:
            return False
        scenario.tend(case, worker)
        return bool(case.accepted) and case.is_finished()

    case.wait_until(advance, "every accepted lead is settled and no message is left")
    outcome.requests = len([request for request in case.proxy.journal if getattr(request, AMONG)])
    outcome.calls = case.calls()
    outcome.between_send_and_settle = bool(lost)
    time.sleep(SECONDS_AFTER)
    # A kill at the very last request leaves nothing to do, so no second worker was started.
    outcome.killed = len(case.workers) == 2 or case.proxy.killed_at is not None
    _check(scenario, case, outcome, lost)


SECONDS_AFTER = 0.2
"""A message that should not be there has this time to make a call that should not be."""


def _check(scenario: Scenario, case: Case, outcome: Outcome, lost: dict[tuple[str, str], int]) -> None:
    for lead_id in case.accepted:
        for name, delivery in case.deliveries(lead_id).items():
            assert delivery.state in scenario.expected, f"{lead_id} to {name} is {delivery.state}"
            if delivery.state is State.DELIVERED:
                assert case.vendors[name].records[lead_id] == 1
    outcome.stalled = case.has_stalled()
    if not outcome.stalled:
        assert all(count == 1 for count in lost.values()), f"more than one call of a lead at once: {lost}"
        unsettled = {key: count for key, count in case.unsettled_calls().items() if count}
        assert unsettled == lost, f"calls repeated without a kill between send and settle: {unsettled}, lost: {lost}"
        outcome.repeated_calls = sum(unsettled.values())
    for vendor in case.vendors.values():
        keys = {call.idempotency_key for call in vendor.calls}
        assert len(keys) == scenario.keys, "the customer's random key is made once, and again only when it was refused"
    scenario.check(case)
