"""How much is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Sizes of a run.

    Rounds end once the ratio's standard error is at most `error` of it, or after `most_seconds`. They are short, so that
    what else the machine does falls on both sides of a pair.
    """

    fewest_rounds: int = 8
    most_seconds: float = 15
    error: float = 0.01
    intake_leads: int = 96
    """Leads posted in a round; the pure intake reads some times as many."""
    delivered_leads: int = 96
    counted_leads: int = 40
    idle_minutes: int = 120
    waiting: int = 200
    waiting_many: int = 2_000
    waiting_begun: int = 24
    """Leads delivered before a measurement begins: as many as are under way at once."""
    waiting_window: int = 80
    """Of the leads that wait, how many are measured in a round: neither the first ones nor the last."""
    ledger: int = 1_000
    ledger_large: int = 200_000
    parked: int = 300
    imported_rows: int = 500
    paced_leads: int = 50
    pace_seconds: float = 1.0
    quick_leads: int = 60
    largest_leads: int = 160
    """Leads of the largest size: as many as keep 16 senders and 24 deliveries busy for some seconds."""
    slow_leads: int = 200
    slow_seconds: float = 20.0


FULL = Effort()
TINY = Effort(
    fewest_rounds=1,
    most_seconds=0,
    intake_leads=4,
    delivered_leads=12,
    counted_leads=1,
    idle_minutes=5,
    waiting=24,
    waiting_many=28,
    waiting_begun=4,
    waiting_window=16,
    ledger=30,
    ledger_large=60,
    parked=3,
    imported_rows=5,
    paced_leads=2,
    pace_seconds=0.2,
    quick_leads=2,
    largest_leads=4,
    slow_leads=20,
    slow_seconds=1.0,
)
"""For the tests: shows that everything still runs, and measures nothing."""
