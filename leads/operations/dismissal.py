"""Dismissal of leads that need no repair: one lead, or many by their cause."""

from itertools import islice
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, Field, model_validator

from leads.ledger.transactions import Ledger
from leads.operations.leads import LeadId, known_lead, readable_lead
from leads.operations.operation import ALL_SAID, BODY, Body, Request
from leads.operations.problems import NotFound
from leads.operations.steps import StepDone
from leads.operations.undelivered import UndeliveredFilter
from leads.pipeline import dismissal
from leads.pipeline.dismissal import Dismissal

LEADS_A_STEP: Final = 50
EXAMINED_A_STEP: Final = 500
"""The most leads that a step examines: each needs a request to storage."""

Note = Annotated[
    str,
    Field(max_length=500, description="The reason, for colleagues who look at the lead later. Write no personal data."),
]


class DismissOptions(Body):
    """The reason and the destination of a dismissal, or `take_back`."""

    note: Note = ""
    destination: str | None = Field(default=None, description="Only for this destination; null = for all.")
    take_back: bool = Field(default=False, description="Take the dismissal back: the lead waits for a person again.")
    dry_run: bool = Field(default=False, description="Only show what would be done.")

    @model_validator(mode="after")
    def _has_a_note(self) -> Self:
        if not (self.take_back or self.note.strip()):
            raise ValueError("note: give the reason, for colleagues who look at the lead later")
        return self


class DismissLead(Request):
    """The lead to dismiss, and the reason."""

    lead_id: LeadId
    dismissal: Annotated[DismissOptions, BODY]


class DismissedLead(BaseModel):
    """The result for a lead. `done`: the number of dismissed destinations."""

    model_config = ALL_SAID

    done: int
    deliveries: list[Dismissal]


class BulkDismissalFilter(UndeliveredFilter):
    """The leads to dismiss: at least one of code, offer, connection, destination, since and until."""

    note: Note
    state: Literal["dead_letter", "held", "crashed", "unrouted", "unreadable"] = Field(
        default="dead_letter", description="The leads' state."
    )
    code: str | None = Field(default=None, max_length=100, description="Only leads whose last attempt has this code.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.note.strip():
            raise ValueError("note: give the reason, for colleagues who look at the leads later")
        if not (self.code or self.is_narrowed):
            raise ValueError("code: say which leads, by code, offer, connection, destination, since or until")
        return self


class DismissedMany(StepDone):
    """The result of a step, or of a dry run: the number of dismissals, and each lead with its destination."""

    done: int
    deliveries: list[Dismissal]


def dismiss_lead(ledger: Ledger, request: DismissLead) -> DismissedLead:
    """Dismiss a lead that needs no repair, with a note, or take the dismissal back."""
    record, how = known_lead(ledger, request.lead_id), request.dismissal
    if how.destination is not None and how.destination not in record.deliveries:
        known = ", ".join(sorted(filter(None, record.deliveries))) or "none, it is not routed"
        raise NotFound(f"destination: the lead has no destination of that name; it has: {known}")
    if how.take_back:
        done = dismissal.take_back(ledger, record, how.destination, dry_run=how.dry_run)
    else:
        done = dismissal.dismiss(ledger, record, how.note.strip(), how.destination, dry_run=how.dry_run)
    return DismissedLead(done=sum(not each.kept for each in done), deliveries=done)


def dismiss_leads(ledger: Ledger, request: BulkDismissalFilter) -> DismissedMany:
    """Dismiss leads by their cause, a part with each request: by code, offer, connection or time."""
    found = list(islice(request.found(ledger, request.after), EXAMINED_A_STEP))
    done: list[Dismissal] = []
    end: str | None = None
    for cursor, item in found:
        record = readable_lead(ledger, item.lead_id) if request.holds_todo(item) else None
        if record is not None and record.has_code(item.destination, request.code):
            done += dismissal.dismiss(ledger, record, request.note.strip(), item.destination, dry_run=request.dry_run)
        end = cursor
        if len(done) >= LEADS_A_STEP:
            break
    else:
        end = end if len(found) == EXAMINED_A_STEP else None
    return DismissedMany(next=end, done=sum(not each.kept for each in done), deliveries=done)
