"""Import and reconcile: rows of a list, and rows of another `MarketplaceLeads` table."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from azure.core.exceptions import AzureError, ResourceNotFoundError
from pydantic import BaseModel, Field, JsonValue, field_validator

from leads.core.columns import field_of_column, fields_in
from leads.core.dates import DateOrder
from leads.core.lead import TEXT_FIELDS
from leads.core.lead_fields import is_tables_own
from leads.core.messages import Imported
from leads.core.routing import OfferReferences, route
from leads.core.states import State
from leads.destinations.base import Context
from leads.destinations.vendors.azure_table import AzureTable, AzureTableSettings
from leads.destinations.vendors.azure_table.rows import from_entity, offer_of
from leads.ledger.incoming import IncomingLeads
from leads.ledger.transactions import Ledger
from leads.offers.model import DestinationOf
from leads.offers.table import Offers
from leads.operations.leads import Moment, TimeSpan
from leads.operations.offers import no_offer
from leads.operations.operation import Body
from leads.operations.problems import Invalid
from leads.operations.steps import INVALID_CURSOR, Step, StepDone
from leads.pipeline.importing import (
    Judged,
    MixedDates,
    Reading,
    Row,
    Verdict,
    compare,
    fit_for,
    in_one_order,
    remembered,
    take_in,
)
from leads.platform.settings import SettingsError
from leads.platform.storage import raising_the_cause
from leads.platform.table_format import odata_time

ROWS_AT_ONCE: Final = 500
_SKEW: Final = timedelta(days=1)
"""The most that clocks may differ: a row may seem older than its lead by this time."""


Policy = Annotated[
    Literal["send", "record"],
    Field(description="Whether the leads are delivered, or only recorded because a CRM has them already."),
]


class _Reading(Body):
    """How rows are read."""

    columns: dict[str, str] = Field(
        default={},
        description=f'A column\'s name: the field that it holds, one of {", ".join(TEXT_FIELDS)}; "" leaves it out.',
    )
    offer: str = Field("", max_length=500, description="The offer for rows that name no offer.")

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str]) -> dict[str, str]:
        for name, field in columns.items():
            if field and field not in TEXT_FIELDS:
                raise ValueError(f"{name[:50]!r} can't be {field[:50]!r}; the fields are {', '.join(TEXT_FIELDS)}")
        return columns


class NumberedRow(Body):
    """A row: its number in the list, and its columns by name."""

    number: int = Field(ge=0)
    record: dict[str, JsonValue]


class Rows(_Reading):
    """Rows of a list, at most 500 at once."""

    rows: list[NumberedRow] = Field(max_length=ROWS_AT_ONCE)
    dates: DateOrder | None = Field(
        default=None,
        description="What comes first in a date such as 03/04/2026: mdy or dmy; null = as in the rows' other dates.",
    )
    time: Moment | None = Field(default=None, description="The time for rows without a time.")

    def reading(self) -> Reading:
        return Reading(self.columns, self.dates, self.time, self.offer.strip())


class RowsToImport(Rows):
    """Rows of a list, and what to do with the leads that the app lacks."""

    policy: Policy = "send"
    dry_run: bool = Field(default=False, description="Only show what would be done.")


class JudgedRow(BaseModel):
    """The verdict on a row.

    `missing`: the app lacks the lead, and an import adds it as `lead_id`. `known`: the app has the lead as `lead_id`, in
    `state` (null: the lead's row is gone, so the lead was handled). `twice`: another row has the same lead. `bad`: see
    `reason`.
    """

    number: int
    verdict: Verdict
    lead_id: str
    state: State | None
    reason: str


class JudgedRows(BaseModel):
    """Each row, in order. `unknown_columns`: columns that fit no field; the app keeps them with the lead."""

    rows: list[JudgedRow]
    unknown_columns: list[str]


class TableToImport(TimeSpan, _Reading, Step):
    """Another `MarketplaceLeads` table, and what to do with the leads that the app lacks."""

    source: AzureTableSettings = Field(description="Which table: as the settings of the destination type azure_table.")
    since: Moment | None = Field(default=None, description="Only leads since then, by their own time.")
    until: Moment | None = Field(default=None, description="Only leads until then, by their own time.")
    policy: Policy = "send"


class ImportedFromTable(StepDone):
    """The result of a step, or of a dry run. `imported`: the number of new leads. `bad`: bad rows with their keys."""

    imported: int
    known: int
    bad: list[str]
    unknown_columns: list[str]


def import_rows(ledger: Ledger, offers: Offers, incoming: IncomingLeads, request: RowsToImport) -> JudgedRows:
    """Import rows of a list, such as Partner Center's: the app queues the leads that it lacks, and reports each bad row."""
    judged = fit_for(Imported(request.policy), _compared(ledger, offers, request))
    if not request.dry_run:
        take_in(incoming, judged, Imported(request.policy))
    return _view(judged, request)


def reconcile_rows(ledger: Ledger, offers: Offers, destination_of: DestinationOf, request: Rows) -> JudgedRows:
    """Compare rows of a list with the ledger: which leads never arrived, and the states of the others. Changes nothing."""
    compared = _compared(ledger, offers, request)
    return _view(remembered(ledger, offers.all(), destination_of, compared), request)


def _compared(ledger: Ledger, offers: Offers, wanted: Rows) -> list[Judged]:
    rows = [Row(row.number, row.record) for row in wanted.rows]
    if rows and not names_customers({name for row in rows for name in row.record}, wanted.columns):
        raise Invalid(
            "rows: no column holds an e-mail address, which identifies a customer; name the column in columns"
        )
    _require_configured(offers, wanted)
    try:
        reading = in_one_order(rows, wanted.reading())
    except MixedDates as mixed:
        raise Invalid(f"rows: {mixed}") from None
    return compare(ledger, offers, rows, reading)


def _require_configured(offers: Offers, wanted: _Reading) -> None:
    """Raises `Invalid` if no offer takes the named one's leads: they would wait as unrouted, and could not be imported again."""
    if wanted.offer.strip() and route(OfferReferences(wanted.offer), offers.renew()) is None:
        raise Invalid(no_offer(wanted.offer.strip()))


def names_customers(names: Iterable[str], columns: Mapping[str, str]) -> bool:
    """Whether a column identifies customers. Without such a column, every delivered lead would seem to be missing."""
    return not fields_in(names, columns).isdisjoint({"email", "customer"})


def _view(judged: Iterable[Judged], wanted: Rows) -> JudgedRows:
    return JudgedRows(
        rows=[
            JudgedRow(
                number=each.row.number,
                verdict=each.verdict,
                lead_id=each.known_as or (each.candidate.lead_id if each.candidate else ""),
                state=each.state,
                reason=each.reason,
            )
            for each in judged
        ],
        unknown_columns=unknown_columns((row.record for row in wanted.rows), wanted.columns),
    )


def unknown_columns(records: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> list[str]:
    """The columns with values that fit no known field, by name."""
    names = {name for record in records for name, value in record.items() if value not in ("", None)}
    return sorted(
        name for name in names if name not in columns and not field_of_column(name) and not is_tables_own(name)
    )


# --- Another table ------------------------------------------------------------------------------------------------------


def import_table(
    ledger: Ledger, offers: Offers, incoming: IncomingLeads, context: Context, request: TableToImport
) -> ImportedFromTable:
    """Import another `MarketplaceLeads` table, of Microsoft's connector or of this app: up to 500 rows with each request."""
    _require_configured(offers, request)
    entities, place = _page(context, request)
    rows = [
        Row(number, from_entity(entity), entity["RowKey"], entity.metadata["timestamp"], offer_of(entity))
        for number, entity in enumerate(entities, 1)
    ]
    reading = Reading(request.columns, offer=request.offer.strip())
    compared = [each for each in compare(ledger, offers, rows, reading) if _in_span(each, request)]
    judged = fit_for(Imported(request.policy), compared)
    if not request.dry_run:
        take_in(incoming, judged, Imported(request.policy))
    counted = Counter(each.verdict for each in judged)
    bad = [f"{each.row.key}: {each.reason}" for each in judged if each.verdict is Verdict.BAD]
    return ImportedFromTable(
        next=json.dumps(place) if place else None,
        imported=counted[Verdict.MISSING],
        known=counted[Verdict.KNOWN] + counted[Verdict.TWICE],
        bad=bad,
        unknown_columns=unknown_columns((row.record for row in rows), request.columns),
    )


def _in_span(judged: Judged, wanted: TableToImport) -> bool:
    return judged.candidate is None or wanted.holds(judged.candidate.received_at)


def _page(context: Context, wanted: TableToImport) -> tuple[list[Any], dict[str, str] | None]:
    """A page of the table, and the beginning of the next page. Raises `Invalid`."""
    source = AzureTable(wanted.source, context)
    try:
        client = source.client()
        condition = f"Timestamp ge {odata_time(wanted.since - _SKEW)}" if wanted.since else ""
        with raising_the_cause():
            # The SDK's types lack this token, which is a dict, and the iterator's attribute for it.
            place: Any = _place(wanted.after)
            pages: Any = client.query_entities(condition, results_per_page=ROWS_AT_ONCE).by_page(place)
            entities = list(next(pages, ()))
    except SettingsError as error:
        raise Invalid(f"source: {error}") from None
    except ResourceNotFoundError:
        raise Invalid(f"source.table: the account has no table {wanted.source.table}") from None
    except AzureError as error:
        raise Invalid(f"source: {source.problem_with(error).problem}") from None
    return entities, pages.continuation_token


def _place(after: str) -> dict[str, str] | None:
    if not after:
        return None
    try:
        place = json.loads(after)
    except ValueError:
        place = None
    if not isinstance(place, dict) or place.keys() != {"PartitionKey", "RowKey"}:
        raise Invalid(INVALID_CURSOR)
    return {name: str(value) for name, value in place.items()}
