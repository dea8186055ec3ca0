"""The numbers of the last days, as the operation answers them and as a shell shows them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from leads.operations import report
from leads.operations.access import SHELL
from leads.operations.openapi import describe
from leads.operations.report import Count, WantedReport, show_report
from leads.operations.table import BY_FUNCTION, OPERATIONS
from leads.operations.wire import read_answer, write_answer
from tests.support.command_line import Run, one_line
from tests.support.pipeline import LEAD, Pipeline, TestClock, a_lead, crm
from tests.support.vendor import Vendor

MONDAY = datetime(2026, 6, 1, 9, 40, tzinfo=UTC)
MIDNIGHT = datetime(2026, 6, 2, 0, 1, tzinfo=UTC)


@pytest.fixture
def pipeline(fresh_storage: str, monkeypatch: pytest.MonkeyPatch, vendor: Vendor) -> Pipeline:
    """The pipeline with an offer, on a Monday in June."""
    made = Pipeline(fresh_storage, monkeypatch, TestClock(MONDAY))
    made.offer(crm(vendor.url))
    return made


def lead_comes(pipeline: Pipeline, name: str, country: str = "Germany", action: str = "INS", **changes: Any) -> None:
    person = LEAD["UserDetails"] | {"Email": f"{name}@example.com", "Country": country}
    pipeline.post(a_lead(**({"action": action, "UserDetails": person} | changes)))


@pytest.fixture
def counted(pipeline: Pipeline) -> Pipeline:
    """Five German leads on Monday, two of them requests for contact; one each from two small countries; a repeat on Tuesday.

    They took 30 seconds, but for the repeat.
    """
    for number in range(5):
        lead_comes(pipeline, f"c{number}", action="PLT" if number < 2 else "INS")
    lead_comes(pipeline, "vatican", "Vatican")
    lead_comes(pipeline, "monaco", "Monaco")
    lead_comes(pipeline, "nowhere", "nowhere")
    lead_comes(pipeline, "unrouted", OfferTitle="=Another")
    pipeline.advance(30)
    pipeline.clock.time = MIDNIGHT
    pipeline.app.daily_counts.count(MIDNIGHT)
    lead_comes(pipeline, "c4")
    pipeline.run()
    pipeline.clock.time += timedelta(minutes=1)
    return pipeline


def a_count(
    country: str, stage: str = "initial_interest", first: int = 1, repeats: int = 0, offer: str = "contoso.crm"
) -> Count:
    found = {"offer": offer, "source": "AzureMarketplace", "stage": stage, "country": country, "first": first}
    return Count.model_validate(found | {"repeats": repeats})


def test_the_leads_of_each_day_are_counted_by_offer_source_stage_and_country(counted: Pipeline) -> None:
    shown = counted.ask(show_report, WantedReport(days=3))
    assert (shown.begin, shown.end) == (date(2026, 5, 31), date(2026, 6, 2))
    sunday, monday, tuesday = shown.days
    assert [sunday.day, sunday.counts] == [date(2026, 5, 31), []]
    assert monday.counts == [
        a_count("DE", offer="-"),
        a_count("DE", "contact_requested", first=2),
        a_count(""),
        a_count("DE", first=3),
        a_count("other", first=2),
    ]
    assert tuesday.counts == [a_count("DE", first=0, repeats=1)]
    assert {one.stage.value: one.first for one in shown.reached} == {
        "initial_interest": 7,
        "contact_requested": 2,
        "trial": 0,
        "purchase": 0,
    }
    (time,) = shown.time_to_crm
    assert (time.offer, time.destination, time.leads) == ("contoso.crm", "crm", 9)
    assert (time.median_seconds, time.p95_seconds) == pytest.approx((30, 30), rel=0.05)


def test_a_country_is_named_by_its_leads_in_all_the_days_that_are_asked_for(counted: Pipeline) -> None:
    counts = [count for day in counted.ask(show_report, WantedReport(days=1)).days for count in day.counts]
    assert counts == [a_count("other", first=0, repeats=1)]


def test_the_countries_with_the_fewest_leads_are_not_named_where_there_are_many(
    counted: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        lead_comes(counted, f"m{number}", "Monaco")
    counted.run()
    counted.clock.time += timedelta(minutes=1)
    monkeypatch.setattr(report, "NAMED_COUNTRIES", 1)
    days = counted.ask(show_report, WantedReport(days=2)).days
    assert {count.country for day in days for count in day.counts} == {"other", "MC", ""}


def test_what_is_answered_over_http_has_its_names_and_comes_back(counted: Pipeline) -> None:
    shown = counted.ask(show_report, WantedReport(days=2))
    operation = BY_FUNCTION[show_report]
    sent = write_answer(operation, shown)
    answer = json.loads(sent.body)
    assert list(answer) == ["from", "to", "days", "time_to_crm", "reached"]
    assert (answer["from"], answer["to"]) == ("2026-06-01", "2026-06-02")
    assert read_answer(operation, {}, sent.body) == shown
    described = describe(OPERATIONS, SHELL)["components"]["schemas"]["Report"]
    assert list(described["properties"]) == described["required"] == list(answer)


def test_days_that_are_not_counted_yet_are_not_said_to_have_no_leads(pipeline: Pipeline, run: Run) -> None:
    lead_comes(pipeline, "c1")
    assert pipeline.ask(show_report, WantedReport()).days == []
    assert run("report").out == "The days from 2026-05-03 on are still being counted; ask again in some minutes.\n"


# --- At a shell ---------------------------------------------------------------------------------------------------------


def test_a_shell_shows_a_row_for_each_day_how_far_customers_came_and_how_long_it_took(
    counted: Pipeline, run: Run
) -> None:
    out = run("report", "--days", "2").out
    assert [line.split() for line in out.splitlines() if line] == [
        ["2026-06-01", "to", "2026-06-02", "(UTC)"],
        ["day", "first", "repeats"],
        ["2026-06-01", "9", "0"],
        ["2026-06-02", "0", "1"],
        ["all", "9", "1"],
        ["reached", "first"],
        ["initial_interest", "7"],
        ["contact_requested", "2"],
        ["trial", "0"],
        ["purchase", "0"],
        ["offer", "destination", "leads", "median", "95", "%", "within"],
        ["contoso.crm", "crm", "9", *out.split()[-4:]],
    ]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("offer", [["contoso.crm", "8", "1"], ["-", "1", "0"]]),
        ("source", [["AzureMarketplace", "9", "1"]]),
        ("stage", [["initial_interest", "7", "1"], ["contact_requested", "2", "0"]]),
        ("country", [["DE", "6", "1"], ["other", "2", "0"], ["(not known)", "1", "0"]]),
    ],
)
def test_a_shell_shows_a_row_for_each_offer_source_stage_or_country(
    counted: Pipeline, run: Run, by: str, rows: list[list[str]]
) -> None:
    table = run("report", "--days", "2", "--by", by).out.split("\n\n")[1]
    lines = [line.rsplit(maxsplit=2) for line in table.splitlines()]
    assert lines == [[by, "first", "repeats"], *rows, ["all", "9", "1"]]


def test_every_count_is_printed_as_json_or_as_csv_in_which_no_spreadsheet_finds_a_formula(
    counted: Pipeline, run: Run
) -> None:
    answer = json.loads(run("report", "--days", "2", "--json").out)
    assert answer["from"] == "2026-06-01"
    counts = [count | {"day": day["day"]} for day in answer["days"] for count in day["counts"]]
    rows = list(csv.DictReader(io.StringIO(run("report", "--days", "2", "--csv").out)))
    assert rows[0]["offer"] == "'-"
    rows[0]["offer"] = "-"
    assert rows == [{name: str(value) for name, value in count.items()} for count in counts]


@pytest.mark.parametrize("days", ["0", "367", "many"])
def test_days_that_nobody_can_ask_for_are_refused_in_one_line(run: Run, days: str) -> None:
    assert "days" in one_line(run("report", "--days", days), 2)


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--csv", "--json"), "--output: is given twice"),
        (("--csv", "--by", "offer"), "--by: is for the table"),
        (("--output", "csv", "--by", "offer"), "--by: is for the table"),
    ],
)
def test_two_ways_to_print_at_once_are_refused(run: Run, flags: tuple[str, ...], field: str) -> None:
    assert one_line(run("report", *flags), 2).startswith(field)
