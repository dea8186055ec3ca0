"""Workers that are killed at random, storage and a vendor that fail at random, and in the end: is every lead there, once?

All chance comes from one seed. The decisions are the same for the same seed; which request they meet hangs on how the
processes run, so a replay is a storm of the same kind, not the same one to the millisecond.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from devhost.clock import Clock
from leads.core.states import FINAL, State
from leads.ledger import queries
from leads.ledger.customer_rows import REDELIVERY_WINDOW
from leads.ledger.rows import LeadRecord, read_lead
from tests.chaos.case import Case
from tests.chaos.workers import Worker
from tests.support.pipeline import a_lead
from tests.support.proxy import Answer, Break, Cut, Delay, Fault, Kill, KillWorker, Proxy, Request, Rule
from tests.support.vendor import DELIVERED, LOST_ANSWER, RETRY, Call

ACTIONS = ("INS", "PLT", "Create", "StartTestDrive", "DNC")
STATUSES = (429, 500, 503, 507)
SENDERS = 4
POST_SECONDS = 8.0
SEND_AGAIN = REDELIVERY_WINDOW / 3
"""For how long a sender sends again, in the app's time: its last post may take `POST_SECONDS`, and is still the same lead."""
WAITING_AT_MOST = 400
"""Senders wait while so many leads are accepted and not yet delivered, so that the storm meets all parts alike."""
QUICK_RESTARTS = ("--time", "restart=0.2", "--time", "second_restart=0.5")
ENDED_ITSELF = ("devhost: ends itself: ", "devhost: the worker process ended with status -9")
"""What a host says that ends; the latter where its first worker process was killed before the app was loaded."""
OUTAGE_EVERY, OUTAGE_SECONDS = 12.0, 3.0
"""How often, and how long, the vendor is down altogether (real seconds): the connection pauses and heals."""


@dataclass(frozen=True)
class Weather:
    """Chances: of a kill and of a fault for each storage request, of a failure for each call of the vendor.

    Of the kills, `of_worker` meet the worker process alone, where the host has one.
    """

    kill: float = 0.003
    of_worker: float = 0.0
    fault: float = 0.02
    vendor: float = 0.06


class StormRule(Rule):
    """Kills and faults at random, by a random generator of its own."""

    def __init__(self, rng: Random, weather: Weather, done: Counter[str]) -> None:
        self._rng = rng
        self._weather = weather
        self._done = done

    def before(self, request: Request) -> Fault | None:
        return self._fault((self._kill(), Delay(self._rng.uniform(0.05, 1)), Break(), self._answer()))

    def after(self, request: Request) -> Fault | None:
        return self._fault((self._kill(), Break(), Cut(), self._answer()))

    def _kill(self) -> Fault:
        return KillWorker() if self._rng.random() < self._weather.of_worker else Kill()

    def _answer(self) -> Answer:
        return Answer(self._rng.choice(STATUSES))

    def _fault(self, choices: tuple[Fault, ...]) -> Fault | None:
        """Half of the chances fall before storage has acted, half after; an empty poll can be hit like any other request."""
        luck = self._rng.random() * 2
        if luck < self._weather.kill:
            fault = choices[0]
        elif luck < self._weather.kill + self._weather.fault:
            fault = self._rng.choice(choices[1:])
        else:
            return None
        self._done[type(fault).__name__] += 1
        return fault


@dataclass
class Post:
    """A lead as its sender knows it. `accepted` are the ids it was told: more than one if it sent again."""

    number: int
    email: str
    action: str
    accepted: list[str] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return json.dumps(a_lead(self.email, self.action, Description=f"lead {self.number}")).encode()


@dataclass
class Report:
    """What happened, in numbers, and what is wrong: empty if nothing is."""

    seed: int
    workers: int
    posted: int = 0
    accepted: int = 0
    customers: int = 0
    hosts: int = 0
    """How often a host was started again: one that was killed, or had ended itself."""
    faults: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    repeated_calls: int = 0
    states: Counter[str] = field(default_factory=Counter)
    seconds: float = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return (
            f"seed {self.seed}, {self.workers} workers: {self.accepted} of {self.posted} leads accepted, of "
            f"{self.customers} customers; {self.hosts} hosts started again, {faults or 'no faults'}; "
            f"{self.calls} calls at the vendor, {self.repeated_calls} of them repeated; in the end {states}; {self.seconds:.0f} s"
        )


class Storm:
    """`run` posts `leads` leads of `customers` customers to `workers` workers, and looks for all of them in the end."""

    def __init__(
        self,
        case: Case,
        *,
        leads: int,
        customers: int,
        workers: int,
        seed: int,
        weather: Weather | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._case = case
        self._weather = weather or Weather()
        self._say = say
        self._rng = Random(seed)
        self._posts = [
            Post(number, f"customer{self._rng.randrange(customers)}@example.com", self._rng.choice(ACTIONS))
            for number in range(leads)
        ]
        self._report = Report(seed, workers, posted=leads)
        self._proxies = [Proxy(case.connection_string, keep_journal=False) for _ in range(workers)]
        self._rules = [self._rule(Random(f"{seed} worker {number}")) for number in range(workers)]
        self._workers: list[Worker | None] = [None] * workers
        self._sending = threading.Semaphore(0)
        self._calls_of: Counter[str] = Counter()
        self._calm = threading.Event()
        self._over = threading.Event()
        self._seed = seed

    def run(self, patience: float = 600) -> Report:
        """The storm, then a calm of up to `patience` seconds in which everything has to settle."""
        case, started = self._case, time.monotonic()
        case.arguments, case.mode = (), QUICK_RESTARTS
        case.env = {"CHAOS_CRASH_DELAY": "60", "PYTHON_THREADPOOL_THREAD_COUNT": "24"}
        case.offer("crm")
        case.vendors["crm"].answer = self._answer
        supervisor = threading.Thread(target=self._keep_workers_alive)
        supervisor.start()
        try:
            self._send_all()
            self._calm.set()
            self._wait_until_settled(patience)
        finally:
            self._calm.set()
            self._over.set()
            supervisor.join()
            for proxy in self._proxies:
                proxy.close()
        self._report.seconds = time.monotonic() - started
        self._judge()
        return self._report

    # What breaks

    def _rule(self, rng: Random) -> StormRule:
        return StormRule(rng, self._weather, self._report.faults)

    def _answer(self, call: Call) -> dict[str, Any]:
        """What the vendor says is a matter of the lead and of how often it was sent, so that a replay says the same."""
        vendor = self._case.vendors["crm"]
        with vendor.lock:
            self._calls_of[call.key] += 1
            count = self._calls_of[call.key]
        if self._calm.is_set():
            return DELIVERED
        luck = Random(f"{self._seed} {call.lead['description']} {count}").random()
        if not vendor.checked["ok"] or luck < self._weather.vendor / 2:
            return RETRY
        return LOST_ANSWER if luck < self._weather.vendor else DELIVERED

    def _keep_workers_alive(self) -> None:
        try:
            self._restart_what_ends()
        finally:
            self._over.set()  # without workers nothing would ever settle

    def _restart_what_ends(self) -> None:
        vendor = self._case.vendors["crm"]
        while not self._over.wait(0.02):
            is_up = self._calm.is_set() or time.monotonic() % OUTAGE_EVERY > OUTAGE_SECONDS
            vendor.checked = {"ok": is_up, "transient": not is_up, "code": "503"}
            for number, proxy in enumerate(self._proxies):
                worker = self._workers[number]
                if worker is not None and not worker.ended.is_set():
                    if self._calm.is_set():
                        proxy.rule = Rule()
                    continue
                if worker is not None:
                    self._report.hosts += 1
                    if proxy.killed_at is None and not any(said in worker.log for said in ENDED_ITSELF):
                        self._report.wrong.append(f"a worker ended by itself:\n{worker.log[-3000:]}")
                        return
                    if proxy.killed_at is not None:
                        proxy.killed.wait(10)
                rule = None if self._calm.is_set() else self._rules[number]
                self._workers[number] = self._case.start(rule, proxy)

    # Senders

    def _send_all(self) -> None:
        remaining = iter(self._posts)
        lock = threading.Lock()

        def send(rng: Random) -> None:
            while not self._over.is_set():
                with lock:
                    post = next(remaining, None)
                if post is None:
                    return
                self._send(post, rng)

        senders = [threading.Thread(target=send, args=(Random(f"{self._seed} sender {n}"),)) for n in range(SENDERS)]
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders):
            self._progress("posting")
            for sender in senders:
                sender.join(5 / SENDERS)

    def _send(self, post: Post, rng: Random) -> None:
        """Post it; without an answer, half of the senders give up and half send it again while that is still one lead."""
        while self._waiting() > WAITING_AT_MOST and not self._over.is_set():
            time.sleep(0.1)
        again = rng.random() < 0.5
        until = time.monotonic() + SEND_AGAIN.total_seconds() / self._case.clock.factor
        while not self._over.is_set() and time.monotonic() < until:
            worker = rng.choice(self._workers)
            if worker is not None and worker.ready_file.exists():
                lead_id = self._post(worker, post.body)
                if lead_id:
                    post.accepted.append(lead_id)
                if lead_id or not again:
                    return
            time.sleep(0.1)

    def _post(self, worker: Worker, body: bytes) -> str | None:
        """The lead's id if it was accepted."""
        try:
            answer = worker.post(body, seconds=POST_SECONDS)
        except (OSError, http.client.HTTPException, AssertionError):
            return None
        return str(answer.json()["lead_id"]) if answer.status == 202 else None

    def _waiting(self) -> int:
        accepted = sum(len(post.accepted) for post in self._posts)
        return accepted - len(self._case.vendors["crm"].records)

    # In the end

    def _wait_until_settled(self, patience: float) -> None:
        said = time.monotonic()
        deadline = said + patience
        while not self._is_settled():
            if time.monotonic() > deadline or self._over.is_set():
                self._report.wrong.append(f"not everything is settled {patience:.0f} s after the storm")
                return
            if time.monotonic() > said + 5:
                said = time.monotonic()
                self._progress("settling")
            time.sleep(0.5)

    def _is_settled(self) -> bool:
        app = self._case.app
        if app.queue.depth() or app.poison.depth():
            return False
        return next(queries.undelivered(app.ledger), None) is None

    def _progress(self, what: str) -> None:
        accepted = sum(len(post.accepted) for post in self._posts)
        records = len(self._case.vendors["crm"].records)
        faults = self._report.faults.total()
        self._say(
            f"{what}: {accepted} accepted, {records} at the vendor, {self._report.hosts} hosts started again, {faults} faults"
        )

    def _judge(self) -> None:
        report, vendor = self._report, self._case.vendors["crm"]
        records = {record.lead_id: record for record in self._all_records()}
        posts = {f"lead {post.number}": post for post in self._posts}
        accepted = [post for post in self._posts if post.accepted]
        report.accepted = len(accepted)
        report.customers = len({post.email for post in accepted})
        report.calls = len(vendor.calls)
        report.repeated_calls = len(vendor.calls) - len({call.key for call in vendor.calls})
        report.states = Counter(record.state.value for record in records.values())
        keys = defaultdict(set)
        for call in vendor.calls:
            if call.key in vendor.records:
                keys[call.lead["description"]].add(call.key)
        for post in accepted:
            for lead_id in post.accepted:
                report.wrong += _stuck(lead_id, records.get(lead_id))
            if not keys[f"lead {post.number}"]:
                report.wrong.append(f"lost: lead {post.number}, accepted as {post.accepted}")
        report.wrong += [f"a second record of {name}: {found}" for name, found in keys.items() if len(found) > 1]
        report.wrong += [f"never posted: {name}" for name in keys if name not in posts]
        self._judge_customers(accepted)
        report.wrong += [f"still to do: {item}" for item in queries.undelivered(self._case.app.ledger)]

    def _judge_customers(self, accepted: list[Post]) -> None:
        """Each customer is one customer at the vendor, with every stage."""
        customers, stages, keys = defaultdict(set), defaultdict(set), defaultdict(set)
        vendor = self._case.vendors["crm"]
        for call in vendor.calls:
            email, action = call.lead["email"], call.lead["action_code"]
            customers[email].add(call.customer)
            keys[email].add(call.idempotency_key)
            if call.key in vendor.records:
                stages[email].add(action)
        for email in {post.email for post in accepted}:
            posted = {post.action for post in accepted if post.email == email}
            if len(customers[email]) != 1 or len(keys[email]) != 1 or posted - stages[email]:
                self._report.wrong.append(
                    f"{email}: {customers[email]} with {keys[email]}, without {posted - stages[email]}"
                )

    def _all_records(self) -> list[LeadRecord]:
        table = self._case.app.ledger.table
        found = []
        for partition in queries.PARTITIONS:
            rows = table.query(f"PartitionKey eq '{partition}' and RowKey ge 'lead;' and RowKey lt 'lead<'")
            found += [read_lead(row, "") for row in rows]
        return found


def _stuck(lead_id: str, record: LeadRecord | None) -> list[str]:
    if record is None:
        return [f"lost: the ledger does not know {lead_id}"]
    wrong = []
    for delivery in record.deliveries.values():
        if delivery.state not in FINAL - {State.SKIPPED}:
            wrong.append(f"stuck: {lead_id} is {delivery.state}: {delivery}")
    return wrong


def fast_clock() -> Clock:
    """Forty seconds of the app in one of ours: retries and `watch` come quickly, leases go by storage's own clock."""
    return Clock(40, time.time())
