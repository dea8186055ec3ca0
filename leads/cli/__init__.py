"""The command line: the operations of `leads.operations` for a person at a shell.

It needs typer, rich and PyYAML, which the deployed app does not have.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from leads.cli import (  # two of them add their commands to `offers`
    checks,  # noqa: F401
    connect,  # noqa: F401
    connections,
    dismiss,
    doctor,
    export,
    hints,
    imports,
    leads,
    offers,
    people,
    replay,
    report,
    status,
    who,
)
from leads.cli.output import printable
from leads.cli.prompts import BAD_INPUT, CHANGED_MEANWHILE, INTERRUPTED, NOT_FOUND, OUT_OF_REACH
from leads.cli.transport import APP_VARIABLE, KEY_VARIABLE, TOKEN_VARIABLE, HttpTransport, OutOfReach, StorageTransport
from leads.core.problems import first_problem
from leads.operations.problems import FAILURES, Changed, NotFound, Unavailable
from leads.platform.libraries import quiet_libraries
from leads.platform.storage import StorageError
from leads.platform.storage_errors import storage_problem
from leads.platform.threads import NotDoneInTime

commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
commands.add_typer(offers.group, name="offers")
commands.add_typer(leads.group, name="leads")
commands.add_typer(connections.group, name="connections")
commands.command("status")(status.status)
commands.command("report")(report.report)
commands.command("replay")(replay.replay)
commands.command("dismiss")(dismiss.dismiss)
commands.add_typer(imports.group, name="import")
commands.command("reconcile")(imports.reconcile)
commands.command("doctor")(doctor.doctor)
commands.command("export")(export.export)
commands.command("access")(people.access)
commands.command("erase")(people.erase)
commands.command("whoami")(who.whoami)
commands.command("audit")(who.audit)


@commands.callback(
    help=f"""Look at marketplace leads and where they stand, and connect the offers that they belong to.

    Reached is either the storage account of the app: set LeadsStorage to its connection string
    (UseDevelopmentStorage=true for Azurite), or LeadsStorage__accountName to use your Azure login (az login) with the roles
    Storage Table Data Contributor and Storage Queue Data Contributor. Or, with --app, the deployed app: set {KEY_VARIABLE} to
    the key of its function manage, or be asked for it. With the key of the function report or operate, the address ends in
    /api/report or /api/operate: whoami says what it opens. Where Entra ID stands in front, {TOKEN_VARIABLE} holds the access
    token; whoever has an app role needs no key then. Commands and output are the same. Times are UTC.

    \b
    python -m leads status
    python -m leads doctor
    python -m leads offers connect contoso.crm
    python -m leads offers test contoso.crm
    python -m leads leads list --follow
    python -m leads --app https://NAME.azurewebsites.net leads list --state dead_letter --since 3d
    python -m leads leads show 20260131235959999-0123456789ab-c
    python -m leads replay --offer contoso.crm --since 3d --dry-run
    python -m leads reconcile leads.csv
    python -m leads export --offer contoso.crm --since 30d --output leads.csv
    python -m leads access < address.txt
    python -m leads erase

    Exit status: 0 done, 1 not found, 2 wrong input or setting, 3 storage or app out of reach, 4 somebody else has changed the
    offer meanwhile, 5 done and something needs you (status, doctor, validate, test, replay, reconcile,
    import, erase, apply --dry-run), 130 interrupted.
    """
)
def reached(
    context: typer.Context,
    app: Annotated[
        str,
        typer.Option(
            "--app", metavar="URL", envvar=APP_VARIABLE, help="The deployed app's address, instead of storage."
        ),
    ] = "",
) -> None:
    """Choose how the app is reached."""
    context.obj = HttpTransport(app) if app else StorageTransport()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (default: the one of the process). Returns the exit status; what goes wrong is said in one line."""
    quiet_libraries()
    hints.remember(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # azure.identity tells at length what the one line says
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        result = commands(arguments, prog_name="python -m leads", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _fail(INTERRUPTED, "Interrupted.")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends
        return 1
    except (*FAILURES, OutOfReach, TyperException) as error:
        status, text = _in_a_line(error)
        return _fail(status, hints.here(text))
    return result if isinstance(result, int) else 0


def _in_a_line(error: Exception) -> tuple[int, str]:
    """The exit status and the line for what went wrong."""
    match error:
        case NotFound():
            return NOT_FOUND, _with_the_list(str(error))
        case Changed():
            return CHANGED_MEANWHILE, str(error)
        case Unavailable() | OutOfReach() | NotDoneInTime():
            return OUT_OF_REACH, str(error)
        case StorageError():
            found = storage_problem(error)
            return OUT_OF_REACH, f"LeadsStorage: {found.says}; {found.remedy}"
        case ValidationError():
            return BAD_INPUT, first_problem(error)
        case TyperException():
            return error.exit_code, _usage_problem(error)
        case _:
            return BAD_INPUT, str(error)


_LISTED_BY = {
    "offer": ("offers", "list"),
    "destination": ("offers", "list"),
    "type": ("offers", "types"),
    "connection_id": ("connections", "list"),
    "lead_id": ("leads", "list"),
}
"""The command that lists what there is of a kind, by the field that names one of it."""


def _with_the_list(text: str) -> str:
    words = _LISTED_BY.get(text.partition(":")[0])
    return f"{text}: {hints.command(*words)}" if words else text


def _usage_problem(error: TyperException) -> str:
    text = error.format_message()
    if text.startswith("No such option: --app"):
        return f"--app: stands before the command: {hints.moved('--app')}"
    if "\n" in text:
        return text
    context: typer.Context | None = getattr(error, "ctx", None)
    words = context.command_path.removeprefix("python -m leads").split() if context else []
    return f"{text.rstrip('.')}; for more: {hints.command(*words, '--help')}"


def _fail(status: int, text: str) -> int:
    typer.echo("\n".join(map(printable, text.splitlines())), err=True)
    return status
