"""Where a lead stands with one destination, and what each state means: for the queue, for people, for a person's data. Pure."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a lead stands with one destination (or, before it is routed, as a whole)."""

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
"""Nothing is left to do: every further message is dropped."""
ON_THE_QUEUE: Final = frozenset({State.WAITING, State.RETRY})
"""A message of the delivery's own `seq` is on the queue."""
RESTING: Final = frozenset(State) - ON_THE_QUEUE
"""No message is under way."""
DONE: Final = FINAL | {State.DEAD_LETTER, State.HELD}
"""Nothing more happens by itself."""
UNDELIVERED: Final = frozenset(State) - FINAL - {State.WAITING}
"""What has a `todo` row."""
DELIVERABLE: Final = frozenset({State.RETRY, State.PARKED, State.UNROUTED, State.CRASHED})
"""What may still reach its CRM although nobody changes the lead."""
TRIED_AGAIN: Final = frozenset({State.RETRY, State.CRASHED})
"""A further try comes by itself, at a time of its own."""
GOES_ON: Final = ON_THE_QUEUE | {State.PARKED, State.CRASHED}
"""Goes on by itself, now or once its connection works."""
LEFT_TO_A_PERSON: Final = frozenset({State.DEAD_LETTER, State.HELD, State.UNROUTED, State.UNREADABLE})
"""Stays as it is until a person does something."""
CORRECTABLE: Final = LEFT_TO_A_PERSON | {State.CRASHED}
"""A person may send it again with other values."""
ALARMING: Final = frozenset({State.UNREADABLE, State.DEAD_LETTER, State.HELD, State.CRASHED})
"""A lead in such a state is an alarm."""
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
"""Which of its deliveries' states a lead as a whole has."""
