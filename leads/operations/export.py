"""Export: leads with what they say, by offer, state and time, a page with each request. Personal data."""

import time
from typing import Any, Final

from pydantic import Field

from leads.ledger.transactions import Ledger
from leads.operations import export_pages
from leads.operations.export_pages import as_object
from leads.operations.leads import LeadCriteria
from leads.operations.problems import Invalid
from leads.operations.steps import INVALID_CURSOR, Step, StepDone

STEP_SECONDS: Final = 10.0
LEADS_A_STEP: Final = 1000
CHARACTERS_A_STEP: Final = 4_000_000
_LOOKED_AT: Final = 100
"""After so many leads that are not wanted the clock is looked at."""


class Export(LeadCriteria, Step):
    """Which leads. A dry run only counts them."""

    offer: str | None = Field(
        default=None, max_length=500, description="Only leads of this offer; - is the unrouted ones."
    )


class ExportedPage(StepDone):
    """A page of leads: personal data. `count` is how many they are, in a dry run too."""

    leads: list[dict[str, Any]]
    count: int


def export_leads(ledger: Ledger, request: Export) -> ExportedPage:
    """Export leads with what they say, newest first within each sixteenth of the ledger: a page with each request."""
    ends_at = time.monotonic() + STEP_SECONDS
    page = ExportedPage(next=None, leads=[], count=0)
    characters = 0
    try:
        for number, found in enumerate(export_pages.export(ledger, request, request.after), 1):
            if found.record is not None:
                page.count += 1
                if not request.dry_run:
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
