"""The parts of the app that hold personal data."""

from collections.abc import Mapping
from dataclasses import dataclass

from leads.ledger.tombstones import Tombstones
from leads.ledger.transactions import Ledger
from leads.offers.model import DestinationOf
from leads.offers.table import Offers
from leads.platform.storage import Queue


@dataclass(frozen=True, slots=True)
class PersonalDataStores:
    """The parts of the app that hold personal data, or know to which destinations leads were sent."""

    ledger: Ledger
    tombstones: Tombstones
    queues: Mapping[str, Queue]
    """The queues with messages that can hold a lead, by name. Their messages are read without decoding."""
    offers: Offers
    destination_of: DestinationOf
