"""`report`: numbers of the last days, for a person, a script or a spreadsheet."""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Final

import typer

from leads.cli.output import print_line, print_table
from leads.cli.prompts import ask, from_flags
from leads.cli.shapes import ListShape, Shape, print_list
from leads.operations.problems import Invalid
from leads.operations.report import Count, Report, TimeToCrm, WantedReport, show_report

_COLUMNS: Final = ("day", *Count.model_fields)
_NOT_KNOWN: Final = "(not known)"
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


class By(StrEnum):
    """What a row of the table counts, instead of a day."""

    OFFER = "offer"
    SOURCE = "source"
    STAGE = "stage"
    COUNTRY = "country"


def report(
    context: typer.Context,
    days: Annotated[int | None, typer.Option(help="How many days, today included: 7, 30, 90; at most 366.")] = None,
    by: Annotated[By | None, typer.Option(help="Group by this instead of by day, most leads first.")] = None,
    shape: ListShape = Shape.TABLE,
) -> None:
    """Show how many leads came in the last 30 days, how far customers came, and how long leads took to the CRM.

    Test leads, imported leads and redeliveries do not count. A repeat is a lead of a customer who did the same before.
    Countries with fewer than 5 leads are "other". The numbers hold no personal data. Days are UTC.
    """
    if by and shape is not Shape.TABLE:
        raise Invalid(f"--by: is for the table; --output {shape} holds every count")
    found = ask(context, show_report, from_flags(WantedReport, days=days))
    counts = [{"day": str(day.day), **count.model_dump()} for day in found.days for count in day.counts]
    if not print_list(shape, _COLUMNS, counts, found):
        _print_report(found, by)


def _print_report(found: Report, by: By | None) -> None:
    if not found.days:
        print_line(f"The days from {found.begin} on are still being counted; ask again in some minutes.")
        return
    print_line(f"{found.begin} to {found.end} (UTC)")
    first, repeats = Counter[str](), Counter[str]()
    for day in found.days:
        for count in day.counts:
            name = str(getattr(count, by) or _NOT_KNOWN) if by else str(day.day)
            first[name] += count.first
            repeats[name] += count.repeats
    names = (
        sorted(first, key=lambda name: (-first[name] - repeats[name], name))
        if by
        else [str(day.day) for day in found.days]
    )
    rows = [(name, str(first[name]), str(repeats[name])) for name in names]
    print_line("")
    print_table(
        (by or "day", "first", "repeats"), [*rows, ("all", str(first.total()), str(repeats.total()))], by or "day"
    )
    print_line("")
    print_table(("reached", "first"), [(one.stage, str(one.first)) for one in found.reached])
    if found.time_to_crm:
        print_line("")
        titles = ("offer", "destination", "leads", "median", "95 % within")
        print_table(titles, [_time_row(one) for one in found.time_to_crm], "offer", "destination")


def _time_row(one: TimeToCrm) -> tuple[str, ...]:
    return one.offer, one.destination, str(one.leads), _duration(one.median_seconds), _duration(one.p95_seconds)


def _duration(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
