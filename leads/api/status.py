"""The app at a glance."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, Field

from leads import clock, listing
from leads.alarms import Change
from leads.api.connections import ConnectionView, view_connections
from leads.api.operation import Nothing
from leads.app import App
from leads.ceiling import CEILING
from leads.events import Event
from leads.lead import received_at_of
from leads.rows import UNDELIVERED, State

COUNTED_AT_MOST: Final = 1000
CALLS_FOR: Final = timedelta(days=30)
"""How long a lead that nobody mends calls for a person: one that is left as it is must not do so for ever."""
_STILL_TO_DELIVER: Final = frozenset({State.RETRY, State.PARKED, State.UNROUTED, State.CRASHED})
_TOLD_ALREADY: Final = frozenset({Event.CONNECTION_PAUSED, Event.LEADS_NEED_A_PERSON})
"""What status itself sees at once, while an alarm is up to a minute old."""
_CALLS: Final = {
    State.DEAD_LETTER: "dead letters of the last 30 days",
    State.HELD: "held leads of the last 30 days",
    State.UNREADABLE: "unreadable bodies of the last 30 days",
    State.UNROUTED: "unrouted leads of the last 30 days, which no offer takes",
}


class Waiting(BaseModel):
    """A lead that is still to be delivered."""

    lead_id: str
    received_at: datetime
    offer: str
    destination: str
    state: State


class Queues(BaseModel):
    """About how many messages the queues hold, hidden and delayed ones too."""

    leads: int
    poison: int


class Status(BaseModel):
    """The app at a glance. `undelivered` counts per destination; `needs_a_person` says what does not pass by itself."""

    offers: list[str]
    connections: list[ConnectionView]
    undelivered: dict[State, int]
    oldest_undelivered: Waiting | None
    delivered_of_last_24_hours: int = Field(
        description=f"Leads that came in within the last 24 hours and are delivered; {COUNTED_AT_MOST} = that many or more."
    )
    unconfirmed_of_last_24_hours: int = Field(
        description="How many of them were handed over to a vendor that does not say whether a record came of it."
    )
    queue: Queues
    needs_a_person: list[str]


def show_status(app: App, request: Nothing) -> Status:
    """Show offers, connections, what waits, what was delivered, and what needs a person."""
    offers = [stored.offer for stored in app.offers.stored()]
    connections = view_connections(app, offers)
    undelivered = _Undelivered.of(app)
    day = clock.now() - timedelta(hours=24)
    delivered = listing.newest(app.ledger, state=State.DELIVERED, since=day, limit=COUNTED_AT_MOST)
    return Status(
        offers=[offer.id for offer in offers],
        connections=connections,
        undelivered={state: undelivered.counts[state] for state in State if state in UNDELIVERED},
        oldest_undelivered=undelivered.waiting,
        delivered_of_last_24_hours=len(delivered),
        unconfirmed_of_last_24_hours=sum(lead.unconfirmed for lead in delivered),
        queue=Queues(leads=app.queue.depth(), poison=app.poison.depth()),
        needs_a_person=[
            *([] if offers else ["no offer is configured: every lead is kept as unrouted until one is"]),
            *(f"connection {c.id} is {c.health}" for c in connections if c.paused and c.used_by and c.type != CEILING),
            *(f"{_CALLS[state]}: {undelivered.calling[state]}" for state in _CALLS if undelivered.calling[state]),
            *(_in_words(alarm) for alarm in app.alarms.on() if alarm.event not in _TOLD_ALREADY),
        ],
    )


def _in_words(alarm: Change) -> str:
    fields = ", ".join(f"{name} {value}" for name, value in alarm.fields.items() if value != "")
    return f"{alarm.event.value} ({fields}): {alarm.event.plain_meaning}"


@dataclass(slots=True)
class _Undelivered:
    """How many there are of each state, how many of those call for a person, and the first that the app means to deliver."""

    counts: Counter[State] = field(default_factory=Counter)
    calling: Counter[State] = field(default_factory=Counter)
    oldest: listing.Undelivered | None = None

    @classmethod
    def of(cls, app: App) -> "_Undelivered":
        """One pass over what may be very many."""
        found, since = cls(), clock.now() - CALLS_FOR
        for item in listing.undelivered(app.ledger):
            found.counts[item.state] += 1
            if item.state in _CALLS and received_at_of(item.lead_id) >= since:
                found.calling[item.state] += 1
            if item.state in _STILL_TO_DELIVER and (found.oldest is None or item.lead_id < found.oldest.lead_id):
                found.oldest = item
        return found

    @property
    def waiting(self) -> Waiting | None:
        if self.oldest is None:
            return None
        return Waiting(
            lead_id=self.oldest.lead_id,
            received_at=received_at_of(self.oldest.lead_id),
            offer=self.oldest.offer,
            destination=self.oldest.destination,
            state=self.oldest.state,
        )
