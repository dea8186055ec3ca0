"""Outages and their end: a revoked secret, a weekend without the CRM, a backlog of several pages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.filled import PARKED_CONNECTION, ledger_rows
from leads import destinations
from leads.core.states import State
from leads.ledger import queries
from leads.platform.slots import Slots
from leads.platform.storage import make_table
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, a_lead, crm, deliver_at_once, text_of
from tests.support.vendor import Vendor

PACE = 50
THREADS = 12
"""Messages that each instance handles at once in these tests."""
SLOTS = THREADS // 2
"""Sends that one connection may have at once, as in the app."""


def waits_for_a_slot(instances: Sequence[Pipeline]) -> bool:
    """Whether leads were put back for some seconds because the machine was too busy."""
    return any(instance.queue.delayed for instance in instances)


def pass_a_minute(instances: Sequence[Pipeline]) -> None:
    """Both instances run `watch`, and deliver the messages that it puts."""
    instances[0].clock.time += timedelta(minutes=1)
    for instance in instances:
        instance.watch()
    deliver_at_once(instances, THREADS)


def sent_in(vendor: Vendor, minute: Callable[[], None]) -> int:
    before = len(vendor.calls)
    minute()
    return len(vendor.calls) - before


def test_a_secret_is_revoked_while_200_leads_arrive(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, record_property: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "leads")
    instances = [pipeline, second]
    for instance in instances:
        instance.app.__dict__["slots"] = Slots(SLOTS, SLOTS)
    pipeline.offer(crm(vendor.url, pace=PACE))
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(50)]
    deliver_at_once(instances, THREADS)
    while waits_for_a_slot(instances):
        pipeline.clock.time += timedelta(seconds=15)
        deliver_at_once(instances, THREADS)
    assert len(vendor.calls) == 50

    vendor.refuses()
    leads += [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(50, 200)]
    deliver_at_once(instances, THREADS)
    minutes = 5
    for _ in range(minutes):
        pass_a_minute(instances)
    sent = len(vendor.calls) - 50
    told = f"{sent} leads, {vendor.checks} checks in {minutes} min"
    record_property("summary", f"revoked secret, 150 leads, 2 instances of {SLOTS} slots: the CRM saw {told}")
    assert sent <= SLOTS * len(instances), "on each instance only what was under way when it was revoked"
    assert vendor.checks <= len(instances) + minutes, "one that confirms it on each instance, then one a minute"
    assert pipeline.states() == {State.DELIVERED: 50, State.PARKED: 150}
    assert len(logged(caplog, "connection_paused")) == 1

    vendor.works()
    refused = len(vendor.calls)
    first_minute = sent_in(vendor, lambda: pass_a_minute(instances))
    assert first_minute == 1, "one lead goes first"
    for _ in range(4):
        assert sent_in(vendor, lambda: pass_a_minute(instances)) <= PACE * 60
    assert vendor.records == dict.fromkeys(leads, 1)
    assert Counter(vendor.keys()[refused:]) == dict.fromkeys(leads[50:], 1), "each is sent once"
    assert len(logged(caplog, "connection_opened")) == 1
    assert pipeline.states() == {State.DELIVERED: 200}


def test_a_weekend_of_60_hours_without_the_crm_costs_no_lead(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, record_property: Any
) -> None:
    instances = [pipeline, second]
    pipeline.offer(crm(vendor.url, pace=PACE))
    vendor.fails()
    leads = []
    for hour in range(60):
        if hour % 3 == 0:
            leads.append(pipeline.post(a_lead(f"c{hour}@example.com")))
        pipeline.clock.time += timedelta(hours=1)
        instances[hour % 2].watch()  # the host fires the timer of one instance only
        deliver_at_once(instances, THREADS)
    assert vendor.records == Counter()
    tried = len(vendor.calls)
    record_property("summary", f"60 hours without the CRM, 20 leads, 2 instances: it saw {tried} leads")
    assert pipeline.states().keys() <= {State.PARKED, State.RETRY}
    vendor.works()
    for _ in range(2):
        pass_a_minute(instances)
    assert vendor.records, "the first delivery is within minutes of the return"
    for _ in range(4):
        pass_a_minute(instances)
    assert Counter(vendor.keys()[tried:]) == dict.fromkeys(leads, 1), "each is sent once"
    assert pipeline.states() == {State.DELIVERED: len(leads)}


def test_more_parked_leads_than_a_page_holds_come_back_at_the_set_pace(
    pipeline: Pipeline, second: Pipeline, monkeypatch: pytest.MonkeyPatch, vendor: Vendor
) -> None:
    monkeypatch.setattr(queries, "_PAGE", 40)  # 50 leads are parked in each partition
    pace = 0.5
    instances = [pipeline, second]
    make_table(pipeline.app.ledger.table.client)
    for row in ledger_rows(800, parked=800):
        pipeline.app.ledger.table.client.create_entity(row)
    config = crm(vendor.url, pace=pace)
    monkeypatch.setattr(destinations, "connection_of", lambda type_name, settings: PARKED_CONNECTION)
    pipeline.offer(config)
    put: list[str] = []
    for watching in (instances, instances[:1]):
        pipeline.clock.time += timedelta(minutes=1)
        for instance in watching:
            instance.watch()
        messages = [(due, text) for instance in instances for due, text in instance.queue.delayed]
        messages += [(pipeline.clock.now(), text_of(message)) for message in pipeline.messages()]
        delays = sorted((due - pipeline.clock.now()).total_seconds() for due, _ in messages)
        assert len(messages) == pace * 60, "one minute's worth, also where two instances watch"
        assert delays == [number / pace for number in range(len(messages))], "spread over the minute"
        put += [json.loads(text)["lead_id"] for _, text in sorted(messages)]
        for instance in instances:
            instance.queue.delayed.clear()
    assert put == sorted(put), "oldest first"
    assert len(set(put)) == len(put)
