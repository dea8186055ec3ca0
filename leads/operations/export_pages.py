"""Export: leads with what they say, page after page, and as CSV in which no spreadsheet finds a formula.

Nothing is held longer than a page, however many leads there are.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from leads.core.identity import complement
from leads.core.lead import TEXT_FIELDS, Lead
from leads.core.lenient_json import text_of_body
from leads.ledger.queries import PARTITIONS, received_between
from leads.ledger.rows import UNROUTED_OFFER, LeadRecord, read_lead
from leads.ledger.transactions import Ledger
from leads.operations.leads import LeadCriteria
from leads.platform.row_reading import read_each
from leads.platform.table_format import key_part

LEADS_A_PAGE: Final = 500
_FORM: Final = re.compile(r"|[0-9a-f]:(?:[0-9a-f-]{32})?")


@dataclass(frozen=True, slots=True)
class Exported:
    """A lead, and where to go on behind it; `record` is None for one that was not wanted."""

    place: str
    record: LeadRecord | None
    body: bytes | None = None


class WrongPlace(ValueError):
    """This is no place that an export has come to."""


def export(ledger: Ledger, wanted: LeadCriteria, place: str = "") -> Iterator[Exported]:
    """Every lead that is wanted, from a place on: newest first within each of the ledger's sixteen parts.

    Raises `WrongPlace`.
    """
    if not _FORM.fullmatch(place):
        raise WrongPlace(place)
    first, _, after = place.partition(":")
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
    place = f"{partition}:{record.lead_id}"
    if wanted.offer is not None and key_part(record.offer or UNROUTED_OFFER) != key_part(wanted.offer):
        return Exported(place, None)
    if not record.has_body:
        return Exported(place, record)
    whole = ledger.read(record.lead_id) or record
    return Exported(place, whole, ledger.body(record.lead_id) if whole.lead is None else None)


# --- One lead -----------------------------------------------------------------------------------------------------------

_OBJECTS: Final = ("extra", "customer_extra", "campaign")
COLUMNS: Final = (
    *("lead_id", "received_at", "offer", "state", "stage", "source", "action", "is_test"),
    *TEXT_FIELDS,
    *("country_code", "note"),
    *_OBJECTS,
    *("body", "emptied_at", "deliveries"),
)
"""The columns of a CSV, and the members of a line of JSON."""


def as_object(exported: Exported) -> dict[str, Any]:
    """A lead as an object that JSON can hold. `body` is text only where it can't be read as a lead."""
    record = exported.record
    assert record is not None  # noqa: S101
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
        "body": text_of_body(exported.body)[0] if exported.body else "",
        "emptied_at": record.emptied_at.isoformat() if record.emptied_at else "",
        "deliveries": [
            {"destination": name, "state": one.state.value, "record_id": one.record_id, "reason": one.reason}
            for name, one in sorted(record.deliveries.items())
        ],
    }


# --- CSV ----------------------------------------------------------------------------------------------------------------

_BEGINS_A_FORMULA: Final = re.compile("[\\s\\0]*[=+\\-@\uff1d\uff0b\uff0d\uff20\u2212|]|[\\t\\r\\n]")
"""What makes a spreadsheet compute a cell, also behind blanks, and in the full width forms that some take for the same
(OWASP, "CSV Injection")."""


def csv_line(cells: Mapping[str, Any]) -> str:
    """One line, with every cell in quotes; what would be a formula has an apostrophe before it, which a spreadsheet hides."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow([safe_cell(_cell(cells[name])) for name in COLUMNS])
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
    return str(value).replace("\0", "")
