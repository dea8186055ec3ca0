"""Offers: which destinations their leads go to, by which policies; how a lead finds its offer; their table."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from leads import clock, destinations
from leads.destinations.base import MappingValue, secret_references, secret_settings
from leads.destinations.follow_up import FollowUp
from leads.events import Event, emit
from leads.identity import NO_PART_OF_AN_ID
from leads.lead import Lead, Stage, stage_of
from leads.messages import DESTINATION_NAME
from leads.problems import all_problems, first_problem
from leads.refreshing import Refreshing, lasting
from leads.settings import SecretReference
from leads.storage import (
    Conflict,
    StorageBusy,
    Table,
    if_unchanged,
    joined_text,
    key_part,
    replacing,
    text_columns,
)

OFFERS_TABLE = "LeadOffers"
DEFAULT_OFFER = "*"
CACHE_SECONDS = 60
LOOKED_UP_AGAIN = timedelta(seconds=5)
"""A name that no offer has is looked up no sooner than this after the last time; all titles together count as one name."""
_LOOKED_UP_KEPT = 1000
_PARTITION = "offer"
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f]")

NoticeFormat = Literal["teams", "slack", "json"]
"""How what is posted to a chat is written."""


class InvalidOffer(ValueError):
    """An offer can't be saved as it is. The text is the first of its problems, each of which names the field and the fix."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = problems


class UnreadableOffer(InvalidOffer):
    """A stored offer is none that this release reads. `row` is its key."""

    def __init__(self, row: str, why: str) -> None:
        super().__init__(f"stored offer: {row} is not one that this release reads ({why}); remove it and set it anew")
        self.row = row


class OfferChanged(Exception):
    """Somebody else saved the offer since it was read."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _country_code(text: str) -> str:
    """The country as leads hold it. Raises ValueError: a condition that no lead can meet would lose them all unseen."""
    code = Lead(country=text.strip()).country_code
    if not code:
        raise ValueError("is no country: write its ISO 3166 code, such as DE")
    return code


def _source(text: str) -> str:
    """The source as leads hold it: AppSource is SPZA to them."""
    return Lead(lead_source=text).source


class When(_Model):
    """Which leads a destination gets. An empty list admits all; a lead has to meet every list that is set."""

    stage: list[Stage] = Field(default=[], description="Only leads of these stages.")
    source: list[Annotated[str, AfterValidator(_source)]] = Field(
        default=[], description="Only leads of these sources, such as AzureMarketplace or AppSource."
    )
    country: list[Annotated[str, AfterValidator(_country_code)]] = Field(
        default=[], description="Only leads of these countries (ISO 3166 alpha-2)."
    )
    is_test: bool | None = Field(default=None, description="Only test leads (true) or only real ones (false).")

    def admits(self, lead: Lead, stage: Stage) -> bool:
        return self.refusal(lead, stage) == ""

    def refusal(self, lead: Lead, stage: Stage) -> str:
        """The first condition that the lead does not meet, "" if it meets all."""
        if self.stage and stage not in self.stage:
            return f"when.stage: only {', '.join(self.stage)}; the lead is {stage}"
        if self.source and lead.source.casefold() not in {source.casefold() for source in self.source}:
            return f"when.source: only {', '.join(self.source)}; the lead is from {lead.source or 'nowhere'}"
        if self.country and lead.country_code not in self.country:
            return f"when.country: only {', '.join(self.country)}; the lead has {lead.country_code or 'none'}"
        if self.is_test is not None and lead.is_test is not self.is_test:
            return f"when.is_test: only {'test' if self.is_test else 'real'} leads"
        return ""


class DestinationConfig(_Model):
    """Where an offer's leads go: the type, its settings, and which leads."""

    name: str = Field(pattern=f"^{DESTINATION_NAME}$", description="A name of its own within the offer: a-z, 0-9, _.")
    type: str = Field(description="One of the destination types.")
    settings: dict[str, JsonValue] = Field(default={}, description="The type's settings; secrets only as references.")
    mapping: dict[str, MappingValue] = Field(
        default={},
        description="The vendor's field: a template over the lead, a constant, or null to leave a default field out.",
    )
    follow_up: dict[Stage, FollowUp] = Field(default={}, description="What is done about a lead, by its stage.")
    when: When = When()
    secret_expires: dict[str, date] = Field(
        default={}, description="Setting that holds a secret reference: the day on which its secret expires."
    )
    pace: float = Field(default=5, gt=0, le=1000, description="Leads a second when a backlog is re-driven.")

    @model_validator(mode="after")
    def _fits_the_type(self) -> "DestinationConfig":
        destinations.destination_class(self.type)
        problems: list[str] = []
        for check in (
            lambda: destinations.read_settings(self.type, self.settings),
            lambda: destinations.check_mapping(self.type, self.mapping),
            lambda: destinations.check_follow_ups(self.type, self.follow_up),
        ):
            try:
                check()
            except ValueError as error:
                problems += str(error).split("\n")
        if problems:
            raise ValueError("\n".join(problems))
        settings = destinations.read_settings(self.type, self.settings)
        secrets = secret_references(settings)
        given = self.settings.keys() & secret_settings(type(settings))  # also a reference that is no longer read as one
        for name in self.secret_expires:
            if name not in secrets.keys() | given:
                raise ValueError(
                    f"secret_expires.{name}: no setting of that name holds a secret reference; "
                    f"those that do: {', '.join(sorted(secrets)) or 'none'}"
                )
        return self


class Announcement(_Model):
    """Where each delivered lead of an offer is announced, to people in a chat for instance."""

    webhook: SecretReference
    format: NoticeFormat | None = Field(None, description="teams, slack or json; null = by the address.")
    with_person: bool = Field(
        default=False, description="Whether the customer's name, company and e-mail address are announced, too."
    )


class Policies(_Model):
    """What is done with leads that are not a customer's first, with too many of them, and when none come."""

    test_leads: Literal["deliver", "skip"] = Field(
        "deliver", description="Test leads are delivered marked, or only recorded."
    )
    dnc: Literal["flag", "note", "skip"] = Field("flag", description="Leads of a cross-listed partner (DNC).")
    existing_records: Literal["keep", "overwrite"] = Field(
        "keep", description="Whether a later lead may replace what stands in the customer's record."
    )
    repeats: Literal["add", "skip"] = Field("add", description="The same lead again after more than 15 minutes.")
    unknown: Literal["resend", "hold"] = Field(
        "resend", description="When it can't be known whether a lead has arrived."
    )
    daily_ceiling: int | None = Field(
        10_000, ge=1, description="Leads in 24 hours; what comes beyond them is accepted and waits. null = no ceiling."
    )
    retention_days: int | None = Field(
        90,
        ge=1,
        description="Days after which the personal data of a lead that is done with is removed here; null = never.",
    )
    dead_letter_retention_days: int | None = Field(
        180,
        ge=1,
        description="Days after which the personal data of a lead that a person has left undone is removed; null = never.",
    )
    silence: Literal["alarm", "ignore"] = Field("alarm", description="What is done when leads stop coming.")
    expected_silence_hours: int | None = Field(
        None,
        ge=1,
        le=8760,
        description="Hours without a real lead that are nothing unusual; null = learned from its leads.",
    )


class Offer(_Model):
    """A marketplace offer (`publisher.offer`), or `*` for every lead that no other offer takes."""

    id: str = Field(
        min_length=1, max_length=500, description="publisher.offer as in Partner Center, or * as the default."
    )
    titles: list[str] = Field(default=[], description="The offer's display names, past and present.")
    destinations: list[DestinationConfig] = Field(min_length=1, max_length=10)
    policies: Policies = Field(default_factory=lambda: Policies.model_validate({}))
    stages: dict[str, Stage] = Field(default={}, description="Action codes whose stage differs from the usual one.")
    announce: Announcement | None = Field(None, description="Where each delivered lead is announced; null = nowhere.")

    @field_validator("id")
    @classmethod
    def _trim(cls, value: str) -> str:
        if not (trimmed := value.strip()):
            raise ValueError("must not be blank")
        return trimmed

    @model_validator(mode="after")
    def _names_differ(self) -> "Offer":
        names = [destination.name for destination in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError("destinations: two of them have the same name; give each a name of its own")
        return self

    @property
    def ceiling_connection(self) -> str:
        """The id of the connection behind which leads over the offer's daily ceiling are parked."""
        return f"ceiling:{key_part(self.id)}"

    def stage(self, lead: Lead) -> Stage:
        return stage_of(lead.action, self.stages)

    def refusal(self, lead: Lead, stage: Stage) -> str:
        """The policy by which such a lead is only recorded, "" if it is delivered."""
        if lead.is_test and self.policies.test_leads == "skip":
            return "test leads are only recorded (policy test_leads)"
        if stage is Stage.CROSS_LISTED and self.policies.dnc == "skip":
            return "leads of a cross-listed partner are only recorded (policy dnc)"
        return ""

    def destination(self, name: str) -> DestinationConfig | None:
        return next((config for config in self.destinations if config.name == name), None)

    def told_apart_by(self, url_offer: str) -> str:
        """What says whose a lead of it is: its id, or for the default offer, which takes the leads of many, the address."""
        return self.id if self.id != DEFAULT_OFFER else url_offer


def read_offer(data: object) -> Offer:
    """Check what a person wrote. Raises `InvalidOffer` that names each field that is wrong."""
    try:
        offer = Offer.model_validate(data)
    except ValidationError as error:
        raise InvalidOffer(*all_problems(error, model=Offer)) from None
    if problem := problem_of_id(offer.id):
        raise InvalidOffer(f"id: {problem}")
    return offer


def problem_of_id(offer_id: str) -> str:
    """Why no address can name an offer of this id, "" if one can; whoever stored such an id before keeps it.

    The host takes `.` and `..` out of a path and finds nothing behind `//`, and it hands `%2F` over as it hands over a slash
    (ASP.NET Core documentation, "Routing in ASP.NET Core", section "Route templates").
    """
    if not NO_PART_OF_AN_ID.isdisjoint(map(str.strip, offer_id.split("/"))):
        return "can't stand in an address: leave out slashes at its ends, double slashes, and parts that are . or .."
    if "%2f" in offer_id.lower() or _CONTROL_CHARACTER.search(offer_id):
        return "can't stand in an address: leave out %2F and control characters"
    return ""


def offer_by_id(offer_id: str, offers: Iterable[Offer]) -> Offer | None:
    """The offer of an id, in any case."""
    return next((offer for offer in offers if offer.id.casefold() == offer_id.casefold()), None)


def by_connection(offers: Iterable[Offer]) -> dict[str, list[tuple[Offer, DestinationConfig]]]:
    """Connection's id → the offers' destinations that use it."""
    used: dict[str, list[tuple[Offer, DestinationConfig]]] = {}
    for offer in offers:
        for config in offer.destinations:
            used.setdefault(destinations.connection_of(config.type, config.settings), []).append((offer, config))
    return used


@dataclass(frozen=True, slots=True)
class OfferReferences:
    """What of a lead can name its offer. None of it is personal data."""

    url: str = ""
    lead_source: str = ""
    product_id: str = ""
    title: str = ""

    @classmethod
    def of(cls, lead: Lead, url_offer: str) -> "OfferReferences":
        return cls(url_offer, lead.offer_part, lead.product_id, lead.offer_title)

    @property
    def names(self) -> list[str]:
        """The names, folded, in the order in which they are asked.

        The address alone counts where it names one: its lead must not go to an offer that it happens to share a title with.
        """
        asked = (self.url,) if self.url.strip() else (self.lead_source, self.product_id, self.title)
        return [name for name in map(_folded, asked) if name]

    def unknown(self, offers: Sequence[Offer]) -> list[str]:
        """The names that would decide before any that means one of these offers, folded; "" stands for all titles."""
        by_name = _names(offers)
        unknown = list(takewhile(lambda name: name not in by_name, self.names))
        title = "" if self.url.strip() else _folded(self.title)
        return [name if name != title else "" for name in unknown]


def route(references: OfferReferences, offers: Sequence[Offer]) -> Offer | None:
    """The offer that a lead's first matching name means, else the default one, else None."""
    by_name = _names(offers)
    named = next((by_name[name] for name in references.names if name in by_name), None)
    return named or next((offer for offer in offers if offer.id == DEFAULT_OFFER), None)


def _names(offers: Sequence[Offer]) -> Mapping[str, Offer]:
    """Every name that means exactly one offer: ids before their second parts, those before titles."""
    names: dict[str, Offer] = {_folded(offer.id): offer for offer in offers}
    for aliases in (
        [(_folded(o.id.partition(".")[2]), o) for o in offers],
        [(_folded(t), o) for o in offers for t in o.titles],
    ):
        found: dict[str, set[str]] = {}
        for alias, offer in aliases:
            found.setdefault(alias, set()).add(offer.id)
        for alias, offer in aliases:
            if alias and len(found[alias]) == 1:
                names.setdefault(alias, offer)
    return names


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


@dataclass(frozen=True, slots=True)
class StoredOffer:
    """An offer with the ETag under which it is stored and the time of its last change."""

    offer: Offer
    etag: str
    changed_at: datetime


class Offers:
    """The offers' table, read once in `CACHE_SECONDS`; what is known is used for as long again where it can't be read."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._kept = Refreshing[tuple[StoredOffer, ...]](lasting(CACHE_SECONDS), StorageBusy)
        self._looked_up: dict[int, datetime] = {}
        """Hash of a name that meant no offer, and when that was found."""

    def of(self, references: OfferReferences) -> Offer | None:
        """The offer that takes a lead, None for none.

        A name that this instance does not know may be that of an offer of the last minute: the table is read once more before a
        later name or the default offer decides.
        """
        offers, now = self.all(), clock.now()
        unknown = {hash(name) for name in references.unknown(offers)}
        if any(now - self._looked_up.get(name, now - LOOKED_UP_AGAIN) >= LOOKED_UP_AGAIN for name in unknown):
            offers = self.renew()
            if len(self._looked_up) > _LOOKED_UP_KEPT:
                self._looked_up = {}
            self._looked_up |= dict.fromkeys(unknown, now)
        return route(references, offers)

    def all(self) -> list[Offer]:
        """The offers, at most a minute old.

        One that can't be read is left out with an alarm, and then the default offer too: a lead of the one must not end in the
        other's CRM. It waits as unrouted instead.
        """
        return [stored.offer for stored in self._fresh()]

    def renew(self) -> list[Offer]:
        """The offers as they are stored now, which every thread then uses; left out is what `all` leaves out."""
        return [stored.offer for stored in self._kept.renew(self._usable)]

    def known(self) -> list[StoredOffer]:
        """The offers of `all`, each with the time of its last change."""
        return list(self._fresh())

    def changed_at(self) -> datetime | None:
        """When an offer was last set; None without offers."""
        return max((stored.changed_at for stored in self._fresh()), default=None)

    def _fresh(self) -> tuple[StoredOffer, ...]:
        return self._kept.get(self._usable)

    def _usable(self) -> tuple[StoredOffer, ...]:
        readable, unreadable = self.found()
        for one in unreadable:
            emit(Event.OFFER_UNREADABLE, row=one.row)
        return tuple(stored for stored in readable if not unreadable or stored.offer.id != DEFAULT_OFFER)

    def found(self) -> tuple[list[StoredOffer], list[UnreadableOffer]]:
        """The offers as they are stored now, by id, and what stands there that this release can't read."""
        readable: list[StoredOffer] = []
        unreadable: list[UnreadableOffer] = []
        for entity in self._table.query(f"PartitionKey eq '{_PARTITION}'"):
            try:
                readable.append(_stored(entity))
            except UnreadableOffer as error:
                unreadable.append(error)
        return sorted(readable, key=lambda stored: stored.offer.id), unreadable

    def stored(self) -> list[StoredOffer]:
        """The offers as they are stored now, by id. Raises `UnreadableOffer` for one that this release can't read."""
        readable, unreadable = self.found()
        if unreadable:
            raise unreadable[0]
        return readable

    def each(self) -> Iterator[tuple[str, "Offer | UnreadableOffer"]]:
        """Row and offer of everything that is stored, with the error in the place of what this release can't read."""
        for entity in self._table.query(f"PartitionKey eq '{_PARTITION}'"):
            try:
                yield entity["RowKey"], _stored(entity).offer
            except UnreadableOffer as error:
                yield entity["RowKey"], error

    def get(self, offer_id: str) -> StoredOffer | None:
        entity = self._table.get(_PARTITION, key_part(offer_id.strip()))
        return _stored(entity) if entity else None

    def save(self, offer: Offer, etag: str | None = None) -> str:
        """Store an offer. Returns its ETag.

        With `etag`, raises `OfferChanged` if it is no longer the stored one ("" = there is none yet).
        """
        entity = {
            "PartitionKey": _PARTITION,
            "RowKey": key_part(offer.id),
            "changed_at": clock.now(),
            **text_columns("offer", offer.model_dump_json()),
        }
        try:
            if etag is None:
                saved = self._table.write([("upsert", entity, replacing())])
            elif etag == "":
                saved = self._table.write([("create", entity, {})])
            else:
                saved = self._table.write([("update", entity, replacing(etag))])
        except Conflict:
            raise OfferChanged(offer.id) from None
        self.forget()
        return saved[0]

    def remove(self, offer_id: str, etag: str | None = None) -> bool:
        """Remove an offer; False if there is none of that id. Its undelivered leads become unrouted.

        With `etag`, raises `OfferChanged` if it is no longer the stored one.
        """
        row = key_part(offer_id.strip())
        if self._table.get(_PARTITION, row) is None:
            return False
        try:
            self._table.write([("delete", {"PartitionKey": _PARTITION, "RowKey": row}, if_unchanged(etag))])
        except Conflict:
            raise OfferChanged(offer_id) from None
        self.forget()
        return True

    def forget(self) -> None:
        """Read the table anew at the next use."""
        self._kept.forget()


def _stored(entity: Any) -> StoredOffer:
    try:
        # A field of a newer release is left out, so that its offers can be read after a rollback.
        offer = Offer.model_validate_json(joined_text(entity, "offer"), extra="ignore")
    except ValidationError as error:
        raise UnreadableOffer(entity["RowKey"], first_problem(error)) from None
    if not isinstance(changed_at := entity.get("changed_at"), datetime):
        raise UnreadableOffer(entity["RowKey"], "changed_at: is missing or no time")
    return StoredOffer(offer=offer, etag=entity.metadata["etag"], changed_at=changed_at)
