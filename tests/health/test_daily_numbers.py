"""The numbers of a day: each lead counts once, also after its personal data is removed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.histogram import Histogram
from leads.core.identity import new_lead_id
from leads.core.lead import Lead, Stage
from leads.core.messages import Imported
from leads.core.states import State
from leads.health.daily_numbers import Group, OfferDay, read_day, tally
from leads.ledger.rows import AttemptLog, Delivery, LeadRecord

MONDAY = datetime(2026, 6, 1, 9, 40, tzinfo=UTC)
LATER = MONDAY + timedelta(days=1)
GERMAN = Group("AzureMarketplace", "purchase", "DE")

groups = st.builds(
    Group,
    st.sampled_from(["AzureMarketplace", "SPZA", ""]),
    st.sampled_from([stage.value for stage in Stage]),
    st.sampled_from(["DE", "AT", ""]),
)
counters = st.dictionaries(groups, st.integers(1, 10**6)).map(Counter)
histograms = st.builds(Histogram, st.dictionaries(st.integers(0, 300), st.integers(1, 10**6)).map(Counter))
offer_days = st.builds(
    OfferDay,
    st.dates(),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    counters,
    counters,
    st.dictionaries(st.text(min_size=1, max_size=5), histograms, max_size=3),
    st.integers(0, 9),
)


def a_record(name: str = "ada", country: str = "Germany", state: State = State.DELIVERED, **more: Any) -> LeadRecord:
    lead = more.pop("lead", Lead(email=f"{name}@example.com", country=country, lead_source="AzureMarketplace"))
    delivery = Delivery(
        "crm", state, updated_at=MONDAY, **{k: more.pop(k) for k in ("repeat_of", "attempts") if k in more}
    )
    found = LeadRecord(new_lead_id(MONDAY, lead), MONDAY, lead, offer="Contoso.CRM", stage=Stage.PURCHASE, **more)
    found.deliveries["crm"] = delivery
    return found


def counted(*records: LeadRecord, known: OfferDay | None = None) -> OfferDay:
    (day,) = tally(records, {known.key: known} if known else {}).values() or [OfferDay(MONDAY.date(), "-")]
    return day


@given(offer_days)
def test_what_was_counted_is_read_as_it_was_written(numbers: OfferDay) -> None:
    assert read_day(numbers.entity()) == numbers


@given(st.lists(st.sampled_from(["Germany", "Austria", "nowhere"]), max_size=8), st.data())
def test_emptied_leads_stay_in_the_countries_in_which_they_were_counted(
    countries: list[str], data: st.DataObject
) -> None:
    leads = [a_record(f"c{number}", country) for number, country in enumerate(countries)]
    before = counted(*leads)
    emptied = [lead.emptied(LATER, "") if data.draw(st.booleans()) else lead for lead in leads]
    assert counted(*emptied, known=before) == before
    assert counted(*emptied).first.total() == len(leads), "and count without one where nobody has counted them before"


def test_a_repeat_counts_apart_and_the_delivery_counts_for_the_time_it_took() -> None:
    delivered = AttemptLog("b", MONDAY + timedelta(seconds=100), "delivered")
    again = AttemptLog("c", LATER, "delivered")
    day = counted(
        a_record(attempts=(AttemptLog("a", MONDAY, "retry"), delivered, again)), a_record("bob", repeat_of="x")
    )
    assert (day.day, day.offer, day.first, day.repeats) == (date(2026, 6, 1), "Contoso.CRM", {GERMAN: 1}, {GERMAN: 1})
    assert day.times["crm"].percentile(100) == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(
    "record",
    [
        a_record(imported=Imported.SEND),
        a_record(state=State.DUPLICATE),
        a_record(lead=Lead(description="MSFT_TEST_636573304831318844")),
        LeadRecord("x", MONDAY, None, deliveries={"": Delivery("", State.UNREADABLE)}),
        LeadRecord("x", MONDAY, None, deliveries={"": Delivery("", State.UNREADABLE)}).emptied(LATER, ""),
        a_record(lead=Lead(description="MSFT_TEST_636573304831318844")).emptied(LATER, ""),
    ],
    ids=["imported", "redelivered", "test", "unreadable", "unreadable and emptied", "test and emptied"],
)
def test_what_is_no_lead_of_a_customer_does_not_count(record: LeadRecord) -> None:
    day = counted(record)
    assert (day.first.total(), day.repeats.total()) == (0, 0)


def test_a_lead_that_was_sent_with_corrections_counts_once_as_the_corrected_one() -> None:
    original = a_record(state=State.SKIPPED)
    lead = Lead(email="ada@example.com", country="Austria", lead_source="AzureMarketplace")
    corrected = a_record(lead=lead, corrects=original.lead_id)
    for records in ([original, corrected], [corrected, original]):
        assert counted(*records).first == {replace(GERMAN, country="AT"): 1}


def test_a_source_that_a_sender_has_made_up_is_no_source() -> None:
    day = counted(a_record(lead=Lead(lead_source="ada@example.com", country="Germany")))
    assert day.first == {replace(GERMAN, source=""): 1}


@pytest.mark.parametrize("state", list(State))
def test_a_day_is_open_while_one_of_its_leads_goes_on_by_itself(state: State) -> None:
    goes_on = {State.WAITING, State.RETRY, State.PARKED, State.CRASHED, State.UNROUTED}
    assert counted(a_record(state=state)).open == (state in goes_on)
