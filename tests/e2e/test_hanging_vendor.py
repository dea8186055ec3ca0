"""A vendor that hangs costs its own leads a try, and no other lead the worker or its `functionTimeout`."""

from __future__ import annotations

import threading
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from leads.offers.model import read_offer
from leads.platform.settings import FETCHED_BESIDE
from tests.e2e.conftest import app_on
from tests.fakes.tls import make_authority, never_answer, raw_server
from tests.support.app_folder import app_folder
from tests.support.pipeline import a_lead, crm
from tests.support.running_app import RunningApp, running_app
from tests.support.vendor import DELIVERED, Call, Vendor

FUNCTION_TIMEOUT = "00:00:40"
"""Far above the deadline of a delivery in `tests.support.short_deadlines`, which only the worker may import."""
HUNG = 12
"""Half of what an instance has in hand at once; fewer than the threads of the connection's slots."""
SLOW = 40
"""More than an instance has in hand at once."""


@pytest.mark.devhost("shorten the time limits of the app and the host")
def test_a_vendor_that_hangs_takes_no_other_lead_with_it(fresh_storage: str, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    options = (
        "--app-dir",
        str(app_folder(tmp_path, functionTimeout=FUNCTION_TIMEOUT)),
        "--with",
        "tests.support.short_deadlines",
    )
    with Vendor() as quick, raw_server(authority.server_context(), never_answer) as hung:
        webhook = {"name": "hook", "type": "webhook", "settings": {"url": hung.url, "secret": "env:LEADS_SECRET_HOOK"}}
        offers = app_on(fresh_storage).offers
        offers.save(read_offer({"id": "hung.offer", "destinations": [webhook]}))
        offers.save(read_offer({"id": "quick.offer", "destinations": [crm(quick.url)]}))
        settings = {
            "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8",
            "LEADS_CA_BUNDLE": authority.bundle,
            "LEADS_SECRET_HOOK": f"whsec_{b64encode(bytes(32)).decode()}",
            "PYTHON_THREADPOOL_THREAD_COUNT": "32",
        }
        with running_app(fresh_storage, *options, settings=settings) as app:
            stuck = [post(app, "hung.offer", number) for number in range(HUNG)]
            arriving = [post(app, "quick.offer", number) for number in range(HUNG)]
            for lead in arriving:
                app.wait_for(lead, "delivered")
            for lead in stuck:
                app.wait_for(lead, "retry", "parked")
            assert hung.requests and "functionTimeout" not in app.host.log
        assert quick.records == dict.fromkeys(arriving, 1)


@pytest.mark.devhost("add the tests' own destination type to the app")
@pytest.mark.parametrize("vendors", [1, 5])
def test_vendors_that_do_not_answer_leave_room_for_the_leads_of_others(fresh_storage: str, vendors: int) -> None:
    """Their leads come first and are more than an instance takes in hand, and none of them ends before the others arrive."""
    answers = threading.Event()

    def answer_late(_: Call) -> dict[str, Any]:
        answers.wait()
        return DELIVERED

    with Vendor() as quick, ExitStack() as stack:
        slow = [stack.enter_context(Vendor(answer_late)) for _ in range(vendors)]
        stack.callback(answers.set)
        offers = app_on(fresh_storage).offers
        for number, vendor in enumerate(slow):
            offers.save(read_offer({"id": f"slow.offer{number}", "destinations": [crm(vendor.url)]}))
        offers.save(read_offer({"id": "quick.offer", "destinations": [crm(quick.url)]}))
        settings = {"PYTHON_THREADPOOL_THREAD_COUNT": "32"}
        with running_app(fresh_storage, "--with", "tests.support.recording", settings=settings) as app:
            for number in range(SLOW):
                post(app, f"slow.offer{number % vendors}", number)
            arriving = [post(app, "quick.offer", SLOW + number) for number in range(HUNG)]
            for lead in arriving:
                app.wait_for(lead, "delivered")
            assert sum(len(vendor.calls) for vendor in slow) <= FETCHED_BESIDE
            assert all(vendor.calls and not vendor.records for vendor in slow), "each has some, and has answered none"
            answers.set()
        assert quick.records == dict.fromkeys(arriving, 1)


def post(app: RunningApp, offer: str, number: int) -> str:
    lead_id: str = app.post(a_lead(f"customer{number}@example.com"), f"/api/leads/{offer}").json()["lead_id"]
    return lead_id
