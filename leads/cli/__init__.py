"""The command line: the operations of `leads.operations` for a person at a shell.

The command line needs typer, rich and PyYAML, which the deployed app lacks. Each command imports its modules when it runs.
"""

import errno
import io
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from leads.cli import hints
from leads.cli.completion import profile_names
from leads.cli.environment import APP_VARIABLES, KEY_VARIABLE, TOKEN_VARIABLE
from leads.cli.exits import BAD_INPUT, INTERRUPTED
from leads.cli.program import FOR_NO_APP, Program
from leads.platform.libraries import quiet_libraries

commands = typer.Typer(
    cls=Program,
    add_completion=hints.program() == (hints.INSTALLED,),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def print_version(wanted: bool) -> None:
    """Print the version and end the program, if `--version` is given."""
    if wanted:
        from leads.platform.build import this_build

        typer.echo(f"leads {this_build()}")
        raise typer.Exit


@commands.callback(
    help=f"""Show marketplace leads and their states, and connect offers to destinations.

    The commands work on the deployed app or on its storage account, with the same output. Times are UTC.

    Deployed app: give --app URL, and set {KEY_VARIABLE} to the key of the function manage, or type it when asked. login saves
    an address and a key under a name, which --app NAME or use selects. For a key of the function report or operate, end the
    address in /api/report or /api/operate; whoami shows what the key allows. If the app requires Entra ID, set
    {TOKEN_VARIABLE} to an access token. A user with an app role needs no key.

    Storage account: set LeadsStorage to its connection string (UseDevelopmentStorage=true for Azurite). Or set
    LeadsStorage__accountName to use your Azure login (az login), with the roles Storage Table Data Contributor and Storage
    Queue Data Contributor.

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

    Exit status: 0 done, 1 not found, 2 wrong input or setting, 3 storage or app out of reach, 4 somebody else changed the
    offer at the same time, 5 done and something needs you (status, doctor, validate, test, replay, reconcile,
    import, erase, apply --dry-run), 130 interrupted.
    """
)
def reached(
    context: typer.Context,
    app: Annotated[
        str,
        typer.Option(
            "--app",
            metavar="APP",
            envvar=list(APP_VARIABLES),
            autocompletion=profile_names,
            help="The deployed app's address, or the name that `login` gave it; instead of storage.",
        ),
    ] = "",
    version: Annotated[  # noqa: ARG001 - the callback prints it
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version),
    ] = False,
) -> None:
    """Choose how the app is reached."""
    if context.invoked_subcommand in FOR_NO_APP:
        return
    from leads.cli.transport import reach

    context.obj = reach(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (default: the arguments of the process). Returns the exit status. An error is one line."""
    _prepare_streams()
    quiet_libraries()
    hints.remember(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # azure.identity would log at length what the error line says
    try:
        result = commands(arguments, prog_name=shlex.join(hints.program()), standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        _discard_output()
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _discard_output()
            typer.echo(f"error: output: {error.strerror}; free space, or write to another disk", err=True)
            return BAD_INPUT
        from leads.cli.failures import print_failure

        if (status := print_failure(error)) is None:
            raise
        return status
    if result == INTERRUPTED:  # typer returns this number for Ctrl-C
        return _interrupted()
    return result if isinstance(result, int) else 0


def _prepare_streams() -> None:
    """Make pipes and files UTF-8 in any locale. Open closed streams (`<&-`), which Python leaves None, on the null device."""
    for name, mode, encoding, errors in (
        ("stdin", "r", "utf-8-sig", "surrogateescape"),
        ("stdout", "w", "utf-8", "backslashreplace"),
        ("stderr", "w", "utf-8", "backslashreplace"),
    ):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else encoding, errors=errors)


def _discard_output() -> None:
    """Send what is still buffered nowhere. Otherwise the interpreter reports the same error again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted() -> int:
    typer.echo("Interrupted.", err=True)
    return INTERRUPTED
