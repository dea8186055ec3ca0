"""`doctor`: lists the problems of a deployment, each with its remedy."""

from collections import Counter
from typing import Annotated, Final

import typer
from rich.text import Text

from leads.cli import hints
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.output import print_line, print_table, printable, with_answer
from leads.cli.prompts import ask
from leads.cli.shapes import ListShape, Shape, columns_of, print_list
from leads.cli.transport import StorageTransport
from leads.operations.doctor import examine_deployment
from leads.operations.findings import Finding, Level
from leads.operations.operation import Nothing

_STYLES: Final = {Level.WRONG: "red", Level.NOTE: "yellow", Level.FINE: "green"}


def doctor(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also show what is fine.")] = False,
    shape: ListShape = Shape.TABLE,
) -> int:
    """Check the deployment; report problems and what to do.

    Checks settings, identity, queues, tables, offers, secrets, connections, the intake, and whether the app runs. Changes
    nothing. Exit status 5 if anything is wrong.

    With --app, the deployed app makes the checks. Without --app, this machine makes them, with the settings, login, network
    and env:NAME secrets of your environment.
    """
    found = ask(context, examine_deployment, Nothing())
    verdict = NEEDS_A_PERSON if found.needs_a_person else DONE
    if print_list(shape, columns_of(Finding), found.findings, found):
        return verdict
    shown = [finding for finding in found.findings if every or finding.level is not Level.FINE]
    if shown:
        print_table(("", "area", "about", "found, and what to do"), [_row(finding) for finding in shown])
        print_line("")
    print_line(_summary(found.findings))
    if found.needs_a_person and isinstance(context.obj, StorageTransport):
        print_line(
            "Checked from this machine; --app URL checks where the app runs, with its settings and network.", err=True
        )
    return verdict


def _row(finding: Finding) -> tuple[Text, str, str, str]:
    says = with_answer(finding.says, finding.answer)
    words = f"{says}: {finding.remedy}" if finding.remedy else says
    return Text(finding.level, _STYLES[finding.level]), finding.area, finding.about, hints.here(printable(words))


def _summary(findings: list[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    said = {Level.WRONG: "wrong", Level.NOTE: "to note", Level.FINE: "fine"}
    return ", ".join(f"{counts[level]} {words}" for level, words in said.items())
