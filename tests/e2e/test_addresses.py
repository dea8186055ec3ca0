"""What the app's addresses answer, with real HTTP and real storage."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from leads.core.clock import now
from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.states import State
from leads.ledger.queries import newest
from tests.e2e.conftest import app_on, delivered_rows
from tests.support.pipeline import a_lead
from tests.support.running_app import RunningApp


def test_the_intake_address_says_what_it_is(shared_demo: RunningApp) -> None:
    told = shared_demo.call("GET", "/api/leads")
    assert told.status == 200
    assert b"Partner Center" in told.body
    assert shared_demo.call("HEAD", "/api/leads/contoso.crm").status == 200
    refused = shared_demo.call("DELETE", "/api/leads")
    assert refused.status == 405
    assert refused.headers["allow"] == "POST, GET, HEAD"
    assert refused.json()["detail"] == "Leads are sent with POST, not DELETE."


def test_health_needs_no_key(shared_demo: RunningApp) -> None:
    assert shared_demo.call("GET", "/api/health", key="").json() == {"status": "ok"}


def test_status_of_a_lead_that_nobody_knows_waits_a_quarter_of_an_hour(shared_demo: RunningApp) -> None:
    young, *others = (new_lead_id(now() + timedelta(minutes=age), Lead()) for age in (0, -16, 16))
    assert shared_demo.call("GET", f"/api/status/{young}").json()["state"] == "waiting"
    assert [shared_demo.call("GET", f"/api/status/{other}").status for other in others] == [404, 404]
    assert shared_demo.call("GET", "/api/status/nonsense").status == 404


@pytest.mark.parametrize(
    ("size", "status"), [(256 * 1024, 202), (256 * 1024 + 1, 413), (1024 * 1024, 413)], ids=["256K", "256K+1", "1M"]
)
def test_bodies_up_to_256_kib_are_taken(shared_demo: RunningApp, shared_storage: str, size: int, status: int) -> None:
    frame = len(json.dumps(a_lead(Description="")).encode())
    body = json.dumps(a_lead(Description="x" * (size - frame))).encode()
    assert len(body) == size
    answer = shared_demo.post(body)
    assert answer.status == status
    if status == 202:
        lead = answer.json()["lead_id"]
        shared_demo.wait_for(lead, "delivered")
        row = delivered_rows(shared_storage)[lead]
        assert sum(len(str(value)) for column, value in row.items() if column.startswith("Description")) == size - frame
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["field"] == "body"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
def test_the_content_type_does_not_matter(shared_demo: RunningApp, content_type: str) -> None:
    answer = shared_demo.call("POST", "/api/leads", json.dumps(a_lead()).encode(), Content_Type=content_type)
    assert answer.status == 202


@pytest.mark.parametrize(
    "offer", ["a%2Fb", "a%5Cb", "a%23b%3Fc%25d", "100%25", "%C3%9Cn%C3%AF%3Bc%C3%B8de", "with/slash", "it's", "x" * 300]
)
def test_an_offer_in_the_address_may_be_called_anything(shared_demo: RunningApp, offer: str) -> None:
    answer = shared_demo.post(a_lead(OfferTitle=""), f"/api/leads/{offer}")
    assert answer.status == 202
    assert shared_demo.wait_for(answer.json()["lead_id"], "delivered")["offer"] == "*"


def test_an_empty_body_is_answered_and_not_kept(shared_demo: RunningApp, shared_storage: str) -> None:
    ledger = app_on(shared_storage).ledger
    before = newest(ledger, state=State.UNREADABLE)
    assert shared_demo.post(b"").status == 400
    assert shared_demo.post(b"  \n").status == 400
    assert newest(ledger, state=State.UNREADABLE) == before


def test_a_body_without_a_length_is_asked_for_with_it_and_the_doctor_names_the_sender(shared_demo: RunningApp) -> None:
    lead = json.dumps(a_lead()).encode()
    answer = shared_demo.call(
        "POST", "/api/leads", iter([lead[:20], lead[20:]]), User_Agent="Sender/1.0 ada@example.com"
    )
    assert (answer.status, answer.json()["field"]) == (411, "Content-Length")
    assert shared_demo.post(lead).status == 202
    offer = iter([b'{"destinations": [', b'{"name": "table", "type": "azure_table"}]}'])
    assert shared_demo.call("PUT", "/api/manage/offers/a.b", offer).status == 411
    findings = shared_demo.call("GET", "/api/manage/doctor").json()["findings"]
    assert [(f["level"], f["about"]) for f in findings if "Sender/1.0" in f["about"]] == [
        ("wrong", "sender Sender/1.0 ***")
    ]
