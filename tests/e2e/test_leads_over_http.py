"""A lead posted over HTTP reaches the table: the app as a process, real HTTP, real storage."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables import TableClient

from devhost.process import ROOT
from leads.clock import now
from leads.lead import Lead, new_lead_id
from leads.listing import newest
from leads.offers import read_offer
from tests.e2e.conftest import app_on
from tests.support.pipeline import a_lead, crm
from tests.support.running_app import RunningApp, running_app
from tests.support.vendor import DELIVERED, RETRY, Call, Vendor

SAMPLES: dict[str, dict[str, Any]] = json.loads((ROOT / "samples" / "expected.json").read_text())


def rows(storage: str) -> dict[str, dict[str, Any]]:
    with TableClient.from_connection_string(storage, "MarketplaceLeads") as table:
        return {row["RowKey"]: dict(row) for row in table.list_entities()}


def test_every_sample_ends_where_it_should(demo: RunningApp, demo_storage: str) -> None:
    leads: dict[str, str] = {}
    for name, expected in sorted(SAMPLES.items()):
        for earlier in leads.values():
            demo.wait_for(
                earlier, "delivered", "duplicate"
            )  # so that of two alike it is the later one that is the redelivery
        answer = demo.post((ROOT / "samples" / name).read_bytes(), expected["path"])
        assert answer.status == expected["status"], name
        if answer.status == 202:
            leads[name] = answer.json()["lead_id"]
            assert answer.json()["status_url"] == f"{demo.host.base_url}/api/status/{leads[name]}"
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert demo.wait_for(answer.json()["lead_id"], "unreadable")
    states = {name: demo.wait_for(lead, "delivered", "duplicate")["state"] for name, lead in leads.items()}
    assert states == {name: SAMPLES[name]["state"] for name in leads}
    delivered = {lead for name, lead in leads.items() if states[name] == "delivered"}
    assert set(rows(demo_storage)) == delivered
    whole = rows(demo_storage)[leads["38-200-kib.json"]]
    text = "".join(
        str(whole[column]) for column in sorted(whole, key=_column_number) if column.startswith("Description")
    )
    assert text == json.loads((ROOT / "samples" / "38-200-kib.json").read_bytes())["Description"]


def _column_number(column: str) -> int:
    return int(column.partition("_")[2] or 1)


def test_fifty_posts_of_one_lead_at_once_are_one_row(demo: RunningApp, demo_storage: str) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: demo.post(a_lead()), range(50)))
    assert [answer.status for answer in answers] == [202] * 50
    states = [demo.wait_for(answer.json()["lead_id"], "delivered", "duplicate") for answer in answers]
    assert len(rows(demo_storage)) == 1
    first = next(iter(rows(demo_storage)))
    duplicates = [status["destinations"]["table"].get("duplicate_of") for status in states]
    assert duplicates.count(first) == 49


def test_three_stages_of_a_customer_at_once_are_one_customer(fresh_storage: str) -> None:
    with Vendor() as vendor:
        app_on(fresh_storage).offers.save(read_offer({"id": "*", "destinations": [crm(vendor.url)]}))
        with running_app(fresh_storage) as one, running_app(fresh_storage) as two:
            posts = [(one, "INS"), (two, "PLT"), (one, "Create")]
            with ThreadPoolExecutor(3) as pool:
                answers = list(pool.map(lambda post: post[0].post(a_lead(action=post[1])), posts))
            for answer in answers:
                two.wait_for(answer.json()["lead_id"], "delivered")
        assert len({call.customer for call in vendor.calls}) == 1
        assert sorted(call.stage for call in vendor.calls) == ["contact_requested", "initial_interest", "purchase"]
        assert vendor.calls[0].customer_record == ""
        assert {call.customer_record for call in vendor.calls[1:]} == {vendor.calls[0].key}


def test_a_retry_comes_back_through_the_real_queue(fresh_storage: str) -> None:
    with Vendor() as vendor:
        vendor.answers(RETRY, DELIVERED)
        app_on(fresh_storage).offers.save(read_offer({"id": "*", "destinations": [crm(vendor.url)]}))
        with running_app(fresh_storage) as app:
            started = time.monotonic()
            lead = app.post(a_lead()).json()["lead_id"]
            app.wait_for(lead, "delivered")
            assert time.monotonic() - started >= 7, "the first retry comes after 10 s, or a fifth less"
        assert vendor.keys() == [lead, lead]


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


def test_a_secret_of_the_customer_is_in_no_log(fresh_storage: str) -> None:
    def strange(call: Call) -> dict[str, str]:
        return {"outcome": "raise", "text": call.lead["email"]}

    with Vendor() as vendor:
        vendor.answer = strange
        app_on(fresh_storage).offers.save(read_offer({"id": "*", "destinations": [crm(vendor.url)]}))
        with running_app(fresh_storage) as app:
            lead = app.post(a_lead("marker.person@example.com")).json()["lead_id"]
            app.wait_for(lead, "retry")
            app.post(b'{"UserDetails": "marker.person@example.com')
            assert app.host.says("event=lead_attempted")
            assert app.host.says("event=lead_unreadable")
            log = app.host.log
    assert "marker.person" not in log
    assert "AccountKey" not in log


# --- What the addresses answer ----------------------------------------------------------------------------------------------


def test_the_intake_address_says_what_it_is(demo: RunningApp) -> None:
    told = demo.call("GET", "/api/leads")
    assert told.status == 200
    assert b"Partner Center" in told.body
    assert demo.call("HEAD", "/api/leads/contoso.crm").status == 200
    refused = demo.call("DELETE", "/api/leads")
    assert refused.status == 405
    assert refused.headers["allow"] == "POST, GET, HEAD"
    assert refused.json()["detail"] == "Leads are sent with POST, not DELETE."


def test_each_key_opens_its_own_door(demo: RunningApp) -> None:
    keys = demo.host.function_keys
    lead = demo.call("POST", "/api/leads", json.dumps(a_lead()).encode(), key=keys["accept_lead"])
    assert lead.status == 202
    lead_id = lead.json()["lead_id"]
    assert demo.call("GET", f"/api/status/{lead_id}", key=keys["lead_status"]).status == 200
    for path in (f"/api/status/{lead_id}", "/api/manage/offers"):
        assert demo.call("GET", path, key=keys["accept_lead"]).status == 401
        assert demo.call("GET", path, key="").status == 401
    assert demo.call("POST", "/api/leads", b"{}", key="wrong").status == 401
    assert demo.call("GET", "/api/health", key="").json() == {"status": "ok"}


def test_status_of_a_lead_that_nobody_knows_waits_a_quarter_of_an_hour(demo: RunningApp) -> None:
    young, *others = (new_lead_id(now() + timedelta(minutes=age), Lead()) for age in (0, -16, 16))
    assert demo.call("GET", f"/api/status/{young}").json()["state"] == "waiting"
    assert [demo.call("GET", f"/api/status/{other}").status for other in others] == [404, 404]
    assert demo.call("GET", "/api/status/nonsense").status == 404


@pytest.mark.parametrize(
    ("size", "status"), [(256 * 1024, 202), (256 * 1024 + 1, 413), (1024 * 1024, 413)], ids=["256K", "256K+1", "1M"]
)
def test_bodies_up_to_256_kib_are_taken(demo: RunningApp, demo_storage: str, size: int, status: int) -> None:
    frame = len(json.dumps(a_lead(Description="")).encode())
    body = json.dumps(a_lead(Description="x" * (size - frame))).encode()
    assert len(body) == size
    answer = demo.post(body)
    assert answer.status == status
    if status == 202:
        lead = answer.json()["lead_id"]
        demo.wait_for(lead, "delivered")
        row = rows(demo_storage)[lead]
        assert sum(len(str(value)) for column, value in row.items() if column.startswith("Description")) == size - frame
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"] == "body"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
def test_the_content_type_does_not_matter(demo: RunningApp, content_type: str) -> None:
    answer = demo.call("POST", "/api/leads", json.dumps(a_lead()).encode(), Content_Type=content_type)
    assert answer.status == 202


@pytest.mark.parametrize(
    "offer", ["a%2Fb", "a%5Cb", "a%23b%3Fc%25d", "100%25", "%C3%9Cn%C3%AF%3Bc%C3%B8de", "with/slash", "it's", "x" * 300]
)
def test_an_offer_in_the_address_may_be_called_anything(demo: RunningApp, offer: str) -> None:
    answer = demo.post(a_lead(OfferTitle=""), f"/api/leads/{offer}")
    assert answer.status == 202
    assert demo.wait_for(answer.json()["lead_id"], "delivered")["offer"] == "*"


def test_an_empty_body_is_answered_and_not_kept(demo: RunningApp, demo_storage: str) -> None:
    assert demo.post(b"").status == 400
    assert demo.post(b"  \n").status == 400
    assert newest(app_on(demo_storage).ledger) == []
