"""The commands of the program. A command is imported when it runs, because help and completion need only its summary."""

from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from leads.cli import hints


class Listed(NamedTuple):
    """The place of a command, or a group of commands, in `leads.cli`, and the first line of its help."""

    module: str
    name: str
    summary: str


COMMANDS: Final = {
    "status": Listed("status", "status", "Show offers, connections, waiting leads and the latest results."),
    "report": Listed(
        "report",
        "report",
        "Show how many leads came in the last 30 days, how far customers came, and how long leads took to the CRM.",
    ),
    "replay": Listed("replay", "replay", "Send leads again: one, or many that have not arrived."),
    "dismiss": Listed("dismiss", "dismiss", "Dismiss leads that need no repair: one, or many by their cause."),
    "reconcile": Listed(
        "imports", "reconcile", "Compare a list with the app: leads that never arrived or are not delivered."
    ),
    "doctor": Listed("doctor", "doctor", "Check the deployment; report problems and what to do."),
    "export": Listed("export", "export", "Export leads with all their data, including personal data."),
    "access": Listed("people", "access", "Print all data that the app holds about an e-mail address, as JSON."),
    "erase": Listed(
        "people",
        "erase",
        "Erase a customer by e-mail address: leads, customer rows and messages on the queues.",
    ),
    "whoami": Listed("who", "whoami", "Show what the key allows: report, operate or personal."),
    "audit": Listed("who", "audit", "List changes and views of personal data in the last year, newest first."),
    "offers": Listed("connect", "group", "Offers and the destinations of their leads."),
    "leads": Listed("leads", "group", "Leads, their states, and each delivery attempt."),
    "connections": Listed(
        "connections", "group", "Connections, which destinations with the same address and sign-in share."
    ),
    "login": Listed("login", "login", "Save an app's address, and the place of its key, under a name."),
    "logout": Listed("login", "logout", "Remove an app's profile and its key."),
    "use": Listed("login", "use", "Choose the app for commands without --app and LeadsStorage."),
    "profiles": Listed("login", "profiles", "List the known apps and where the key of each comes from."),
    "import": Listed("imports", "group", "Import leads from a list or another table."),
}

FOR_NO_APP: Final = frozenset({"login", "logout", "use", "profiles"})
"""Commands that reach no app."""


class Program(TyperGroup):
    """All commands. A placeholder with the summary represents each command until the command runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.help = hints.as_typed(self.help or "")
        for name, listed in COMMANDS.items():
            self.add_command(TyperCommand(name, help=listed.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder and load(name or ""), rest


def load(name: str) -> Any:
    """The command or group of this name, imported."""
    from leads.cli.shapes import Command

    listed = COMMANDS[name]
    found = getattr(import_module(f"leads.cli.{listed.module}"), listed.name)
    holder = typer.Typer(add_completion=False, rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name, cls=Command)(found)
    command = get_group(holder).commands[name]
    for each in (command, *getattr(command, "commands", {}).values()):
        each.help = hints.as_typed(each.help or "")
    return command
