"""Connections: list, show, pause and resume them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field

from leads.core import clock
from leads.core.states import State
from leads.health.connection import Connection
from leads.health.connections import Connections
from leads.health.daily_ceiling import CEILING
from leads.ledger.queries import undelivered
from leads.ledger.transactions import Ledger
from leads.offers.model import Offer, by_connection
from leads.offers.table import Offers
from leads.offers.usage import named
from leads.operations.operation import BODY, PATH, Body, Nothing, Request
from leads.operations.problems import Invalid, NotFound, Unavailable

MAX_NOTE_CHARACTERS: Final = 500


class Use(BaseModel):
    """An offer's destination that uses a connection."""

    offer: str
    destination: str


class ConnectionView(BaseModel):
    """A connection and its health in words. `since`: the start of the pause. `by_person`: a person paused the connection.

    `host`: the vendor's host, "" if only a secret names it. `waiting`: the number of parked leads. `last_lead`: the lead
    delivered at `last_success_at`. `next_check_at`: the time of the next check. None: never, because a person paused the
    connection or no offer uses it. In the past: the app does not run.
    """

    id: str
    type: str
    health: str
    paused: bool
    by_person: bool
    since: datetime | None
    failures: int
    last_success_at: datetime | None
    last_lead: str
    last_failure_at: datetime | None
    next_check_at: datetime | None
    used_by: list[Use]
    host: str
    waiting: int


class ConnectionList(BaseModel):
    """The connections that offers use or used, by id."""

    connections: list[ConnectionView]


ConnectionId = Annotated[
    str, PATH, Field(min_length=1, max_length=100, description="The connection's id, as status and the list show it.")
]


def _in_a_line(text: str) -> str:
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    if not line:
        raise ValueError("give the reason, for colleagues who find the connection paused")
    return line


class ShowConnection(Request):
    """Which connection."""

    connection_id: ConnectionId


class Note(Body):
    """Why a person pauses a connection."""

    note: Annotated[str, AfterValidator(_in_a_line)] = Field(
        min_length=1,
        max_length=MAX_NOTE_CHARACTERS,
        description="The reason, and the end of the pause, for colleagues.",
    )


class PauseConnection(Request):
    """Which connection, and why."""

    connection_id: ConnectionId
    note: Annotated[Note, BODY]


class ResumeConnection(ShowConnection):
    """Which connection."""


def list_connections(connections: Connections, offers: Offers, ledger: Ledger, request: Nothing) -> ConnectionList:
    """List the connections with their health and the destinations that use them."""
    return ConnectionList(connections=_all(connections, offers, ledger))


def show_connection(
    connections: Connections, offers: Offers, ledger: Ledger, request: ShowConnection
) -> ConnectionView:
    """Show a connection: its health, the last delivered lead, and when the app checks it next."""
    return _found(_all(connections, offers, ledger), request.connection_id)


def pause_connection(
    connections: Connections, offers: Offers, ledger: Ledger, request: PauseConnection
) -> ConnectionView:
    """Pause a connection: the app parks its leads, and sends and probes nothing until a person resumes it."""
    found = _to_be_changed(_all(connections, offers, ledger), request.connection_id)
    connections.pause_by_person(found.id, found.type, request.note.note)
    return _changed(_all(connections, offers, ledger), found.id, by_person=True)


def resume_connection(
    connections: Connections, offers: Offers, ledger: Ledger, request: ResumeConnection
) -> ConnectionView:
    """Resume a connection: the app sends new leads at once, and parked leads at the connection's pace."""
    found = _to_be_changed(_all(connections, offers, ledger), request.connection_id)
    if found.paused:
        connections.resume(found.id)
    return _changed(_all(connections, offers, ledger), found.id, by_person=False)


def view_connections(
    stored: Iterable[Connection], offers: Iterable[Offer], waiting: Mapping[str, int]
) -> list[ConnectionView]:
    """The connections that offers use or used. A daily ceiling is listed only while leads wait for it.

    `waiting`: the number of parked leads by connection.
    """
    offers = list(offers)
    uses = by_connection(offers)
    used = {
        key: (using[0][1].type, [Use(offer=offer.id, destination=config.name) for offer, config in using])
        for key, using in uses.items()
    }
    used |= {offer.ceiling_connection: (CEILING, [Use(offer=offer.id, destination="")]) for offer in offers}
    known = {connection.id: connection for connection in stored}
    known |= {key: Connection(key, type_name) for key, (type_name, _) in used.items() if key not in known}
    shown = [key for key, connection in known.items() if connection.type != CEILING or connection.paused]
    return [
        _view(known[key], used.get(key, ("", []))[1], named(key, uses)["host"], waiting.get(key, 0))
        for key in sorted(shown)
    ]


def _all(connections: Connections, offers: Offers, ledger: Ledger) -> list[ConnectionView]:
    """The connections of all readable offers. One unreadable offer does not hide the others' connections."""
    waiting = Counter(item.connection for item in undelivered(ledger) if item.state is State.PARKED)
    return view_connections(connections.stored(), (stored.offer for stored in offers.read()[0]), waiting)


def _found(views: Iterable[ConnectionView], connection_id: str) -> ConnectionView:
    for view in views:
        if view.id == connection_id.strip().lower():
            return view
    raise NotFound("connection_id: there is no such connection; list the connections to see their ids")


def _to_be_changed(views: Iterable[ConnectionView], connection_id: str) -> ConnectionView:
    view = _found(views, connection_id)
    if view.type == CEILING:
        raise Invalid(
            "connection_id: these leads wait because of the offer's policy daily_ceiling, until there is room; raise that ceiling"
        )
    return view


def _changed(views: Iterable[ConnectionView], connection_id: str, *, by_person: bool) -> ConnectionView:
    """The connection after a change. Raises `Unavailable` if changes by others prevented it."""
    view = _found(views, connection_id)
    if view.by_person is not by_person:
        raise Unavailable("connection_id: others were changing the connection at the same moment; try again")
    return view


def _view(connection: Connection, used_by: list[Use], host: str, waiting: int) -> ConnectionView:
    is_checked, now = bool(used_by) and not connection.by_person and connection.type != CEILING, clock.now()
    return ConnectionView(
        id=connection.id,
        type=connection.type,
        health=_health(connection, in_use=bool(used_by)),
        paused=connection.paused or connection.by_person,
        by_person=connection.by_person,
        since=connection.person_since or connection.since,
        failures=connection.failures,
        last_success_at=connection.last_success_at,
        last_lead=connection.last_lead,
        last_failure_at=connection.last_failure_at,
        next_check_at=max(connection.next_check_at or now, now) if is_checked else None,
        used_by=used_by,
        host=host,
        waiting=waiting,
    )


def _health(connection: Connection, *, in_use: bool) -> str:
    if connection.by_person:
        return f"paused by a person: {connection.person_note}"
    if not in_use:
        return "no offer uses it"
    if connection.paused:
        return f"paused: {connection.reason}"
    if connection.failures:
        return f"failing: {connection.failures} in a row" + (f", {connection.refusal}" if connection.refusal else "")
    return "working" if connection.last_success_at else "nothing was sent yet"
