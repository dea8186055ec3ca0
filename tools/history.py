"""`make run DEMO=all`: writes ninety days of made-up leads, for the pages with numbers.

The leads are in the ledger as delivered leads. No fake vendor has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from leads.app import App
from leads.core.identity import new_lead_id
from leads.core.lead import stage_of
from leads.core.lead_parsing import parse_record
from leads.core.states import State
from leads.ledger.rows import AttemptLog, Delivery, LeadRecord
from leads.platform.settings import Settings

DAYS = 90
WEEKDAY, WEEKEND = 7, 2
"""The approximate number of leads a day. It grows by a third over the ninety days."""
OFFERS = {"contoso.crm": "table", "contoso.journey": "dynamics"}
SOURCES = ("AzureMarketplace", "AzureMarketplace", "SPZA", "SPZA", "AzurePortal")
ACTIONS = ("INS", "INS", "INS", "StartTestDrive", "PLT", "PLT", "Create")
COUNTRIES = ("US", "US", "US", "DE", "DE", "GB", "IN", "IN", "BR", "JP", "IE")
SLOW_SHARE = 0.04
"""The share of leads that were delayed by an outage."""


def fill(storage: str) -> int:
    """Write the leads, and count them for the numbers. Returns how many there are."""
    app = App(Settings.model_validate({"LeadsStorage": storage}))
    now = datetime.now(UTC)
    count = 0
    for record in _records(now, Random(90)):
        app.ledger.settle(record, lambda _: None)
        count += 1
    app.daily_counts.count(now)
    return count


def _records(now: datetime, rng: Random) -> Iterator[LeadRecord]:
    for ago in range(DAYS, 0, -1):
        day = now - timedelta(days=ago)
        usual = WEEKEND if day.weekday() >= 5 else WEEKDAY
        for _ in range(round(usual * (1 + (DAYS - ago) / DAYS / 3) * rng.uniform(0.6, 1.4))):
            at = day.replace(hour=rng.randrange(6, 21), minute=rng.randrange(60), second=rng.randrange(60))
            yield _record(at, rng)


def _record(at: datetime, rng: Random) -> LeadRecord:
    offer = rng.choice(list(OFFERS))
    action = rng.choice(ACTIONS)
    lead = parse_record(
        {
            "UserDetails": {
                "FirstName": "Sam",
                "LastName": "Example",
                "Email": f"sam{rng.randrange(10_000)}@customers.example.com",
                "Country": rng.choice(COUNTRIES),
                "Company": "Example Works",
            },
            "LeadSource": f"{rng.choice(SOURCES)}-{action}|{offer}",
            "ActionCode": action,
        }
    )
    took = rng.uniform(600, 7200) if rng.random() < SLOW_SHARE else rng.lognormvariate(-0.5, 0.6)
    delivered_at = at + timedelta(seconds=took)
    attempt = AttemptLog("demo", delivered_at, "delivered", milliseconds=round(200 * rng.uniform(0.5, 3)))
    name = OFFERS[offer]
    delivery = Delivery(name, State.DELIVERED, record_id="demo", updated_at=delivered_at, attempts=(attempt,))
    return LeadRecord(
        new_lead_id(at, lead), at, lead, offer=offer, stage=stage_of(lead.action), deliveries={name: delivery}
    )
