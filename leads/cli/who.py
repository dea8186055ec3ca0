"""`whoami` and `audit`: show the rights of the command line, and who did what."""

from typing import Annotated

import typer

from leads.cli import hints
from leads.cli.output import print_fields, print_json, print_line, print_table, time_of
from leads.cli.prompts import ask, from_flags
from leads.cli.shapes import AnswerShape, ListShape, OneShape, Shape, columns_of, print_list
from leads.ledger.audit import AuditEntry
from leads.operations.access import AccessLevel
from leads.operations.audit import MAX_PAGE, AuditFilter, AuditPage, list_audit
from leads.operations.operation import Nothing
from leads.operations.table import WhoAmI
from leads.operations.table import whoami as show_caller


def whoami(context: typer.Context, shape: AnswerShape = OneShape.TABLE) -> None:
    """Show what the key allows: report, operate or personal.

    With the storage account, the level is always personal.
    """
    found = ask(context, show_caller, Nothing())
    if shape is OneShape.JSON:
        print_json(found)
        return
    print_fields(
        {
            "level": f"{found.level}: {found.name_of_level}",
            "by": found.by,
            "personal data": _personal_data(found),
        }
    )


def _personal_data(found: WhoAmI) -> str:
    if found.personal_data:
        return "shown"
    if found.level is AccessLevel.PERSONAL:
        return "not shown, because the app setting LEADS_PERSONAL_DATA_OVER_HTTP is not true"
    return "not shown at this level"


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help=f"Number of leads, at most {MAX_PAGE}.")] = 50,
    cursor: Annotated[str, typer.Option(help="Continue after the previous page.")] = "",
    shape: ListShape = Shape.TABLE,
) -> None:
    """List changes and views of personal data in the last year, newest first.

    Who: `key` and its level, the object id of a person or program in Entra ID, or `shell` for a person with rights on the
    storage account. Never a name.
    """
    page = ask(context, list_audit, from_flags(AuditFilter, limit=limit, cursor=cursor))
    if not print_list(shape, columns_of(AuditEntry), page.entries, page):
        _print_audit(page)
    if page.cursor and shape is not Shape.JSON:
        print_line(f"There are more: {hints.again('--cursor', page.cursor)}", err=True)


def _print_audit(page: AuditPage) -> None:
    if not page.entries:
        print_line("No entries: nobody changed anything or viewed personal data.")
        return
    rows = [
        (time_of(each.at), each.kind.replace("_", " "), each.operation, each.about, each.level, each.who)
        for each in page.entries
    ]
    print_table(("time (UTC)", "what", "operation", "about", "level", "who"), rows, "about")
