"""The contract of all destination types: settings, `check()`, `send()` and `preview()`."""

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
"""The content of a vendor's field: a template or a constant. None removes a field of the default mapping."""

OWN_OUTAGE_SECONDS: Final = 60
"""`Retry.after`, in seconds, if a service of the app itself did not answer, such as storage or Key Vault."""


@dataclass(frozen=True, slots=True)
class Customer:
    """The lead's customer within the destination's record scope. `record_id` is "" until a first lead is delivered.

    `idempotency_key` is a random UUID (version 4). The app stores the key before the first send. The app replaces the key after
    an outcome with `key_refused`. `memory` is the memory of the newest `Delivered`.

    A destination that can't repeat its first step calls `remember` with the result before it begins the next step. If the attempt
    ends there, the next attempt finds `stored` set, and the `record_id` and `memory` of that result.
    """

    key: str
    record_id: str = ""
    idempotency_key: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)
    stored: bool = False
    remember: Callable[[Delivered], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class OutgoingLead:
    """A lead with what a destination needs to send it.

    `set_do_not_contact` and `overwrite` are the offer's policies, applied to this lead.
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
    """A request that `send` would make, with secrets masked, for a person to read.

    A `body` of JSON or of a form is decoded. A batch has `parts`, the requests inside the batch, and no body. `note` explains
    the request, "" if the request needs no explanation.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: JsonValue = None
    parts: tuple["PreviewedRequest", ...] = ()
    note: str = ""


class NotSendable(Exception):
    """`preview` has nothing to show, because `send` would reject the lead. The text gives the reason, without the lead's data."""


MASK: Final = "***"
"""Replaces a secret, or a value that is computed from a secret, in a `PreviewedRequest`."""


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
    """Setting → its secret reference. A reference inside a setting is named such as `headers.Authorization`."""
    found: dict[str, str] = {}
    for name in secret_settings(type(settings)):
        value = getattr(settings, name)
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        found |= {f"{name}.{key}" if key else name: reference for key, reference in inner if reference}
    return found


@cache
def secret_settings(kind: type[DestinationSettings]) -> tuple[str, ...]:
    """The names of a type's settings that hold secret references."""
    properties = kind.model_json_schema().get("properties", {})
    return tuple(name for name, schema in properties.items() if "'secret-reference'" in repr(schema))


class Context:
    """The parts of the app that a destination uses, and the objects that the app's destinations share."""

    def __init__(self, settings: Settings, secrets: Secrets, storage: "Storage") -> None:
        self.settings = settings
        self.secrets = secrets
        self.storage = storage
        self._lock = Lock()
        self._shared: dict[tuple[str, ...], Any] = {}

    def shared(self, key: tuple[str, ...], make: Callable[[], T]) -> T:
        """The object with this key. `make` makes the object at the first call."""
        with self._lock:
            if key not in self._shared:
                self._shared[key] = make()
            found: T = self._shared[key]
            return found


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether leads can be sent over a connection. The result is not `ok` if a known problem prevents all leads.

    `problem` says what to change. With `ok`, `problem` says what leads are stored without, or what the check could not find out:
    an answer that can't be read proves nothing against the connection. `transient`: the vendor can't be reached at present.
    """

    ok: bool
    problem: str = ""
    code: str = ""
    transient: bool = field(default=False)


class Destination(ABC):
    """One configured destination. Each instance of the app makes it once, and many threads use it at the same time."""

    Settings: ClassVar[type[DestinationSettings]]

    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = None
    """Vendor's field → its content. None if the type has no field mapping."""

    follow_ups: ClassVar[frozenset[str]] = frozenset()
    """The parts of a `FollowUp` that this type supports."""

    replay_warning: ClassVar[str]
    """Warning shown to a person before a delivered lead is sent again."""

    follow_up_ids: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Part of a follow-up that holds an ID of the vendor → the ID's pattern, and a description of the ID for a person."""

    connection: str = ""
    """The ID of the destination's connection. `leads.destinations.make` sets it."""

    mapping: Mapping[str, MappingValue] = {}
    """`default_mapping` with the changes of the configuration. `leads.destinations.make` sets it."""

    follow_up: Mapping[Stage, FollowUp] = {}
    """The configured follow-up of each stage. `leads.destinations.make` sets it."""

    def __init__(self, settings: Any, context: Context) -> None:
        self.settings = settings
        self.context = context

    @once
    def http(self) -> "HttpClient":
        """The connection's HTTP client, shared by all destinations of the connection."""
        from leads.destinations.http import HttpClient

        return self.context.shared(("http", self.connection), lambda: HttpClient.of(self.context.settings))

    @classmethod
    @abstractmethod
    def connection_key(cls, settings: DestinationSettings) -> tuple[str, ...]:
        """The address and the credential references. Destinations with the same key share one connection."""

    @classmethod  # noqa: B027 - most vendors take anything
    def check_mapping(cls, name: str, value: MappingValue) -> None:
        """Raises `ValueError` if the vendor's field can't hold this value. Templates are checked before."""

    @classmethod
    def check_follow_up(cls, follow_up: FollowUp) -> None:
        """Raises `ValueError` if this type can't do a part of the follow-up."""
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
        """Whether the vendor recognises a repeated request by a key. Otherwise, an attempt that was cut off is `Unknown`."""
        return True

    def record_scope(self, offer: str, name: str) -> str:
        """The scope within which a customer has one record. By default, the scope is the offer's destination."""
        return f"{offer}|{name}"

    def record_link(self, record_id: str) -> str:
        """The address at which a person can see a record, "" if there is none."""
        del record_id
        return ""

    def record_place(self, record_id: str, received_at: datetime) -> str:
        """Where a person finds a record that has no address. "" if the record's ID is enough."""
        del record_id, received_at
        return ""

    def remove_own_record(self, record_id: str, received_at: datetime, *, dry_run: bool = False) -> bool:
        """Remove the record if it is in the app's own storage account.

        Returns False if the record is or may be elsewhere. A person then has to remove the record there.
        """
        del record_id, received_at, dry_run
        return False

    @abstractmethod
    def check(self) -> CheckResult:
        """Whether the connection is usable. Writes no lead. Faults of the vendor or the network raise nothing."""

    @abstractmethod
    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        """Store the lead under a key that the next attempt can compute again. Faults of vendor or network raise nothing."""

    @abstractmethod
    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        """The requests that `send` would make for a customer's first lead. Sends nothing, and raises `NotSendable`."""


def connection_id(type_name: str, key: tuple[str, ...]) -> str:
    """The ID of the connection that all destinations of this type and key share: 16 hexadecimal digits."""
    return sha256("\n".join((type_name, *key)).encode()).hexdigest()[:16]
