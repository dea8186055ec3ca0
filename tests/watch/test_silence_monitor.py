"""Leads are counted, and an offer that falls silent raises an alarm, once, until leads come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from leads.core.routing import DEFAULT_OFFER
from leads.health import lead_counts
from leads.health.lead_counts import COUNTS_TABLE
from tests.support.logs import logged
from tests.support.pipeline import Pipeline, TestClock, a_lead, at_once, crm
from tests.support.proxy import Answer, Fault, Proxy, Request, Rule
from tests.support.vendor import Vendor

MONDAY = datetime(2026, 6, 1, 9, 40, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TEST_MARK = "MSFT_TEST_636573304831318844"
_numbers = count()


class NoCounts(Rule):
    """Storage refuses all requests to the table of counts."""

    def before(self, request: Request) -> Fault | None:
        return Answer(500) if request.target == COUNTS_TABLE else None


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "leads")


@pytest.fixture
def listening(pipeline: Pipeline) -> Pipeline:
    """The pipeline on a Monday in June, without an offer."""
    pipeline.clock.time = MONDAY
    return pipeline


def lead_comes(pipeline: Pipeline, at: datetime | None = None, **changes: Any) -> None:
    pipeline.clock.time = at or pipeline.clock.time
    pipeline.post(a_lead(f"c{next(_numbers)}@example.com", **changes))
    pipeline.run()


def listen(pipeline: Pipeline, at: datetime | None = None) -> None:
    """Run `watch` as the timer would at this time, by default at the next quarter of an hour."""
    now = pipeline.clock.time
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) + 15 * MINUTE
    pipeline.clock.time = at or quarter
    pipeline.watch()


def counted(pipeline: Pipeline, offer: str = "contoso.crm") -> dict[str, str]:
    """The columns of the offer's row of June that are not zero."""
    row = pipeline.app.storage.table(COUNTS_TABLE).get("month", f"2026-06;{offer}") or {}
    hours = {name: str(value) for name, value in sorted(row.items()) if name.startswith(("real", "test"))}
    return {name: text for name, text in hours.items() if text.strip("0 ")}


def hours_of(leads: dict[int, int]) -> str:
    return " ".join(str(leads.get(hour, 0)) for hour in range(24))


def two_a_day(pipeline: Pipeline, offer: str = "contoso.crm") -> datetime:
    """A lead at nine and one at fifteen for seventeen days; the first fourteen days are counted. Returns the last hour."""
    row = {f"real_{day:02}": hours_of({9: 1, 15: 1}) for day in range(1, 15)}
    row |= {name.replace("real", "test"): hours_of({}) for name in row}
    table = pipeline.app.storage.table(COUNTS_TABLE)
    table.write([("upsert", {"PartitionKey": "month", "RowKey": f"2026-06;{offer}", **row}, {})])
    table.write([("upsert", {"PartitionKey": "month", "RowKey": "until", "until": MONDAY + 16 * DAY}, {})])
    for number in (14, 15, 16):
        day = MONDAY.replace(minute=5) + number * DAY
        lead_comes(pipeline, day)
        lead_comes(pipeline, day + 6 * HOUR)
    listen(pipeline)
    return pipeline.clock.time.replace(minute=0)


def silences(caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """How often an offer fell silent, and how often the alarm ended."""
    return len(logged(caplog, "offer_silent")), len(logged(caplog, "offer_heard_again"))


# --- Counts -------------------------------------------------------------------------------------------------------------


def test_leads_are_counted_in_the_hour_in_which_they_came_and_test_leads_apart(
    listening: Pipeline, vendor: Vendor
) -> None:
    listening.offer(crm(vendor.url))
    lead_comes(listening)
    lead_comes(listening, MONDAY + 2 * MINUTE)
    lead_comes(listening, MONDAY + HOUR, Description=TEST_MARK)
    lead_comes(listening, MONDAY + 2 * HOUR)
    listen(listening)
    assert counted(listening) == {"real_01": hours_of({9: 2, 11: 1}), "test_01": hours_of({10: 1})}


def test_a_lead_without_an_offer_counts_for_none_until_it_has_one(listening: Pipeline, vendor: Vendor) -> None:
    lead_comes(listening)
    listen(listening)
    assert counted(listening) == {}
    listening.offer(crm(vendor.url))
    listening.tick(2)
    listen(listening)
    assert counted(listening) == {"real_01": hours_of({9: 1})}


def test_a_lead_that_waited_on_the_queue_is_counted_in_its_hour(listening: Pipeline, vendor: Vendor) -> None:
    listening.offer(crm(vendor.url))
    listening.post()
    listen(listening)
    listen(listening)
    assert counted(listening) == {}
    listening.clock.time += HOUR
    listening.run()
    listen(listening)
    assert counted(listening) == {"real_01": hours_of({9: 1})}


def test_a_lead_that_waited_for_a_day_is_counted_with_the_next_one(listening: Pipeline, vendor: Vendor) -> None:
    listening.offer(crm(vendor.url))
    listening.post()
    listen(listening, MONDAY.replace(hour=23, minute=45) + DAY)
    listening.run()
    assert counted(listening) == {}
    listen(listening, MONDAY.replace(hour=0, minute=0) + 2 * DAY)
    assert counted(listening) == {"real_01": hours_of({9: 1})}


def test_counting_again_and_on_two_instances_at_once_changes_nothing(
    listening: Pipeline, second: Pipeline, vendor: Vendor
) -> None:
    listening.offer(crm(vendor.url))
    for minute in range(5):
        lead_comes(listening, MONDAY + minute * MINUTE)
    listening.clock.time = MONDAY + 5 * MINUTE
    for _ in range(2):
        at_once(listening.watch, second.watch)
        assert counted(listening) == {"real_01": hours_of({9: 5})}
        listening.clock.time += 15 * MINUTE


def test_after_a_long_stop_what_was_missed_is_caught_up_and_nothing_is_said_before_that(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening.offer(crm(vendor.url), policies={"expected_silence_hours": 24})
    listen(listening)
    for days in (1, 9, 19):
        lead_comes(listening, MONDAY + days * DAY)
    monkeypatch.setattr(lead_counts, "LEADS_AT_ONCE", 1)
    listening.clock.time = MONDAY.replace(minute=0) + 25 * DAY
    listen(listening)
    assert list(counted(listening)) == ["real_02"]
    for _ in range(10):
        if "real_20" in counted(listening):
            break
        assert silences(caplog) == (0, 0)
        listen(listening)
    listen(listening)
    assert list(counted(listening)) == ["real_02", "real_10", "real_20"]
    assert logged(caplog, "offer_silent") == [{"offer": "contoso.crm", "hours": 6 * 24}]


@pytest.mark.storage("azurite")
def test_a_year_in_which_nothing_was_counted_is_caught_up_with_few_requests(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor
) -> None:
    with Proxy(fresh_storage) as proxy:
        pipeline = Pipeline(proxy.connection_string, monkeypatch, TestClock(MONDAY - 364 * DAY))
        pipeline.offer(crm(vendor.url))
        pipeline.app.counts.count(pipeline.clock.time)
        lead_comes(pipeline, MONDAY - 363 * DAY)
        lead_comes(pipeline, MONDAY)
        proxy.forget()
        found = pipeline.app.counts.count(MONDAY + MINUTE)
        assert found.until == MONDAY + MINUTE
        assert list(found.real("Contoso.CRM")) == [(MONDAY - 363 * DAY).date(), MONDAY.date()]
        assert proxy.counts().total() < 200


@pytest.mark.storage("azurite")
def test_counting_costs_nineteen_requests_a_quarter_of_an_hour(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor
) -> None:
    with Proxy(fresh_storage) as proxy:
        pipeline = Pipeline(proxy.connection_string, monkeypatch, TestClock(MONDAY))
        for number in range(3):
            pipeline.offer(crm(vendor.url), offer_id=f"contoso.crm{number}", titles=[f"CRM {number}"])
        pipeline.app.daily_counts.count(pipeline.clock.time)
        listen(pipeline)
        for number in range(3):
            lead_comes(pipeline, OfferTitle=f"CRM {number}")
        proxy.forget()
        listen(pipeline, MONDAY.replace(minute=15) + HOUR)
        with_counting = proxy.counts()
        proxy.forget()
        pipeline.clock.time += MINUTE
        pipeline.watch()
        without = proxy.counts()
    assert (with_counting - without).total() == 16 + 3, "the leads, what is known and remembered, and what is counted"


# --- Silence ------------------------------------------------------------------------------------------------------------


def test_an_offer_that_falls_silent_is_an_alarm_once_and_its_next_lead_ends_it(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    listening.offer(crm(vendor.url))
    last = two_a_day(listening)
    listen(listening, last + 3 * DAY)
    assert silences(caplog) == (0, 0)
    for days in (6, 7):
        listen(listening, last + days * DAY)
    listening.tick()
    (alarm,) = logged(caplog, "offer_silent")
    assert alarm == {"offer": "contoso.crm", "hours": 6 * 24 - 1, "expected": 11}
    lead_comes(listening, Description=TEST_MARK)
    listen(listening)
    assert silences(caplog) == (1, 0)
    lead_comes(listening)
    listen(listening)
    listen(listening)
    assert silences(caplog) == (1, 1)


def test_an_alarm_that_is_over_soon_is_remembered_and_the_next_silence_has_to_be_twice_as_long(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    listening.offer(crm(vendor.url))
    last = two_a_day(listening)
    listen(listening, last + 5 * DAY)
    assert silences(caplog) == (1, 0)
    lead_comes(listening)
    listen(listening)
    listen(listening, last + 12 * DAY)
    assert silences(caplog) == (1, 1)
    listen(listening, last + 16 * DAY)
    assert silences(caplog) == (2, 1)


def test_the_hours_that_are_set_count_from_the_last_lead_or_else_from_the_offers_last_change(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    listening.offer(crm(vendor.url), policies={"expected_silence_hours": 48})
    listen(listening, MONDAY.replace(minute=30) + 2 * DAY)
    assert silences(caplog) == (0, 0)
    listen(listening)
    assert logged(caplog, "offer_silent") == [{"offer": "contoso.crm", "hours": 48}]
    lead_comes(listening)
    listen(listening)
    assert silences(caplog) == (1, 1)


@pytest.mark.parametrize("change", ["removed", "ignored"])
def test_the_silence_of_an_offer_that_is_removed_or_to_be_ignored_is_no_alarm_any_more(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    listening.offer(crm(vendor.url), policies={"expected_silence_hours": 1})
    listen(listening, MONDAY.replace(minute=0) + 2 * HOUR)
    assert silences(caplog) == (1, 0)
    if change == "removed":
        listening.app.offers.remove("contoso.crm")
    else:
        listening.offer(crm(vendor.url), policies={"expected_silence_hours": 1, "silence": "ignore"})
    listen(listening)
    listen(listening)
    assert silences(caplog) == (1, 1)


def test_the_default_offer_is_heard_anew_after_a_change_of_offers_that_can_take_its_leads(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    listening.offer(crm(vendor.url), offer_id=DEFAULT_OFFER, titles=[])
    last = two_a_day(listening, "*")
    listening.offer(crm(vendor.url))
    listen(listening, last + 10 * DAY)
    assert silences(caplog) == (0, 0)


def test_the_default_offer_is_an_alarm_when_it_falls_silent_and_stays_one_whatever_is_changed_then(
    listening: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    listening.offer(crm(vendor.url), offer_id=DEFAULT_OFFER, titles=[])
    last = two_a_day(listening, "*")
    listen(listening, last + 8 * DAY)
    assert [alarm["offer"] for alarm in logged(caplog, "offer_silent")] == [DEFAULT_OFFER]
    listening.offer(crm(vendor.url), offer_id="contoso.other", titles=["Another"])
    listen(listening)
    assert silences(caplog) == (1, 0)
    lead_comes(listening)
    listen(listening)
    assert silences(caplog) == (1, 1)


@pytest.mark.storage("azurite")
def test_while_the_counts_are_out_of_reach_no_alarm_ends(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(fresh_storage) as proxy:
        pipeline = Pipeline(proxy.connection_string, monkeypatch, TestClock(MONDAY))
        pipeline.offer(crm(vendor.url), policies={"expected_silence_hours": 1})
        listen(pipeline, MONDAY.replace(minute=0) + 2 * HOUR)
        assert silences(caplog) == (1, 0)
        proxy.rule = NoCounts()
        listen(pipeline)
        assert logged(caplog, "storage_unavailable")[0]["what"] == "counts"
        proxy.rule = Rule()
        listen(pipeline)
        assert silences(caplog) == (1, 0)
