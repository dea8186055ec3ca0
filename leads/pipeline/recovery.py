"""Recovery: what was parked, unrouted, overdue or crashed goes back on the queue by itself.

Every step may be done twice: the message comes first, then the ledger's row, and a message that was put twice is recognised by
its number.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, zip_longest
from typing import Final

from leads.app import App
from leads.core import clock
from leads.core.identity import EARLIEST, partition_of
from leads.core.routing import route
from leads.core.states import State
from leads.health.connections import Connection
from leads.health.daily_ceiling import CEILING
from leads.ledger.queries import Backlog, bodies
from leads.ledger.rows import Todo
from leads.offers.model import Offer, offer_by_id
from leads.offers.table import CACHE_SECONDS
from leads.offers.usage import Uses
from leads.pipeline.redriving import redrive
from leads.platform.events import Event, emit
from leads.platform.steps import isolated
from leads.platform.threads import map_as_done

TICK: Final = timedelta(minutes=1)
OVERDUE: Final = timedelta(hours=1)
DEFAULT_PACE: Final = 5.0
ORPHANED_AFTER: Final = timedelta(days=8)
ORPHANS_SOUGHT_FOR: Final = timedelta(days=8)
OFFERS_SETTLE: Final = timedelta(seconds=CACHE_SECONDS) + timedelta(minutes=9)
"""How long after a change of the offers a worker can still judge a lead by the old ones: its cache, then one attempt."""
UNROUTED_SWEPT_EVERY_MINUTES: Final = 10
AT_ONCE: Final = 8
TOGETHER: Final = 25
"""So many leads are put, and then settled, together: a transaction holds four operations of each."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Leads that can go on, oldest first, at so many a second."""

    items: Sequence[Todo]
    pace: float


# --- Behind open connections --------------------------------------------------------------------------------------------


def redrive_behind(app: App, connections: Iterable[Connection], uses: Uses, backlog: Backlog) -> None:
    """One minute's worth of what waits behind each open connection; first those whose turn is longest ago.

    What waits behind one that nobody uses any more goes, too: its offer may have another one now.
    """
    now = clock.now()
    waiting = []
    free = [one for one in connections if not one.by_person and (not one.paused or _is_unused(one, uses))]
    for connection in sorted(free, key=lambda one: one.attended_at or EARLIEST):
        with isolated("what waits behind a connection"):
            pace = min((config.pace for _, config in uses.get(connection.id, ())), default=DEFAULT_PACE)
            items = _behind(connection, backlog, now, limit=_a_minutes_worth(pace))
            if items and app.connections.claim_probe(connection.id, connection.type):
                waiting.append(Waiting(items, pace))
    redrive_all(app, waiting)


def _is_unused(connection: Connection, uses: Uses) -> bool:
    return connection.id not in uses and connection.type != CEILING


def reopen(
    app: App,
    offers: Iterable[Offer],
    connections: Iterable[Connection],
    uses: Uses,
) -> None:
    """Open what no vendor has to be asked for: a ceiling with room, and a connection that nobody uses any more."""
    for connection in connections:
        if connection.paused and connection.id not in uses:
            with isolated("a connection to open"):
                if connection.type == CEILING:
                    _reopen_if_room(app, offers, connection)
                else:
                    app.connections.reopen(connection.id)


def _reopen_if_room(app: App, offers: Iterable[Offer], connection: Connection) -> None:
    """Let leads over an offer's ceiling go when there is room again; those of an offer that is gone have none to wait for."""
    offer = next((offer for offer in offers if offer.ceiling_connection == connection.id), None)
    if offer is None:
        app.connections.reopen(connection.id, quietly=True)
    else:
        app.ceilings.reopen_if_room(offer)


def _behind(connection: Connection, backlog: Backlog, now: datetime, limit: int) -> list[Todo]:
    opened_at = connection.opened_at

    def should_go(item: Todo) -> bool:
        # What failed before the connection healed need not wait for a try that lies hours ahead.
        return _overdue(item, now) or (opened_at is not None and item.updated_at < opened_at)

    waiting = backlog.find(State.PARKED, connection.id, limit=limit)
    if len(waiting) < limit:
        waiting += backlog.find(State.RETRY, connection.id, where=should_go, limit=limit - len(waiting))
    return waiting


def _overdue(item: Todo, now: datetime) -> bool:
    return item.next_at is not None and item.next_at < now - OVERDUE


def _a_minutes_worth(pace: float) -> int:
    return max(1, int(pace * TICK.total_seconds()))


# --- Unrouted and crashed leads -----------------------------------------------------------------------------------------


def redrive_unrouted(app: App, backlog: Backlog, offers: list[Offer]) -> None:
    """Send on what has an offer now. Without a change of the offers there is little to find, and it is sought rarely."""
    now, changed_at = clock.now(), app.offers.changed_at()
    if changed_at is None:
        return
    if now - changed_at > OFFERS_SETTLE and now.minute % UNROUTED_SWEPT_EVERY_MINUTES:
        return
    allowance = _a_minutes_worth(DEFAULT_PACE)
    found = backlog.find(State.UNROUTED, "", where=lambda item: _has_offer(item, offers), limit=allowance)
    found += backlog.find(State.RETRY, "", where=lambda item: _overdue(item, now), limit=allowance)
    redrive_all(app, [Waiting(found[:allowance], DEFAULT_PACE)])


def _has_offer(item: Todo, offers: list[Offer]) -> bool:
    """Whether an offer takes it now: its own, or any other unless a destination of its own is done with it."""
    if item.destination and offer_by_id(item.offer, offers) is not None:
        return True
    return not item.partly_done and route(item.references, offers) is not None


def redrive_one_crashed(app: App, backlog: Backlog) -> None:
    """One at a time: should it crash again, no neighbour goes down with it."""
    now = clock.now()
    due = backlog.find(State.CRASHED, where=lambda item: item.next_at is not None and item.next_at < now, limit=1)
    redrive_all(app, [Waiting(due, DEFAULT_PACE)])


# --- Putting them on the queue ------------------------------------------------------------------------------------------


def redrive_all(app: App, waiting: Sequence[Waiting]) -> None:
    """Put leads back on the queue, those of each connection spread over the coming minute.

    What the deadline leaves over waits for the next tick; a connection with many leads leaves over its own.
    """
    groups = [group for turn in zip_longest(*map(_groups, waiting), fillvalue=()) for group in turn if group]
    sent = Counter[tuple[State, str]]()
    try:
        for state, connection, count in map_as_done(
            lambda group: _redrive(app, group), groups, at_most=AT_ONCE, seconds=TICK.total_seconds()
        ):
            sent[state, connection] += count
    finally:
        for (state, connection), count in sent.items():
            if count:
                emit(Event.LEADS_REDRIVEN, count=count, state=state.value, connection=connection)


Group = Sequence[tuple[Todo, int]]
"""Leads of one partition, each once and with the seconds until its turn."""


def _redrive(app: App, group: Group) -> tuple[State, str, int]:
    first = group[0][0]
    return first.state, first.connection, redrive(app, group)


def _groups(waiting: Waiting) -> Iterator[Group]:
    found: defaultdict[tuple[str, State, int], list[tuple[Todo, int]]] = defaultdict(list)
    seen = Counter[str]()
    for number, item in enumerate(waiting.items):
        # Of a lead with several destinations each goes with another group: one transaction can't change a row twice.
        found[partition_of(item.lead_id), item.state, seen[item.lead_id]].append((item, int(number / waiting.pace)))
        seen[item.lead_id] += 1
    for group in chain(*zip_longest(*(_chunks(group) for group in found.values()))):
        if group:
            yield group


def _chunks(group: Group) -> Iterator[Group]:
    for first in range(0, len(group), TOGETHER):
        yield group[first : first + TOGETHER]


# --- Bodies whose lead was never put on the queue -----------------------------------------------------------------------


def sweep_orphaned_bodies(app: App) -> None:
    """Remove bodies that were kept, but whose message was refused (the sender was told so).

    With messages on the queue nothing is removed: one of them could be the body's own, after a long stop of the app.
    """
    if app.queue.depth() > 0:
        return
    before = clock.now() - ORPHANED_AFTER
    for lead_id in bodies(app.ledger, before=before, after=before - ORPHANS_SOUGHT_FOR):
        with isolated("a body without a lead"):
            if app.ledger.read(lead_id) is None:
                app.ledger.drop_body(lead_id)
