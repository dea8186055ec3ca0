"""Values that the tests use for people and secrets, searched for in everything that is captured: logs, answers, tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from leads.destinations.rate_limiter import ALLOWANCES_TABLE
from leads.health.alarms import ALARMS_TABLE
from leads.health.connections import CONNECTIONS_TABLE
from leads.health.lead_counts import COUNTS_TABLE
from leads.ledger.audit import AUDIT_TABLE
from leads.ledger.transactions import LEDGER_TABLE
from leads.offers.table import OFFERS_TABLE
from tests.support.memory import account_at

PERSONAL: Final = (
    "ada@example.com",
    "O'Neil",
    "Example Works",
    "16175555555",
    "Oberfragerin",
    "marker+tag@example.com",
)
SECRETS: Final = ("s3cret", "whsec_", "czNjcmV0", "eyJ0eXAi", "-----BEGIN")
MARKERS: Final = (*PERSONAL, *SECRETS)
OURS: Final = frozenset(
    {ALARMS_TABLE, ALLOWANCES_TABLE, AUDIT_TABLE, CONNECTIONS_TABLE, COUNTS_TABLE, LEDGER_TABLE, OFFERS_TABLE}
)


def found_in(text: str, markers: tuple[str, ...] = MARKERS) -> list[str]:
    """The markers that stand in a text, also where it is a Python or JSON literal."""
    return [marker for marker in markers if marker in text or marker.replace("'", "\\'") in text]


def misplaced(connection_string: str) -> Iterator[str]:
    """Where in an account's tables a secret stands, or a person outside the leads and the destinations' own tables."""
    for table, row in account_at(connection_string).rows():
        markers = SECRETS if _may_hold_people(table, row) else MARKERS
        for marker in found_in(repr(row), markers):
            yield f"{marker} in {table}, {row['RowKey']}"


def _may_hold_people(table: str, row: Any) -> bool:
    """In the ledger a lead's own row and its body hold what the customer said; no other table of ours does."""
    return table not in OURS or (table == LEDGER_TABLE and row["RowKey"].startswith(("lead;", "body;")))
