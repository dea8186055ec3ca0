"""Decides which alarms are active, and posts alarms that begin or end to the notification webhook."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from leads.core import clock
from leads.core.states import ALARMING, State
from leads.health.alarms import Alarm, Alarms, Change
from leads.health.connection import Connection
from leads.health.daily_ceiling import CEILING
from leads.health.empty_bodies import EmptyBodies
from leads.health.lead_counts import LeadCounts
from leads.ledger.queries import Backlog
from leads.ledger.todo_rows import Todo
from leads.offers.model import Offer
from leads.offers.table import Offers
from leads.offers.usage import Uses, named
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings
from leads.platform.steps import isolated
from leads.platform.storage import StorageError
from leads.platform.threads import NotDoneInTime
from leads.watch import expiry, notifications
from leads.watch.silence_monitor import silence_alarms

WAIT_IS_LONG: Final = timedelta(hours=1)
CALLS_FOR: Final = timedelta(days=30)
"""How long a lead that needs a person raises an alarm, so that the alarm of an unfixed lead ends."""
COUNTED_AT_MOST: Final = 1000
WAITING_COUNTED: Final = 100
"""The most leads behind a connection that an alarm counts."""
UPDATE_SECONDS: Final = 5
"""Time reserved for storing and logging the alarms."""


_Look = Callable[[], Iterable[Alarm] | None]
"""Returns the active alarms; None = unknown now."""
_Condition = tuple[set[Event], _Look]
"""The events of alarms, and the function that finds them."""


def raise_alarms(
    alarms: Alarms,
    empty_bodies: EmptyBodies,
    offers: list[Offer],
    connections: list[Connection],
    uses: Uses,
    backlog: Backlog,
) -> None:
    """Store and log the alarms that have begun or ended since the last tick. Reads only the app's storage."""
    _raise(
        alarms,
        ({Event.CONNECTION_PAUSED}, lambda: _paused(connections, uses, backlog)),
        ({Event.LEADS_WAIT_LONG}, lambda: _waiting_long(connections, offers, uses, backlog)),
        ({Event.LEADS_NEED_A_PERSON}, lambda: _for_a_person(backlog)),
        ({Event.OFFER_OVER_CEILING}, lambda: _over_ceiling(connections, offers)),
        ({Event.BODY_WITHOUT_LENGTH, Event.BODIES_EMPTY}, empty_bodies.alarms),
    )


def raise_slow_alarms(alarms: Alarms, secrets: Secrets, counts: LeadCounts, offers: Offers) -> None:
    """As `raise_alarms`, for alarms that read Key Vault or count many leads."""
    _raise(
        alarms,
        ({Event.SECRET_EXPIRING}, lambda: expiry.alarms(secrets, offers.all())),
        ({Event.OFFER_SILENT}, lambda: silence_alarms(counts, offers)),
    )


def _raise(alarms: Alarms, *conditions: _Condition) -> None:
    """Update the alarms. An alarm that is unknown now stays as it is. A condition that fails does not stop the others."""
    active: list[Alarm] = []
    checked: set[Event] = set()
    fault: Exception | None = None
    with deadline.leaving(UPDATE_SECONDS):
        for events, look in conditions:
            try:
                with isolated("alarms"):
                    if (found := look()) is not None:
                        active += list(found)
                        checked |= events
            except (StorageError, NotDoneInTime) as error:
                fault = error
    alarms.update(active, checked)
    if fault is not None:
        raise fault


def _paused(connections: Iterable[Connection], uses: Uses, backlog: Backlog) -> Iterator[Alarm]:
    for connection in connections:
        if connection.paused and connection.id in uses:
            waiting = backlog.find(State.PARKED, connection.id, limit=WAITING_COUNTED)
            fields = _of(connection, uses, waiting) | {"failures": connection.failures}
            yield Alarm(Event.CONNECTION_PAUSED, fields, logged=True)


def _waiting_long(
    connections: Iterable[Connection], offers: Iterable[Offer], uses: Uses, backlog: Backlog
) -> Iterator[Alarm]:
    now = clock.now()
    over_ceiling = {offer.ceiling_connection: {"used_by": offer.id} for offer in offers}
    for connection in connections:
        waiting = backlog.find(State.PARKED, connection.id, limit=WAITING_COUNTED)
        if waiting and (waited := now - waiting[0].received_at) > WAIT_IS_LONG:
            fields = _of(connection, uses, waiting) | over_ceiling.get(connection.id, {})
            yield Alarm(Event.LEADS_WAIT_LONG, fields | {"minutes": int(waited.total_seconds() // 60)})


def _of(connection: Connection, uses: Uses, waiting: Sequence[Todo]) -> dict[str, str | int | float]:
    return {
        "connection": connection.id,
        "type": connection.type,
        **named(connection.id, uses),
        # A person's note may name people.
        "reason": "paused by a person" if connection.by_person else connection.reason,
        "waiting": len(waiting),
    }


def _for_a_person(backlog: Backlog) -> Iterator[Alarm]:
    since = clock.now() - CALLS_FOR
    for state in ALARMING:
        items = backlog.find(state, where=lambda item: item.received_at >= since, limit=COUNTED_AT_MOST)
        found = Counter((item.offer, item.destination) for item in items)
        for (offer, destination), count in found.items():
            about = {"state": state.value, "offer": offer, "destination": destination}
            yield Alarm(Event.LEADS_NEED_A_PERSON, {**about, "count": count})


def _over_ceiling(connections: Iterable[Connection], offers: Iterable[Offer]) -> Iterator[Alarm]:
    paused = {connection.id for connection in connections if connection.paused and connection.type == CEILING}
    for offer in offers:
        if offer.ceiling_connection in paused:
            yield Alarm(Event.OFFER_OVER_CEILING, {"offer": offer.id, "ceiling": offer.policies.daily_ceiling or 0})


# --- Notification -----------------------------------------------------------------------------------------------------


def notify(alarms: Alarms, settings: Settings, secrets: Secrets) -> None:
    """Post the alarms that have begun or ended to the notification webhook, if configured."""
    reference = settings.notify_webhook
    if not reference:
        return

    def post(changes: list[Change]) -> bool:
        why = notifications.post(settings, secrets, reference, notice_of(changes))
        if why:
            emit(Event.NOTICE_FAILED, what="alarms", why=why)
        return not why

    alarms.notify(post)


def notice_of(changes: list[Change]) -> notifications.Notice:
    """The notice about alarms that have begun or ended."""
    began = sum(change.ended_at is None for change in changes)
    ended = len(changes) - began
    counts = [f"{count} {what}" for count, what in ((began, "new"), (ended, "over")) if count]
    return notifications.Notice(
        title=f"Marketplace leads: {', '.join(counts)}",
        lines=[_line(change) for change in changes],
        data={
            "type": "alarms",
            "alarms": [
                {
                    "event": change.event.value,
                    "fields": dict(change.fields),
                    "meaning": _event(change).meaning_with(change.fields),
                    "runbook": change.event.runbook,
                    "began_at": change.began_at.isoformat(),
                    "ended_at": change.ended_at.isoformat() if change.ended_at else None,
                }
                for change in changes
            ],
        },
    )


def _line(change: Change) -> notifications.Line:
    event = _event(change)
    words = event.in_words(change.fields)
    return notifications.Line(f"Over: {words}" if change.ended_at else f"New ({change.event.runbook}): {words}")


def _event(change: Change) -> Event:
    """The event whose meaning describes a change: the alarm's event, or the event of its end."""
    return (change.event.end if change.ended_at else None) or change.event
