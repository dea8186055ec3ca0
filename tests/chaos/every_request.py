"""Every storage request of a worker, one after another, as the moment at which it is killed."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from devhost.clock import Clock
from leads.rows import State
from tests.chaos.case import Case, app_that_may_crash_once, states
from tests.chaos.workers import ForkServer, Worker
from tests.support.pipeline import a_lead
from tests.support.proxy import Kill, Request, Rule
from tests.support.vendor import DELIVERED, RETRY

Way = Literal["before", "after"]
WAYS: tuple[Way, ...] = ("before", "after")
AT_ONCE = 24
"""Cases that run at the same time: nearly all of a case is waiting for a lease to end."""
BEYOND = 1
"""How far past the number of requests of the undisturbed run kills are tried, as runs differ by a request or two."""
TRIES = 4
"""How often a run is tried anew on a machine that is too busy for the leases."""
TICK_SECONDS = 2.0
"""How often the timers fire while a scenario waits for them."""


@dataclass(frozen=True)
class KillAt(Rule):
    """Kill the worker at a request, by its `step` or its `name`, before storage hears of it or after storage has acted."""

    at: int | str
    way: Way

    def before(self, request: Request) -> Kill | None:
        return Kill() if self.way == "before" and self._is_meant(request) else None

    def after(self, request: Request) -> Kill | None:
        # What a poll is (empty or not) is known only after it, so it is killed then, whichever way is asked for.
        return Kill() if (self.way == "after" or request.is_poll) and self._is_meant(request) else None

    def _is_meant(self, request: Request) -> bool:
        return bool(request.step) and self.at in {request.step, request.name}


# --- The scenarios ------------------------------------------------------------------------------------------------------


class Scenario:
    """What happens to a lead. `prepare` comes before the worker, `tend` over and over while workers run."""

    name = ""
    expected: frozenset[State] = frozenset({State.DELIVERED})
    """How every accepted lead ends."""

    def prepare(self, case: Case) -> None:
        raise NotImplementedError

    def tend(self, case: Case, worker: Worker) -> None:
        """Do what a person or a sender does meanwhile."""

    def waits_for_timers(self, case: Case) -> bool:
        """Whether `watch` and `drain_poison` are to fire now. In between they would only add requests that find nothing."""
        return False

    def check(self, case: Case) -> None:
        """What is particular to this scenario in the end."""


class FirstLead(Scenario):
    name = "first lead of a customer"

    def prepare(self, case: Case) -> None:
        case.offer("crm")
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

    def prepare(self, case: Case) -> None:
        case.offer("crm")
        case.vendors["crm"].answers(RETRY, DELIVERED)
        case.post()


class LargeBody(Scenario):
    name = "a body above 48 KiB"

    def prepare(self, case: Case) -> None:
        case.offer("crm")
        case.post(Description="x" * 60_000)

    def check(self, case: Case) -> None:
        assert all(len(call.lead["description"]) == 60_000 for call in case.vendors["crm"].calls)


class TwoDestinations(Scenario):
    name = "two destinations"

    def prepare(self, case: Case) -> None:
        case.offer("crm", "hub")
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
        self._app = app_that_may_crash_once(folder)

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
    """The sender posts until it is told that the lead is stored; no lead that it was told so of is lost."""

    expected = frozenset({State.DELIVERED, State.DUPLICATE})

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self._body = json.dumps(a_lead(Description=description)).encode()

    def prepare(self, case: Case) -> None:
        case.arguments = ("--no-timers",)
        case.offer("crm")

    def tend(self, case: Case, worker: Worker) -> None:
        if not case.accepted and worker.ready_file.exists() and (lead_id := self._post(worker.ready())):
            case.accepted.append(lead_id)

    def _post(self, ready: dict[str, Any]) -> str:
        address = urlsplit(ready["base_url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
        try:
            connection.request("POST", "/api/leads", self._body, {"x-functions-key": ready["host_key"]})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()
        assert response.status == 202, answer
        return str(answer["lead_id"])

    def check(self, case: Case) -> None:
        assert len(case.vendors["crm"].records) == 1, "sent again within minutes, it is one lead"


# --- Running them -------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of one run: the requests, at which one the worker was killed, and what is wrong, "" if nothing is."""

    scenario: str
    kill: KillAt | None = None
    names: list[str] = field(default_factory=list)
    killed_at: str = ""
    between_send_and_settle: bool = False
    repeated_calls: int = 0
    wrong: str = ""
    stalled: bool = False


class Runs:
    """Runs scenarios on accounts of their own, many at once."""

    def __init__(self, forks: ForkServer, clock: Clock, accounts: Iterator[str]) -> None:
        self._forks = forks
        self._clock = clock
        self._accounts = accounts
        self._lock = threading.Lock()

    def every_request(self, scenarios: list[Scenario], *, each: bool) -> dict[str, list[Outcome]]:
        """Each scenario undisturbed, then with a kill at every kind of its requests, both ways; with `each`, at each single one.

        By scenario, undisturbed first.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found: dict[str, list[Outcome]] = {scenario.name: [] for scenario in scenarios}
            _add(found, [pool.submit(self.run, scenario, None) for scenario in scenarios])
            by_step = [
                pool.submit(self.run, scenario, KillAt(step, way))
                for scenario in scenarios
                if each
                for step in range(1, len(found[scenario.name][0].names) + BEYOND + 1)
                for way in WAYS
            ]
            _add(found, by_step)
            # Two runs are never quite the same: a kind that no number has met is met by its name.
            by_name = [
                pool.submit(self.run, scenario, KillAt(name, way))
                for scenario in scenarios
                for name, way in not_yet_killed(found[scenario.name])
            ]
            _add(found, by_name)
        return found

    def run(self, scenario: Scenario, kill: KillAt | None) -> Outcome:
        """One run with this kill; what goes wrong is said in the outcome."""
        for _ in range(TRIES):
            outcome = self._try(scenario, kill)
            if not (outcome.wrong and outcome.stalled):
                break
        return outcome

    def _try(self, scenario: Scenario, kill: KillAt | None) -> Outcome:
        outcome = Outcome(scenario.name, kill)
        with self._lock:
            account = next(self._accounts)
        with Case(account, self._forks, self._clock) as case:
            try:
                _run(scenario, case, outcome)
            except Exception as error:
                outcome.wrong = f"{scenario.name}, {kill}\n{type(error).__name__}: {error}\n{case.story()}"
            outcome.stalled = case.has_stalled()
        return outcome


def _add(found: dict[str, list[Outcome]], runs: list[Future[Outcome]]) -> None:
    for run in runs:
        found[run.result().scenario].append(run.result())


def not_yet_killed(outcomes: list[Outcome]) -> list[tuple[str, Way]]:
    """The kinds of request of the undisturbed run at which no worker was killed, and which way. A poll has only one way."""
    killed = {(outcome.killed_at, outcome.kill.way) for outcome in outcomes if outcome.kill and outcome.killed_at}
    killed |= {(name, "before") for name, _ in killed if name.startswith("queue get")}
    return [(name, way) for name in sorted(set(outcomes[0].names)) for way in WAYS if (name, way) not in killed]


def _run(scenario: Scenario, case: Case, outcome: Outcome) -> None:
    scenario.prepare(case)
    lost: dict[tuple[str, str], int] = {}
    worker = case.start(outcome.kill)
    seen, ticked = -1, time.monotonic()

    def advance() -> bool:
        nonlocal worker, seen, ticked
        if case.proxy.killed.is_set() and len(case.workers) == 1:
            assert worker.ended.wait(10)
            outcome.killed_at = case.proxy.killed_at.name if case.proxy.killed_at else ""
            lost.update(case.lost_calls())
            worker = case.start()
        assert not worker.ended.is_set() or len(case.workers) == 1, "the second worker ended by itself"
        if time.monotonic() > ticked + TICK_SECONDS and worker.ready_file.exists():
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
    outcome.names = [request.name for request in case.proxy.journal if request.step]
    outcome.between_send_and_settle = bool(lost)
    time.sleep(SECONDS_AFTER)
    if not outcome.killed_at and case.proxy.killed_at is not None:
        outcome.killed_at = case.proxy.killed_at.name  # its very last request, after which nothing was left to do
    _check(scenario, case, outcome, lost)


SECONDS_AFTER = 0.2
"""A message that should not be there has this time to make a call that should not be."""


def _check(scenario: Scenario, case: Case, outcome: Outcome, lost: dict[tuple[str, str], int]) -> None:
    for lead_id in case.accepted:
        for name, delivery in case.deliveries(lead_id).items():
            assert delivery.state in scenario.expected, f"{lead_id} to {name} is {delivery.state}"
            if delivery.state is State.DELIVERED:
                assert case.vendors[name].records[lead_id] == 1
    assert all(count == 1 for count in lost.values()), f"more than one call of a lead at once: {lost}"
    unsettled = {key: count for key, count in case.unsettled_calls().items() if count}
    assert unsettled == lost, f"calls repeated without a kill between send and settle: {unsettled}, lost: {lost}"
    outcome.repeated_calls = sum(unsettled.values())
    scenario.check(case)
