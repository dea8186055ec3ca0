"""Recovery: puts parked, unrouted, overdue and crashed leads back on the queue without a person.

Each step may run twice. The message is put before the ledger's row is written, and `seq` shows a message that was put twice.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, zip_longest
from typing import Final

from leads.core import clock
from leads.core.identity import EARLIEST, partition_of
from leads.core.routing import route
from leads.core.states import State
from leads.health.connection import Connection
from leads.health.connections import Connections
from leads.health.daily_ceiling import CEILING, Ceilings
from leads.ledger.queries import Backlog, bodies
from leads.ledger.todo_rows import Todo
from leads.ledger.transactions import Ledger
from leads.offers.model import Offer, offer_by_id
from leads.offers.table import CACHE_SECONDS
from leads.offers.usage import Uses
from leads.platform.events import Event, emit
from leads.platform.steps import isolated
from leads.platform.storage import Queue
from leads.platform.threads import map_as_done

TICK: Final = timedelta(minutes=1)
OVERDUE: Final = timedelta(hours=1)
DEFAULT_PACE: Final = 5.0
ORPHANED_AFTER: Final = timedelta(days=8)
ORPHANS_LOOKED_FOR: Final = timedelta(days=8)
OFFERS_SETTLE: Final = timedelta(seconds=CACHE_SECONDS) + timedelta(minutes=9)
"""How long after a change of the offers a worker can still use the old offers: its cache, then one attempt."""
UNROUTED_SWEPT_EVERY_MINUTES: Final = 10
AT_ONCE: Final = 8
TOGETHER: Final = 25
"""Leads that are put and settled together. A transaction has up to 100 operations, four for each lead."""


Group = Sequence[tuple[Todo, int]]
"""Different leads of one partition, each with its delay in seconds."""
Redrive = Callable[[Group], int]
"""`leads.pipeline.redriving.redrive` with its queue, ledger and offers. Returns the number of messages put."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Leads that can be sent, oldest first. `pace`: leads a second."""

    items: Sequence[Todo]
    pace: float


# --- Behind open connections --------------------------------------------------------------------------------------------


def redrive_behind(
    redrive: Redrive, connections: Connections, known: Iterable[Connection], uses: Uses, backlog: Backlog
) -> None:
    """Re-drive one minute's worth of leads behind each open connection. The connection that waited longest comes first.

    Leads behind an unused connection are re-driven, too: their offer may have another connection now.
    """
    now = clock.now()
    waiting = []
    unused = {one.id for one in known if one.id not in uses and one.type != CEILING}
    free = [one for one in known if not one.by_person and (not one.paused or one.id in unused)]
    for connection in sorted(free, key=lambda one: one.attended_at or EARLIEST):
        with isolated("leads behind a connection"):
            pace = min((config.pace for _, config in uses.get(connection.id, ())), default=DEFAULT_PACE)
            items = _behind(connection, backlog, now, limit=_a_minutes_worth(pace))
            if items and connections.claim_probe(connection.id, connection.type):
                waiting.append(Waiting(items, pace))
    redrive_all(redrive, waiting)


def reopen(
    connections: Connections, ceilings: Ceilings, offers: Iterable[Offer], known: Iterable[Connection], uses: Uses
) -> None:
    """Open paused connections that no vendor has to answer for: ceilings with room again, and unused connections."""
    for connection in known:
        if connection.paused and connection.id not in uses:
            with isolated("a connection to open"):
                offer = next((offer for offer in offers if offer.ceiling_connection == connection.id), None)
                if offer is not None:
                    ceilings.reopen_if_room(offer)
                else:
                    connections.reopen(connection.id, quietly=connection.type == CEILING)


def _behind(connection: Connection, backlog: Backlog, now: datetime, limit: int) -> list[Todo]:
    opened_at = connection.opened_at

    def should_go(item: Todo) -> bool:
        # A lead that failed before the connection opened need not wait for a retry that is hours away.
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


def redrive_unrouted(
    redrive: Redrive, backlog: Backlog, offers: list[Offer], changed_at: Callable[[], datetime | None]
) -> None:
    """Re-drive leads that have an offer now. Long after the last change of the offers there are few, so the search is rare."""
    now, offers_changed_at = clock.now(), changed_at()
    if offers_changed_at is None:
        return
    if now - offers_changed_at > OFFERS_SETTLE and now.minute % UNROUTED_SWEPT_EVERY_MINUTES:
        return
    allowance = _a_minutes_worth(DEFAULT_PACE)
    found = backlog.find(State.UNROUTED, "", where=lambda item: _has_offer(item, offers), limit=allowance)
    found += backlog.find(State.RETRY, "", where=lambda item: _overdue(item, now), limit=allowance)
    redrive_all(redrive, [Waiting(found[:allowance], DEFAULT_PACE)])


def _has_offer(item: Todo, offers: list[Offer]) -> bool:
    """Whether an offer takes the lead now: the lead's own offer, or another one if no destination is done with the lead."""
    if item.destination and offer_by_id(item.offer, offers) is not None:
        return True
    return not item.partly_done and route(item.references, offers) is not None


def redrive_one_crashed(redrive: Redrive, backlog: Backlog) -> None:
    """Re-drive one crashed lead. If it crashes its worker again, no other crashed lead is affected."""
    now = clock.now()
    due = backlog.find(State.CRASHED, where=lambda item: item.next_at is not None and item.next_at < now, limit=1)
    redrive_all(redrive, [Waiting(due, DEFAULT_PACE)])


# --- Putting them on the queue ------------------------------------------------------------------------------------------


def redrive_all(redrive: Redrive, waiting: Sequence[Waiting]) -> None:
    """Put leads back on the queue, those of each connection spread over the coming minute.

    Leads that are not reached before the deadline wait for the next tick. Connections take turns, so that a long backlog delays
    only its own connection.
    """
    groups = [group for turn in zip_longest(*map(_groups, waiting), fillvalue=()) for group in turn if group]
    sent = Counter[tuple[State, str]]()
    try:
        for state, connection, count in map_as_done(
            lambda group: (group[0][0].state, group[0][0].connection, redrive(group)),
            groups,
            at_most=AT_ONCE,
            seconds=TICK.total_seconds(),
        ):
            sent[state, connection] += count
    finally:
        for (state, connection), count in sent.items():
            if count:
                emit(Event.LEADS_REDRIVEN, count=count, state=state.value, connection=connection)


def _groups(waiting: Waiting) -> Iterator[Group]:
    found: defaultdict[tuple[str, State, int], list[tuple[Todo, int]]] = defaultdict(list)
    seen = Counter[str]()
    for number, item in enumerate(waiting.items):
        # One transaction can't change a row twice, so each destination of a lead is in a different group.
        found[partition_of(item.lead_id), item.state, seen[item.lead_id]].append((item, int(number / waiting.pace)))
        seen[item.lead_id] += 1
    for group in chain(*zip_longest(*(_chunks(group) for group in found.values()))):
        if group:
            yield group


def _chunks(group: Group) -> Iterator[Group]:
    for first in range(0, len(group), TOGETHER):
        yield group[first : first + TOGETHER]


# --- Bodies whose lead was never put on the queue -----------------------------------------------------------------------


def sweep_orphaned_bodies(queue: Queue, ledger: Ledger) -> None:
    """Remove kept bodies without a lead: putting their message failed, and their senders got an error.

    While messages are on the queue, nothing is removed: after a long stop of the app, the message of a body may be among them.
    """
    if queue.depth() > 0:
        return
    before = clock.now() - ORPHANED_AFTER
    for lead_id in bodies(ledger, before=before, after=before - ORPHANS_LOOKED_FOR):
        with isolated("a body without a lead"):
            if ledger.read(lead_id) is None:
                ledger.drop_body(lead_id)
