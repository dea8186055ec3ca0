"""The console over a ledger of 20,000 leads: a page asks for a page of them, and is there as soon as the API has answered."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Visit, put_delivered_leads
from tests.support.running_app import RunningApp

LEADS = 20_000
SECONDS = 1.0
"""After the click, beside the time that the API takes by itself."""


@pytest.mark.real_time
def test_the_first_of_20000_leads_are_there_within_a_second_of_the_api_s_answer(
    visit: Visit, app: RunningApp, shared_storage: str
) -> None:
    put_delivered_leads(shared_storage, LEADS)
    visit.enter()
    page, took = visit.page, []
    for _ in range(5):
        visit.go_to("Overview")
        visit.asked.clear()
        began = time.monotonic()
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Leads").click()
        expect(page.get_by_role("table", name="Leads").get_by_role("row")).to_have_count(51)
        shown = time.monotonic() - began
        began = time.monotonic()
        app.call("GET", "/api/manage/leads?limit=50")
        took.append(shown - (time.monotonic() - began))
        lists = [request for request in visit.asked if urlsplit(request.url).path.endswith("/leads")]
        assert [parse_qs(urlsplit(request.url).query)["limit"] for request in lists] == [["50"]]
    assert min(took) < SECONDS, took
