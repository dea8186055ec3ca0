"""Where personal data stands."""

from collections.abc import Mapping
from dataclasses import dataclass

from leads.ledger.tombstones import Tombstones
from leads.ledger.transactions import Ledger
from leads.offers.model import DestinationOf
from leads.offers.table import Offers
from leads.platform.storage import Queue


@dataclass(frozen=True, slots=True)
class PersonalDataStores:
    """The parts of the app that hold personal data, or say where a lead was handed over."""

    ledger: Ledger
    tombstones: Tombstones
    queues: Mapping[str, Queue]
    """The queues with messages that can hold a lead, by name. Messages are read as they are stored."""
    offers: Offers
    destination_of: DestinationOf
