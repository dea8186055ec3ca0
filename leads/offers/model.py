"""The model of an offer: its destinations and policies, and the check of offers that people write."""

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Annotated, Literal

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

from leads import destinations
from leads.core.identity import NO_PART_OF_AN_ID
from leads.core.lead import Lead, Stage, stage_of
from leads.core.messages import DESTINATION_NAME
from leads.core.problems import all_problems
from leads.core.routing import DEFAULT_OFFER
from leads.destinations.base import Destination, MappingValue, secret_references, secret_settings
from leads.destinations.follow_up import FollowUp
from leads.platform.settings import SecretReference
from leads.platform.table_format import key_part

_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f]")

NoticeFormat = Literal["teams", "slack", "json"]
"""The format of a post to a chat or program."""


class InvalidOffer(ValueError):
    """An offer can't be saved as it is. The text is the first of its problems; each names the field and the fix."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = problems


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _country_code(text: str) -> str:
    """The country's code, as leads hold it. Raises ValueError, because an unknown country would silently exclude all leads."""
    code = Lead(country=text.strip()).country_code
    if not code:
        raise ValueError("is not a country: write its ISO 3166 code, such as DE")
    return code


def _source(text: str) -> str:
    """The source as leads hold it: `AppSource` becomes `SPZA`."""
    return Lead(lead_source=text).source


class When(_Model):
    """Which leads a destination gets. A lead has to meet every condition that is set."""

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

    name: str = Field(
        pattern=f"^{DESTINATION_NAME}$", description="A name that is unique within the offer: a-z, 0-9, _."
    )
    type: str = Field(description="One of the destination types.")
    settings: dict[str, JsonValue] = Field(default={}, description="The type's settings; secrets only as references.")
    mapping: dict[str, MappingValue] = Field(
        default={},
        description="The vendor's field: a template over the lead, a constant, or null to leave a default field out.",
    )
    follow_up: dict[Stage, FollowUp] = Field(default={}, description="Follow-up of a lead, by its stage.")
    when: When = When()
    secret_expires: dict[str, date] = Field(
        default={}, description="Day on which a secret expires, by the setting that refers to it."
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
        given = self.settings.keys() & secret_settings(
            type(settings)
        )  # includes texts that are not parsed as references
        for name in self.secret_expires:
            if name not in secrets.keys() | given:
                raise ValueError(
                    f"secret_expires.{name}: no setting of that name holds a secret reference; "
                    f"those that do: {', '.join(sorted(secrets)) or 'none'}"
                )
        return self


DestinationOf = Callable[[DestinationConfig], Destination]
"""Makes the destination of a configuration, ready to send."""


class Announcement(_Model):
    """The webhook at which each delivered lead of an offer is announced, for instance a chat's."""

    webhook: SecretReference
    format: NoticeFormat | None = Field(None, description="teams, slack or json; null = chosen by the address.")
    with_person: bool = Field(
        default=False, description="Whether the customer's name, company and e-mail address are announced, too."
    )


class Policies(_Model):
    """The treatment of test leads, repeats, floods, silence and old personal data."""

    test_leads: Literal["deliver", "skip"] = Field(
        "deliver", description="Test leads are delivered marked, or only recorded."
    )
    dnc: Literal["flag", "note", "skip"] = Field("flag", description="Leads of a cross-listed partner (DNC).")
    existing_records: Literal["keep", "overwrite"] = Field(
        "keep", description="Whether a later lead may replace fields of the customer's record."
    )
    repeats: Literal["add", "skip"] = Field("add", description="The same lead again after more than 15 minutes.")
    unknown: Literal["resend", "hold"] = Field(
        "resend", description="What the app does when it can't know whether a lead arrived."
    )
    daily_ceiling: int | None = Field(
        10_000, ge=1, description="Leads in 24 hours; further leads are accepted and wait. null = no ceiling."
    )
    retention_days: int | None = Field(
        90,
        ge=1,
        description="Days after which the app removes the personal data of a completed lead; null = never.",
    )
    dead_letter_retention_days: int | None = Field(
        180,
        ge=1,
        description="Days after which the app removes the personal data of a lead that still needs a person; null = never.",
    )
    silence: Literal["alarm", "ignore"] = Field("alarm", description="What the app does when leads stop coming.")
    expected_silence_hours: int | None = Field(
        None,
        ge=1,
        le=8760,
        description="Hours without a real lead that are still usual; null = learned from the offer's leads.",
    )


class Offer(_Model):
    """A marketplace offer (`publisher.offer`), or `*` for every lead that no other offer takes."""

    id: str = Field(
        min_length=1, max_length=500, description="publisher.offer as in Partner Center, or * as the default."
    )
    titles: list[str] = Field(default=[], description="The offer's display names, old and new.")
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
            raise ValueError("destinations: two of them have the same name; give each a different name")
        return self

    @property
    def ceiling_connection(self) -> str:
        """The id of the connection that holds leads over the offer's daily ceiling."""
        return f"ceiling:{key_part(self.id)}"

    def stage(self, lead: Lead) -> Stage:
        return stage_of(lead.action, self.stages)

    def refusal(self, lead: Lead, stage: Stage) -> str:
        """The reason and policy if such a lead is only recorded, "" if it is delivered."""
        if lead.is_test and self.policies.test_leads == "skip":
            return "test leads are only recorded (policy test_leads)"
        if stage is Stage.CROSS_LISTED and self.policies.dnc == "skip":
            return "leads of a cross-listed partner are only recorded (policy dnc)"
        return ""

    def destination(self, name: str) -> DestinationConfig | None:
        return next((config for config in self.destinations if config.name == name), None)

    def dedup_scope(self, url_offer: str) -> str:
        """The scope in which redeliveries are recognised: the offer's id; for the default offer, the offer in the address."""
        return self.id if self.id != DEFAULT_OFFER else url_offer


def read_offer(data: object) -> Offer:
    """Check an offer that a person wrote. Raises `InvalidOffer`, which names each wrong field."""
    try:
        offer = Offer.model_validate(data)
    except ValidationError as error:
        raise InvalidOffer(*all_problems(error, model=Offer)) from None
    if problem := problem_of_id(offer.id):
        raise InvalidOffer(f"id: {problem}")
    return offer


def problem_of_id(offer_id: str) -> str:
    """Why no URL path can name an offer of this id, "" if one can. Stored offers with such an id are kept.

    The host removes `.` and `..` from a path, finds no route with `//`, and treats `%2F` as a slash (ASP.NET Core documentation,
    "Routing in ASP.NET Core", section "Route templates").
    """
    if not NO_PART_OF_AN_ID.isdisjoint(map(str.strip, offer_id.split("/"))):
        return "can't be part of an address: leave out slashes at its ends, double slashes, and parts that are . or .."
    if "%2f" in offer_id.lower() or _CONTROL_CHARACTER.search(offer_id):
        return "can't be part of an address: leave out %2F and control characters"
    return ""


def offer_by_id(offer_id: str, offers: Iterable[Offer]) -> Offer | None:
    """The offer with this id, in any case."""
    return next((offer for offer in offers if offer.id.casefold() == offer_id.casefold()), None)


def by_connection(offers: Iterable[Offer]) -> dict[str, list[tuple[Offer, DestinationConfig]]]:
    """Connection's id → the offers' destinations that use it."""
    used: dict[str, list[tuple[Offer, DestinationConfig]]] = {}
    for offer in offers:
        for config in offer.destinations:
            used.setdefault(destinations.connection_of(config.type, config.settings), []).append((offer, config))
    return used
