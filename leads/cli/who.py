"""`whoami`: what the command line may see and do, by the key that it has."""

import typer

from leads.cli.output import AsJson, print_fields, print_json
from leads.cli.prompts import ask
from leads.operations.operation import Nothing
from leads.operations.table import whoami as show_caller


def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the level that the key opens: report, operate or personal.

    With the storage account it is always personal.
    """
    found = ask(context, show_caller, Nothing())
    if as_json:
        print_json(found)
        return
    shown = "shown" if found.personal_data else "not shown"
    print_fields({"level": f"{found.level}: {found.name_of_level}", "by": found.by, "personal data": shown})
