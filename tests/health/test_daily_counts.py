"""Daily counts: each finished day is counted from the ledger, each lead once, also after kills and repetitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest

from leads.core.identity import new_lead_id
from leads.core.lead import Lead, Stage
from leads.core.states import State
from leads.health import daily_counts
from leads.health.daily_numbers import OfferDay, read_day
from leads.health.lead_counts import COUNTS_TABLE
from leads.ledger.queries import PARTITIONS
from leads.ledger.rows import Delivery, LeadRecord, lead_entity
from tests.support.dying import dies_after
from tests.support.logs import logged
from tests.support.pipeline import LEAD, Pipeline, TestClock, a_lead, crm
from tests.support.proxy import Proxy
from tests.support.vendor import Vendor

MONDAY = datetime(2026, 6, 1, 9, 40, tzinfo=UTC)
MIDNIGHT = datetime(2026, 6, 2, 0, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
_numbers = count()


@pytest.fixture
def counting(fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> Pipeline:
    """The pipeline on a Monday in June, with an offer."""
    pipeline = Pipeline(fresh_storage, monkeypatch, TestClock(MONDAY))
    pipeline.offer(crm(vendor.url))
    return pipeline


def another(pipeline: Pipeline, storage: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Another instance of the app, or the same instance after a restart."""
    return Pipeline(storage, monkeypatch, pipeline.clock)


def lead_comes(pipeline: Pipeline, at: datetime | None = None, country: str = "Germany", **changes: Any) -> str:
    pipeline.clock.time = at or pipeline.clock.time
    person = LEAD["UserDetails"] | {"Email": f"c{next(_numbers)}@example.com", "Country": country}
    lead = pipeline.post(a_lead(**({"UserDetails": person} | changes)))
    pipeline.run()
    return lead


def watch(pipeline: Pipeline, at: datetime) -> None:
    pipeline.clock.time = at
    pipeline.watch()


def stored(pipeline: Pipeline) -> list[dict[str, Any]]:
    rows = pipeline.app.storage.table(COUNTS_TABLE).query("PartitionKey eq 'day' and RowKey lt 'until'")
    return [dict(row) for row in rows]


def numbers(pipeline: Pipeline, first: date = date(2026, 1, 1)) -> list[OfferDay]:
    return pipeline.app.daily_counts.since(first, pipeline.clock.time)[0]


def leads_of(days: Iterable[OfferDay]) -> dict[tuple[date, str, str], int]:
    """First leads by day, offer and country."""
    return {(day.day, day.offer, group.country): leads for day in days for group, leads in day.first.items()}


def test_a_day_is_stored_after_midnight_and_what_comes_then_is_counted_when_somebody_asks(counting: Pipeline) -> None:
    lead_comes(counting)
    watch(counting, MONDAY.replace(minute=41))
    lead_comes(counting, country="Austria")
    watch(counting, MIDNIGHT)
    (row,) = stored(counting)
    assert (row["RowKey"], row["offer"]) == ("2026-06-01;contoso.crm", "contoso.crm")
    lead_comes(counting, MIDNIGHT + MINUTE)
    lead_comes(counting, OfferTitle="Another")
    counting.clock.time += MINUTE
    monday, tuesday = MONDAY.date(), MIDNIGHT.date()
    assert leads_of(numbers(counting)) == {
        (monday, "contoso.crm", "DE"): 1,
        (monday, "contoso.crm", "AT"): 1,
        (tuesday, "contoso.crm", "DE"): 1,
        (tuesday, "-", "DE"): 1,
    }
    assert len(stored(counting)) == 1, "to ask stores nothing"


def test_the_first_pass_begins_with_the_oldest_lead_and_goes_on_where_it_was_cut_off(
    counting: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily_counts, "SECONDS_A_TICK", 0.0)
    days = [MONDAY + number * DAY for number in (0, 40, 200)]
    for at in days:
        lead_comes(counting, at)
    at = days[-1].replace(minute=41)
    watch(counting, at)
    found, last = counting.app.daily_counts.since(MONDAY.date(), at)
    assert (leads_of(found), last < at.date()) == ({}, True), "what is not counted yet is not said to be none"
    for _ in range(30):
        watch(counting, at := at + 5 * MINUTE)
    expected = {(day.date(), "contoso.crm", "DE"): 1 for day in days}
    assert leads_of(numbers(counting)) == expected
    assert counting.app.daily_counts.since(MONDAY.date(), at)[1] == at.date()


def test_killed_after_any_write_each_lead_counts_once(
    counting: Pipeline, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily_counts, "_ROWS_AT_ONCE", 2)
    for hours in (0, 24, 25, 48):
        lead_comes(counting, MONDAY + timedelta(hours=hours))
        lead_comes(counting, OfferTitle="Another")
    expected = {
        (date(2026, 6, day), offer, "DE"): leads
        for day, leads in ((1, 1), (2, 2), (3, 1))
        for offer in ("contoso.crm", "-")
    }
    counting.clock.time = MIDNIGHT + 2 * DAY
    for number in count(1):
        counts = another(counting, fresh_storage, monkeypatch).app.daily_counts
        died = dies_after(number, partial(counts.count, counting.clock.time))
        started_anew = another(counting, fresh_storage, monkeypatch)
        started_anew.app.daily_counts.count(counting.clock.time)
        assert leads_of(numbers(started_anew)) == expected, f"killed at write {number}"
        if not died:
            break
        table = counting.app.storage.table(COUNTS_TABLE)
        table.write(
            [("delete", row, {}) for row in table.query("PartitionKey eq 'day'", select=["PartitionKey", "RowKey"])]
        )
    assert number > 3


def test_two_instances_at_once_count_each_lead_once(
    counting: Pipeline, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another(counting, fresh_storage, monkeypatch)
    lead_comes(counting)
    real = other.app.ledger.table.pages
    looked: list[Any] = []

    def meanwhile(*arguments: Any, **options: Any) -> Iterator[Any]:
        for page in real(*arguments, **options):
            yield page
            if page and not looked:
                looked.append(page)
                lead_comes(counting)
                counting.app.daily_counts.count(MIDNIGHT)

    monkeypatch.setattr(other.app.ledger.table, "pages", meanwhile)
    other.app.daily_counts.count(MIDNIGHT)
    counting.clock.time = MIDNIGHT
    assert looked
    assert sum(leads_of(numbers(counting)).values()) == 2, (
        "what the later one has seen does not go back to what the other saw"
    )
    for instance in (counting, other):
        instance.app.daily_counts.count(MIDNIGHT + DAY)
    assert sum(leads_of(numbers(counting)).values()) == 2


def test_what_happens_to_leads_later_is_seen_while_they_wait(counting: Pipeline, vendor: Vendor) -> None:
    vendor.fails()
    lead_comes(counting)
    lead_comes(counting, OfferTitle="Another")
    for days in range(5):
        watch(counting, MIDNIGHT + days * DAY)
    assert [(day.offer, day.open, day.times) for day in numbers(counting)] == [("-", 1, {}), ("contoso.crm", 1, {})]
    vendor.works()
    counting.offer(crm(vendor.url), titles=["Contoso CRM", "Another"])
    counting.tick(5)
    counting.advance(3 * 86400)
    watch(counting, MIDNIGHT + 9 * DAY)
    (day,) = numbers(counting)
    assert (day.offer, day.first.total(), day.open) == ("contoso.crm", 2, 0)
    assert day.times["crm"].count == 2
    assert day.times["crm"].percentile(50) > 4 * 86400


def test_a_lead_that_reached_the_ledger_late_is_counted_on_its_day(counting: Pipeline) -> None:
    counting.post()
    watch(counting, MIDNIGHT)
    counting.advance(3600)
    watch(counting, MIDNIGHT + DAY)
    assert sum(leads_of(numbers(counting, MONDAY.date())).values()) == 1


def test_a_long_pass_ends_whoever_does_a_part_of_it_and_meanwhile_nothing_that_is_counted_is_missing(
    counting: Pipeline, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead_comes(counting, OfferTitle="Another")
    for days in range(1, 14):
        lead_comes(counting, MONDAY + days * DAY)
        watch(counting, MIDNIGHT + days * DAY)
    monkeypatch.setattr(daily_counts, "SECONDS_A_TICK", 0.0)
    at = counting.clock.time = MIDNIGHT + 14 * DAY
    lead_comes(counting, MIDNIGHT + 14 * DAY - 2 * MINUTE)
    for _ in range(4):
        assert sum(leads_of(counting.app.daily_counts.since(MONDAY.date(), at)[0]).values()) == 15
        another(counting, fresh_storage, monkeypatch).app.daily_counts.count(at)
    assert sum(leads_of(counting.app.daily_counts.since(MONDAY.date(), at)[0]).values()) == 15
    assert leads_of(read_day(row) for row in stored(counting)) == leads_of(
        counting.app.daily_counts.since(MONDAY.date(), at)[0]
    )


def test_a_lead_that_is_emptied_on_a_day_that_is_not_over_stays_in_its_country(counting: Pipeline) -> None:
    lead = lead_comes(counting)
    counting.clock.time += MINUTE
    counting.app.daily_counts.count(counting.clock.time)
    before = numbers(counting)
    counting.app.ledger.empty(counting.record(lead), counting.clock.time, "")
    assert numbers(counting) == before
    assert leads_of(before) == {(MONDAY.date(), "contoso.crm", "DE"): 1}


def test_the_numbers_stay_when_retention_and_erasure_have_taken_the_people_away(
    counting: Pipeline, vendor: Vendor, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting.offer(crm(vendor.url), policies={"retention_days": 1})
    for country in ("Germany", "Germany", "Austria"):
        lead_comes(counting, country=country)
    watch(counting, MIDNIGHT)
    before = numbers(counting)
    assert leads_of(before) == {(MONDAY.date(), "contoso.crm", "DE"): 2, (MONDAY.date(), "contoso.crm", "AT"): 1}
    watch(counting, MIDNIGHT + DAY + timedelta(hours=12, minutes=2))
    assert len(counting.app.ledger.table.query("emptied_at ge datetime'2000-01-01T00:00:00Z'")) == 3
    for days in (2, 3, 4, 40):
        watch(counting, MIDNIGHT + days * DAY)
        assert numbers(counting) == before
    # A new instance knows the same.
    table = counting.app.storage.table(COUNTS_TABLE)
    table.write([("upsert", {"PartitionKey": "day", "RowKey": "until", "until": "a newer release's"}, {})])
    started_anew = another(counting, fresh_storage, monkeypatch)
    watch(started_anew, MIDNIGHT + 40 * DAY)
    assert numbers(started_anew) == before


def test_a_row_that_can_not_be_read_ends_nothing(counting: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "leads")
    lead_comes(counting)
    watch(counting, MIDNIGHT)
    table = counting.app.storage.table(COUNTS_TABLE)
    bad = {"PartitionKey": "day", "RowKey": "2026-05-01;contoso.crm", "counts": "?"}
    table.write([("upsert", bad, {})])
    assert sum(leads_of(numbers(counting)).values()) == 1
    assert logged(caplog, "rows_unreadable")[0]["row"] == "2026-05-01;contoso.crm"


def made_up(pipeline: Pipeline, leads: int, day: datetime) -> None:
    """This number of delivered leads on a day, in all partitions of the ledger."""
    rows: dict[str, list[Any]] = {partition: [] for partition in PARTITIONS}
    for number in range(leads):
        at = day + timedelta(seconds=number)
        lead = Lead(email=f"c{number}@example.com", country="Germany", lead_source="AzureMarketplace")
        deliveries = {"crm": Delivery("crm", State.DELIVERED, updated_at=at + timedelta(seconds=2))}
        record = LeadRecord(
            new_lead_id(at, lead), at, lead, offer="contoso.crm", stage=Stage.PURCHASE, deliveries=deliveries
        )
        row = lead_entity(record, whole=True)
        rows[row["PartitionKey"]].append(("upsert", row, {}))
    for own in rows.values():
        for first in range(0, len(own), 100):
            pipeline.app.ledger.table.write(own[first : first + 100])


@pytest.mark.storage("azurite")
def test_from_200_leads_a_day_on_it_costs_at_most_a_tenth_of_a_request_for_each(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = 210
    with Proxy(fresh_storage) as proxy:
        pipeline = Pipeline(proxy.connection_string, monkeypatch, TestClock(MONDAY))
        counts = pipeline.app.daily_counts
        for days in range(4):
            made_up(pipeline, leads, MONDAY.replace(hour=3) + days * DAY)
        counts.count(MIDNIGHT + 2 * DAY)
        proxy.forget()
        counts.count(MIDNIGHT + 3 * DAY)
        assert proxy.counts().total() == 4 + 16, "progress, open days, days, leads, and what is counted"
        assert proxy.counts().total() <= 0.1 * 200
        counts.count(MIDNIGHT + 3 * DAY + 5 * MINUTE)
        proxy.forget()
        counts.count(MIDNIGHT + 3 * DAY + 10 * MINUTE)
        assert proxy.counts().total() == 0, "the day is done"
        assert [day.first.total() for day in counts.since(MONDAY.date(), MIDNIGHT + 3 * DAY)[0]] == [leads] * 4
