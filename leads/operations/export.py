"""Export: leads with what they say, by offer, state and time, a page with each request. Personal data."""

import time
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from leads.app import App
from leads.core.states import State
from leads.operations import export_pages
from leads.operations.export_pages import Wanted, as_object
from leads.operations.leads import Moment, in_order
from leads.operations.operation import BODY, Request
from leads.operations.problems import Invalid
from leads.operations.steps import INVALID_CURSOR, Step, StepDone

STEP_SECONDS: Final = 10.0
LEADS_A_STEP: Final = 1000
CHARACTERS_A_STEP: Final = 4_000_000
_LOOKED_AT: Final = 100
"""After so many leads that are not wanted the clock is looked at."""


class Export(Step):
    """Which leads. A dry run only counts them."""

    offer: str | None = Field(
        default=None, max_length=500, description="Only leads of this offer; - is the unrouted ones."
    )
    state: State | None = Field(default=None, description="Only leads in this state.")
    since: Moment | None = Field(default=None, description="Only leads received since: 2026-01-31, 2h, 3d.")
    until: Moment | None = Field(default=None, description="Only leads received until then; written like since.")

    @model_validator(mode="after")
    def _a_span(self) -> Self:
        in_order(self.since, self.until)
        return self


class ExportLeads(Request):
    """Which leads are to be exported."""

    export: Annotated[Export, BODY] = Export.model_validate({})


class ExportedPage(StepDone):
    """A page of leads: personal data. `count` is how many they are, in a dry run too."""

    leads: list[dict[str, Any]]
    count: int


def export_leads(app: App, request: ExportLeads) -> ExportedPage:
    """Export leads with what they say, newest first within each sixteenth of the ledger: a page with each request."""
    asked = request.export
    ends_at = time.monotonic() + STEP_SECONDS
    wanted = Wanted(asked.offer, asked.state, asked.since, asked.until)
    page = ExportedPage(next=None, leads=[], count=0)
    characters = 0
    try:
        for number, found in enumerate(export_pages.export(app, wanted, asked.after), 1):
            if found.record is not None:
                page.count += 1
                if not asked.dry_run:
                    lead = as_object(found)
                    page.leads.append(lead)
                    characters += _size(lead)
            full = page.count >= LEADS_A_STEP or characters >= CHARACTERS_A_STEP
            if full or (number % _LOOKED_AT == 0 and time.monotonic() >= ends_at):
                page.next = found.place
                return page
    except export_pages.WrongPlace:
        raise Invalid(INVALID_CURSOR) from None
    return page


def _size(lead: dict[str, Any]) -> int:
    return sum(len(value) for value in lead.values() if isinstance(value, str))
