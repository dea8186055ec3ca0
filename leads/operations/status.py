"""Status: shows the app at a glance."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, Field

from leads.core import clock
from leads.core.identity import received_at_of
from leads.core.states import DELIVERABLE, MOST_URGENT_FIRST, TRIED_AGAIN, UNDELIVERED, State
from leads.health.alarms import Alarms, Value
from leads.health.connections import Connections
from leads.health.daily_ceiling import CEILING
from leads.ledger import queries
from leads.ledger.transactions import Ledger
from leads.offers.table import Offers
from leads.operations.connections import ConnectionView, view_connections
from leads.operations.operation import Nothing
from leads.platform.build import this_build
from leads.platform.events import Event
from leads.platform.settings import Settings
from leads.platform.storage import LEADS_QUEUE, POISON_QUEUE, Queue
from leads.watch.conditions import CALLS_FOR

COUNTED_AT_MOST: Final = 1000
_TOLD_ALREADY: Final = frozenset({Event.CONNECTION_PAUSED, Event.LEADS_NEED_A_PERSON})
"""Alarms that repeat what status itself finds. An alarm may be a minute old."""
_CALLS: Final = {
    State.DEAD_LETTER: "dead letters of the last 30 days",
    State.HELD: "held leads of the last 30 days",
    State.UNREADABLE: "unreadable bodies of the last 30 days",
    State.UNROUTED: "unrouted leads of the last 30 days, which no offer takes",
}


class Waiting(BaseModel):
    """An undelivered lead."""

    lead_id: str
    received_at: datetime
    offer: str
    destination: str
    state: State


class Queues(BaseModel):
    """The approximate number of messages on the queues, hidden and delayed messages included."""

    leads: int
    poison: int


class CallingLeads(BaseModel):
    """Leads of the last 30 days that need a person. `offer`, `destination`: "" if not known."""

    state: State
    offer: str
    destination: str
    count: int


class AlarmView(BaseModel):
    """An active alarm. `fields`: what it is about. `says`: what it means."""

    event: str
    since: datetime
    fields: dict[str, Value]
    says: str


class Status(BaseModel):
    """The app at a glance. `undelivered`: deliveries by state. `needs_a_person`: texts on what does not pass by itself. For
    programs, `calling` and `alarms` hold the same."""

    release: str = Field(default="", description="The running version, with its commit if known.")
    offers: list[str]
    connections: list[ConnectionView]
    undelivered: dict[State, int]
    oldest_undelivered: Waiting | None
    next_retry_at: datetime | None = Field(
        description="When the next failed lead is due. A time in the past means that the app does not retry."
    )
    last_24_hours: dict[State, int] = Field(
        description=f"Leads of the last 24 hours, by state; at most the newest {COUNTED_AT_MOST}."
    )
    unconfirmed_of_last_24_hours: int = Field(
        description="Number of leads that a vendor took without confirming a record."
    )
    waiting_by_offer: dict[str, int] = Field(
        default={}, description="Deliveries that the app still makes by itself, by offer."
    )
    queue: Queues
    needs_a_person: list[str]
    calling: list[CallingLeads] = Field(default=[], description="Leads that need a person, most urgent state first.")
    alarms: list[AlarmView] = Field(default=[], description="Active alarms, oldest first.")
    unreadable_offers: list[str] = Field(
        default=[], description="What is wrong with the stored offers that can't be read."
    )
    latency: str = Field(
        default="",
        description="How soon a lead is delivered, depending on what the deployment keeps warm; empty if not known.",
    )


def latency(warm: Collection[str] | None) -> str:
    """How soon the app delivers a lead, if these function groups have an always ready instance. None = not known.

    Flex Consumption scales each group to zero within about half a minute, and then polls the queue less often
    (https://github.com/Azure/Azure-Functions/issues/2581, https://github.com/Azure/azure-functions-host/issues/10706).
    """
    if warm is None:
        return ""
    intake = "answered at once" if "intake" in warm else "answered once Azure has started an instance"
    delivery = (
        "delivered about a second later"
        if "delivery" in warm
        else "delivered once Azure has noticed its message and started an instance: seconds, up to two minutes in measurements"
    )
    return f"after a pause a lead is {intake} and {delivery}"


def show_status(
    stored_offers: Offers,
    health: Connections,
    ledger: Ledger,
    alarms: Alarms,
    queues: Mapping[str, Queue],
    settings: Settings,
    request: Nothing,
) -> Status:
    """Show offers, connections, waiting and delivered leads, and what needs a person."""
    stored, unreadable = stored_offers.read()
    offers = [each.offer for each in stored]
    undelivered = _Undelivered.of(ledger)
    connections = view_connections(health.stored(), offers, undelivered.parked)
    day = clock.now() - timedelta(hours=24)
    recent = queries.newest(ledger, since=day, limit=COUNTED_AT_MOST)
    active = alarms.active()
    return Status(
        release=str(this_build()),
        offers=[offer.id for offer in offers],
        connections=connections,
        undelivered={state: undelivered.counts[state] for state in State if state in UNDELIVERED},
        oldest_undelivered=undelivered.waiting,
        next_retry_at=undelivered.next_retry_at,
        last_24_hours=Counter(lead.state for lead in recent),
        unconfirmed_of_last_24_hours=sum(lead.unconfirmed for lead in recent if lead.state is State.DELIVERED),
        waiting_by_offer=undelivered.by_offer,
        queue=Queues(leads=queues[LEADS_QUEUE].depth(), poison=queues[POISON_QUEUE].depth()),
        needs_a_person=[
            *map(str, unreadable),
            *([] if offers or unreadable else ["no offer is configured: the app keeps every lead as unrouted"]),
            *(_in_words(c) for c in connections if c.paused and c.used_by and c.type != CEILING),
            *(f"{_CALLS[state]}: {count}" for state in _CALLS if (count := undelivered.calling_in(state))),
            *(alarm.event.in_words(alarm.fields) for alarm in active if alarm.event not in _TOLD_ALREADY),
        ],
        calling=[
            CallingLeads(state=state, offer=offer, destination=destination, count=count)
            for (state, offer, destination), count in sorted(undelivered.calling.items(), key=_most_urgent_first)
        ],
        alarms=[
            AlarmView(
                event=alarm.event.value,
                since=alarm.began_at,
                fields=dict(alarm.fields),
                says=alarm.event.meaning_with(alarm.fields),
            )
            for alarm in active
        ],
        unreadable_offers=[str(each) for each in unreadable],
        latency=latency(settings.warm),
    )


def _most_urgent_first(calling: tuple[tuple[State, str, str], int]) -> tuple[int, str, str]:
    (state, offer, destination), _ = calling
    return MOST_URGENT_FIRST.index(state), offer, destination


def _in_words(connection: ConnectionView) -> str:
    users = ", ".join(f"{use.offer} {use.destination}" for use in connection.used_by)
    about = "; ".join(filter(None, (users, connection.host)))
    waiting = f"; waiting leads: {connection.waiting}" if connection.waiting else ""
    return f"connection {connection.id} ({about}) is {connection.health.removesuffix('.')}{waiting}"


@dataclass(slots=True)
class _Undelivered:
    """Numbers of undelivered leads, the oldest of them, and the time of the next retry."""

    counts: Counter[State] = field(default_factory=Counter)
    calling: Counter[tuple[State, str, str]] = field(default_factory=Counter)
    """By state, offer and destination."""
    parked: Counter[str] = field(default_factory=Counter)
    """By connection."""
    by_offer: Counter[str] = field(default_factory=Counter)
    oldest: queries.Undelivered | None = None
    next_retry_at: datetime | None = None

    @classmethod
    def of(cls, ledger: Ledger) -> "_Undelivered":
        """Counts in a single pass, because there may be very many."""
        found, since = cls(), clock.now() - CALLS_FOR
        for item in queries.undelivered(ledger):
            found.counts[item.state] += 1
            if item.state is State.PARKED:
                found.parked[item.connection] += 1
            if item.state in _CALLS and received_at_of(item.lead_id) >= since:
                found.calling[item.state, item.offer, item.destination] += 1
            if item.state in DELIVERABLE and item.offer:
                found.by_offer[item.offer] += 1
            if item.state in DELIVERABLE and (found.oldest is None or item.lead_id < found.oldest.lead_id):
                found.oldest = item
            if item.state in TRIED_AGAIN and item.next_at is not None:
                found.next_retry_at = min(item.next_at, found.next_retry_at or item.next_at)
        return found

    def calling_in(self, state: State) -> int:
        return sum(count for (each, *_), count in self.calling.items() if each is state)

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
