"""`connections`: list, show, pause and resume connections."""

from typing import Annotated

import typer
from rich.text import Text

from leads.cli.completion import connection_ids
from leads.cli.output import print_fields, print_json, print_line, print_table, printable, time_of, utc
from leads.cli.prompts import ask
from leads.cli.shapes import AnswerShape, Command, ListShape, OneShape, Shape, columns_of, print_list
from leads.core.wording import counted
from leads.operations.connections import (
    MAX_NOTE_CHARACTERS,
    ConnectionView,
    Note,
    PauseConnection,
    ResumeConnection,
    ShowConnection,
    list_connections,
    pause_connection,
    resume_connection,
    show_connection,
)
from leads.operations.operation import Nothing

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Connections, which destinations with the same address and sign-in share.

    Destinations with the same type, address and credentials share a connection. The app pauses a connection that does not
    work, probes it every minute and opens it again by itself. A connection that a person paused stays paused until a person
    resumes it. The leads of a paused connection are parked, and none is lost.
    """,
)

ConnectionId = Annotated[
    str,
    typer.Argument(
        metavar="CONNECTION", help="The id, as `connections list` prints it.", autocompletion=connection_ids
    ),
]


@group.command("list", cls=Command)
def connections_list(context: typer.Context, shape: ListShape = Shape.TABLE) -> None:
    """List the connections: their health, and which destinations use them."""
    found = ask(context, list_connections, Nothing()).connections
    if print_list(shape, columns_of(ConnectionView), found, found):
        return
    if found:
        print_connections(found)
    else:
        print_line("No offer has a destination yet, so there is no connection.")


@group.command("show", cls=Command)
def connections_show(context: typer.Context, connection_id: ConnectionId, shape: AnswerShape = OneShape.TABLE) -> None:
    """Show a connection.

    Shows its health, the last delivered lead, and when the app checks it next.
    """
    view = ask(context, show_connection, ShowConnection(connection_id=connection_id))
    if shape is OneShape.JSON:
        print_json(view)
        return
    print_fields(
        {
            "connection": view.id,
            "type": view.type,
            "health": Text(printable(view.health), _style(view)),
            "paused since": utc(view.since),
            "failures": f"{view.failures} in a row" if view.failures else "",
            "last success": utc(view.last_success_at),
            "last lead": view.last_lead,
            "last failure": utc(view.last_failure_at),
            "next check": utc(view.next_check_at),
            "used by": _uses(view),
            "host": view.host,
            "waiting": counted(view.waiting, "lead") if view.waiting else "",
        }
    )


@group.command("pause")
def connections_pause(
    context: typer.Context,
    connection_id: ConnectionId,
    note: Annotated[str, typer.Option(help=f"The reason, for colleagues; up to {MAX_NOTE_CHARACTERS} characters.")],
) -> None:
    """Pause a connection, such as for maintenance.

    The app sends and probes nothing until you resume the connection. Its leads are parked.

    Every instance stops within ten seconds, and finishes the lead that it is sending.
    """
    request = PauseConnection(connection_id=connection_id, note=Note(note=note))
    _print_health(ask(context, pause_connection, request))


@group.command("resume")
def connections_resume(context: typer.Context, connection_id: ConnectionId) -> None:
    """Resume a connection that a person or the app paused.

    The app sends new leads at once, and parked leads at the connection's pace.

    If the connection still does not work, the next lead pauses it again.
    """
    _print_health(ask(context, resume_connection, ResumeConnection(connection_id=connection_id)))


def print_connections(found: list[ConnectionView]) -> None:
    rows = [
        (
            view.id,
            view.type,
            _health(view),
            str(view.waiting or ""),
            time_of(view.last_success_at)[:-3],
            _uses(view),
            view.host,
        )
        for view in found
    ]
    columns = ("connection", "type", "health", "waiting", "last success", "used by", "host")
    print_table(columns, rows, "type", "health", "used by", "host")


def _print_health(view: ConnectionView) -> None:
    print_line(f"{view.id}: {view.health}")


def _health(view: ConnectionView) -> Text:
    """The health for a table, with the start of the pause and the time of the next probe."""
    since = f"since {time_of(view.since)[:-3]}" if view.since else ""
    probe = f"next probe {time_of(view.next_check_at)[11:]}" if view.paused and view.next_check_at else ""
    times = ", ".join(filter(None, (since, probe)))
    return Text(printable(view.health) + (f" ({times} UTC)" if times else ""), _style(view))


def _style(view: ConnectionView) -> str:
    return "red" if view.paused else "yellow" if view.failures else ""


def _uses(view: ConnectionView) -> str:
    return ", ".join(f"{use.offer} {use.destination}" for use in view.used_by)
