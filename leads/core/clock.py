"""The product's one source of time."""

from datetime import UTC, date, datetime, time


def now() -> datetime:
    """The current time, aware, in UTC. Call it as `clock.now()`, so that one replacement reaches every caller."""
    return datetime.now(UTC)


def midnight(day: date) -> datetime:
    """The moment at which a day begins (UTC)."""
    return datetime.combine(day, time(), UTC)
