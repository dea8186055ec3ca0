"""What a person has to hear of: the alarms that are on, and connections that are asked before a lead needs them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Final

from leads import clock, expiry, notices
from leads.alarms import Alarm, Change
from leads.app import App
from leads.attempt import checked
from leads.ceiling import CEILING
from leads.connections import Connection
from leads.events import Event, emit
from leads.hearing import silence_alarms
from leads.listing import Backlog
from leads.offers import DestinationConfig, Offer
from leads.rows import State

WAIT_IS_LONG: Final = timedelta(hours=1)
CALLS_FOR: Final = timedelta(days=30)
"""How long a lead that nobody mends calls for a person: one that is left as it is must not do so for ever."""
COUNTED_AT_MOST: Final = 1000
CHECKS_A_TICK: Final = 10
"""A check can take a minute where a vendor hangs, and a tick has to end before the next one is late."""
_FOR_A_PERSON: Final = (State.UNREADABLE, State.DEAD_LETTER, State.HELD, State.CRASHED)


def check_quiet_connections(app: App, in_use: Mapping[str, list[DestinationConfig]]) -> None:
    """Ask the vendors of open connections over which nothing went for about an hour, so that a lead is not what finds out."""
    now = clock.now()
    stored = {connection.id: connection for connection in app.connections.stored()}
    known = [stored.get(key) or Connection(key) for key in in_use]
    open_ones = [one for one in known if not one.paused and not one.by_person]
    due = [one for one in open_ones if one.next_check_at is None or one.next_check_at <= now]
    for connection in due[:CHECKS_A_TICK]:
        config = in_use[connection.id][0]
        check = checked(app.destination(config))
        emit(Event.CONNECTION_CHECKED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
        if check.ok or check.transient:
            app.connections.note_check(connection.id, config.type)
        else:
            app.connections.pause(connection.id, config.type, check.problem, check.code)


def raise_alarms(app: App, offers: list[Offer], backlog: Backlog) -> None:
    """Log and tell which alarms have begun or ended since the last tick."""
    connections = app.connections.stored()
    silent = silence_alarms(app)
    active = [
        *_paused(connections),
        *_waiting_long(connections, backlog),
        *_for_a_person(backlog),
        *_over_ceiling(connections, offers),
        *expiry.alarms(app, offers),
        *app.empty_bodies.alarms(),
        *(silent or ()),
    ]
    app.alarms.update(active, _teller(app), {Event.OFFER_SILENT} if silent is None else ())


def _paused(connections: Iterable[Connection]) -> Iterator[Alarm]:
    for connection in connections:
        if connection.paused and connection.type != CEILING:
            yield Alarm(Event.CONNECTION_PAUSED, _of(connection) | {"failures": connection.failures}, logged=True)


def _waiting_long(connections: Iterable[Connection], backlog: Backlog) -> Iterator[Alarm]:
    now = clock.now()
    for connection in connections:
        oldest = backlog.find(State.PARKED, connection.id, limit=1)
        if oldest and (waited := now - oldest[0].received_at) > WAIT_IS_LONG:
            yield Alarm(Event.LEADS_WAIT_LONG, _of(connection) | {"minutes": int(waited.total_seconds() // 60)})


def _of(connection: Connection) -> dict[str, str | int | float]:
    return {"connection": connection.id, "type": connection.type}


def _for_a_person(backlog: Backlog) -> Iterator[Alarm]:
    since = clock.now() - CALLS_FOR
    for state in _FOR_A_PERSON:
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


# --- Telling ------------------------------------------------------------------------------------------------------------


def _teller(app: App) -> Callable[[list[Change]], bool] | None:
    reference = app.settings.notify_webhook
    if not reference:
        return None

    def tell(changes: list[Change]) -> bool:
        why = notices.post(app.settings, app.secrets, reference, notice_of(changes))
        if why:
            emit(Event.NOTICE_FAILED, what="alarms", why=why)
        return not why

    return tell


def notice_of(changes: list[Change]) -> notices.Notice:
    """What is posted about alarms that have begun or ended."""
    began = sum(change.ended_at is None for change in changes)
    ended = len(changes) - began
    counts = [f"{count} {what}" for count, what in ((began, "new"), (ended, "over")) if count]
    return notices.Notice(
        title=f"Marketplace leads: {', '.join(counts)}",
        lines=[_line(change) for change in changes],
        data={
            "type": "alarms",
            "alarms": [
                {
                    "event": change.event.value,
                    "fields": dict(change.fields),
                    "meaning": _event(change).told(change.fields),
                    "began_at": change.began_at.isoformat(),
                    "ended_at": change.ended_at.isoformat() if change.ended_at else None,
                }
                for change in changes
            ],
        },
    )


def _line(change: Change) -> notices.Line:
    return notices.Line(f"{'Over' if change.ended_at else 'New'}: {_event(change).in_words(change.fields)}")


def _event(change: Change) -> Event:
    """What is told of: that it has begun, or ended."""
    return (change.event.end if change.ended_at else None) or change.event
