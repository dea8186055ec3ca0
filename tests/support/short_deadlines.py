"""Shortens a delivery's times to seconds, in the product's order. A worker imports this module before the app."""

from leads.destinations import bounded_calls
from leads.ledger import transactions
from leads.pipeline import delivery, settling

bounded_calls.SEND_SECONDS = 4  # type: ignore[misc]
settling.SETTLE_SECONDS = 3  # type: ignore[misc]
delivery.PUT_BACK_SECONDS = 2  # type: ignore[misc]
delivery.DELIVERY_SECONDS = 12  # type: ignore[misc]
transactions.CLAIM_LEASE_SECONDS = 13
