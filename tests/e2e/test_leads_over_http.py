"""A lead posted over HTTP reaches the table: the app as a process, real HTTP, real storage."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from leads.offers.model import read_offer
from tests.e2e.conftest import app_on, delivered_rows
from tests.support.pipeline import a_lead, crm
from tests.support.running_app import RunningApp, running_app
from tests.support.vendor import DELIVERED, RETRY, Vendor
from tools.host import ROOT

SAMPLES: dict[str, dict[str, Any]] = json.loads((ROOT / "samples" / "expected.json").read_text())


def test_every_sample_ends_where_it_should(shared_demo: RunningApp, shared_storage: str) -> None:
    leads: dict[str, str] = {}
    for name, expected in sorted(SAMPLES.items()):
        answer = shared_demo.post((ROOT / "samples" / name).read_bytes(), expected["path"])
        assert answer.status == expected["status"], name
        if answer.status == 202:
            leads[name] = answer.json()["lead_id"]
            assert answer.json()["status_url"] == f"{shared_demo.host.base_url}/api/status/{leads[name]}"
            # Before the next one, so that of two alike it is the later one that is the redelivery.
            shared_demo.wait_for(leads[name], "delivered", "duplicate")
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert shared_demo.wait_for(answer.json()["lead_id"], "unreadable")
    states = {name: shared_demo.wait_for(lead, "delivered", "duplicate")["state"] for name, lead in leads.items()}
    assert states == {name: SAMPLES[name]["state"] for name in leads}
    rows = delivered_rows(shared_storage)
    assert rows.keys() & set(leads.values()) == {lead for name, lead in leads.items() if states[name] == "delivered"}
    whole = rows[leads["38-200-kib.json"]]
    text = "".join(
        str(whole[column]) for column in sorted(whole, key=_column_number) if column.startswith("Description")
    )
    assert text == json.loads((ROOT / "samples" / "38-200-kib.json").read_bytes())["Description"]


def _column_number(column: str) -> int:
    return int(column.partition("_")[2] or 1)


def test_fifty_posts_of_one_lead_at_once_are_one_row(shared_demo: RunningApp, shared_storage: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: shared_demo.post(a_lead("fifty@example.com")), range(50)))
    assert [answer.status for answer in answers] == [202] * 50
    leads = [answer.json()["lead_id"] for answer in answers]
    states = [shared_demo.wait_for(lead, "delivered", "duplicate") for lead in leads]
    (first,) = delivered_rows(shared_storage).keys() & set(leads)
    duplicates = [status["destinations"]["table"].get("duplicate_of") for status in states]
    assert duplicates.count(first) == 49


def test_three_stages_of_a_customer_at_once_are_one_customer(
    shared_demo: RunningApp, shared_storage: str, vendor: Vendor
) -> None:
    offer = connected(shared_demo, vendor)
    with running_app(shared_storage) as other:
        posts = [(shared_demo, "INS"), (other, "PLT"), (shared_demo, "Create")]
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda post: post[0].post(a_lead(action=post[1]), offer), posts))
        for answer in answers:
            other.wait_for(answer.json()["lead_id"], "delivered")
    assert len({call.customer for call in vendor.calls}) == 1
    assert sorted(call.stage for call in vendor.calls) == ["contact_requested", "initial_interest", "purchase"]
    assert vendor.calls[0].customer_record == ""
    assert {call.customer_record for call in vendor.calls[1:]} == {vendor.calls[0].key}


def test_a_retry_comes_back_through_the_real_queue(shared_demo: RunningApp, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    offer = connected(shared_demo, vendor)
    started = time.monotonic()
    lead = shared_demo.post(a_lead(), offer).json()["lead_id"]
    shared_demo.wait_for(lead, "delivered")
    assert time.monotonic() - started >= 7, "the first retry comes after 10 s, or a fifth less"
    assert vendor.keys() == [lead, lead]


def test_a_secret_of_the_customer_is_in_no_log(shared_demo: RunningApp, vendor: Vendor) -> None:
    vendor.answer = lambda call: {"outcome": "raise", "text": call.lead["email"]}
    offer = connected(shared_demo, vendor)
    lead = shared_demo.post(a_lead("marker.person@example.com"), offer).json()["lead_id"]
    shared_demo.wait_for(lead, "retry")
    unreadable = shared_demo.post(b'{"UserDetails": "marker.person@example.com').json()["lead_id"]
    assert shared_demo.host.says(f'event=lead_attempted {{"lead_id":"{lead}"')
    assert shared_demo.host.says(f'event=lead_unreadable {{"lead_id":"{unreadable}"')
    log = shared_demo.host.log
    assert "marker.person" not in log
    assert "AccountKey" not in log


def connected(app: RunningApp, vendor: Vendor) -> str:
    """The address for leads of an offer whose only destination is the vendor."""
    name = f"contoso.offer{urlsplit(vendor.url).port}"
    assert (
        app.call("PUT", f"/api/manage/offers/{name}", json.dumps({"destinations": [crm(vendor.url)]}).encode()).status
        == 201
    )
    return f"/api/leads/{name}"


@pytest.mark.devhost("let the app's clock run thirty times as fast")
def test_an_outage_parks_is_probed_and_heals_by_the_timers(fresh_storage: str) -> None:
    """On a clock that runs thirty times as fast: `watch` comes every two seconds, and probes with one lead each time."""
    with Vendor() as vendor:
        vendor.refuses()
        app_on(fresh_storage).offers.save(read_offer({"id": "*", "destinations": [crm(vendor.url)]}))
        options = ("--clock-factor", "30", "--clock-epoch", str(int(time.time())))
        with running_app(fresh_storage, *options) as app:
            leads = [app.post(a_lead(f"c{n}@example.com")).json()["lead_id"] for n in range(30)]
            for lead in leads:
                app.wait_for(lead, "parked")
            sent = len(vendor.calls)
            vendor.works()
            for lead in leads:
                app.wait_for(lead, "delivered")
        assert sent < len(leads)
        assert vendor.records == dict.fromkeys(leads, 1)
