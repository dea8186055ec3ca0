"""`status`: shows the app at a glance, and whether it needs a person."""

from collections.abc import Mapping
from types import MappingProxyType

import typer
from rich.text import Text

from leads.cli import hints
from leads.cli.connections import print_connections
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.output import print_fields, print_json, print_line, printable, utc
from leads.cli.prompts import ask
from leads.cli.shapes import AnswerShape, OneShape
from leads.core.states import State
from leads.core.wording import counted
from leads.operations.operation import Nothing
from leads.operations.status import COUNTED_AT_MOST, Status, Waiting, show_status


def status(context: typer.Context, shape: AnswerShape = OneShape.TABLE) -> int:
    """Show offers, connections, waiting leads and the latest results. Exit status 5 if something needs a person."""
    found = ask(context, show_status, Nothing())
    verdict = NEEDS_A_PERSON if found.needs_a_person else DONE
    if shape is OneShape.JSON:
        print_json(found)
        return verdict
    print_fields(
        {
            "release": found.release,
            "offers": ", ".join(found.offers) or f"none; to set an offer: {hints.command('offers', 'connect')}",
            "last 24 hours": _recent(found),
            "undelivered": _undelivered(found.undelivered),
            "oldest": _oldest(found.oldest_undelivered),
            "next retry": utc(found.next_retry_at),
            "queue": f"{counted(found.queue.leads, 'message')}, {found.queue.poison} poison",
            **({"a lead's time": found.latency} if found.latency else {}),
            "needs a person": Text("\n".join(map(printable, found.needs_a_person)) or "no", "red" if verdict else ""),
        }
    )
    if found.connections:
        print_line("")
        print_connections(found.connections)
    return verdict


def _recent(found: Status) -> str:
    """The states of the leads of the last 24 hours."""
    unconfirmed = found.unconfirmed_of_last_24_hours
    more = f", of the newest {COUNTED_AT_MOST} leads" if sum(found.last_24_hours.values()) == COUNTED_AT_MOST else ""
    return (
        _counts(found.last_24_hours, {State.DELIVERED: f" ({unconfirmed} unconfirmed)"} if unconfirmed else {}) + more
    )


def _counts(counts: Mapping[State, int], notes: Mapping[State, str] = MappingProxyType({})) -> str:
    """The number in each state, the largest first."""
    most_first = sorted((state for state in State if counts.get(state)), key=lambda state: -counts[state])
    return ", ".join(f"{counts[state]} {state}{notes.get(state, '')}" for state in most_first) or "none"


def _undelivered(counts: Mapping[State, int]) -> str:
    return f"{_counts(counts)} (each destination counts)" if any(counts.values()) else "none"


def _oldest(waiting: Waiting | None) -> str:
    return f"{waiting.lead_id}, {waiting.state}, received {utc(waiting.received_at)}" if waiting else ""
