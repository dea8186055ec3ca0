"""Probes: `watch` asks the vendors of connections that are paused, and of those over which nothing went for a while.

They are asked side by side, and first those that were asked longest ago: where some hang, every one has its turn within a few
ticks. Whose turn it was stands in the table, for all instances.
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
from leads.destinations.checking import check_connection
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
"""All of a check; less than elsewhere, so that a tick with vendors that hang is over before the next one is due."""
NOTING_SECONDS: Final = 8
"""What is left at least for what a check means: the connection's row, and the lead that probes it."""
BEGIN_SECONDS: Final = 4
ASK_SECONDS: Final = ANSWER_SECONDS + NOTING_SECONDS + BEGIN_SECONDS
"""A check is not begun without the time for all of it: cut short it would say nothing, and yet have had its turn."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """A connection whose vendor is to be asked."""

    connection: Connection
    config: DestinationConfig
    last_asked: datetime
    ask: Callable[[App, Connection, DestinationConfig, Backlog], None]


def ask_vendors(app: App, connections: Sequence[Connection], uses: Uses, backlog: Backlog) -> None:
    """Ask those whose time has come. Raises `NotDoneInTime` if not all were reached."""
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
    """Returns whether there was the time for it."""
    if deadline.remaining() < ANSWER_SECONDS + NOTING_SECONDS:
        return False
    with isolated("asking a vendor"):
        asking.ask(app, asking.connection, asking.config, backlog)
    return True


def _checked(app: App, config: DestinationConfig) -> CheckResult:
    with deadline.within(ANSWER_SECONDS):
        return check_connection(app.destination(config))


def _probe(app: App, connection: Connection, config: DestinationConfig, backlog: Backlog) -> None:
    """`check()`, then one lead; whoever delivers it opens the connection. Another lead next time, if this one fails."""
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
    # The row stays parked: only the outcome moves it, and a lost probe costs nothing.
    app.queue.put(encode(Message(item.lead_id, item.destination, item.seq + 1, probe=True)))


def _check(app: App, connection: Connection, config: DestinationConfig, backlog: Backlog) -> None:
    """Find out before a lead does. Its turn is noted first: one that is never done with must not come first each time."""
    del backlog
    app.connections.record_check(connection.id, config.type)
    check = _checked(app, config)
    emit(Event.CONNECTION_CHECKED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
    if not check.ok and not check.transient:
        app.connections.pause(connection.id, config.type, check.problem, check.code)
