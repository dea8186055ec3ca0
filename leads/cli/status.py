"""`status`: the app at a glance, and whether it needs a person."""

import typer
from rich.text import Text

from leads.api.operation import Nothing
from leads.api.status import COUNTED_AT_MOST, Waiting, show_status
from leads.cli.asking import DONE, NEEDS_A_PERSON, ask
from leads.cli.connections import print_connections
from leads.cli.output import AsJson, print_fields, print_json, print_line, printable, time_of


def status(context: typer.Context, as_json: AsJson = False) -> int:
    """Show offers, connections, what waits and what was delivered. Exit status 5 if something needs a person."""
    found = ask(context, show_status, Nothing())
    verdict = NEEDS_A_PERSON if found.needs_a_person else DONE
    if as_json:
        print_json(found)
        return verdict
    waiting = {state: count for state, count in found.undelivered.items() if count}
    more = " or more" if found.delivered_of_last_24_hours == COUNTED_AT_MOST else ""
    unconfirmed = (
        f", {found.unconfirmed_of_last_24_hours} of them unconfirmed" if found.unconfirmed_of_last_24_hours else ""
    )
    print_fields(
        {
            "offers": ", ".join(found.offers) or "none: see python -m leads offers connect --help",
            "delivered": f"{found.delivered_of_last_24_hours}{more} of the leads of the last 24 hours{unconfirmed}",
            "undelivered": ", ".join(f"{count} {state}" for state, count in waiting.items()) or "none",
            "oldest": _oldest(found.oldest_undelivered),
            "queue": f"{found.queue.leads} messages, {found.queue.poison} poison",
            "needs a person": Text("\n".join(map(printable, found.needs_a_person)) or "no", "red" if verdict else ""),
        }
    )
    if found.connections:
        print_line("")
        print_connections(found.connections)
    return verdict


def _oldest(waiting: Waiting | None) -> str:
    return f"{waiting.lead_id}, {waiting.state} since {time_of(waiting.received_at)} UTC" if waiting else ""
