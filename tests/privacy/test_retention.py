"""Retention: personal data is removed after its period; counts and the identity of customers stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from leads.core.identity import customer_hash
from leads.core.lead import Lead
from leads.core.states import State
from leads.ledger.queries import Arrival, arrivals, newest
from leads.offers.model import Offer
from leads.pipeline import importing, replay
from leads.privacy import retention
from tests.support.dying import dies_after
from tests.support.leftovers import leftovers
from tests.support.logs import logged
from tests.support.memory import memory_account
from tests.support.pipeline import Pipeline, TestClock, a_lead, crm
from tests.support.proxy import Proxy
from tests.support.vendor import REJECTED, Vendor

VALUES = ("ada@example.com", "O'Neil", "16175555555", "Example Works", "Please call")


@pytest.fixture(autouse=True)
def began(pipeline: Pipeline) -> None:
    """A minute of a tick with only the requested steps."""
    pipeline.clock.time = datetime.now(UTC).replace(minute=33, second=0, microsecond=0)


def days_later(pipeline: Pipeline, days: float) -> None:
    """Let `watch` remove personal data. A pass begins once a day."""
    pipeline.clock.time += timedelta(days=days)
    pipeline.watch()


def arrived(pipeline: Pipeline) -> Iterator[Arrival]:
    return arrivals(pipeline.app.ledger, datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def left(storage: str) -> list[str]:
    return leftovers(storage, VALUES)


def test_a_settled_lead_loses_its_person_after_the_offers_period_and_the_rest_stays(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.offer(crm(vendor.url), policies={"retention_days": 30})
    lead = pipeline.post(a_lead("ada@example.com", "PLT"))
    pipeline.run()
    large = pipeline.post(a_lead("ada@example.com", "Create", Description="Please call " * 6000))
    pipeline.run()
    came = sorted(arrived(pipeline), key=str)
    days_later(pipeline, 29.5)
    assert pipeline.record(lead).lead is not None
    days_later(pipeline, 1)
    assert left(fresh_storage) == []
    for lead_id, stage in ((lead, "contact_requested"), (large, "purchase")):
        record = pipeline.record(lead_id)
        assert (record.state, record.stage.value, record.emptied_at) == (State.DELIVERED, stage, pipeline.clock.time)
        assert record.deliveries["crm"].record_id == lead
        assert (record.source, record.is_test) == ("AzureMarketplace", False)
    (customer,) = pipeline.app.ledger.customers(customer_hash("email:ada@example.com"))
    assert customer.record_id == lead
    assert [seen.lead_id for seen in customer.recent] == [lead, large]
    assert {line.lead_id for line in newest(pipeline.app.ledger, offer="contoso.crm")} == {lead, large}
    assert sorted(arrived(pipeline), key=str) == came, "they are counted as before"
    assert logged(caplog, "leads_emptied") == [{"count": 2}]
    again = pipeline.post(a_lead("ada@example.com", "PLT", Description="anew"))
    pipeline.run()
    assert vendor.calls[-1].key == again
    assert vendor.calls[-1].customer_record == lead, "the customer is known still"


def test_dead_letters_unrouted_and_unreadable_ones_go_after_their_own_periods_and_call_for_nobody_then(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str
) -> None:
    vendor.answer = lambda call: REJECTED
    pipeline.offer(crm(vendor.url), policies={"retention_days": 1, "dead_letter_retention_days": 40})
    refused = pipeline.post(a_lead())
    unrouted = pipeline.post(a_lead(OfferTitle="Nobody's"))
    pipeline.run()
    unreadable = pipeline.app.incoming.keep_unreadable(b'{"Email": "ada@example.com"', "it can't be read")
    days_later(pipeline, 39)
    assert pipeline.record(refused).lead is not None
    days_later(pipeline, 2)
    assert pipeline.record(refused).state is State.ERASED
    assert pipeline.record(unrouted).state is State.UNROUTED
    days_later(pipeline, 180 - 41 - 0.5)
    assert pipeline.record(unreadable).state is State.UNREADABLE
    days_later(pipeline, 1)
    for lead_id in (refused, unrouted, unreadable):
        record = pipeline.record(lead_id)
        assert (record.state, record.deliveries[""].reason if "" in record.deliveries else retention.REASON) == (
            State.ERASED,
            retention.REASON,
        )
    assert left(fresh_storage) == []
    assert pipeline.app.ledger.table.query("RowKey ge 'todo;' and RowKey lt 'todo<'") == []
    calls = len(vendor.calls)
    pipeline.offer(crm(vendor.url), offer_id="nobodys", titles=["Nobody's"])
    pipeline.tick(12)
    assert len(vendor.calls) == calls, "what has no person any more is not sent"


def test_what_is_on_its_way_is_kept_however_old_and_goes_once_it_is_settled(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str
) -> None:
    vendor.refuses()
    pipeline.offer(crm(vendor.url))
    lead = pipeline.post(a_lead())
    pipeline.run()
    assert pipeline.record(lead).state is State.PARKED
    days_later(pipeline, 400)
    vendor.works()
    pipeline.tick(3)
    assert pipeline.record(lead).state is State.DELIVERED
    assert vendor.calls[-1].lead["email"] == "ada@example.com"
    pipeline.clock.time = pipeline.clock.time.replace(minute=33)
    days_later(pipeline, 89)
    assert pipeline.record(lead).lead is not None
    days_later(pipeline, 2)
    assert left(fresh_storage) == []


def test_a_period_of_null_keeps_for_good_and_a_new_one_counts_at_once(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str
) -> None:
    pipeline.offer(crm(vendor.url), policies={"retention_days": None})
    lead = pipeline.post(a_lead())
    pipeline.run()
    days_later(pipeline, 4000)
    assert pipeline.record(lead).lead is not None
    pipeline.offer(crm(vendor.url), policies={"retention_days": 7})
    days_later(pipeline, 1)
    assert left(fresh_storage) == []


def test_a_list_that_is_imported_afterwards_is_known_still(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    lead = pipeline.post(a_lead())
    pipeline.run()
    came = pipeline.clock.time
    days_later(pipeline, 91)
    assert pipeline.record(lead).emptied_at is not None
    row = importing.Row(1, a_lead(CreatedTime=f"{came:%Y-%m-%d %H:%M:%S}"))
    (judged,) = importing.compare(pipeline.app.ledger, pipeline.app.offers, [row], importing.Reading({}))
    assert (judged.verdict, judged.known_as) == (importing.Verdict.KNOWN, lead)
    with pytest.raises(replay.NotCorrectable):
        replay.correct(pipeline.app.incoming, pipeline.app.ledger, pipeline.record(lead), Lead(email="ada@example.com"))
    app = pipeline.app
    (plan,) = replay.replay(app.queue, app.ledger, app.offers, pipeline.record(lead), force=True)
    assert plan.kept == "its personal data has been removed"


def test_leads_of_an_offer_that_was_removed_go_by_the_default(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str
) -> None:
    pipeline.offer(crm(vendor.url), policies={"retention_days": None})
    pipeline.post(a_lead())
    pipeline.run()
    pipeline.app.offers.remove("contoso.crm")
    days_later(pipeline, 91)
    assert left(fresh_storage) == []


def swept(pipeline: Pipeline, offers: list[Offer]) -> None:
    unrouted_days = pipeline.app.settings.unrouted_retention_days
    retention.sweep(pipeline.app.ledger, offers, unrouted_days, pipeline.clock.time)


def many(pipeline: Pipeline, vendor: Vendor, number: int) -> None:
    pipeline.offer(crm(vendor.url))
    for one in range(number):
        pipeline.post(a_lead(f"ada{one}@example.com"))
    pipeline.run()


@pytest.mark.storage("azurite")
def test_a_large_ledger_is_gone_through_a_part_at_a_time(
    pipeline: Pipeline, vendor: Vendor, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LEADS_A_PAGE", 2)
    monkeypatch.setattr(retention, "LEADS_A_TICK", 4)
    many(pipeline, vendor, 12)
    days_later(pipeline, 91)
    remaining = len(pipeline.app.ledger.table.query("lead ge ''"))
    assert 12 - 5 <= remaining < 12, "a tick does only its part"
    for _ in range(4):
        pipeline.clock.time += timedelta(minutes=5)
        pipeline.watch()
    assert left(fresh_storage) == []


def test_killed_after_any_change_the_next_tick_ends_it(monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> None:
    clock = TestClock(datetime.now(UTC).replace(minute=33, second=0, microsecond=0))
    for number in count(1):
        with memory_account() as storage:
            many(Pipeline(storage, monkeypatch, clock), vendor, 5)
            clock.time += timedelta(days=91)
            dying, again = (Pipeline(storage, monkeypatch, clock) for _ in range(2))
            died = dies_after(number, lambda: swept(dying, dying.app.offers.all()))  # noqa: B023
            swept(again, again.app.offers.all())
            assert left(storage) == [], f"killed after change {number}"
            assert len(again.app.ledger.table.query("emptied_at ge datetime'2000-01-01T00:00:00Z'")) == 5
        if not died:
            break
    assert number > 3


def test_two_at_once_do_no_harm(pipeline: Pipeline, second: Pipeline, vendor: Vendor, fresh_storage: str) -> None:
    many(pipeline, vendor, 20)
    pipeline.clock.time += timedelta(days=91)
    rows: list[Any] = []
    real = second.app.ledger.table.pages

    def meanwhile(*arguments: Any, **options: Any) -> Iterator[Any]:
        for page in real(*arguments, **options):
            if not rows:
                rows.append(page)
                swept(pipeline, pipeline.app.offers.all())
            yield page

    second.app.ledger.table.pages = meanwhile  # type: ignore[method-assign]
    swept(second, second.app.offers.all())
    assert rows
    assert left(fresh_storage) == []
    assert len(pipeline.app.ledger.table.query("emptied_at ge datetime'2000-01-01T00:00:00Z'")) == 20


@pytest.mark.storage("azurite")
def test_it_costs_two_requests_every_five_minutes_and_a_few_more_once_a_day(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor
) -> None:
    with Proxy(fresh_storage) as proxy:
        pipeline = Pipeline(proxy.connection_string, monkeypatch, TestClock(datetime.now(UTC).replace(minute=31)))
        pipeline.offer(crm(vendor.url))
        pipeline.post(a_lead())
        pipeline.run()
        pipeline.watch()
        counted = []
        for minutes in (1, 1, 1, 4):  # minutes 32, 33 (a pass begins), 34, 38
            pipeline.clock.time += timedelta(minutes=minutes)
            proxy.forget()
            pipeline.watch()
            counted.append(proxy.counts().total())
    usual, begins, after, idle = counted
    assert (usual, after) == (after, usual)
    assert idle - usual == 2
    assert begins - usual == 2 + 16 + 1, "a request for each partition, and how far it has come"
