"""The demo's history: enough leads for every chart, and only made-up people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from leads.app import App
from leads.ledger.queries import records
from leads.platform.settings import Settings
from tools import history


@pytest.mark.storage("memory")
def test_ninety_days_have_something_to_show_in_every_chart(fresh_storage: str) -> None:
    count = history.fill(fresh_storage)
    app, now = App(Settings.model_validate({"LeadsStorage": fresh_storage})), datetime.now(UTC)
    first = now - timedelta(days=history.DAYS)
    days, last = app.daily_counts.since(first.date(), now)
    assert last == now.date()
    assert sum(day.first.total() for day in days) == count > 400
    assert len({day.day for day in days}) > 80
    assert {name for day in days for name in day.times} == set(history.OFFERS.values())
    assert len({group.stage for day in days for group in day.first}) == 4
    people = {record.lead.email for record in records(app.ledger, first, now) if record.lead}
    assert all(email.endswith("@customers.example.com") for email in people)
