"""The operations of the app, the same for HTTP and for a person at a shell.

Nothing here returns a secret, and nothing a person's data unless `with_person` asks for it.
"""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from leads import clock, destinations, listing
from leads.app import App
from leads.connections import Connection
from leads.lead import is_lead_id, received_at_of
from leads.offers import InvalidOffer, Offer, OfferChanged, StoredOffer, read_offer
from leads.rows import UNDELIVERED, Attempt, Delivery, LeadRecord, State

MAX_OFFER_CHARACTERS: Final = 200_000
"""An entity holds 1 MiB and a character can take four bytes of it."""
MAX_PAGE: Final = 1000
COUNTED_AT_MOST: Final = 1000
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_STILL_TO_DELIVER: Final = frozenset({State.RETRY, State.PARKED, State.UNROUTED, State.CRASHED})
_AGO: Final = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class NotFound(Exception):
    """There is no such offer, type or lead. The text says so and what to do."""


# --- Offers -------------------------------------------------------------------------------------------------------------


class OfferView(BaseModel):
    """An offer as it is stored. `etag` changes with every change of the offer."""

    offer: Offer
    etag: str
    changed_at: datetime


class Change(BaseModel):
    """A field of an offer that is not what it was; None = not there."""

    field: str
    before: JsonValue
    after: JsonValue


class SavedOffer(BaseModel):
    """What came of saving an offer. `changes` is empty for a created or unchanged one."""

    id: str
    result: Literal["created", "changed", "unchanged"]
    changes: list[Change]
    etag: str


def list_offers(app: App) -> list[OfferView]:
    """All offers, by id."""
    return [_offer_view(stored) for stored in app.offers.stored()]


def show_offer(app: App, offer_id: str) -> OfferView:
    """One offer. Raises `NotFound`."""
    stored = app.offers.get(offer_id)
    if stored is None:
        raise NotFound(_no_offer(offer_id))
    return _offer_view(stored)


def check_offer(data: object) -> Offer:
    """The offer that `data`, decoded JSON, describes. Raises `InvalidOffer`: one line with the field and the fix."""
    if not isinstance(data, dict):
        raise InvalidOffer('offer: must be a JSON object, such as {"id": "publisher.offer", "destinations": [...]}')
    offer = read_offer(data)
    if len(offer.model_dump_json()) > MAX_OFFER_CHARACTERS:
        raise InvalidOffer(f"offer: is longer than {MAX_OFFER_CHARACTERS} characters of JSON: shorten its lists")
    return offer


def set_offer(app: App, offer: Offer, etag: str | None = None) -> SavedOffer:
    """Create or replace an offer; workers know of it within a minute.

    With `etag`, raises `OfferChanged` unless that is the stored offer's ("" = there must be none, "*" = there must be one).
    """
    stored = app.offers.get(offer.id)
    _check_etag(offer.id, stored, etag)
    before = stored.offer.model_dump(mode="json") if stored else None
    after = offer.model_dump(mode="json")
    if stored and before == after:
        return SavedOffer(id=offer.id, result="unchanged", changes=[], etag=stored.etag)
    saved = app.offers.save(offer, etag if etag is None or stored is None else stored.etag)
    if before is None:
        return SavedOffer(id=offer.id, result="created", changes=[], etag=saved)
    return SavedOffer(id=offer.id, result="changed", changes=_changes(before, after), etag=saved)


def remove_offer(app: App, offer_id: str, etag: str | None = None) -> None:
    """Remove an offer; what is not delivered becomes unrouted. Raises `NotFound`, and `OfferChanged` as `set_offer` does."""
    if etag is not None:
        _check_etag(offer_id, app.offers.get(offer_id), etag)
    if not app.offers.remove(offer_id, None if etag == "*" else etag):
        raise NotFound(_no_offer(offer_id))


def _check_etag(offer_id: str, stored: StoredOffer | None, etag: str | None) -> None:
    """Compare first here: storage answers 400 to an ETag that it could not have made."""
    current = stored.etag if stored else ""
    if etag not in {None, current} and not (etag == "*" and stored):
        raise OfferChanged(offer_id)


def _offer_view(stored: StoredOffer) -> OfferView:
    return OfferView(offer=stored.offer, etag=stored.etag, changed_at=stored.changed_at)


def _no_offer(offer_id: str) -> str:
    return f"offer: there is none with the id {quote(offer_id, safe=' *|:@')}; list the offers to see the ids there are"


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        Change(field=field, before=old.get(field), after=new.get(field))
        for field in sorted(old.keys() | new.keys())
        if (field in old, old.get(field)) != (field in new, new.get(field))
    ]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Every field with its dotted name; destinations go by their own names, so that a new one moves no other."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = {item["name"]: {key: item[key] for key in item if key != "name"} for item in value}
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else key)
    else:
        yield place, value


# --- Destination types --------------------------------------------------------------------------------------------------


class DestinationType(BaseModel):
    """A kind of destination, and the JSON Schema of a destination's `settings` of that kind."""

    type: str
    description: str
    settings_schema: dict[str, JsonValue]


def list_destination_types() -> list[DestinationType]:
    """All destination types, by name."""
    return [_destination_type(name) for name in sorted(destinations.MODULES)]


def show_destination_type(name: str) -> DestinationType:
    """One destination type. Raises `NotFound` that lists the ones there are."""
    if name not in destinations.MODULES:
        raise NotFound(f"type: there is no such destination type; use one of {', '.join(sorted(destinations.MODULES))}")
    return _destination_type(name)


def _destination_type(name: str) -> DestinationType:
    found = destinations.destination_class(name)
    description = (sys.modules[found.__module__].__doc__ or "").partition("\n")[0]
    return DestinationType(type=name, description=description, settings_schema=found.Settings.model_json_schema())


# --- Leads --------------------------------------------------------------------------------------------------------------


def _moment(value: object) -> object:
    """A time as people write it: ISO 8601 (without an offset it is UTC), or how long ago, such as 30m, 2h, 3d, 1w."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if ago := _AGO.fullmatch(text):
        now = clock.now()
        return now - min(timedelta(**{_UNITS[ago[2]]: int(ago[1])}), now - EARLIEST)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write a time as 2026-01-31T14:00Z or 2026-01-31, or how long ago: 30m, 2h, 3d, 1w") from None
    if not EARLIEST.year < moment.year < LATEST.year:
        return EARLIEST if moment.year <= EARLIEST.year else LATEST
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _lead_id(text: str) -> str:
    if text and not is_lead_id(text):
        raise ValueError("must be a lead's id, such as 20260131235959999-0123456789ab-c")
    return text


Moment = Annotated[datetime | None, BeforeValidator(_moment)]


class LeadFilter(BaseModel):
    """Which leads to list. An error of pydantic's names the field that is wrong."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    offer: str | None = Field(default=None, description="Only leads of this offer; - is the unrouted ones.")
    state: State | None = Field(default=None, description="Only leads in this state.")
    since: Moment = Field(default=None, description="Only leads received at this time or later.")
    until: Moment = Field(default=None, description="Only leads received up to this time.")
    after: Annotated[str, AfterValidator(_lead_id)] = Field(default="", description="The `after` of the page before.")
    limit: int = Field(default=50, ge=1, le=MAX_PAGE, description="How many leads a page has.")

    @model_validator(mode="after")
    def _a_span(self) -> "LeadFilter":
        if self.since and self.until and self.since > self.until:
            raise ValueError("since: is later than until; exchange them")
        return self


class LeadLine(BaseModel):
    """A lead in a list. `destinations` holds the state of each that the lead goes to; `unconfirmed` is as in `DeliveryView`."""

    lead_id: str
    received_at: datetime
    offer: str
    stage: str
    source: str
    is_test: bool
    state: State
    unconfirmed: bool
    destinations: dict[str, str]


class LeadPage(BaseModel):
    """Leads, newest first. `after` asks for the next page; None = this is the last one."""

    leads: list[LeadLine]
    after: str | None


class AttemptView(BaseModel):
    """One try: when, what came of it, the vendor's code for it, and when the next one was due."""

    at: datetime
    outcome: str
    code: str
    next_at: datetime | None
    milliseconds: int


class DeliveryView(BaseModel):
    """A lead's way to one destination; `destination` is "" while the lead is not routed.

    `unconfirmed`: it was handed over, and the vendor does not say whether a record came of it.
    """

    destination: str
    state: State
    unconfirmed: bool
    reason: str
    next_at: datetime | None
    updated_at: datetime | None
    connection: str
    record_id: str
    duplicate_of: str
    repeat_of: str
    possibly_twice: bool
    attempts: list[AttemptView]


class Person(BaseModel):
    """What a customer said: personal data. `body` is there only for a lead that can't be read."""

    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    country: str = ""
    company: str = ""
    title: str = ""
    description: str = ""
    customer_extra: dict[str, str] = {}
    extra: dict[str, str] = {}
    body: str = ""


class LeadView(BaseModel):
    """Where a lead stands. `named_offer` is what of it can name its offer, in the order in which that is asked."""

    lead_id: str
    received_at: datetime
    offer: str
    named_offer: dict[str, str]
    source: str
    action: str
    stage: str
    is_test: bool
    state: State
    deliveries: list[DeliveryView]
    person: Person | None = None


def list_leads(app: App, which: LeadFilter) -> LeadPage:
    """A page of the leads that the ledger knows; one that came in just now may still be on the queue."""
    criteria = which.model_dump() | {"limit": which.limit + 1}
    found = listing.newest(app.ledger, **criteria)
    page = found[: which.limit]
    return LeadPage(leads=[_line(lead) for lead in page], after=page[-1].lead_id if len(found) > len(page) else None)


def show_lead(app: App, lead_id: str, *, with_person: bool = False) -> LeadView:
    """One lead with every attempt. Raises `NotFound`."""
    if not is_lead_id(lead_id):
        raise NotFound("lead_id: is no lead's id; they look like 20260131235959999-0123456789ab-c")
    record = app.ledger.read(lead_id)
    if record is None:
        raise NotFound("lead_id: no lead of this id is known; one that came in just now may still be on the queue")
    view = _lead_view(record)
    if with_person:
        view.person = _person(app, record)
    return view


def _line(lead: listing.Listed) -> LeadLine:
    states = dict(pair.split("=", 1) for pair in lead.states.split(",") if pair)
    return LeadLine(
        lead_id=lead.lead_id,
        received_at=lead.received_at,
        offer=lead.offer,
        stage=lead.stage,
        source=lead.source,
        is_test=lead.is_test,
        state=lead.state,
        unconfirmed=lead.unconfirmed,
        destinations=states,
    )


def _lead_view(record: LeadRecord) -> LeadView:
    lead, references = record.lead, record.references
    named = {
        "address": references.url,
        "lead_source": references.lead_source,
        "product_id": references.product_id,
        "title": references.title,
    }
    return LeadView(
        lead_id=record.lead_id,
        received_at=record.received_at,
        offer=record.offer,
        named_offer={name: text for name, text in named.items() if text},
        source=lead.source if lead else "",
        action=lead.action if lead else "",
        stage=record.stage.value,
        is_test=lead.is_test if lead else False,
        state=record.state,
        deliveries=[_delivery_view(delivery) for _, delivery in sorted(record.deliveries.items())],
    )


def _delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        destination=delivery.destination,
        state=delivery.state,
        unconfirmed=delivery.unconfirmed,
        reason=delivery.reason,
        next_at=delivery.next_at,
        updated_at=delivery.updated_at,
        connection=delivery.connection,
        record_id=delivery.record_id,
        duplicate_of=delivery.duplicate_of,
        repeat_of=delivery.repeat_of,
        possibly_twice=delivery.possibly_twice,
        attempts=[_attempt_view(attempt) for attempt in delivery.attempts],
    )


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        at=attempt.at,
        outcome=attempt.outcome,
        code=attempt.code,
        next_at=attempt.next_at,
        milliseconds=attempt.milliseconds,
    )


def _person(app: App, record: LeadRecord) -> Person:
    if record.lead is None:
        return Person(body=(app.ledger.body(record.lead_id) or b"").decode(errors="backslashreplace"))
    return Person.model_validate(record.lead.model_dump(include=set(Person.model_fields)))


# --- Status -------------------------------------------------------------------------------------------------------------


class Use(BaseModel):
    """An offer's destination that uses a connection."""

    offer: str
    destination: str


class ConnectionView(BaseModel):
    """A connection and its health in words. `since` is when it was paused."""

    id: str
    type: str
    health: str
    paused: bool
    since: datetime | None
    failures: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    used_by: list[Use]


class Waiting(BaseModel):
    """A lead that is still to be delivered."""

    lead_id: str
    received_at: datetime
    offer: str
    destination: str
    state: State


class Queues(BaseModel):
    """About how many messages the queues hold, hidden and delayed ones too."""

    leads: int
    poison: int


class Status(BaseModel):
    """The app at a glance. `undelivered` counts per destination."""

    offers: list[str]
    connections: list[ConnectionView]
    undelivered: dict[State, int]
    oldest_undelivered: Waiting | None
    delivered_of_last_24_hours: int = Field(
        description=f"Leads that came in within the last 24 hours and are delivered; {COUNTED_AT_MOST} = that many or more."
    )
    unconfirmed_of_last_24_hours: int = Field(
        description="How many of them were handed over to a vendor that does not say whether a record came of it."
    )
    queue: Queues


def status(app: App) -> Status:
    """Offers, connections, what waits and what was delivered. Some 40 storage requests where nothing waits."""
    offers = [stored.offer for stored in app.offers.stored()]
    counts, oldest = _undelivered(app)
    day = clock.now() - timedelta(hours=24)
    delivered = listing.newest(app.ledger, state=State.DELIVERED, since=day, limit=COUNTED_AT_MOST)
    return Status(
        offers=[offer.id for offer in offers],
        connections=_connections(app, offers),
        undelivered=counts,
        oldest_undelivered=oldest,
        delivered_of_last_24_hours=len(delivered),
        unconfirmed_of_last_24_hours=sum(lead.unconfirmed for lead in delivered),
        queue=Queues(leads=app.queue.depth(), poison=app.poison.depth()),
    )


def _undelivered(app: App) -> tuple[dict[State, int], Waiting | None]:
    """How many there are of each state, and the first of those that the app still means to deliver."""
    counts = {state: 0 for state in State if state in UNDELIVERED}
    oldest: listing.Undelivered | None = None
    for item in listing.undelivered(app.ledger):
        counts[item.state] += 1
        if item.state in _STILL_TO_DELIVER and (oldest is None or item.lead_id < oldest.lead_id):
            oldest = item
    if oldest is None:
        return counts, None
    waiting = Waiting(
        lead_id=oldest.lead_id,
        received_at=received_at_of(oldest.lead_id),
        offer=oldest.offer,
        destination=oldest.destination,
        state=oldest.state,
    )
    return counts, waiting


def _connections(app: App, offers: list[Offer]) -> list[ConnectionView]:
    """Those in use, and those that have a history."""
    used: dict[str, tuple[str, list[Use]]] = {}
    for offer in offers:
        for config in offer.destinations:
            connection = destinations.connection_of(config.type, config.settings)
            use = Use(offer=offer.id, destination=config.name)
            used.setdefault(connection, (config.type, []))[1].append(use)
    known = {connection.id: connection for connection in app.connections.stored()}
    known |= {key: Connection(key, type_name) for key, (type_name, _) in used.items() if key not in known}
    return [_connection_view(known[key], used.get(key, ("", []))[1]) for key in sorted(known)]


def _connection_view(connection: Connection, used_by: list[Use]) -> ConnectionView:
    return ConnectionView(
        id=connection.id,
        type=connection.type,
        health=_health(connection, in_use=bool(used_by)),
        paused=connection.paused,
        since=connection.since,
        failures=connection.failures,
        last_success_at=connection.last_success_at,
        last_failure_at=connection.last_failure_at,
        used_by=used_by,
    )


def _health(connection: Connection, *, in_use: bool) -> str:
    if not in_use:
        return "no offer uses it any more"
    if connection.paused:
        return f"paused: {connection.reason}"
    if connection.failures:
        return f"failing: {connection.failures} in a row"
    return "working" if connection.last_success_at else "nothing was sent yet"


# --- What people write --------------------------------------------------------------------------------------------------


def read_json(body: bytes) -> object:
    """Decode JSON that a person wrote. Raises `InvalidOffer` with the place of the error, and not what stands there."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidOffer("body: is not UTF-8; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidOffer(f"body: is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except (RecursionError, ValueError):
        raise InvalidOffer("body: is nested too deeply or holds a number that is too long") from None
