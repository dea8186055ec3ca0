"""The daily ceiling of an offer: further leads are accepted and parked, so that a flood at the intake does not reach the CRM.

Each instance counts leads in memory, and adds its count to the shared count in steps of a hundredth of the ceiling. So counting
needs few requests, and each instance may let a hundredth too many leads through.
"""

from threading import Lock
from typing import Final

from leads.destinations.daily_quota import DailyQuota
from leads.health.connections import Connections
from leads.offers.model import Offer
from leads.platform.storage import Table
from leads.platform.table_format import key_part

CEILING: Final = "ceiling"
"""The type of the connection that holds the leads over an offer's ceiling."""
STEPS: Final = 100


class Ceilings:
    """The counts of this instance, and the shared counts."""

    def __init__(self, table: Table, connections: Connections) -> None:
        self._table = table
        self._connections = connections
        self._lock = Lock()
        self._counted: dict[str, int] = {}

    def is_over(self, offer: Offer) -> bool:
        """Whether a lead of the offer has to wait. If not, the lead is counted. Raises `StorageError`."""
        ceiling = offer.policies.daily_ceiling
        if ceiling is None:
            return False
        if self._connections.get(offer.ceiling_connection).paused:
            return True
        if counted := self._to_add(offer, ceiling):
            until = self._quota(offer, ceiling).add(counted)
            if until is not None:
                reason = f"over the offer's daily ceiling of {ceiling} leads; sending continues at {until:%Y-%m-%d %H:%M} UTC"
                self._connections.pause(offer.ceiling_connection, CEILING, reason, quietly=True)
        return False

    def reopen_if_room(self, offer: Offer) -> bool:
        """Open the ceiling's connection if the present count and ceiling leave room. Raises `StorageError`."""
        ceiling = offer.policies.daily_ceiling
        if ceiling is not None and self._quota(offer, ceiling).used_up_until() is not None:
            return False
        self._connections.reopen(offer.ceiling_connection, quietly=True)
        return True

    def _to_add(self, offer: Offer, ceiling: int) -> int:
        with self._lock:
            counted = self._counted.pop(offer.id, 0) + 1
            if counted >= max(1, ceiling // STEPS):
                return counted
            self._counted[offer.id] = counted
            return 0

    def _quota(self, offer: Offer, ceiling: int) -> DailyQuota:
        return DailyQuota(self._table, CEILING, key_part(offer.id), ceiling)
