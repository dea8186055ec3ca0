"""`import` and `reconcile`: import leads of a list or a table, and find leads of a list that never arrived."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final

import typer

from leads.cli.csv_file import CsvFile, read_csv
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.files import read_bytes
from leads.cli.output import print_json, print_line, print_table
from leads.cli.prompts import ask, from_flags
from leads.cli.shapes import AnswerShape, Command, ListShape, OneShape, Shape, columns_of, print_list
from leads.cli.steps import After, DryRun, end_progress, in_steps, show_progress
from leads.core.columns import fields_in, time_in
from leads.core.dates import DateOrder, is_ambiguous, read_date
from leads.core.states import FINAL
from leads.core.wording import counted
from leads.operations.imports import (
    ROWS_AT_ONCE,
    ImportedFromTable,
    JudgedRow,
    JudgedRows,
    NumberedRow,
    Rows,
    RowsToImport,
    TableToImport,
    import_rows,
    import_table,
    names_customers,
    reconcile_rows,
    unknown_columns,
)
from leads.operations.problems import Invalid
from leads.operations.wire import MAX_BODY_BYTES
from leads.pipeline.importing import MixedDates, Row, Verdict, in_one_order

SHOWN: Final = 50
"""The most rows of a kind that are printed; --json has all."""

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Import leads from a list or another table.

    The app recognises leads that it already has (same customer, offer and action within 36 hours) and does not send them
    again. Each lead keeps its own time. You can safely import the same list twice.
    """,
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A CSV file, such as Partner Center's; - is standard input.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="The field that a column holds; COLUMN= skips the column. May be repeated.",
    ),
]
Offer = Annotated[str, typer.Option(help="The offer for rows that name no offer.")]
Dates = Annotated[
    DateOrder | None, typer.Option(help="What comes first in 03/04/2026. Without this option, the whole file decides.")
]
Time = Annotated[str | None, typer.Option(help="The time for rows without a time: 2026-01-31, 2026-01-31T14:00Z.")]
OnlyRecord = Annotated[
    bool,
    typer.Option("--only-record", help="Send nothing; only record the leads, because the CRM has them already."),
]


@group.command("csv", cls=Command)
def import_csv(
    context: typer.Context,
    file: File,
    columns: Columns = None,
    offer: Offer = "",
    dates: Dates = None,
    time: Time = None,
    only_record: OnlyRecord = False,
    dry_run: DryRun = False,
    shape: ListShape = Shape.TABLE,
) -> int:
    """Import a list of leads, such as Partner Center's page Referrals > Leads downloads.

    Columns may have any order and any of the usual names. Unknown columns are reported, and kept with the lead.
    The command reports a bad row by its number, and imports the others.

    \b
    python -m leads import csv leads.csv --dry-run
    python -m leads import csv leads.csv --map "Created on=created_time" --map "Notes="
    """
    found = read_csv(read_bytes(file))
    reading = _reading(found, columns, offer, dates, time)

    def take_in(batch: Rows) -> JudgedRows:
        wanted = RowsToImport(**batch.model_dump(), policy="record" if only_record else "send", dry_run=dry_run)
        return ask(context, import_rows, wanted)

    done = _in_batches(found, reading, take_in)
    _print_doubts(found, reading)
    if not print_list(shape, columns_of(JudgedRow), done.rows, done):
        _print_columns(done.unknown_columns)
        _print_rows(done.rows, {Verdict.BAD, Verdict.TWICE})
        _print_counts(done.rows, "would be imported" if dry_run else "imported")
    return NEEDS_A_PERSON if any(row.verdict is Verdict.BAD for row in done.rows) else DONE


@group.command("table", cls=Command)
def import_from_table(
    context: typer.Context,
    table: Annotated[str, typer.Option(help="The table's name.")] = "MarketplaceLeads",
    connection: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="Another account: env:LEADS_SECRET_NAME or keyvault:NAME of its connection string.",
        ),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another account by identity: https://ACCOUNT.table.core.windows.net."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only leads since then, by their own time: 2026-01-31, 90d.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only leads until then; written like --since.")] = None,
    columns: Columns = None,
    offer: Offer = "",
    only_record: OnlyRecord = False,
    dry_run: DryRun = False,
    after: After = "",
    shape: AnswerShape = OneShape.TABLE,
) -> int:
    """Import the leads of a MarketplaceLeads table, which Microsoft's connector or this app has written.

    Without --connection and --account, the table is in the app's own account. With --app, the app reads the table with
    its own settings and identity. Otherwise this machine reads it.

    \b
    python -m leads import table --connection env:LEADS_SECRET_OLD_STORAGE --since 90d --dry-run
    python -m leads import table --connection env:LEADS_SECRET_OLD_STORAGE --only-record
    """
    source = {"table": table, "connection_string": connection, "table_service_uri": account}
    which = from_flags(
        TableToImport,
        source={name: value for name, value in source.items() if value},
        since=since,
        until=until,
        columns=_mapped(columns),
        offer=offer,
        policy="record" if only_record else "send",
        dry_run=dry_run,
    )
    total = ImportedFromTable(next=None, imported=0, known=0, bad=[], unknown_columns=[])
    for step in in_steps(context, import_table, which, after):
        total.imported += step.imported
        total.known += step.known
        total.bad += step.bad
        total.unknown_columns = sorted({*total.unknown_columns, *step.unknown_columns})
        show_progress(counted(total.imported + total.known + len(total.bad), "row"))
    if shape is OneShape.JSON:
        print_json(total)
    else:
        _print_columns(total.unknown_columns)
        _print_some(total.bad)
        will = "would be imported" if dry_run else "imported"
        print_line(f"{total.imported} {will}, {total.known} known already, {len(total.bad)} bad")
    return NEEDS_A_PERSON if total.bad else DONE


def reconcile(
    context: typer.Context,
    file: File,
    columns: Columns = None,
    offer: Offer = "",
    dates: Dates = None,
    time: Time = None,
    bring_in: Annotated[bool, typer.Option("--import", help="Import the leads that never arrived.")] = False,
    shape: ListShape = Shape.TABLE,
) -> int:
    """Compare a list with the app: leads that never arrived or are not delivered.

    Download the list from Partner Center (Referrals > Leads). It has all leads that the marketplace knows, delivered or not.
    The file has what the page shows, so clear the filters and download each tab.
    Exit status 5 if a lead is missing and was not imported, if a lead is not delivered, or if a row can't be read.
    """
    found = read_csv(read_bytes(file))
    reading = _reading(found, columns, offer, dates, time)
    done = _in_batches(found, reading, lambda batch: ask(context, reconcile_rows, batch))
    _print_doubts(found, reading)
    if not print_list(shape, columns_of(JudgedRow), done.rows, done):
        _print_columns(done.unknown_columns)
        _print_rows(done.rows, {Verdict.BAD, Verdict.MISSING})
        _print_undelivered(done.rows)
        _print_counts(done.rows, "never arrived")
    if bring_in:
        _import_missing(context, found, reading, {row.number for row in done.rows if row.verdict is Verdict.MISSING})
    left = {Verdict.BAD} if bring_in else {Verdict.BAD, Verdict.MISSING}
    needed = any(row.verdict in left or _undelivered(row) for row in done.rows)
    return NEEDS_A_PERSON if needed else DONE


def _import_missing(context: typer.Context, found: CsvFile, reading: Rows, missing: set[int]) -> None:
    wanted = CsvFile(found.columns, [(number, record) for number, record in found.rows if number in missing])
    done = _in_batches(wanted, reading, lambda batch: ask(context, import_rows, RowsToImport(**batch.model_dump())))
    print_line(f"{sum(row.verdict is Verdict.MISSING for row in done.rows)} imported", err=True)


# --- Reading ------------------------------------------------------------------------------------------------------------


def _mapped(columns: Sequence[str] | None) -> dict[str, str]:
    mapped = {}
    for text in columns or ():
        name, equals, field = text.rpartition("=")
        if not equals or not name.strip():
            raise Invalid(f"--map: {text} is not COLUMN=FIELD")
        mapped[name.strip()] = field.strip()
    return mapped


def _reading(
    found: CsvFile, columns: Sequence[str] | None, offer: str, dates: DateOrder | None, time: str | None
) -> Rows:
    """How to read the file's rows; the answer has no rows yet. Raises `Invalid`."""
    mapped = _mapped(columns)
    if missing := [name for name in mapped if name not in found.columns]:
        raise Invalid(f"--map: the file has no column {missing[0]}; it has {', '.join(found.columns)}")
    reading = from_flags(Rows, rows=[], columns=mapped, offer=offer, time=time, dates=dates)
    if not fields_in(found.columns, mapped):
        raise Invalid(
            f"FILE: none of its columns is known ({', '.join(found.columns)}); "
            "name the columns in the first row, or say with --map what they hold"
        )
    if not names_customers(found.columns, mapped):
        raise Invalid(
            f"FILE: none of its columns holds an e-mail address, which identifies a customer ({', '.join(found.columns)}); "
            "--map 'COLUMN=email' names one. Partner Center's analytics have none: download the list of Referrals > Leads"
        )
    rows = [Row(number, record) for number, record in found.rows]
    try:
        return reading.model_copy(update={"dates": in_one_order(rows, reading.reading()).order})
    except MixedDates as mixed:
        raise Invalid(f"FILE: {mixed}") from None


def _in_batches(found: CsvFile, reading: Rows, judge: Callable[[Rows], JudgedRows]) -> JudgedRows:
    """The verdict on each row of the file, in the file's order."""
    rows = [
        JudgedRow(number=number, verdict=Verdict.BAD, lead_id="", state=None, reason=why) for number, why in found.bad
    ]
    every = len(found.rows) + len(found.bad)
    try:
        for batch in _batches(found, reading):
            rows += judge(batch).rows
            show_progress(f"{len(rows)} of {every} rows")
    except BaseException:
        end_progress()
        if len(rows) > len(found.bad):
            done = f"Stopped after {len(rows)} of {every} rows."
            print_line(f"{done} Give the same command again: no row is imported twice.", err=True)
        raise
    end_progress()
    unknown = unknown_columns((record for _, record in found.rows), reading.columns)
    return JudgedRows(rows=sorted(rows, key=lambda row: row.number), unknown_columns=unknown)


def _batches(found: CsvFile, reading: Rows) -> Iterator[Rows]:
    """The rows in parts that fit a request. A part has rows of one month, so a request reads a short span of the ledger."""
    batch: list[NumberedRow] = []
    size, began = 0, ""
    for number, record in sorted(found.rows, key=lambda row: _moment(row[1], reading)):
        length, month = len(json.dumps(record)) + 100, _moment(record, reading)[:7]
        if batch and (len(batch) == ROWS_AT_ONCE or size + length > MAX_BODY_BYTES // 2 or month != began):
            yield reading.model_copy(update={"rows": batch})
            batch, size = [], 0
        batch.append(NumberedRow(number=number, record=dict(record)))
        size, began = size + length, month
    if batch:
        yield reading.model_copy(update={"rows": batch})


def _moment(record: dict[str, str], reading: Rows) -> str:
    moment = read_date(time_in(record, reading.columns), reading.dates)
    return moment.isoformat() if moment else ""


# --- Telling ------------------------------------------------------------------------------------------------------------


def _undelivered(row: JudgedRow) -> bool:
    return row.verdict is Verdict.KNOWN and row.state is not None and row.state not in FINAL


def _print_columns(unknown: Sequence[str]) -> None:
    if unknown:
        print_line(f"Unknown columns, kept with the lead: {', '.join(unknown)}", err=True)
        print_line("--map 'COLUMN=FIELD' says what a column holds, and --map 'COLUMN=' leaves it out.", err=True)


def _print_doubts(found: CsvFile, reading: Rows) -> None:
    """Print what the file leaves open, and how the app reads it."""
    if reading.dates is None and is_ambiguous([time_in(record, reading.columns) for _, record in found.rows]):
        print_line(
            "No date of the file tells whether 03/04/2026 is in March or April. The app reads March (April for 03-04-2026). "
            "--dates mdy or --dates dmy decides for all dates.",
            err=True,
        )
    if fields_in(found.columns, reading.columns).isdisjoint({"action_code", "lead_source"}):
        print_line(
            "No column says what the customers did, so a customer's leads for one offer within 36 hours count as one. "
            "If a column does: --map 'COLUMN=action_code'",
            err=True,
        )


def _print_rows(rows: Sequence[JudgedRow], verdicts: set[Verdict]) -> None:
    _print_some([f"row {row.number}: {row.reason or 'never arrived'}" for row in rows if row.verdict in verdicts])


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print_line(line)
    _print_rest(len(lines))


def _print_rest(count: int) -> None:
    if count > SHOWN:
        print_line(f"and {count - SHOWN} more: --json has them all")


def _print_undelivered(rows: Sequence[JudgedRow]) -> None:
    told = [(f"row {row.number}", row.lead_id, str(row.state)) for row in rows if _undelivered(row)]
    if told:
        print_table(("not delivered", "lead", "state"), told[:SHOWN], "state")
        _print_rest(len(told))


def _print_counts(rows: Sequence[JudgedRow], missing: str) -> None:
    counts = Counter(row.verdict for row in rows)
    said = [f"{counts[Verdict.MISSING]} {missing}", f"{counts[Verdict.KNOWN]} known already"]
    if waiting := sum(map(_undelivered, rows)):
        said[-1] += f" ({waiting} of them not delivered)"
    said += [
        f"{counts[verdict]} {word}"
        for verdict, word in ((Verdict.TWICE, "twice in the file"), (Verdict.BAD, "bad"))
        if counts[verdict]
    ]
    print_line(f"{counted(len(rows), 'row')}: {', '.join(said)}")
