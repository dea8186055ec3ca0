"""The console over a ledger of 20,000 leads: a page asks for a page of them, and is there as soon as the API has answered."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead import Stage
from leads.core.lead_parsing import parse_body
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord, lead_entity
from leads.platform.storage import Operation, replacing
from tests.console.conftest import OFFER, Visit
from tests.e2e.conftest import app_on
from tests.support.pipeline import a_lead
from tests.support.running_app import RunningApp

LEADS = 20_000
SECONDS = 1.0
"""After the click, beside the time that the API takes by itself."""


@pytest.fixture
def many(app: RunningApp, shared_storage: str) -> None:
    ledger = app_on(shared_storage).ledger
    lead, now = parse_body(json.dumps(a_lead()).encode()), clock.now()
    rows = defaultdict(list)
    for number in range(LEADS):
        at = now - timedelta(seconds=60 + 2 * number)
        record = LeadRecord(new_lead_id(at, lead), at, lead, offer=OFFER, stage=Stage.INITIAL_INTEREST)
        record.deliveries["crm"] = Delivery("crm", state=State.DELIVERED)
        entity = lead_entity(record, whole=True)
        rows[entity["PartitionKey"]].append(entity)
    for of_partition in rows.values():
        for first in range(0, len(of_partition), 100):
            part = of_partition[first : first + 100]
            operations: list[Operation] = [("upsert", entity, replacing()) for entity in part]
            ledger.table.write(operations)


@pytest.mark.real_time
def test_the_first_of_20000_leads_are_there_within_a_second_of_the_api_s_answer(
    visit: Visit, app: RunningApp, many: None
) -> None:
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
