"""The parts of the app that deliver a lead."""

from dataclasses import dataclass

from leads.health.connections import Connections
from leads.health.daily_ceiling import Ceilings
from leads.ledger.tombstones import Tombstones
from leads.ledger.transactions import Ledger
from leads.offers.model import DestinationOf
from leads.offers.table import Offers
from leads.platform.secrets import Secrets
from leads.platform.slots import CustomerTurns, Slots
from leads.platform.storage import Queue


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """The parts that a delivery uses. All deliveries of the process share `customers` and `slots`, which limit its sends."""

    queue: Queue
    poison: Queue
    notices: Queue
    ledger: Ledger
    tombstones: Tombstones
    offers: Offers
    connections: Connections
    ceilings: Ceilings
    customers: CustomerTurns
    slots: Slots
    secrets: Secrets
    destination_of: DestinationOf
