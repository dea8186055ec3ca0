"""People: shows or erases the data about an e-mail address, which is only in bodies and never in a URL or log."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, Field

from leads.core import clock
from leads.core.lead import Lead
from leads.core.lenient_json import text_of_body
from leads.ledger.rows import lead_key
from leads.ledger.transactions import LEDGER_TABLE, LedgerBusy
from leads.operations.leads import LeadView, lead_view
from leads.operations.operation import ALL_SAID
from leads.operations.problems import Invalid, Unavailable
from leads.operations.steps import INVALID_CURSOR, Part, Step, StepDone
from leads.privacy import erasure, personal_data_search
from leads.privacy.email_matcher import EmailMatcher
from leads.privacy.erasure import ErasureEntry, HandedOver, handed_over_of
from leads.privacy.personal_data_search import Cursor, FoundCustomer, FoundLead, FoundMessage, InvalidCursor
from leads.privacy.stores import PersonalDataStores

STEP_SECONDS: Final = 10.0
FOUND_A_STEP: Final = 200
_DRY: Final = "dry-run:"
"""Marks the cursor of a dry run. An erasure must not continue a dry run, which erased nothing before its cursor."""
PartT = TypeVar("PartT", erasure.ErasurePart, personal_data_search.SearchPart)


def _is_address(text: str) -> str:
    return EmailMatcher.parse(text).email


Email = Annotated[
    str,
    AfterValidator(_is_address),
    Field(min_length=3, max_length=320, description="The person's e-mail address."),
]


class Erasure(Step):
    """The person whose data to erase."""

    email: Email


class Access(Part):
    """The person whose data to show."""

    email: Email


class ErasedPart(StepDone):
    """The result of a step, or of a dry run, without personal data. `looked_at`: the number of examined rows and messages."""

    traces: list[ErasureEntry]
    handed_over: list[HandedOver]
    looked_at: int


class CustomerView(BaseModel):
    """A customer's row, for one record scope of a destination."""

    key: str
    record_id: str
    memory: dict[str, str]
    last_leads: list[str]


class HeldLead(BaseModel):
    """A lead of the person: its state, its content, and what destinations got.

    `body`: the received body, if the app keeps it apart because the lead is large or can't be read.
    """

    model_config = ALL_SAID

    place: str
    key: str
    lead: LeadView
    said: dict[str, Any]
    body: str
    handed_over: list[HandedOver]


class HeldMessage(BaseModel):
    """A message on a queue, with its lead."""

    queue: str
    lead_id: str
    said: dict[str, Any]


class HeldPart(StepDone):
    """The data that a step found. `mentions`: ids of other people's leads that name the address.

    `erased_at`: the time of the person's erasure. Earlier leads are gone.
    """

    email: str
    erased_at: datetime | None
    customers: list[CustomerView]
    leads: list[HeldLead]
    messages: list[HeldMessage]
    mentions: list[str]
    looked_at: int


def erase_customer(stores: PersonalDataStores, request: Erasure) -> ErasedPart:
    """Erase a customer by e-mail address: a part with each request. Names each row, and the records that remain in CRMs."""
    mark = _DRY if request.dry_run else ""
    if request.after and request.after.startswith(_DRY) != request.dry_run:
        raise Invalid("after: mixes a dry run with an erasure; leave it out to begin again")
    after = request.after.removeprefix(_DRY)
    at, cursor = _cursor(after) if after else (stores.tombstones.storage_time(), Cursor())
    try:
        done, end = _a_step(erasure.erase(stores, EmailMatcher(request.email), at, cursor, dry_run=request.dry_run))
    except LedgerBusy:
        raise Unavailable("Others keep changing a lead of this person. Ask again.") from None
    return ErasedPart(
        next=f"{mark}{at.isoformat()}|{end}" if end else None,
        traces=[entry for part in done for entry in part.entries],
        handed_over=[one for part in done for one in part.handed_over],
        looked_at=sum(part.count for part in done),
    )


def show_customer(stores: PersonalDataStores, request: Access) -> HeldPart:
    """Show all data about an e-mail address, a part with each request. Personal data."""
    at, cursor = _cursor(request.after) if request.after else (clock.now(), Cursor())
    matcher = EmailMatcher(request.email)
    tombstone = stores.tombstones.get(matcher.customer)
    found, end = _a_step(personal_data_search.search(stores, matcher, cursor))
    held = HeldPart(
        next=f"{at.isoformat()}|{end}" if end else None,
        email=matcher.email,
        erased_at=tombstone.at if tombstone else None,
        customers=[],
        leads=[],
        messages=[],
        mentions=[],
        looked_at=sum(part.count for part in found),
    )
    for part in found:
        for trace in part.found:
            _add(stores, held, trace)
    return held


def _a_step(parts: Iterable[PartT]) -> tuple[list[PartT], Cursor | None]:
    """The parts that fit into a request, and the cursor of the next request; None = all is done."""
    ends_at = time.monotonic() + STEP_SECONDS
    done: list[PartT] = []
    found = 0
    for part in parts:
        done.append(part)
        found += len(part.entries) if isinstance(part, erasure.ErasurePart) else len(part.found)
        if time.monotonic() >= ends_at or found >= FOUND_A_STEP:
            return done, part.cursor
    return done, None


def _cursor(after: str) -> tuple[datetime, Cursor]:
    """The begin of the first step, and the cursor of the previous step. Raises `Invalid`."""
    moment, _, cursor = after.partition("|")
    try:
        at = datetime.fromisoformat(moment)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), Cursor.parse(cursor)
    except (ValueError, InvalidCursor, OverflowError):
        raise Invalid(INVALID_CURSOR) from None


def _add(stores: PersonalDataStores, held: HeldPart, trace: personal_data_search.Found) -> None:
    match trace:
        case FoundCustomer(row):
            held.customers.append(
                CustomerView(
                    key=f"{row.partition} / {row.row}",
                    record_id=row.record_id,
                    memory=dict(row.memory),
                    last_leads=[seen.lead_id for seen in row.recent],
                )
            )
        case FoundLead(record, "mention"):
            held.mentions.append(record.lead_id)
        case FoundLead(record, body=body):
            held.leads.append(
                HeldLead(
                    place=LEDGER_TABLE,
                    key=" / ".join(lead_key(record.lead_id)),
                    lead=lead_view(record),
                    said=_content(record.lead),
                    body=text_of_body(body)[0] if body else "",
                    handed_over=list(handed_over_of(stores, record)),
                )
            )
        case FoundMessage(queue, stored, message, lead, is_own):
            if is_own or message is None:
                lead_id = message.lead_id if message else ""
                held.messages.append(
                    HeldMessage(queue=queue, lead_id=lead_id, said=_content(lead) or {"text": stored.content})
                )
            else:
                held.mentions.append(message.lead_id)


def _content(lead: Lead | None) -> dict[str, Any]:
    return lead.to_wire() if lead else {}
