"""The product's one source of time."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time, aware, in UTC. Call it as `clock.now()`, so that one replacement reaches every caller."""
    return datetime.now(UTC)
