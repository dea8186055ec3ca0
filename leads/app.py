"""The composition root: builds the parts of the app, each once per process and only when it is used."""

from collections.abc import Mapping
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from leads.ledger.incoming import IncomingLeads
from leads.platform.once import once
from leads.platform.settings import Settings, SettingsError, read_settings, read_usable_settings
from leads.platform.storage import (
    CLI_TIMEOUTS,
    INTAKE_TIMEOUTS,
    LEADS_QUEUE,
    NOTICES_QUEUE,
    POISON_QUEUE,
    TABLE_TIMEOUTS,
    Queue,
    Storage,
    StorageError,
)

if TYPE_CHECKING:
    from leads.destinations.base import Context, Destination
    from leads.health.alarms import Alarms
    from leads.health.connections import Connections
    from leads.health.daily_ceiling import Ceilings
    from leads.health.daily_counts import DailyCounts
    from leads.health.empty_bodies import EmptyBodies
    from leads.health.lead_counts import LeadCounts
    from leads.ledger.audit import Audit
    from leads.ledger.tombstones import Tombstones
    from leads.ledger.transactions import Ledger
    from leads.offers.model import DestinationConfig
    from leads.offers.table import Offers
    from leads.platform.secrets import Secrets
    from leads.platform.slots import CustomerTurns, Slots


class App:
    """The parts of the app, each built at its first use. So intake alone imports no table client."""

    def __init__(self, settings: Settings, table_timeouts: Mapping[str, Any] = TABLE_TIMEOUTS) -> None:
        self.settings = settings
        self.storage = Storage(settings, table_timeouts)
        self._destinations: dict[str, Destination] = {}
        self._lock = Lock()

    @once
    def secrets(self) -> "Secrets":
        from leads.platform.secrets import Secrets

        return Secrets(self.settings)

    @once
    def queue(self) -> Queue:
        return self.storage.queue(LEADS_QUEUE)

    @once
    def poison(self) -> Queue:
        return self.storage.queue(POISON_QUEUE, encoded=False)

    @once
    def lead_queues(self) -> dict[str, Queue]:
        """The queues with messages that can hold a lead, by name. Their messages are read without decoding."""
        return {LEADS_QUEUE: self.storage.queue(LEADS_QUEUE, encoded=False), POISON_QUEUE: self.poison}

    @once
    def ledger(self) -> "Ledger":
        from leads.ledger.transactions import LEDGER_TABLE, Ledger

        return Ledger(self.storage.table(LEDGER_TABLE))

    @once
    def intake(self) -> "App":
        """The parts with short time-outs for tables, because a sender waits."""
        return App(self.settings, INTAKE_TIMEOUTS)

    @once
    def incoming(self) -> IncomingLeads:
        return IncomingLeads(lambda: self.queue, lambda: self.intake.ledger)

    @once
    def tombstones(self) -> "Tombstones":
        from leads.ledger.tombstones import Tombstones
        from leads.ledger.transactions import LEDGER_TABLE

        return Tombstones(self.storage.table(LEDGER_TABLE))

    @once
    def audit(self) -> "Audit":
        from leads.ledger.audit import AUDIT_TABLE, Audit

        return Audit(self.storage.table(AUDIT_TABLE))

    @once
    def offers(self) -> "Offers":
        from leads.offers.table import OFFERS_TABLE, Offers

        return Offers(self.storage.table(OFFERS_TABLE))

    @once
    def connections(self) -> "Connections":
        from leads.health.connections import CONNECTIONS_TABLE, Connections

        table = self.storage.table(CONNECTIONS_TABLE)
        return Connections(table, self._users_of)

    def _users_of(self, connection_id: str) -> Mapping[str, str]:
        from leads.offers.model import by_connection
        from leads.offers.usage import named

        try:
            return named(connection_id, by_connection(self.offers.all()))
        except StorageError:
            return {}

    def last_refusal(self, connection_id: str) -> str:
        """Why the last delivery over a connection was refused; "" if it succeeded, or storage does not answer."""
        try:
            return self.connections.get(connection_id).last_refusal
        except (StorageError, SettingsError):
            return ""  # an unsaved offer can be checked without the app's storage

    @once
    def slots(self) -> "Slots":
        from leads.platform.slots import Slots

        return Slots(self.settings.connection_slots, self.settings.slow_slots)

    @once
    def customers(self) -> "CustomerTurns":
        from leads.platform.slots import CustomerTurns

        return CustomerTurns()

    @once
    def ceilings(self) -> "Ceilings":
        from leads.destinations.rate_limiter import ALLOWANCES_TABLE
        from leads.health.daily_ceiling import Ceilings

        return Ceilings(self.storage.table(ALLOWANCES_TABLE), self.connections)

    @once
    def alarms(self) -> "Alarms":
        from leads.health.alarms import ALARMS_TABLE, Alarms

        return Alarms(self.storage.table(ALARMS_TABLE), has_webhook=bool(self.settings.notify_webhook))

    @once
    def empty_bodies(self) -> "EmptyBodies":
        from leads.health.alarms import ALARMS_TABLE
        from leads.health.empty_bodies import EmptyBodies

        return EmptyBodies(self.storage.table(ALARMS_TABLE))

    @once
    def counts(self) -> "LeadCounts":
        from leads.health.lead_counts import COUNTS_TABLE, LeadCounts

        return LeadCounts(self.storage.table(COUNTS_TABLE), self.ledger)

    @once
    def daily_counts(self) -> "DailyCounts":
        from leads.health.daily_counts import DailyCounts
        from leads.health.lead_counts import COUNTS_TABLE

        return DailyCounts(self.storage.table(COUNTS_TABLE), self.ledger)

    @once
    def notices(self) -> Queue:
        return self.storage.queue(NOTICES_QUEUE, encoded=False)

    @once
    def context(self) -> "Context":
        from leads.destinations.base import Context

        return Context(self.settings, self.secrets, self.storage)

    def destination(self, config: "DestinationConfig") -> "Destination":
        """The destination of a configuration. Equal configurations give the same object."""
        from leads import destinations

        key = config.model_dump_json(include={"type", "settings", "mapping", "follow_up"})
        with self._lock:
            if key not in self._destinations:
                self._destinations[key] = destinations.make(
                    config.type, config.settings, self.context, config.mapping, config.follow_up
                )
            return self._destinations[key]


_making: Final = Lock()


def get_app() -> App:
    """The app of this process. Raises `SettingsError` if a setting is wrong."""
    with _making:
        return _made()


@cache
def _made() -> App:
    return App(read_settings())


def examined_app() -> App:
    """A new app without caches, built from the settings that are right. For diagnosing the wrong ones."""
    return App(read_usable_settings()[0], CLI_TIMEOUTS)
