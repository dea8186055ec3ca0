"""The states of a lead at one destination, and the sets of states that the app treats alike. Pure: no I/O."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """The state of a lead at one destination or, before routing, of the whole lead."""

    WAITING = "waiting"
    RETRY = "retry"
    PARKED = "parked"
    UNROUTED = "unrouted"
    CRASHED = "crashed"
    HELD = "held"
    DEAD_LETTER = "dead_letter"
    UNREADABLE = "unreadable"
    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"
    ERASED = "erased"


FINAL: Final = frozenset({State.DELIVERED, State.DUPLICATE, State.SKIPPED, State.ERASED})
"""The delivery is complete; the app drops every further message."""
ON_THE_QUEUE: Final = frozenset({State.WAITING, State.RETRY})
"""A message of the delivery's own `seq` is on the queue."""
RESTING: Final = frozenset(State) - ON_THE_QUEUE
"""No message is under way."""
DONE: Final = FINAL | {State.DEAD_LETTER, State.HELD}
"""Nothing more happens without a person."""
UNDELIVERED: Final = frozenset(State) - FINAL - {State.WAITING}
"""States with a `todo` row."""
DELIVERABLE: Final = frozenset({State.RETRY, State.PARKED, State.UNROUTED, State.CRASHED})
"""The lead may still reach its CRM without a change by a person."""
TRIED_AGAIN: Final = frozenset({State.RETRY, State.CRASHED})
"""The app retries the lead at a time stored with the lead."""
GOES_ON: Final = ON_THE_QUEUE | {State.PARKED, State.CRASHED}
"""The app delivers the lead by itself, now or when the connection works."""
LEFT_TO_A_PERSON: Final = frozenset({State.DEAD_LETTER, State.HELD, State.UNROUTED, State.UNREADABLE})
"""The state stays until a person acts."""
CORRECTABLE: Final = LEFT_TO_A_PERSON | {State.CRASHED}
"""A person may correct the lead and send it again."""
ALARMING: Final = frozenset({State.UNREADABLE, State.DEAD_LETTER, State.HELD, State.CRASHED})
"""A lead in such a state raises an alarm."""
MOST_URGENT_FIRST: Final = (
    State.UNREADABLE,
    State.DEAD_LETTER,
    State.HELD,
    State.CRASHED,
    State.PARKED,
    State.UNROUTED,
    State.RETRY,
    State.WAITING,
    State.ERASED,
    State.DELIVERED,
    State.DUPLICATE,
    State.SKIPPED,
)
"""The state of a whole lead is the most urgent state of its deliveries."""
