"""Announcements are posted in time and once, and no chat delays another chat."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from leads.platform import deadline
from leads.platform.threads import NotDoneInTime
from leads.watch import announcements, notifications
from leads.watch.announcements import ANNOUNCE_SECONDS, HIDDEN_SECONDS, POST_SECONDS, Announcer
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import Vendor

GENEROUS = 60.0


def delivered(pipeline: Pipeline, vendor: Vendor, number: int) -> list[str]:
    """Leads of this number of offers, each with a separate chat."""
    chats = [{"webhook": f"env:LEADS_SECRET_CHAT_{n}", "format": "json"} for n in range(number)]
    for n, chat in enumerate(chats):
        pipeline.offer(crm(vendor.url), offer_id=f"p.o{n}", titles=[f"Offer {n}"], announce=chat)
    pipeline.app.offers.forget()
    leads = [pipeline.post(a_lead(f"c{n}@example.com", OfferTitle=f"Offer {n}")) for n in range(number)]
    pipeline.run()
    return leads


def announcer(pipeline: Pipeline) -> Announcer:
    app = pipeline.app
    return Announcer(app.notices, app.ledger, app.settings, app.secrets, app.destination)


def test_chats_that_take_all_of_their_time_are_posted_to_once_and_the_rest_is_left_to_the_next_run(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads = delivered(pipeline, vendor, 12)
    now, posted = [0.0], Counter[str]()

    def post(settings: Any, secrets: Any, reference: str, notice: notifications.Notice, kind: Any) -> str:
        now[0] += POST_SECONDS
        posted.update(lead["lead_id"] for lead in notice.data["leads"])
        return ""

    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])
    monkeypatch.setattr(announcements, "AT_ONCE", 1)
    monkeypatch.setattr(notifications, "post", post)
    offers = pipeline.app.offers.all()
    runs = 0
    while pipeline.app.notices.depth():
        began, instance = now[0], (pipeline, second)[runs % 2]
        try:
            announcer(instance).announce(offers)
        except NotDoneInTime:
            assert len(posted) < len(leads)
        runs += 1
        assert now[0] - began <= ANNOUNCE_SECONDS < HIDDEN_SECONDS, "the notes are seen by others again"
    assert posted == dict.fromkeys(leads, 1)
    assert runs > 1


def test_a_chat_that_hangs_keeps_no_other_offers_leads_from_being_told(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered(pipeline, vendor, 2)
    told, order = threading.Event(), list[str]()

    def post(settings: Any, secrets: Any, reference: str, notice: notifications.Notice, kind: Any) -> str:
        order.append(reference)
        if len(order) == 1:
            return "" if told.wait(GENEROUS) else "timeout"
        told.set()
        return ""

    monkeypatch.setattr(notifications, "post", post)
    announcer(pipeline).announce(pipeline.app.offers.all())
    assert pipeline.app.notices.depth() == 0
