"""Probes paused connections, and checks connections without a recent delivery.

Vendors are asked concurrently. The vendor that was asked longest ago comes first, so that each has its turn within a few ticks
even if some hang. The times are stored for all instances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from leads.core import clock
from leads.core.identity import EARLIEST
from leads.core.messages import Message, encode
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.destinations.bounded_calls import check_connection
from leads.health.connection import Connection
from leads.health.connections import Connections
from leads.ledger.queries import Backlog
from leads.offers.model import DestinationConfig, DestinationOf
from leads.offers.usage import Uses
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.secrets import Secrets
from leads.platform.steps import isolated
from leads.platform.storage import Queue
from leads.platform.threads import NotDoneInTime, map_as_done

AT_ONCE: Final = 16
ANSWER_SECONDS: Final = 40
"""Time limit of a check. It is shorter than elsewhere, so that a tick ends before the next tick even if vendors hang."""
NOTING_SECONDS: Final = 8
"""Time reserved for the result of a check: writing the connection's row, and putting the lead that probes it."""
BEGIN_SECONDS: Final = 4
ASK_SECONDS: Final = ANSWER_SECONDS + NOTING_SECONDS + BEGIN_SECONDS
"""Time limit of the step. A check begins only if the time is enough, because an interrupted check would use up its turn."""


@dataclass(frozen=True, slots=True)
class _Due:
    """A connection that is due for a probe, if it is paused, else for a check."""

    connection: Connection
    config: DestinationConfig

    @property
    def last_asked(self) -> datetime:
        return max(self.connection.attended_at or EARLIEST, self.connection.checked_at or EARLIEST)


@dataclass(frozen=True, slots=True)
class Prober:
    """Asks vendors and records their answers."""

    connections: Connections
    secrets: Secrets
    destination_of: DestinationOf
    queue: Queue
    backlog: Backlog

    def ask_vendors(self, connections: Sequence[Connection], uses: Uses) -> None:
        """Check or probe the connections that are due. Raises `NotDoneInTime` if some were not reached."""
        due = sorted(_due(connections, uses), key=lambda one: one.last_asked)
        reached = sum(map_as_done(self._ask, due, at_most=AT_ONCE, seconds=ASK_SECONDS))
        if reached < len(due):
            raise NotDoneInTime(f"{len(due) - reached} of {len(due)} connections were not asked")

    def _ask(self, due: _Due) -> bool:
        """Check or probe one connection. Returns whether there was time for it."""
        if deadline.remaining() < ANSWER_SECONDS + NOTING_SECONDS:
            return False
        with isolated("asking a vendor"):
            if due.connection.paused:
                self._probe(due.connection, due.config)
            else:
                self._check(due.connection, due.config)
        return True

    def _probe(self, connection: Connection, config: DestinationConfig) -> None:
        """Call `check()`, then send one lead. Its delivery opens the connection. If it fails, the next probe is another lead."""
        if not self.connections.claim_probe(connection.id, config.type):
            return
        self.secrets.forget()
        check = self._checked(config)
        emit(Event.CONNECTION_PROBED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
        if check.ok:
            self._send_one(connection)
        elif check.problem and check.problem != connection.reason:
            self.connections.pause(connection.id, config.type, check.problem, check.code)

    def _send_one(self, connection: Connection) -> None:
        waiting = self.backlog.find(State.PARKED, connection.id, after=connection.probed_lead, limit=1)
        waiting = waiting or self.backlog.find(State.PARKED, connection.id, limit=1)
        if not waiting:
            self.connections.reopen(connection.id)
            return
        item = waiting[0]
        self.connections.record_probe(connection.id, item.lead_id)
        # The row stays parked until the outcome, so that a lost probe does no harm.
        self.queue.put(encode(Message(item.lead_id, item.destination, item.seq + 1, probe=True)))

    def _check(self, connection: Connection, config: DestinationConfig) -> None:
        """Check an open connection before a lead needs it. The time is stored first, in case the check never ends."""
        self.connections.record_check(connection.id, config.type)
        check = self._checked(config)
        emit(Event.CONNECTION_CHECKED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
        if not check.ok and not check.transient:
            self.connections.pause(connection.id, config.type, check.problem, check.code)

    def _checked(self, config: DestinationConfig) -> CheckResult:
        with deadline.within(ANSWER_SECONDS):
            return check_connection(self.destination_of(config))


def _due(connections: Sequence[Connection], uses: Uses) -> Iterator[_Due]:
    now = clock.now()
    for connection in connections:
        if connection.by_person or connection.id not in uses:
            continue
        next_at = connection.wait_until if connection.paused else connection.next_check_at
        if next_at is None or next_at <= now:
            _, config = uses[connection.id][0]
            yield _Due(connection, config)
