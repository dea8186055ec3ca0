"""Export: leads with all their data, by offer, state and time, a page with each request; and as CSV without formulas.

Memory holds one page at a time.
"""

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pydantic import Field

from leads.core.identity import complement
from leads.core.lead import TEXT_FIELDS, Lead
from leads.core.lenient_json import text_of_body
from leads.ledger.queries import PARTITIONS, received_between
from leads.ledger.rows import UNROUTED_OFFER, LeadRecord, read_lead
from leads.ledger.transactions import Ledger
from leads.operations.access import AccessLevel, Caller
from leads.operations.leads import LeadCriteria
from leads.operations.problems import Invalid
from leads.operations.steps import INVALID_CURSOR, Step, StepDone
from leads.platform.row_reading import read_each
from leads.platform.table_format import key_part

LEADS_A_PAGE: Final = 500
STEP_SECONDS: Final = 10.0
LEADS_A_STEP: Final = 1000
CHARACTERS_A_STEP: Final = 4_000_000
_LOOKED_AT: Final = 100
"""The number of examined leads between two looks at the clock."""
_CURSOR: Final = re.compile(r"|[0-9a-f]:(?:[0-9a-f-]{32})?")


class Export(LeadCriteria, Step):
    """The leads to export. A dry run only counts them."""

    offer: str | None = Field(
        default=None, max_length=500, description="Only leads of this offer; - is the unrouted ones."
    )


class ExportedPage(StepDone):
    """A page of leads. `count`: their number, also in a dry run. `personal_data`: whether the leads include it."""

    leads: list[dict[str, Any]]
    count: int
    personal_data: bool = True


def export_leads(caller: Caller, ledger: Ledger, request: Export) -> ExportedPage:
    """Export leads with all their data, newest first within each sixteenth of the ledger: a page with each request."""
    is_personal = caller.level is AccessLevel.PERSONAL
    ends_at = time.monotonic() + STEP_SECONDS
    page = ExportedPage(next=None, leads=[], count=0, personal_data=is_personal)
    characters = 0
    for number, (cursor, lead) in enumerate(_leads(ledger, request, request.after), 1):
        if lead is not None:
            page.count += 1
            if not request.dry_run:
                page.leads.append(lead if is_personal else {name: lead[name] for name in NOT_PERSONAL})
                characters += _size(lead)
        full = page.count >= LEADS_A_STEP or characters >= CHARACTERS_A_STEP
        if full or (number % _LOOKED_AT == 0 and time.monotonic() >= ends_at):
            page.next = cursor
            break
    return page


def _size(lead: dict[str, Any]) -> int:
    return sum(len(value) for value in lead.values() if isinstance(value, str))


Exported = tuple[str, dict[str, Any] | None]
"""The cursor to continue after a lead, and the lead as an object; None if the filter does not hold the lead."""


def _leads(ledger: Ledger, wanted: LeadCriteria, cursor: str) -> Iterator[Exported]:
    """Each lead after a cursor, newest first within each sixteenth of the ledger. Raises `Invalid` for a malformed cursor."""
    if not _CURSOR.fullmatch(cursor):
        raise Invalid(INVALID_CURSOR)
    first, _, after = cursor.partition(":")
    for partition in PARTITIONS[PARTITIONS.index(first) if first else 0 :]:
        condition = _condition(wanted, partition, after if partition == first else "")
        for page in ledger.table.pages(condition, page_size=LEADS_A_PAGE):
            yield from read_each(page, partial(_exported, ledger, wanted, partition))


def _condition(wanted: LeadCriteria, partition: str, after: str) -> str:
    condition = f"PartitionKey eq '{partition}' and {received_between('lead;', wanted.since, wanted.until)}"
    condition += f" and RowKey gt 'lead;{complement(after)}'" if after else ""
    return condition + (f" and state eq '{wanted.state}'" if wanted.state else "")


def _exported(ledger: Ledger, wanted: LeadCriteria, partition: str, row: Any) -> Exported:
    record = read_lead(row, row.metadata["etag"])
    cursor = f"{partition}:{record.lead_id}"
    if wanted.offer is not None and key_part(record.offer or UNROUTED_OFFER) != key_part(wanted.offer):
        return cursor, None
    if not record.has_body:
        return cursor, as_object(record)
    whole = ledger.read(record.lead_id) or record
    return cursor, as_object(whole, ledger.body(record.lead_id) if whole.lead is None else None)


# --- One lead -----------------------------------------------------------------------------------------------------------

_OBJECTS: Final = ("extra", "customer_extra", "campaign")
_ABOUT_THE_LEAD: Final = ("lead_id", "received_at", "offer", "state", "stage", "source", "action", "is_test")
_WHAT_BECAME_OF_IT: Final = ("emptied_at", "deliveries")
COLUMNS: Final = (
    *_ABOUT_THE_LEAD,
    *TEXT_FIELDS,
    *("country_code", "note"),
    *_OBJECTS,
    "body",
    *_WHAT_BECAME_OF_IT,
)
"""The columns of a CSV, and the members of a line of JSON."""
NOT_PERSONAL: Final = (*_ABOUT_THE_LEAD, *_WHAT_BECAME_OF_IT)
"""The columns without data of the customer."""


def as_object(record: LeadRecord, body: bytes | None = None) -> dict[str, Any]:
    """A lead as an object for JSON. `body`: the received bytes of a lead that can't be read."""
    lead = record.lead
    known = lead or Lead()
    return {
        "lead_id": record.lead_id,
        "received_at": record.received_at.isoformat(),
        "offer": record.offer,
        "state": record.state.value,
        "stage": record.stage.value,
        "source": lead.source if lead else record.source,
        "action": known.action,
        "is_test": lead.is_test if lead else record.is_test,
        **{name: getattr(known, name) for name in TEXT_FIELDS},
        "country_code": known.country_code,
        "note": known.note,
        **{name: dict(getattr(known, name)) for name in _OBJECTS},
        "body": text_of_body(body)[0] if body else "",
        "emptied_at": record.emptied_at.isoformat() if record.emptied_at else "",
        "deliveries": [
            {"destination": name, "state": one.state.value, "record_id": one.record_id, "reason": one.reason}
            for name, one in sorted(record.deliveries.items())
        ],
    }


# --- CSV ----------------------------------------------------------------------------------------------------------------

_BEGINS_A_FORMULA: Final = re.compile("[\\s\\0]*[=+\\-@\uff1d\uff0b\uff0d\uff20\u2212|]|[\\t\\r\\n]")
"""The beginning of a cell that a spreadsheet computes, also after blanks, and in full-width forms (OWASP, "CSV Injection")."""


def csv_line(cells: Mapping[str, Any], columns: Sequence[str] = COLUMNS) -> str:
    """A line of CSV, with each cell in quotes. A formula gets an apostrophe before it, which spreadsheets hide."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow([safe_cell(_cell(cells.get(name, ""))) for name in columns])
    return line.getvalue()


def csv_header() -> str:
    return csv_line({name: name for name in COLUMNS})


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet computes."""
    return f"'{text}" if _BEGINS_A_FORMULA.match(text) else text


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else str(value).replace("\0", "")
