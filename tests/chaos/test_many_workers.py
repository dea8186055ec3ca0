"""Many leads of few customers, by four workers that are killed while storage and the vendor fail at random."""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
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
from tests.fakes import dataverse, hubspot, marketo, salesforce, web_to_lead
from tests.fakes.https_server import LOSE_ANSWER, Broken, Fault, Request, Response, VendorServer
from tests.fakes.tls import Authority, make_authority
from tests.support.pipeline import a_lead
from tests.support.proxy import Proxy, Rule

SEED = 20262
SECRET = "env:LEADS_SECRET_CRM"
WORKERS = 4
CUSTOMERS = 60 if os.environ.get("WHOLE_SIZE") else 20
WEATHER = Weather(kill=0.015, fault=0.03)
SECONDS_OF_STORM = 5
SECONDS_TO_SETTLE = 300
FAULTS = (
    Response(503, b"<html>busy</html>", {"Retry-After": "20"}),
    Response(500, b"<html>sorry</html>"),
    LOSE_ANSWER,
    LOSE_ANSWER,
    Broken(acts=False),
)


class Vendor(ABC):
    """A vendor under test: how it is configured, and whether it holds in the end what it should."""

    name: ClassVar[str]
    type: ClassVar[str]
    throttled: ClassVar[Response]
    follow_up: ClassVar[dict[str, Any]] = {"task": {}}
    environment: ClassVar[dict[str, str]] = {}
    last_stages: ClassVar[tuple[str, ...]] = ()
    """Stages that follow when all others are settled and nothing fails any more."""
    server: VendorServer

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Of the destination."""

    @abstractmethod
    def is_write(self, request: Request) -> bool:
        """Whether a request stores something."""

    @abstractmethod
    def judge(self, case: Case, leads: dict[str, str]) -> str:
        """Look at the end. `leads` has each one's id with its customer's address; returns what else there is to say."""


class Crm(Vendor):
    """One that keeps customers: each is one record with every stage once."""

    @abstractmethod
    def records(self) -> list[str]:
        """The address in each record."""

    @abstractmethod
    def stages(self) -> list[tuple[str, str]]:
        """The text that tells of each stage, with the address of its record."""

    @abstractmethod
    def tasks(self) -> int:
        """How many tasks there are that somebody has to do."""

    def judge(self, case: Case, leads: dict[str, str]) -> str:
        assert Counter(self.records()) == Counter(dict.fromkeys(leads.values(), 1)), f"seed {SEED}"
        stages = [(_lead_of(text), email) for text, email in self.stages()]
        assert Counter(lead for lead, _ in stages) == Counter(dict.fromkeys(leads, 1)), f"seed {SEED}: each stage once"
        assert all(leads[lead] == email for lead, email in stages), f"seed {SEED}: with its customer"
        assert self.tasks() == CUSTOMERS, f"seed {SEED}: one task for each that asked to be contacted"
        return ""


class Dynamics(Crm):
    name = "Dynamics 365"
    type = "dataverse"
    throttled = Response(429, {"error": {"code": "0x80072322", "message": "Too many requests"}}, {"Retry-After": "20"})

    def __init__(self, authority: Authority) -> None:
        self.server: dataverse.Dataverse = dataverse.Dataverse(authority)
        self.server.entra.lifetime = 100_000

    @property
    def settings(self) -> dict[str, Any]:
        return self.server.settings(SECRET)

    def is_write(self, request: Request) -> bool:
        return b"\r\nPATCH " in request.body

    def records(self) -> list[str]:
        return [row["emailaddress1"] for row in self.server.leads.values()]

    def stages(self) -> list[tuple[str, str]]:
        leads = self.server.leads
        return [
            (dataverse.shown_note(note), leads[note["_objectid_value"]]["emailaddress1"])
            for note in self.server.notes()
        ]

    def tasks(self) -> int:
        return len(self.server.tasks)


class Salesforce(Crm):
    """By idempotency key alone: no search finds what an answer was lost of."""

    name = "Salesforce"
    type = "salesforce"
    throttled = Response(
        403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentRequests Limit exceeded."}]
    )

    def __init__(self, authority: Authority) -> None:
        self.server: salesforce.Salesforce = salesforce.Salesforce(authority)
        self.server.session = timedelta(days=1)

    @property
    def settings(self) -> dict[str, Any]:
        return self.server.settings(SECRET) | {"match_existing": "off"}

    def is_write(self, request: Request) -> bool:
        return request.path.endswith("/ui-api/records") or b"sobjects/" in request.body

    def records(self) -> list[str]:
        return [row["Email"] for row in self.server.leads]

    def stages(self) -> list[tuple[str, str]]:
        leads = {row["Id"]: row for row in self.server.leads}
        texts = [(row["Description"], row["Email"]) for row in leads.values()]
        return texts + [(task["Description"], leads[task["WhoId"]]["Email"]) for task in self._extra_tasks(leads)]

    def _extra_tasks(self, leads: dict[str, Any]) -> list[dict[str, Any]]:
        """The tasks but for those that repeat what the record itself tells."""
        return [
            task
            for task in self.server.tasks()
            if _lead_of(task["Description"]) != _lead_of(leads[task["WhoId"]]["Description"])
        ]

    def tasks(self) -> int:
        return sum(task["Status"] == "Not Started" for task in self.server.tasks())


class HubSpot(Crm):
    """Without a key: what is there already is told by HubSpot's refusal, and by the lead's id in a note or task."""

    name = "HubSpot"
    type = "hubspot"
    throttled = hubspot.throttled("TEN_SECONDLY_ROLLING")

    def __init__(self, authority: Authority) -> None:
        self.server: hubspot.HubSpot = hubspot.HubSpot(authority)
        self.server.token = "the secret"

    @property
    def settings(self) -> dict[str, Any]:
        return self.server.settings(SECRET)

    def is_write(self, request: Request) -> bool:
        return request.path.endswith(("/contacts", "/notes", "/tasks"))

    def records(self) -> list[str]:
        return [contact.properties["email"] for contact in self.server.living()]

    def stages(self) -> list[tuple[str, str]]:
        contacts = self.server.contacts
        notes = self.server.notes.values()
        return [(hubspot.shown_note(note), contacts[note.contact].properties["email"]) for note in notes]

    def tasks(self) -> int:
        return len(self.server.tasks)


class WebToLead(Vendor):
    """Without a key: a lead is there twice at most, and only where it is marked."""

    name = "Web-to-Lead"
    type = "salesforce_web_to_lead"
    throttled = Response(429, b"", {"Retry-After": "20"})
    follow_up: ClassVar[dict[str, Any]] = {}

    def __init__(self, authority: Authority) -> None:
        self.server: web_to_lead.WebToLead = web_to_lead.WebToLead(authority)

    @property
    def settings(self) -> dict[str, Any]:
        return {"url": self.server.url, "oid": web_to_lead.OID}

    def is_write(self, request: Request) -> bool:
        return request.method == "POST"

    def judge(self, case: Case, leads: dict[str, str]) -> str:
        arrived = Counter(_lead_of(made["description"]) for made in self.server.leads)
        # Whose attempt was cut off twice is held for a person, whether it was sent or not.
        held = {lead for lead in leads if case.deliveries(lead)["crm"].state is State.HELD}
        assert arrived.keys() | held == leads.keys(), f"seed {SEED}: none is lost"
        assert max(arrived.values()) <= 2, f"seed {SEED}"
        marked = {lead for lead in leads if case.deliveries(lead)["crm"].possibly_twice}
        twice = {lead for lead, count in arrived.items() if count > 1}
        assert twice <= marked, f"seed {SEED}"
        return f"; {len(marked)} marked possibly twice, {len(twice)} of them are"


class Marketo(Crm):
    """With a limit of 40 calls in half a second, 5 at once.

    Leases are so short here that sends of a customer overlap, and the last one's journey stands; the next stage sets it whole.
    """

    name = "Marketo"
    type = "marketo"
    throttled = Response(200, {"success": False, "errors": [{"code": "606", "message": "Max rate limit exceeded"}]})
    follow_up: ClassVar[dict[str, Any]] = {"list": marketo.LIST}
    environment: ClassVar[dict[str, str]] = {"CHAOS_RATE_LIMIT": "5 40 0.5 1 1"}
    last_stages = ("Later",)

    def __init__(self, authority: Authority) -> None:
        self.server: marketo.Marketo = marketo.Marketo(authority)
        self.server.lifetime = 100_000
        self.server.calls_in_20_seconds = 100_000

    @property
    def settings(self) -> dict[str, Any]:
        return self.server.settings(SECRET) | {"journey_field": "marketplaceJourney"}

    def is_write(self, request: Request) -> bool:
        return request.target == "/rest/v1/leads.json"

    def records(self) -> list[str]:
        return [person["email"] for person in self.server.persons.values()]

    def stages(self) -> list[tuple[str, str]]:
        return [
            (f"Lead: {line.rpartition(' ')[2]}", person["email"])
            for person in self.server.persons.values()
            for line in person["marketplaceJourney"].partition("\n\n")[0].split("\n")
        ]

    def tasks(self) -> int:
        return len(self.server.members())


@pytest.mark.parametrize("kind", [Dynamics, HubSpot, Marketo, Salesforce, WebToLead], ids=lambda kind: kind.type)
def test_no_lead_is_lost_and_none_is_there_twice_unless_it_is_marked(
    kind: Callable[[Authority], Vendor],
    forks: ForkServer,
    accounts: Iterator[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    fast, rng = fast_clock(), Random(SEED)
    monkeypatch.setattr(clock, "now", fast.now)
    authority = make_authority(tmp_path)
    vendor = kind(authority)
    done: Counter[str] = Counter()
    with vendor.server, Case(next(accounts), forks, fast) as case, ExitStack() as stack:
        case.arguments = ("--no-http",)
        case.env = {
            "LEADS_CA_BUNDLE": authority.bundle,
            "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
            "LEADS_SECRET_CRM": "the secret",
            "CHAOS_CRASH_DELAY": "60",
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
            **vendor.environment,
        }
        case.app.offers.save(read_offer(_offer(vendor)))
        leads = _post(case, vendor, rng, ACTIONS)
        vendor.server.fault = lambda request: _fault(vendor, request, rng)
        proxies = [Proxy(case.connection_string) for _ in range(WORKERS)]
        for proxy in proxies:
            stack.callback(proxy.close)
        kills = _deliver(case, proxies, vendor, rng, done)
        if vendor.last_stages:
            leads |= _post(case, vendor, rng, vendor.last_stages)
            case.wait_until(lambda: _is_settled(case), "the last stages")
        more = vendor.judge(case, leads)
    assert kills >= 1, f"seed {SEED}: a storm has kills in it"
    record_property(
        "summary", f"{vendor.name}, seed {SEED}: {len(leads)} leads, {kills} kills, storage: {dict(done)}{more}"
    )


def _offer(vendor: Vendor) -> dict[str, object]:
    destination = {
        "name": "crm",
        "type": vendor.type,
        "settings": vendor.settings,
        "follow_up": {"contact_requested": vendor.follow_up},
        "pace": 100,
    }
    return {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [destination]}


def _post(case: Case, vendor: Vendor, rng: Random, actions: tuple[str, ...]) -> dict[str, str]:
    """The leads, taken in: each one's id with its customer's address."""
    wanted = [(f"c{number}@example.com", action) for number in range(CUSTOMERS) for action in actions]
    rng.shuffle(wanted)
    return {
        accept(case.app.incoming, json.dumps(a_lead(email, action, Description=action)).encode()).lead_id: email
        for email, action in wanted
    }


def _fault(vendor: Vendor, request: Request, rng: Random) -> Fault:
    often = 0.08 if vendor.is_write(request) else 0.03
    return rng.choice((*FAULTS, vendor.throttled)) if rng.random() < often else None


def _deliver(case: Case, proxies: list[Proxy], vendor: Vendor, rng: Random, done: Counter[str]) -> int:
    """Until every lead is settled. Returns how many workers were killed."""
    rules = [StormRule(Random(rng.random()), WEATHER, done) for _ in proxies]
    workers = [case.start(rule, proxy) for rule, proxy in zip(rules, proxies, strict=True)]
    started, kills = time.monotonic(), 0
    while time.monotonic() < started + SECONDS_OF_STORM + SECONDS_TO_SETTLE:
        over = time.monotonic() > started + SECONDS_OF_STORM
        calm = over and kills > 0
        if calm:
            vendor.server.fault = lambda request: None
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
        time.sleep(0.05)
    undelivered = list(queries.undelivered(case.app.ledger))
    raise AssertionError(f"seed {SEED}: not settled: {undelivered[:5]}\n{workers[0].log[-3000:]}")


def _is_settled(case: Case) -> bool:
    if case.app.queue.depth() or case.app.poison.depth():
        return False
    return all(waiting.state is State.HELD for waiting in queries.undelivered(case.app.ledger))


def _lead_of(text: str) -> str:
    return next(line.removeprefix("Lead: ") for line in text.splitlines() if line.startswith("Lead: "))
