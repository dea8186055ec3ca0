"""What a destination is: its settings, `check()` and `send()`, and the outcomes that `send()` can have."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from leads.lead import Lead, Stage
from leads.settings import Secrets, Settings


@dataclass(frozen=True, slots=True)
class Delivered:
    """The record is there, or was there already."""

    record_id: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """An outage, a time-out, throttling: nothing is wrong with the lead. `after` is the vendor's Retry-After in seconds."""

    code: str
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """This lead can't be stored as it is. `reason` tells a person why, without repeating the lead's data."""

    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Credentials, rights, address or a missing field: every lead would fail. `reason` says what to change."""

    reason: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, the answer was lost, and the vendor has no key by which a second try could be recognised."""

    code: str


Outcome = Delivered | Retry | Rejected | Misconfigured | Unknown


@dataclass(frozen=True, slots=True)
class Customer:
    """Whom the lead is from, within the destination's record scope. `record_id` is "" until a first lead is delivered."""

    key: str
    record_id: str = ""


@dataclass(frozen=True, slots=True)
class OutgoingLead:
    """A lead on its way: what a destination needs to know about it."""

    lead_id: str
    lead: Lead
    offer: str
    destination: str
    stage: Stage
    received_at: datetime
    repeat_of: str = ""


class DestinationSettings(BaseModel):
    """Base of every destination's settings. Secrets are `SecretReference` fields, never values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What a destination may use of the app around it."""

    settings: Settings
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether a connection is usable; if not, what to change, and whether it is only out of reach for now."""

    ok: bool
    problem: str = ""
    code: str = ""
    transient: bool = field(default=False)


class Destination(ABC):
    """One configured destination. It is made once per instance and used by many threads at once."""

    Settings: ClassVar[type[DestinationSettings]]

    connection: str = ""
    """The id of the connection it uses; set when it is made."""

    @classmethod
    @abstractmethod
    def address(cls, settings: DestinationSettings) -> tuple[str, ...]:
        """The address and the credential references: offers that agree on them share one connection."""

    def record_scope(self, offer: str, name: str) -> str:
        """Within what a customer has one record: the offer's destination, unless a vendor's records are wider."""
        return f"{offer}|{name}"

    @abstractmethod
    def check(self) -> CheckResult:
        """Whether the connection is usable. Writes no lead; never raises for what the vendor or network does."""

    @abstractmethod
    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        """Store the lead under a key that can be computed again. Never raises for what the vendor or network does."""


def connection_id(type_name: str, address: tuple[str, ...]) -> str:
    """The id of the connection that all destinations of this type and address share: 16 hex digits."""
    return sha256("\n".join((type_name, *address)).encode()).hexdigest()[:16]
