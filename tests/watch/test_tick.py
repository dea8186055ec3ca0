"""A tick of `watch`: hanging or faulty steps do not stop others, and a tick costs few requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from leads.core.identity import partition_of
from leads.core.states import State
from leads.destinations import connection_of
from leads.destinations.base import CheckResult
from leads.health.connections import CONNECTIONS_TABLE
from leads.ledger import queries
from leads.ledger.queries import PARTITIONS
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.todo_rows import todo_entity
from leads.ledger.transactions import Ledger
from leads.pipeline.intake import KeptUnreadable
from leads.platform import deadline
from leads.platform.steps import carry_out
from leads.watch import conditions, probes, tick
from tests.support.logs import events, logged
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.proxy import Proxy
from tests.support.recording import Recording
from tests.support.vendor import REJECTED, Vendor

GENEROUS = 60.0
HANGS = "http://127.0.0.1:9/hangs/"


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "leads")


@pytest.fixture
def proxied(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Pipeline, Proxy]]:
    with Proxy(fresh_storage) as proxy:
        yield Pipeline(proxy.connection_string, monkeypatch), proxy


def id_of(url: str) -> str:
    return connection_of("recording", {"url": url})


def offers_that_hang(pipeline: Pipeline, number: int, before: str) -> None:
    """Offers with paused connections, which are read from the table before the offer of this id."""
    found = (url for n in count() if id_of(url := f"{HANGS}{n}") < before)
    for n, url in zip(range(number), found, strict=False):
        pipeline.offer(crm(url), offer_id=f"p.hangs{n}", titles=[f"Hangs {n}"])
        pipeline.app.connections.pause(id_of(url), "recording", "it did not answer")


def parked(pipeline: Pipeline, url: str, number: int = 1, *destinations: dict[str, Any]) -> list[str]:
    """Leads of another offer that are parked behind the connection."""
    title = f"Offer at {url}"
    pipeline.offer(*(destinations or [crm(url, pace=100)]), offer_id=f"p.{id_of(url)}", titles=[title])
    pipeline.app.offers.forget()
    pipeline.app.connections.pause(id_of(url), "recording", "it is down")
    leads = [pipeline.post(a_lead(f"c{n}@example.com", OfferTitle=title)) for n in range(number)]
    pipeline.run()
    assert {delivery.state for lead in leads for delivery in pipeline.record(lead).deliveries.values()} == {
        State.PARKED
    }
    return leads


# --- What hangs ---------------------------------------------------------------------------------------------------------


def test_vendors_that_hang_keep_no_alarm_no_waiting_lead_and_no_other_vendor_from_their_turn(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, real = threading.Event(), Recording.check
    said_before: list[set[str]] = []

    def check(self: Recording) -> CheckResult:
        if not self.settings.url.startswith(HANGS):
            asked.set()
            return real(self)
        said_before.append({name for name, _ in events(caplog)})
        assert asked.wait(GENEROUS), "it waits for vendors that hang"
        return CheckResult(ok=False, code="timeout", transient=True)

    with Vendor() as open_one, Vendor() as refusing:
        offers_that_hang(pipeline, 6, before=id_of(vendor.url))
        (behind_healthy,) = parked(pipeline, vendor.url)
        (behind_open,) = parked(pipeline, open_one.url)
        pipeline.app.connections.reopen(id_of(open_one.url))
        pipeline.offer(crm(refusing.url), offer_id="p.refused", titles=["Refused"])
        refusing.answers(REJECTED)
        pipeline.post(a_lead(OfferTitle="Refused"))
        pipeline.app.offers.forget()
        pipeline.run()
        monkeypatch.setattr(Recording, "check", check)
        pipeline.tick()
        assert open_one.records == {behind_open: 1}
        assert vendor.records == {behind_healthy: 1}
    assert len(said_before) == 6
    assert all({"leads_need_a_person", "leads_redriven"} <= said for said in said_before), "alarms and leads come first"


@pytest.mark.parametrize("passes", [False, True])
def test_who_was_not_reached_comes_first_next_time_on_whichever_instance(
    passes: bool,
    pipeline: Pipeline,
    second: Pipeline,
    vendor: Vendor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now, asked = [0.0], list[str]()
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])
    monkeypatch.setattr(probes, "AT_ONCE", 1)

    def check(self: Recording) -> CheckResult:
        asked.append(self.settings.url)
        now[0] += deadline.remaining()
        return CheckResult(ok=passes, code="timeout", transient=not passes)

    monkeypatch.setattr(Recording, "check", check)
    offers_that_hang(pipeline, 3, before=id_of(vendor.url))
    parked(pipeline, vendor.url)
    for turn in range(8):
        instance = (pipeline, second)[turn % 2]
        instance.clock.time += timedelta(minutes=1)
        step = next(step for step in tick.later_steps(tick.begun(instance.app)) if step.name == "vendors")
        assert carry_out(step) is None
    assert len(set(asked[:4])) == 4
    assert asked[4:] == ([vendor.url] * 4 if passes else asked[:4]), "what was opened need not be asked for an hour"
    told = logged(caplog, "step_overran")
    assert told[0] == {"what": "vendors", "seconds": probes.ASK_SECONDS, "why": "3 of 4 connections were not asked"}


def test_a_quiet_connection_that_is_never_done_with_has_had_its_turn(
    routed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the host ended the worker in the middle of the tick."""
    monkeypatch.setattr(probes, "check_connection", ends_here)
    routed.watch()
    (connection,) = routed.app.connections.stored()
    assert connection.checked_at == routed.clock.now()


def ends_here(*_: object) -> CheckResult:
    raise RuntimeError


# --- What is faulty -----------------------------------------------------------------------------------------------------


def test_a_step_that_fails_ends_no_other_and_is_raised_at_the_end(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(conditions, "raise_alarms", fail)
    (lead,) = parked(pipeline, vendor.url)
    pipeline.clock.time += timedelta(minutes=1)
    with pytest.raises(ZeroDivisionError):
        pipeline.watch()
    pipeline.run()
    assert vendor.records == {lead: 1}
    assert [event["what"] for event in logged(caplog, "step_failed")] == ["alarms"]


def test_an_alarm_that_can_not_be_looked_for_stays_as_it_is_and_keeps_no_other_from_being_raised(
    routed: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.refuses()
    routed.post()
    routed.run()
    routed.clock.time += timedelta(minutes=61)
    routed.watch()
    assert [change.event for change in routed.app.alarms.active()] == ["connection_paused", "leads_wait_long"]

    def fail(*_: object) -> Iterator[Any]:
        raise KeyError

    monkeypatch.setattr(conditions, "_waiting_long", fail)
    with pytest.raises(KeptUnreadable):
        routed.post(b'{"UserDetails": ')
    routed.tick()
    on = ["connection_paused", "leads_wait_long", "leads_need_a_person"]
    assert [change.event for change in routed.app.alarms.active()] == on
    assert [event["what"] for event in logged(caplog, "step_failed")] == ["alarms"]


def test_leads_whose_connection_has_no_row_and_no_offer_go_on(pipeline: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    pipeline.offer(crm(vendor.url), policies={"daily_ceiling": 1})
    for name in ("ada", "bea", "cleo"):
        pipeline.post(a_lead(f"{name}@example.com"))
    pipeline.run()
    assert {item.connection for item in queries.todo(pipeline.app.ledger, State.PARKED, limit=9)} == {
        id_of(vendor.url),
        "ceiling:contoso.crm",
    }
    with Vendor() as other:
        pipeline.offer(crm(other.url), policies={"daily_ceiling": None})
        pipeline.app.storage.table(CONNECTIONS_TABLE).client.delete_table()  # by hand
        pipeline.tick(3)
        assert len(other.calls) == 3


def test_a_connection_whose_row_can_not_be_read_keeps_none_of_the_others_leads(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    with Vendor() as other:
        parked(pipeline, other.url)
        (lead,) = parked(pipeline, vendor.url)
        pipeline.app.connections.reopen(id_of(vendor.url))
        row = {"PartitionKey": "connection", "RowKey": id_of(other.url), "opened_at": "yesterday"}
        pipeline.app.storage.table(CONNECTIONS_TABLE).client.upsert_entity(row)
        pipeline.tick(2)
    assert vendor.records == {lead: 1}


# --- Sending on ---------------------------------------------------------------------------------------------------------


@pytest.mark.storage("azurite")
def test_leads_that_go_on_cost_a_read_and_a_message_each_and_one_transaction_for_many(
    proxied: tuple[Pipeline, Proxy], vendor: Vendor, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, proxy = proxied
    leads = parked(Pipeline(fresh_storage, monkeypatch, pipeline.clock), vendor.url, 24)
    pipeline.app.connections.reopen(id_of(vendor.url))
    pipeline.app.daily_counts.count(pipeline.clock.time)
    pipeline.clock.time += timedelta(minutes=1)
    proxy.forget()
    pipeline.watch()
    counts = proxy.counts()
    assert counts["queue put"] == len(leads)
    assert counts["table get"] <= len(leads) + FEW
    assert counts["table batch"] <= len(PARTITIONS)
    pipeline.advance(60)
    assert vendor.records == dict.fromkeys(leads, 1)
    assert Counter(vendor.keys()) == dict.fromkeys(leads, 1)


FEW = 5
"""Requests of a tick that are not for a lead: claims of connections' turns."""


def test_what_is_delivered_before_the_ledger_is_told_that_it_goes_on_stays_delivered(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = parked(pipeline, vendor.url, 6)
    pipeline.app.connections.reopen(id_of(vendor.url))
    real, lock = Ledger.settle_all, threading.Lock()

    def late(self: Ledger, changes: Sequence[Any]) -> None:
        with lock:
            worker = threading.Thread(target=pipeline.run)  # its deadline is not the tick's
            worker.start()
            worker.join()
        real(self, changes)

    monkeypatch.setattr(Ledger, "settle_all", late)
    pipeline.tick()
    assert pipeline.states() == {State.DELIVERED: 6}
    assert Counter(vendor.keys()) == dict.fromkeys(leads, 1)


def test_all_destinations_of_a_lead_go_on_in_one_tick(pipeline: Pipeline, vendor: Vendor) -> None:
    both = [crm(vendor.url, name, pace=100) for name in ("one", "two")]
    (lead,) = parked(pipeline, vendor.url, 1, *both)
    pipeline.app.connections.reopen(id_of(vendor.url))
    pipeline.tick()
    assert [delivery.state for delivery in pipeline.record(lead).deliveries.values()] == [State.DELIVERED] * 2
    assert len(vendor.calls) == 2


# --- What it costs ------------------------------------------------------------------------------------------------------


@pytest.mark.storage("azurite")
def test_a_tick_with_nothing_to_do_says_nothing_and_costs_as_little_as_it_says(
    proxied: tuple[Pipeline, Proxy], vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline, proxy = proxied
    pipeline.offer(crm(vendor.url))
    pipeline.post()
    pipeline.run()
    pipeline.tick()
    caplog.clear()
    proxy.forget()
    pipeline.clock.time += timedelta(minutes=1)
    pipeline.watch()
    assert events(caplog) == []
    assert proxy.counts().total() == len(PARTITIONS) + 6, (
        "what is to do; offers, connections, alarms twice, empty bodies, the poison queue"
    )


@pytest.mark.storage("azurite")
def test_crashed_leads_that_are_not_due_cost_a_page_of_each_partition(
    proxied: tuple[Pipeline, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PAGE", 100)
    pipeline, proxy = proxied
    crashed(pipeline, 100, "0")
    proxy.forget()
    pipeline.watch()
    assert proxy.counts()["table query"] < 12 * len(PARTITIONS)


def test_a_lead_that_can_be_sent_goes_on_however_many_others_wait_in_its_partition(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PAGE", 20)
    (lead,) = parked(pipeline, vendor.url)
    crashed(pipeline, 20, partition_of(lead))
    pipeline.app.connections.reopen(id_of(vendor.url))
    pipeline.tick()
    assert vendor.records == {lead: 1}


def crashed(pipeline: Pipeline, number: int, partition: str) -> None:
    """Leads that have crashed their worker, and are not due for hours."""
    now = pipeline.clock.now()
    delivery = Delivery("crm", State.CRASHED, connection="c", next_at=now + timedelta(hours=6))
    records = [LeadRecord(f"{now:%Y%m%d%H%M%S}{n:03}-{'0' * 12}-{partition}", now, None) for n in range(number)]
    pipeline.app.ledger.table.write([("upsert", todo_entity(record, delivery), {}) for record in records])


# --- The poison queue ---------------------------------------------------------------------------------------------------


def test_the_poison_queue_is_looked_after_where_offers_can_not_be_read(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.app.poison.put("no message")

    def unreadable() -> None:
        raise ServiceRequestError("no connection")

    monkeypatch.setattr(pipeline.app.offers, "all", unreadable)
    with pytest.raises(ServiceRequestError):
        pipeline.watch()
    assert pipeline.app.poison.depth() == 0


def test_a_poison_queue_that_fails_ends_no_other_step_and_the_run_has_failed(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (waiting,) = parked(pipeline, vendor.url)

    def fails(*_: object) -> None:
        raise RuntimeError("poison")

    monkeypatch.setattr(pipeline.app.poison, "receive", fails)
    pipeline.advance(60)
    with pytest.raises(RuntimeError, match="poison"):
        pipeline.watch()
    assert [event["what"] for event in logged(caplog, "step_failed")] == ["poison"]
    monkeypatch.undo()
    pipeline.run()
    assert vendor.records == {waiting: 1}
