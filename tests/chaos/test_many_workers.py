"""Many leads of few customers, by four workers that are killed while storage and the vendor fail at random."""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest

from leads.core import clock
from leads.core.states import State
from leads.ledger import queries
from leads.offers.model import read_offer
from leads.pipeline.intake import accept
from tests.chaos.case import Case
from tests.chaos.storm import ACTIONS, StormRule, Weather, fast_clock
from tests.chaos.workers import ForkServer
from tests.destinations.faults.subjects import SUBJECTS, Subject, running
from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes import marketo
from tests.fakes.https_server import LOSE_ANSWER, Broken, Fault, Request, Response
from tests.fakes.tls import make_authority
from tests.support.pipeline import a_lead
from tests.support.proxy import Proxy, Rule

SEED = 20262
WORKERS = 4
CUSTOMERS = 60 if os.environ.get("WHOLE_SIZE") else 8
WEATHER = Weather(kill=0.02, fault=0.04)
SECONDS_OF_STORM = 5
SECONDS_TO_SETTLE = 300
FAULTS = (
    Response(503, b"<html>busy</html>", {"Retry-After": "20"}),
    Response(500, b"<html>sorry</html>"),
    LOSE_ANSWER,
    LOSE_ANSWER,
    Broken(acts=False),
)


class Storm(ABC):
    """A vendor in the storm: its subject, what is asked of it, and whether it holds in the end what it should."""

    settings: ClassVar[dict[str, Any]] = {}
    follow_up: ClassVar[dict[str, Any]] = {"task": {}}
    environment: ClassVar[dict[str, str]] = {}
    last_stages: ClassVar[tuple[str, ...]] = ()
    """Stages that follow when all others are settled and nothing fails any more."""

    def __init__(self, subject: Any) -> None:
        self.subject = subject

    @property
    def destination(self) -> dict[str, Any]:
        config: dict[str, Any] = self.subject.config
        follow_up = {"contact_requested": self.follow_up}
        return config | {"settings": config["settings"] | self.settings, "follow_up": follow_up, "pace": 100}

    @abstractmethod
    def judge(self, case: Case, leads: dict[str, str]) -> str:
        """Look at the end. `leads` has each one's id with its customer's address; returns what else there is to say."""


class OfCrm(Storm):
    """One that keeps customers: each is one record with every stage once."""

    def stages(self, record: str) -> list[str]:
        """The lead of each stage of a record."""
        return [_lead_of(text) for text in self.subject.stages(record)]

    def judge(self, case: Case, leads: dict[str, str]) -> str:
        emails = {record: values["email"] for record, values in self.subject.people().items()}
        assert Counter(emails.values()) == Counter(dict.fromkeys(leads.values(), 1)), f"seed {SEED}"
        stages = [(lead, email) for record, email in emails.items() for lead in self.stages(record)]
        assert Counter(lead for lead, _ in stages) == Counter(dict.fromkeys(leads, 1)), f"seed {SEED}: each stage once"
        assert all(leads[lead] == email for lead, email in stages), f"seed {SEED}: with its customer"
        assert self.subject.tasks() == CUSTOMERS, f"seed {SEED}: one task for each that asked to be contacted"
        return ""


class OfSalesforce(OfCrm):
    """By idempotency key alone: no search finds what an answer was lost of."""

    settings: ClassVar[dict[str, Any]] = {"match_existing": "off"}

    def stages(self, record: str) -> list[str]:
        """Without the task that repeats what the record itself tells."""
        first, *others = super().stages(record)
        return [first, *(lead for lead in others if lead != first)]


class OfMarketo(OfCrm):
    """With a limit of 40 calls in half a second, 5 at once.

    Leases are so short here that sends of a customer overlap, and the last one's journey stands; the next stage sets it whole.
    """

    follow_up: ClassVar[dict[str, Any]] = {"list": marketo.LIST}
    environment: ClassVar[dict[str, str]] = {"CHAOS_RATE_LIMIT": "5 40 0.5 1 1"}
    last_stages = ("Later",)

    def __init__(self, subject: Any) -> None:
        super().__init__(subject)
        subject.vendor.calls_in_20_seconds = 100_000

    def stages(self, record: str) -> list[str]:
        lines = [text.partition("\n")[0] for text in self.subject.stages(record)]
        return [line.rpartition(" ")[2] for line in lines]


class OfWebToLead(Storm):
    """Without a key: a lead is there twice at most, and only where it is marked."""

    follow_up: ClassVar[dict[str, Any]] = {}

    def judge(self, case: Case, leads: dict[str, str]) -> str:
        arrived = Counter(_lead_of(made["description"]) for made in self.subject.vendor.leads)
        # Whose attempt was cut off twice is held for a person, whether it was sent or not.
        held = {lead for lead in leads if case.deliveries(lead)["crm"].state is State.HELD}
        assert arrived.keys() | held == leads.keys(), f"seed {SEED}: none is lost"
        assert max(arrived.values()) <= 2, f"seed {SEED}"
        marked = {lead for lead in leads if case.deliveries(lead)["crm"].possibly_twice}
        twice = {lead for lead, count in arrived.items() if count > 1}
        assert twice <= marked, f"seed {SEED}"
        return f"; {len(marked)} marked possibly twice, {len(twice)} of them are"


STORMS: dict[str, type[Storm]] = {
    **{name: OfCrm for name, kind in SUBJECTS.items() if issubclass(kind, CrmSubject)},
    "marketo": OfMarketo,
    "salesforce": OfSalesforce,
    "salesforce_web_to_lead": OfWebToLead,
}


@pytest.mark.parametrize("type_name", sorted(STORMS))
def test_no_lead_is_lost_and_none_is_there_twice_unless_it_is_marked(
    type_name: str,
    forks: ForkServer,
    accounts: Iterator[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    fast, rng = fast_clock(), Random(SEED)
    monkeypatch.setattr(clock, "now", fast.now)
    authority = make_authority(tmp_path)
    subject = SUBJECTS[type_name](authority, monkeypatch, "")
    subject.keep_sessions()
    storm = STORMS[type_name](subject)
    done: Counter[str] = Counter()
    with running(subject), Case(next(accounts), forks, fast) as case, ExitStack() as stack:
        case.arguments = ("--no-http",)
        case.env = {
            "LEADS_CA_BUNDLE": authority.bundle,
            "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
            subject.secret_setting: subject.secret("before"),
            "CHAOS_CRASH_DELAY": "60",
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
            **storm.environment,
        }
        case.app.offers.save(read_offer(_offer(storm)))
        leads = _post(case, rng, ACTIONS)
        subject.vendor.fault = lambda request: _fault(subject, request, rng)
        proxies = [Proxy(case.connection_string) for _ in range(WORKERS)]
        for proxy in proxies:
            stack.callback(proxy.close)
        kills = _deliver(case, proxies, subject, rng, done)
        if storm.last_stages:
            leads |= _post(case, rng, storm.last_stages)
            case.wait_until(lambda: _is_settled(case), "the last stages")
        more = storm.judge(case, leads)
    assert kills >= 1, f"seed {SEED}: a storm has kills in it"
    record_property(
        "summary", f"{type_name}, seed {SEED}: {len(leads)} leads, {kills} kills, storage: {dict(done)}{more}"
    )


def _offer(storm: Storm) -> dict[str, object]:
    return {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [storm.destination]}


def _post(case: Case, rng: Random, actions: tuple[str, ...]) -> dict[str, str]:
    """The leads, taken in: each one's id with its customer's address."""
    wanted = [(f"c{number}@example.com", action) for number in range(CUSTOMERS) for action in actions]
    rng.shuffle(wanted)
    return {
        accept(case.app.incoming, json.dumps(a_lead(email, action, Description=action)).encode()).lead_id: email
        for email, action in wanted
    }


def _fault(subject: Subject, request: Request, rng: Random) -> Fault:
    often = 0.08 if subject.is_write(request) else 0.03
    return rng.choice((*FAULTS, subject.busy)) if rng.random() < often else None


def _deliver(case: Case, proxies: list[Proxy], subject: Subject, rng: Random, done: Counter[str]) -> int:
    """Until every lead is settled. Returns how many workers were killed."""
    rules = [StormRule(Random(rng.random()), WEATHER, done) for _ in proxies]
    workers = [case.start(rule, proxy) for rule, proxy in zip(rules, proxies, strict=True)]
    started, kills = time.monotonic(), 0
    while time.monotonic() < started + SECONDS_OF_STORM + SECONDS_TO_SETTLE:
        over = time.monotonic() > started + SECONDS_OF_STORM
        calm = over and kills > 0
        if calm:
            subject.vendor.fault = lambda request: None
        for number, proxy in enumerate(proxies):
            if workers[number].ended.is_set():
                kills += 1
                assert proxy.killed_at is not None, f"a worker ended by itself:\n{workers[number].log[-3000:]}"
                proxy.killed.wait(10)
                workers[number] = case.start(None if calm else rules[number], proxy)
            elif calm:
                proxy.rule = Rule()
        if calm and _is_settled(case):
            return kills
        time.sleep(0.5 if calm else 0.05)  # to look costs storage more than the workers do
    undelivered = list(queries.undelivered(case.app.ledger))
    raise AssertionError(f"seed {SEED}: not settled: {undelivered[:5]}\n{workers[0].log[-3000:]}")


def _is_settled(case: Case) -> bool:
    if case.app.queue.depth() or case.app.poison.depth():
        return False
    return all(waiting.state is State.HELD for waiting in queries.undelivered(case.app.ledger))


def _lead_of(text: str) -> str:
    return next(line.removeprefix("Lead: ") for line in text.splitlines() if line.startswith("Lead: "))
