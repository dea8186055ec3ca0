"""Values for people and secrets in tests. The tests search for them in logs, answers and tables."""

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
    """The markers in a text, also in Python or JSON literals."""
    return [marker for marker in markers if marker in text or marker.replace("'", "\\'") in text]


def misplaced(connection_string: str) -> Iterator[str]:
    """The places in an account's tables with a secret, or with a person outside the leads and the destinations' tables."""
    for table, row in account_at(connection_string).rows():
        markers = SECRETS if _may_hold_people(table, row) else MARKERS
        for marker in found_in(repr(row), markers):
            yield f"{marker} in {table}, {row['RowKey']}"


def _may_hold_people(table: str, row: Any) -> bool:
    """Whether a table may hold a customer's data: in the ledger only a lead's row and its body."""
    return table not in OURS or (table == LEDGER_TABLE and row["RowKey"].startswith(("lead;", "body;")))
