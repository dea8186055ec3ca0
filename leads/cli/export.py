"""`export`: writes leads with all their data, as CSV or lines of JSON, to a file or standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

import typer

from leads.cli.exits import DONE
from leads.cli.leads import InState, OfOffer, Since, Until
from leads.cli.output import json_text, print_line
from leads.cli.prompts import confirm, from_flags
from leads.cli.steps import After, DryRun, Yes, in_steps, show_progress
from leads.core.wording import counted
from leads.operations.export import Export, csv_header, csv_line, export_leads
from leads.operations.problems import Invalid

_MARK: Final = "\N{BYTE ORDER MARK}"
"""Excel needs this mark to read a file as UTF-8."""


def export(
    context: typer.Context,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file to write; - is standard output.")
    ] = "-",
    format: Annotated[
        str | None, typer.Option("--format", help="csv or jsonl (a line of JSON for each lead); by the file's name.")
    ] = None,
    offer: OfOffer = None,
    state: InState = None,
    since: Since = None,
    until: Until = None,
    after: After = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Export leads with all their data, including personal data.

    With the key of the function operate, the export leaves personal data out.

    A CSV file is UTF-8, has a column for each field, and quotes every cell. A cell that looks like a formula gets an
    apostrophe before it. Lines of JSON hold the exact values.

    The command writes FILE.part, and renames it to FILE when it is complete. With --after, it continues FILE.part. Other users
    of this machine can't read the file. It holds personal data: remove it after use. Without --yes, the command asks before it
    replaces a file.
    """
    kind = _kind(format, output)
    is_taken = not dry_run and output != "-" and Path(output).exists()
    if is_taken and not Path(output).is_file():
        raise Invalid(f"--output: {output} is not a file; name a new file, or - for standard output")
    if is_taken and not yes and not confirm(f"{output} exists. Replace it?"):
        print_line("Nothing was exported.", err=True)
        return DONE
    wanted = from_flags(Export, offer=offer, state=state, since=since, until=until, dry_run=dry_run)
    steps = in_steps(context, export_leads, wanted, after)
    count, is_whole = 0, True
    write = csv_line if kind == "csv" else _json
    with _opened("" if dry_run else output, adding=bool(after)) as file:
        header = ("" if output == "-" else _MARK) + csv_header() if kind == "csv" and not after and not dry_run else ""
        for step in steps:
            file.write(header + "".join(map(write, step.leads)))
            file.flush()
            header = ""
            count += step.count
            is_whole = is_whole and step.personal_data
            show_progress(counted(count, "lead"))
    print_line(f"{counted(count, 'lead')}{' would be exported' if dry_run else ''}", err=True)
    if not is_whole:
        print_line(
            "Personal data is left out, because of the level of the key. A key of the function manage exports it.",
            err=True,
        )
    return DONE


def _json(lead: dict[str, Any]) -> str:
    return json_text(lead, indent=None) + "\n"


def _kind(named: str | None, output: str) -> Literal["csv", "jsonl"]:
    kind = named or ("jsonl" if Path(output).suffix in {".jsonl", ".ndjson", ".json"} else "csv")
    if kind == "csv":
        return "csv"
    if kind == "jsonl":
        return "jsonl"
    raise Invalid("--format: must be csv or jsonl")


@contextmanager
def _opened(output: str, *, adding: bool) -> Iterator[TextIO]:
    """The stream to write to; "" = standard output, which stays unused. A file gets its name when it is complete."""
    if output in {"", "-"}:
        yield sys.stdout
        return
    part = f"{output}.part"
    if adding and not Path(part).exists():
        raise Invalid(f"--after: there is no {part} to continue; leave it out to begin again")
    try:
        if not adding:
            Path(part).unlink(missing_ok=True)  # its mode may let other users read it
        file = open(part, "a" if adding else "w", encoding="utf-8", newline="", opener=_private)  # noqa: SIM115
    except OSError as error:
        raise Invalid(f"--output: {part} can't be written ({error.strerror})") from None
    with file:
        yield file
    Path(part).replace(output)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
