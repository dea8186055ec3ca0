"""300 leads of 60 customers to Dynamics 365, by four workers that are killed while storage and the vendor fail at random."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from leads import clock, listing
from leads.intake import accept
from leads.offers import read_offer
from tests.chaos.case import Case
from tests.chaos.storm import ACTIONS, StormRule, Weather, fast_clock
from tests.chaos.workers import ForkServer
from tests.fakes.dataverse import CLIENT, TENANT, Dataverse
from tests.fakes.https_server import LOSE_ANSWER, Broken, Fault, Request, Response
from tests.fakes.tls import make_authority
from tests.support.pipeline import a_lead
from tests.support.proxy import Proxy, Rule

SEED = 20262
CUSTOMERS = 60
WORKERS = 4
SECONDS_OF_STORM, SECONDS_TO_SETTLE = 12, 120
FAULTS = (
    Response(503, b"<html>busy</html>", {"Retry-After": "20"}),
    Response(429, {"error": {"code": "0x80072322", "message": "Too many requests"}}, {"Retry-After": "20"}),
    Response(500, b"<html>sorry</html>"),
    LOSE_ANSWER,
    LOSE_ANSWER,
    Broken(acts=False),
)


def test_each_customer_is_one_record_with_every_stage_once(
    forks: ForkServer,
    accounts: Iterator[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    fast, rng = fast_clock(), Random(SEED)
    monkeypatch.setattr(clock, "now", fast.now)
    authority = make_authority(tmp_path)
    done: Counter[str] = Counter()
    with Dataverse(authority) as dynamics, Case(next(accounts), forks, fast) as case, ExitStack() as stack:
        dynamics.entra.lifetime = 100_000
        case.arguments = ("--no-http",)
        case.env = {
            "LEADS_CA_BUNDLE": authority.bundle,
            "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
            "DYNAMICS_SECRET": "the secret",
            "CHAOS_CRASH_DELAY": "60",
            "PYTHON_THREADPOOL_THREAD_COUNT": "16",
        }
        case.app.offers.save(read_offer(_offer(dynamics)))
        leads = _post(case, rng)
        dynamics.fault = lambda request: _fault(request, rng)
        proxies = [Proxy(case.connection_string) for _ in range(WORKERS)]
        for proxy in proxies:
            stack.callback(proxy.close)
        kills = _deliver(case, proxies, dynamics, rng, done)
        _judge(dynamics, leads)
    assert kills >= 1, f"seed {SEED}: a storm has kills in it"
    record_property("summary", f"Dynamics 365, seed {SEED}: {len(leads)} leads, {kills} kills, storage: {dict(done)}")


def _offer(dynamics: Dataverse) -> dict[str, object]:
    settings = {
        "url": dynamics.url,
        "authority": dynamics.entra.url,
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret": "env:DYNAMICS_SECRET",
    }
    follow_up: dict[str, object] = {"contact_requested": {"task": {}}}
    destination = {"name": "crm", "type": "dataverse", "settings": settings, "follow_up": follow_up, "pace": 100}
    return {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [destination]}


def _post(case: Case, rng: Random) -> dict[str, str]:
    """The leads, taken in: each one's id with its customer's address."""
    wanted = [(f"c{number}@example.com", action) for number in range(CUSTOMERS) for action in ACTIONS]
    rng.shuffle(wanted)
    return {
        accept(case.app, json.dumps(a_lead(email, action, Description=action)).encode()).lead_id: email
        for email, action in wanted
    }


def _fault(request: Request, rng: Random) -> Fault:
    is_change = b"\r\nPATCH " in request.body
    return rng.choice(FAULTS) if rng.random() < (0.08 if is_change else 0.03) else None


def _deliver(case: Case, proxies: list[Proxy], dynamics: Dataverse, rng: Random, done: Counter[str]) -> int:
    """Until every lead is settled. Returns how many workers were killed."""
    weather = Weather(kill=0.005, fault=0.02)
    rules = [StormRule(Random(rng.random()), weather, done) for _ in proxies]
    workers = [case.start(rule, proxy) for rule, proxy in zip(rules, proxies, strict=True)]
    started, kills = time.monotonic(), 0
    while time.monotonic() < started + SECONDS_OF_STORM + SECONDS_TO_SETTLE:
        calm = time.monotonic() > started + SECONDS_OF_STORM
        if calm:
            dynamics.fault = lambda request: None
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
    undelivered = list(listing.undelivered(case.app.ledger))
    raise AssertionError(f"seed {SEED}: not settled: {undelivered[:5]}\n{workers[0].log[-3000:]}")


def _is_settled(case: Case) -> bool:
    if case.app.queue.depth() or case.app.poison.depth():
        return False
    return next(listing.undelivered(case.app.ledger), None) is None


def _judge(dynamics: Dataverse, leads: dict[str, str]) -> None:
    by_customer = Counter(row["emailaddress1"] for row in dynamics.leads.values())
    assert by_customer == Counter(dict.fromkeys(leads.values(), 1)), f"seed {SEED}"
    notes = Counter(_lead_of(note["notetext"]) for note in dynamics.notes())
    assert notes == Counter(dict.fromkeys(leads, 1)), f"seed {SEED}: every stage once"
    for note in dynamics.notes():
        assert dynamics.leads[note["_objectid_value"]]["emailaddress1"] == leads[_lead_of(note["notetext"])]
    assert len(dynamics.tasks) == CUSTOMERS, f"seed {SEED}: one task for each that asked to be contacted"


def _lead_of(text: str) -> str:
    return next(line.removeprefix("Lead: ") for line in text.splitlines() if line.startswith("Lead: "))
