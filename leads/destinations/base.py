"""What a destination is: its settings, `check()`, `send()` and `preview()`, in one contract for all types."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from leads.core.lead import Lead, Stage
from leads.core.outcomes import Delivered, Outcome
from leads.destinations.follow_up import NO_FOLLOW_UP, REAL_INTEREST, FollowUp
from leads.platform.once import once
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings

if TYPE_CHECKING:
    from leads.destinations.http import HttpClient
    from leads.platform.storage import Storage

T = TypeVar("T")

MappingValue = str | int | float | bool | None
"""What fills a vendor's field: a template or a constant. None takes a default out."""

OWN_OUTAGE_SECONDS: Final = 60
"""`Retry.after` where something of the app's own did not answer."""


def _remember_nothing(done: Delivered) -> None:
    del done


@dataclass(frozen=True, slots=True)
class Customer:
    """Whom the lead is from, within the destination's record scope. `record_id` is "" until a first lead is delivered.

    `idempotency_key` is a random UUID (version 4). It is stored before the first send and stays until an outcome says that it
    was refused. `memory` is that of the newest `Delivered`.

    A destination that can't repeat its first step calls `remember` with the result before it begins the next step. If the attempt
    ends there, the next one finds `stored` set, and `record_id` and `memory` of that result.
    """

    key: str
    record_id: str = ""
    idempotency_key: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)
    stored: bool = False
    remember: Callable[[Delivered], None] = _remember_nothing


@dataclass(frozen=True, slots=True)
class OutgoingLead:
    """A lead on its way: what a destination needs to know about it.

    `set_do_not_contact` and `overwrite` are the offer's policies, as far as they concern this lead.
    """

    lead_id: str
    lead: Lead
    offer: str
    destination: str
    stage: Stage
    received_at: datetime
    repeat_of: str = ""
    follow_up: FollowUp = NO_FOLLOW_UP
    set_do_not_contact: bool = False
    overwrite: bool = False

    @property
    def asks_for_contact(self) -> bool:
        """Whether the customer has shown real interest."""
        return self.stage in REAL_INTEREST


@dataclass(frozen=True, slots=True)
class PreviewedRequest:
    """A request that `send` would make, for a person to read, with secrets masked.

    `body` is decoded where it is JSON or a form. `parts` are the requests inside of a batch and stand for its body. `note`
    explains the request where that is needed.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: JsonValue = None
    parts: tuple["PreviewedRequest", ...] = ()
    note: str = ""


class NotSendable(Exception):
    """`preview` has nothing to show: `send` would refuse the lead by itself. The text says why, without the lead's data."""


MASK: Final = "***"
"""Stands for a secret, or what is made from one, in a `PreviewedRequest`."""


class DestinationSettings(BaseModel):
    """Base of every destination's settings. Secrets are `SecretReference` fields, never values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


BaseUrl = Annotated[
    str,
    Field(pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?/?$", max_length=200),
    AfterValidator(lambda url: url.rstrip("/")),
]
"""The address of a vendor's API, without a path and without a slash at its end."""

MatchExisting = Annotated[
    Literal["email", "off"],
    Field(
        title="Match existing records",
        description="Whether the app looks for an existing record when a customer's first lead arrives.",
    ),
]
DeletedRecords = Annotated[
    Literal["recreate", "skip"],
    Field(
        title="Deleted records",
        description="What the app does with a lead if the customer's record was deleted.",
    ),
]


def secret_references(settings: DestinationSettings) -> dict[str, str]:
    """Setting → the reference in it; those inside a setting are named `headers.Authorization`."""
    found: dict[str, str] = {}
    for name in secret_settings(type(settings)):
        value = getattr(settings, name)
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        found |= {f"{name}.{key}" if key else name: reference for key, reference in inner if reference}
    return found


@cache
def secret_settings(kind: type[DestinationSettings]) -> tuple[str, ...]:
    """The settings of a type that hold secret references."""
    properties = kind.model_json_schema().get("properties", {})
    return tuple(name for name, schema in properties.items() if "'secret-reference'" in repr(schema))


class Context:
    """What a destination may use of the app around it, and what destinations of one app share."""

    def __init__(self, settings: Settings, secrets: Secrets, storage: "Storage") -> None:
        self.settings = settings
        self.secrets = secrets
        self.storage = storage
        self._lock = Lock()
        self._shared: dict[tuple[str, ...], Any] = {}

    def shared(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """The one thing of this key, made when it is first asked for."""
        with self._lock:
            if key not in self._shared:
                self._shared[key] = make()
            found: T = self._shared[key]
            return found


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether leads can be sent over a connection. It is not `ok` where something is known to prevent all leads.

    `problem` says what to change. With `ok` it says what leads are stored without, or what the check could not find out: an
    answer that can't be read proves nothing against the connection. `transient`: the vendor is only out of reach for now.
    """

    ok: bool
    problem: str = ""
    code: str = ""
    transient: bool = field(default=False)


class Destination(ABC):
    """One configured destination. It is made once per instance and used by many threads at once."""

    Settings: ClassVar[type[DestinationSettings]]

    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = None
    """The vendor's fields and what fills them; None where a field mapping has no meaning."""

    follow_ups: ClassVar[frozenset[str]] = frozenset()
    """The parts of a `FollowUp` that this type can do."""

    replay_warning: ClassVar[str]
    """What happens if a delivered lead is sent again: a sentence for the person who is about to do it."""

    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """For the parts of a follow-up that are the vendor's IDs: the pattern of one, and what it must be in words."""

    connection: str = ""
    """The id of the connection it uses; set when it is made."""

    mapping: Mapping[str, MappingValue] = {}
    """`default_mapping` as the configuration changes it; set when it is made."""

    follow_up: Mapping[Stage, FollowUp] = {}
    """What the configuration asks for by stage; set when it is made."""

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings = settings
        self.context = context

    @once
    def http(self) -> "HttpClient":
        """The connection's way to its vendor, shared by all destinations that use it."""
        from leads.destinations.http import HttpClient

        return self.context.shared(("http", self.connection), lambda: HttpClient.of(self.context.settings))

    @classmethod
    @abstractmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        """The address and the credential references: offers that agree on them share one connection."""

    @classmethod  # noqa: B027 - most vendors take anything
    def check_mapping(cls, name: str, value: MappingValue) -> None:
        """Raises ValueError where the vendor's field can't be filled with this; templates are checked before."""

    @classmethod
    def check_follow_up(cls, follow_up: FollowUp) -> None:
        """Raises ValueError where this type can't do what is asked for."""
        asked_for = {name for name, value in follow_up if value}
        for name in sorted(asked_for - cls.follow_ups):
            known = ", ".join(sorted(cls.follow_ups)) or "none of them"
            raise ValueError(f"{name}: this destination type can't do that; it can do {known}")
        for name, (pattern, wanted) in cls.follow_up_ids.items():
            value = getattr(follow_up, name)
            if value and not re.fullmatch(pattern, value):
                raise ValueError(f"{name}: must be {wanted}")

    @property
    def idempotent(self) -> bool:
        """Whether the vendor has a key that tells a second try; without one an attempt that was cut off is `Unknown`."""
        return True

    def record_scope(self, offer: str, name: str) -> str:
        """Within what a customer has one record: the offer's destination, unless a vendor's records are wider."""
        return f"{offer}|{name}"

    def record_link(self, record_id: str) -> str:
        """The address at which a person can look at a record, or ""."""
        del record_id
        return ""

    def record_place(self, record_id: str, received_at: datetime) -> str:
        """Where a person finds a record that has no address, "" where its id says all."""
        del record_id, received_at
        return ""

    def remove_own_record(self, record_id: str, received_at: datetime, *, dry_run: bool = False) -> bool:
        """Remove the record if it is in the app's own storage.

        Returns False where it is elsewhere, or may be: then a person has to remove it there.
        """
        del record_id, received_at, dry_run
        return False

    @abstractmethod
    def check(self) -> CheckResult:
        """Whether the connection is usable. Writes no lead; never raises for what the vendor or network does."""

    @abstractmethod
    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        """Store the lead under a key that can be computed again. Never raises for what the vendor or network does."""

    @abstractmethod
    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        """The requests that `send` would make for a customer's first lead, rendered by the same code. Sends and reads nothing.

        Raises `NotSendable`.
        """


def connection_id(type_name: str, key: tuple[str, ...]) -> str:
    """The id of the connection that all destinations of this type and key share: 16 hex digits."""
    return sha256("\n".join((type_name, *key)).encode()).hexdigest()[:16]
