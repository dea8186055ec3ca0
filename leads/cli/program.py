"""The commands of the program. Each is imported when it runs: help and completion need only names and summaries."""

from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from leads.cli import hints


class Listed(NamedTuple):
    """Where a command or a group of commands stands in `leads.cli`, and the first line of its help."""

    module: str
    name: str
    summary: str


COMMANDS: Final = {
    "status": Listed("status", "status", "Show offers, connections, what waits and what became of the last leads."),
    "report": Listed(
        "report",
        "report",
        "Show how many leads came in the last 30 days, how far customers came, and how long leads took to the CRM.",
    ),
    "replay": Listed("replay", "replay", "Send leads again that have not arrived: one, or many."),
    "dismiss": Listed("dismiss", "dismiss", "Dismiss leads that nobody will repair: one, or many by their cause."),
    "reconcile": Listed(
        "imports", "reconcile", "Say which leads of a list never arrived, and which are not delivered."
    ),
    "doctor": Listed("doctor", "doctor", "Look for what is wrong with the deployment, and say what to do about it."),
    "export": Listed("export", "export", "Export leads with all that they say, personal data included."),
    "access": Listed("people", "access", "Print all that is held about an e-mail address, as JSON."),
    "erase": Listed(
        "people",
        "erase",
        "Erase a customer by e-mail address: their leads, what is remembered of them, what waits on the queues.",
    ),
    "whoami": Listed("who", "whoami", "Show the level that the key opens: report, operate or personal."),
    "audit": Listed(
        "who", "audit", "List who has changed something or viewed personal data, newest first, for a year back."
    ),
    "offers": Listed("connect", "group", "Offers: where the leads of a marketplace offer go."),
    "leads": Listed("leads", "group", "Leads: where each stands, and every attempt to deliver it."),
    "connections": Listed("connections", "group", "Connections: what destinations share."),
    "login": Listed("login", "login", "Keep an app's address under a name, and where its key comes from."),
    "logout": Listed("login", "logout", "Forget an app's profile, and the key that it keeps."),
    "use": Listed("login", "use", "Choose the app that is used where neither --app nor LeadsStorage says otherwise."),
    "profiles": Listed(
        "login", "profiles", "List the apps that are known by name, and where the key of each comes from."
    ),
    "import": Listed("imports", "group", "Bring in leads from elsewhere."),
}

FOR_NO_APP: Final = frozenset({"login", "logout", "use", "profiles"})
"""Commands that reach no app."""


class Program(TyperGroup):
    """All commands. Until one runs, a stand-in that only has its summary is in its place."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.help = hints.as_typed(self.help or "")
        for name, listed in COMMANDS.items():
            self.add_command(TyperCommand(name, help=listed.summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in and load(name or ""), rest


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
