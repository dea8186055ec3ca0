"""Replay: sends leads again: one, as it is or corrected, or many that need a person."""

from itertools import islice
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from leads.core.lead import TEXT_FIELDS
from leads.ledger.incoming import IncomingLeads
from leads.ledger.rows import LeadRecord
from leads.ledger.transactions import Ledger
from leads.offers.table import Offers
from leads.operations.leads import LeadId, known_lead, lead_of
from leads.operations.operation import ALL_SAID, BODY, Body, Request
from leads.operations.problems import Invalid, NotFound
from leads.operations.steps import INVALID_CURSOR, StepDone
from leads.operations.undelivered import UndeliveredFilter
from leads.pipeline import replay
from leads.pipeline.replay import NoDestination, NotCorrectable, Replay
from leads.platform.storage import Queue

LEADS_A_STEP: Final = 50
EXAMINED_A_STEP: Final = 2000


class ReplayOptions(Body):
    """The destination that gets the lead again, and corrections."""

    destination: str | None = Field(
        default=None, description="Only to this destination; null = to all that lack the lead."
    )
    force: bool = Field(
        default=False,
        description="Send even if the lead was delivered or skipped. First see `twice` in a dry run.",
    )
    dry_run: bool = Field(default=False, description="Only show what would be done.")
    fields: dict[str, str] = Field(default={}, description=f"Corrected fields: {', '.join(TEXT_FIELDS)}.")
    lead: JsonValue = Field(
        default=None,
        description="The whole lead, corrected: in any shape that the intake takes, as JSON or as its text.",
    )

    @model_validator(mode="after")
    def _require_filter(self) -> Self:
        if unknown := sorted(self.fields.keys() - set(TEXT_FIELDS)):
            raise ValueError(f"fields.{unknown[0][:50]}: there is no such field; there are {', '.join(TEXT_FIELDS)}")
        if self.fields and self.lead is not None:
            raise ValueError("fields: leave them out, because lead gives the whole lead")
        if (self.fields or self.lead is not None) and (self.destination or self.force):
            raise ValueError(
                "destination: a corrected lead goes to the destinations that lack the original; leave out destination and force"
            )
        return self


class ReplayLead(Request):
    """The lead to send again, and how."""

    lead_id: LeadId
    again: Annotated[ReplayOptions, BODY] = ReplayOptions()


class ReplayedLead(BaseModel):
    """The result for a lead. `corrected_as`: the id of the corrected lead. `sent`: the number of destinations."""

    model_config = ALL_SAID

    lead_id: str
    corrected_as: str
    sent: int
    deliveries: list[Replay]


class BulkReplayFilter(UndeliveredFilter):
    """The leads to send again: at least one of offer, connection, destination, since and until."""

    state: Literal["dead_letter", "held", "crashed", "retry"] = Field(
        default="dead_letter", description="The leads' state; retry = leads that wait for their next attempt."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.is_narrowed:
            raise ValueError("offer: say which leads, by offer, connection, destination, since or until")
        return self


class ReplayedMany(StepDone):
    """The result of a step, or of a dry run: the number of leads sent again, and each lead with its destination."""

    sent: int
    kept: int
    deliveries: list[Replay]


def replay_lead(
    queue: Queue, ledger: Ledger, offers: Offers, incoming: IncomingLeads, request: ReplayLead
) -> ReplayedLead:
    """Send a lead again, as it is or corrected. Without `force`, delivered leads are not sent twice."""
    record, again = known_lead(ledger, request.lead_id), request.again
    if again.fields or again.lead is not None:
        return _corrected(incoming, ledger, record, again)
    try:
        plans = replay.replay(
            queue, ledger, offers, record, again.destination, force=again.force, dry_run=again.dry_run
        )
    except NoDestination as error:
        raise NotFound(f"destination: {error}") from None
    return ReplayedLead(
        lead_id=record.lead_id,
        corrected_as="",
        sent=sum(not plan.kept for plan in plans),
        deliveries=plans,
    )


def replay_leads(queue: Queue, ledger: Ledger, offers: Offers, request: BulkReplayFilter) -> ReplayedMany:
    """Send leads again: a part with each request, oldest first within a sixteenth of the ledger, at a steady pace."""
    begun, place = _place(request.after)
    found = list(islice(request.found(ledger, place), EXAMINED_A_STEP))
    wanted = [(cursor, item) for cursor, item in found if request.holds_todo(item)]
    now, later = wanted[:LEADS_A_STEP], wanted[LEADS_A_STEP:]
    again = ((item.lead_id, item.destination) for _, item in now)
    plans = list(replay.in_bulk(queue, ledger, offers, again, begun, dry_run=request.dry_run))
    sent = sum(not plan.kept for plan in plans)
    end = now[-1][0] if later else found[-1][0] if len(found) == EXAMINED_A_STEP else None
    return ReplayedMany(
        next=f"{begun + sent}:{end}" if end else None,
        sent=sent,
        kept=len(plans) - sent,
        deliveries=plans,
    )


def _place(after: str) -> tuple[int, str]:
    """The number of leads that previous steps sent, and their last cursor. Raises `Invalid`."""
    begun, _, place = after.partition(":")
    if after and not (begun.isascii() and begun.isdigit() and len(begun) < 10):
        raise Invalid(INVALID_CURSOR)
    return int(begun or 0), place


def _corrected(incoming: IncomingLeads, ledger: Ledger, record: LeadRecord, again: ReplayOptions) -> ReplayedLead:
    if again.lead is not None:
        lead = lead_of(again.lead)
    elif record.lead is None:
        raise Invalid(
            "fields: the body can't be read, so no field can be corrected; give the whole lead: "
            f"python -m leads replay {record.lead_id} --lead FILE"
        )
    else:
        lead = lead_of(record.lead.model_copy(update=again.fields).to_body())
    try:
        lead_id = replay.correct(incoming, ledger, record, lead, dry_run=again.dry_run)
    except NotCorrectable as error:
        raise Invalid(f"lead_id: {error}") from None
    return ReplayedLead(lead_id=record.lead_id, corrected_as=lead_id, sent=1, deliveries=[])
