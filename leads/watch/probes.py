"""Probes: `watch` asks the vendors of paused connections, and of connections without a recent delivery.

Vendors are asked side by side, those first that were asked longest ago. So each has its turn within a few ticks even if some
hang. The times are stored, for all instances.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from leads.app import App
from leads.core import clock
from leads.core.identity import EARLIEST
from leads.core.messages import Message, encode
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.destinations.bounded_calls import check_connection
from leads.health.connection import Connection
from leads.ledger.queries import Backlog
from leads.offers.model import DestinationConfig
from leads.offers.usage import Uses
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.steps import isolated
from leads.platform.threads import NotDoneInTime, map_as_done

AT_ONCE: Final = 16
ANSWER_SECONDS: Final = 40
"""Deadline of a check. It is shorter than elsewhere, so that a tick ends before the next one even if vendors hang."""
NOTING_SECONDS: Final = 8
"""Time that must be left for the result of a check: the connection's row, and the lead that probes it."""
BEGIN_SECONDS: Final = 4
ASK_SECONDS: Final = ANSWER_SECONDS + NOTING_SECONDS + BEGIN_SECONDS
"""A check begins only if there is time for all of it. Cut short, it would say nothing and still have had its turn."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """A connection that is due for a check or a probe."""

    connection: Connection
    config: DestinationConfig
    last_asked: datetime
    ask: Callable[[App, Connection, DestinationConfig, Backlog], None]


def ask_vendors(app: App, connections: Sequence[Connection], uses: Uses, backlog: Backlog) -> None:
    """Check or probe the connections that are due. Raises `NotDoneInTime` if some were not reached."""
    due = sorted(_due(connections, uses), key=lambda asking: asking.last_asked)
    reached = sum(map_as_done(lambda asking: _ask(app, asking, backlog), due, at_most=AT_ONCE, seconds=ASK_SECONDS))
    if reached < len(due):
        raise NotDoneInTime(f"{len(due) - reached} of {len(due)} connections were not asked")


def _due(connections: Sequence[Connection], uses: Uses) -> Iterator[_Asking]:
    now = clock.now()
    for connection in connections:
        if connection.by_person or connection.id not in uses:
            continue
        _, config = uses[connection.id][0]
        if not connection.paused:
            if connection.next_check_at is None or connection.next_check_at <= now:
                yield _Asking(connection, config, _last_asked(connection), _check)
        elif connection.wait_until is None or connection.wait_until <= now:
            yield _Asking(connection, config, _last_asked(connection), _probe)


def _last_asked(connection: Connection) -> datetime:
    return max(connection.attended_at or EARLIEST, connection.checked_at or EARLIEST)


def _ask(app: App, asking: _Asking, backlog: Backlog) -> bool:
    """Returns whether there was time for it."""
    if deadline.remaining() < ANSWER_SECONDS + NOTING_SECONDS:
        return False
    with isolated("asking a vendor"):
        asking.ask(app, asking.connection, asking.config, backlog)
    return True


def _checked(app: App, config: DestinationConfig) -> CheckResult:
    with deadline.within(ANSWER_SECONDS):
        return check_connection(app.destination(config))


def _probe(app: App, connection: Connection, config: DestinationConfig, backlog: Backlog) -> None:
    """`check()`, then send one lead. Its delivery opens the connection. If it fails, the next probe is another lead."""
    if not app.connections.claim_probe(connection.id, config.type):
        return
    app.secrets.forget()
    check = _checked(app, config)
    emit(Event.CONNECTION_PROBED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
    if check.ok:
        _send_one(app, connection, backlog)
    elif check.problem and check.problem != connection.reason:
        app.connections.pause(connection.id, config.type, check.problem, check.code)


def _send_one(app: App, connection: Connection, backlog: Backlog) -> None:
    waiting = backlog.find(State.PARKED, connection.id, after=connection.probed_lead, limit=1)
    waiting = waiting or backlog.find(State.PARKED, connection.id, limit=1)
    if not waiting:
        app.connections.reopen(connection.id)
        return
    item = waiting[0]
    app.connections.record_probe(connection.id, item.lead_id)
    # The row stays parked until the outcome, so that a lost probe costs nothing.
    app.queue.put(encode(Message(item.lead_id, item.destination, item.seq + 1, probe=True)))


def _check(app: App, connection: Connection, config: DestinationConfig, backlog: Backlog) -> None:
    """Check an open connection before a lead needs it. Its turn is stored first, in case the check never ends."""
    del backlog
    app.connections.record_check(connection.id, config.type)
    check = _checked(app, config)
    emit(Event.CONNECTION_CHECKED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
    if not check.ok and not check.transient:
        app.connections.pause(connection.id, config.type, check.problem, check.code)
