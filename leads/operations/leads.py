"""Leads: list them, and show the state of each."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    WithJsonSchema,
    model_validator,
)

from leads.core import clock
from leads.core.identity import is_lead_id
from leads.core.lead import Lead, Stage
from leads.core.lead_parsing import UnreadableLead, parse_body
from leads.core.states import State
from leads.ledger.queries import LeadLine, newest
from leads.ledger.rows import LeadRecord
from leads.ledger.transactions import Ledger
from leads.operations.operation import PATH, QUERY, Request
from leads.operations.problems import Invalid, NotFound, TooLarge
from leads.pipeline.intake import MAX_BODY_BYTES
from leads.platform.row_reading import UnreadableRow

MAX_PAGE: Final = 1000
CODES_LOOKED_AT: Final = 200
"""The most leads that a page examines for a reason. Each needs a request to storage."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
_AGO: Final = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _moment(value: object) -> object:
    """A time as people write it: ISO 8601 (UTC without an offset), or the time since then, such as 30m, 2h, 3d, 1w."""
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


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-01-31", "2026-01-31T14:00:00Z", "3d"]}),
]


LeadId = Annotated[str, PATH, Field(min_length=1, description="The lead's id, as the list of leads has it.")]


class TimeSpan(BaseModel):
    """The time span in which the leads were received."""

    since: Annotated[Moment | None, QUERY] = Field(
        default=None, description="Only leads received since: 2026-01-31, 2026-01-31T14:00Z, 2h, 3d."
    )
    until: Annotated[Moment | None, QUERY] = Field(
        default=None, description="Only leads received until then; written like since."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since and self.until and self.since > self.until:
            raise ValueError("since: is later than until; exchange them")
        return self

    def holds(self, at: datetime) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


class LeadCriteria(TimeSpan):
    """A filter for leads."""

    offer: Annotated[str | None, QUERY] = Field(
        default=None, description="Only leads of this offer; - is the unrouted ones."
    )
    state: Annotated[State | None, QUERY] = Field(default=None, description="Only leads in this state.")


class LeadFilter(LeadCriteria, Request):
    """The leads to list."""

    stage: Annotated[Stage | None, QUERY] = Field(default=None, description="Only leads of this stage.")
    source: Annotated[str | None, QUERY] = Field(
        default=None,
        max_length=200,
        description="Only leads from this source, as the list shows it: AzureMarketplace, SPZA.",
    )
    destination: Annotated[str | None, QUERY] = Field(
        default=None, max_length=200, description="Only leads that go to a destination of this name."
    )
    # Not `code`: the platform takes that name for a function's key.
    reason: Annotated[str | None, QUERY] = Field(
        default=None,
        max_length=100,
        description="Only leads whose last attempt at a destination has this vendor's code.",
    )
    limit: Annotated[int, QUERY] = Field(
        default=50, ge=1, le=MAX_PAGE, description=f"Number of leads, at most {MAX_PAGE}."
    )
    after: Annotated[str, AfterValidator(_lead_id), QUERY] = Field(
        default="", description="Continue after this lead id, the last one of the previous page."
    )


class _View(BaseModel):
    """A part of a row of the ledger."""

    model_config = ConfigDict(from_attributes=True)


class LeadPage(BaseModel):
    """Leads, newest first. `after`: the value for the next page; None = there is no next page.

    Destination and reason have no index. With them a page examines a bounded number of leads, and may hold few or none
    although older leads fit.
    """

    leads: list[LeadLine]
    after: str | None


class AttemptView(_View):
    """An attempt: its time, outcome and vendor's code, and when the next attempt was due."""

    at: datetime
    outcome: str
    code: str
    next_at: datetime | None
    milliseconds: int


class DeliveryView(_View):
    """The delivery of a lead to a destination. `destination`: "" while the lead is not routed.

    `unconfirmed`: the vendor took the lead, and does not confirm that it made a record. `dismissed`: the note of the person
    who dismissed the delivery.
    """

    destination: str
    state: State
    unconfirmed: bool
    reason: str
    dismissed: str
    next_at: datetime | None
    updated_at: datetime | None
    connection: str
    record_id: str
    duplicate_of: str
    repeat_of: str
    possibly_twice: bool
    attempts: list[AttemptView]


class Person(BaseModel):
    """The personal data in a lead. `body`: only of a lead that can't be read."""

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
    """The state of a lead. `named_offer`: the values that can name the offer, in the order in which the app tries them.

    `imported`: "" = the lead came from the marketplace; `send` or `record` = the import's policy. `corrects`: the id of the
    lead that this lead corrects. `emptied_at`: when its personal data was removed, by age or on request.
    """

    lead_id: str
    received_at: datetime
    offer: str
    named_offer: dict[str, str]
    source: str
    action: str
    stage: str
    is_test: bool
    imported: str
    corrects: str
    emptied_at: datetime | None
    state: State
    deliveries: list[DeliveryView]


class ShowLead(Request):
    """Which lead."""

    lead_id: LeadId


def lead_of(given: JsonValue) -> Lead:
    """The lead in a field `lead` of a request: JSON in any shape that the intake takes, or its text.

    Raises `Invalid` or `TooLarge`.
    """
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    body = text.encode(errors="replace")
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"lead: has more than {MAX_BODY_BYTES} bytes, the most that the intake takes")
    try:
        return parse_body(body)
    except UnreadableLead as why:
        raise Invalid(f"lead: {why.detail}") from None


def list_leads(ledger: Ledger, request: LeadFilter) -> LeadPage:
    """List leads, newest first. A new lead is listed when the app has taken it from the queue."""
    looked_at = request.limit
    if request.reason is not None:
        looked_at = CODES_LOOKED_AT
    elif request.destination is not None:
        looked_at = MAX_PAGE
    criteria = request.model_dump(exclude={"destination", "reason"}) | {"limit": looked_at + 1}
    rows = newest(ledger, **criteria)
    page: list[LeadLine] = []
    after = None
    for number, lead in enumerate(rows):
        if number == looked_at or len(page) == request.limit:
            after = rows[number - 1].lead_id
            break
        if _goes_to(ledger, lead, request.destination, request.reason):
            page.append(lead)
    return LeadPage(leads=page, after=after)


def _goes_to(ledger: Ledger, lead: LeadLine, destination: str | None, code: str | None) -> bool:
    """Whether the lead goes to a destination of this name, and its last attempt there has this code; None = any."""
    names = [name for name in lead.destinations if destination in {None, name}]
    if code is None:
        return destination is None or bool(names)
    record = readable_lead(ledger, lead.lead_id) if names else None
    return record is not None and any(record.has_code(name, code) for name in names)


def show_lead(ledger: Ledger, request: ShowLead) -> LeadView:
    """Show the state of a lead, with every attempt."""
    return lead_view(known_lead(ledger, request.lead_id))


def show_person(ledger: Ledger, request: ShowLead) -> Person:
    """Show the personal data of a lead's customer."""
    record = known_lead(ledger, request.lead_id)
    if record.lead is None:
        return Person(body=(ledger.body(record.lead_id) or b"").decode(errors="backslashreplace"))
    return Person.model_validate(record.lead.model_dump(include=set(Person.model_fields)))


def readable_lead(ledger: Ledger, lead_id: str) -> LeadRecord | None:
    """One of many leads. None: the row is gone or can't be read. Reports an unreadable row, which stops no other."""
    try:
        return ledger.read(lead_id)
    except UnreadableRow as unreadable:
        unreadable.report()
        return None


def known_lead(ledger: Ledger, lead_id: str) -> LeadRecord:
    """The lead of this id. Raises `NotFound`."""
    if not is_lead_id(lead_id):
        raise NotFound(
            "lead_id: is not a lead's id; an id looks like 20260131235959999-0123456789ab-c; list the leads to see their ids"
        )
    record = ledger.read(lead_id)
    if record is None:
        raise NotFound("lead_id: no lead has this id; a new lead may still be on the queue")
    return record


def lead_view(record: LeadRecord) -> LeadView:
    lead, references = record.lead, record.references
    is_test = lead.is_test if lead else record.is_test
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
        source=lead.source if lead else record.source,
        action=lead.action if lead else "",
        stage=record.stage.value,
        imported=record.imported.value,
        corrects=record.corrects,
        is_test=is_test,
        emptied_at=record.emptied_at,
        state=record.state,
        deliveries=[DeliveryView.model_validate(delivery) for _, delivery in sorted(record.deliveries.items())],
    )
