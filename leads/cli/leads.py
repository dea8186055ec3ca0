"""`leads`: list leads, follow new ones, or show one with every attempt."""

import time
from typing import Annotated, Final

import typer

from leads.cli import hints
from leads.cli.completion import offer_ids, stages, states
from leads.cli.environment import OutOfReach
from leads.cli.lead_id import whole_id
from leads.cli.output import json_text, print_fields, print_json, print_line, print_table, state_of, time_of, utc
from leads.cli.prompts import ask, from_flags, nothing_found
from leads.cli.shapes import AnswerShape, Command, ListShape, OneShape, Shape, columns_of, print_list
from leads.cli.steps import until_interrupted
from leads.core.lead import Stage
from leads.core.states import State
from leads.ledger.queries import LeadLine
from leads.operations.leads import (
    MAX_PAGE,
    DeliveryView,
    LeadFilter,
    LeadPage,
    LeadView,
    ShowLead,
    list_leads,
    show_lead,
    show_person,
)
from leads.operations.problems import Invalid, Unavailable
from leads.platform.storage import StorageError

STATES: Final = ", ".join(State)
POLL_SECONDS: Final = 2.0

OfOffer = Annotated[
    str | None, typer.Option(help="Only leads of this offer; - is the unrouted ones.", autocompletion=offer_ids)
]
InState = Annotated[str | None, typer.Option(help=f"Only leads in this state: {STATES}.", autocompletion=states)]
Since = Annotated[str | None, typer.Option(help="Only leads received since: 2026-01-31, 2026-01-31T14:00Z, 2h, 3d.")]
Until = Annotated[str | None, typer.Option(help="Only leads received until then; written like --since.")]

group = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Leads, their states, and each delivery attempt.

    \b
    waiting, retry        on the queue, or retried automatically
    parked                the connection is paused; sent when the connection works again
    unrouted              no offer takes the lead; sent when an offer does
    crashed               the worker crashed with the lead; retried alone, up to three times
    held                  the app can't know whether the lead arrived; look in the CRM, then decide
    dead_letter           the destination refuses the lead; see the reason
    unreadable            the body can't be read; the app keeps it
    delivered, duplicate, skipped    done; delivered (unconfirmed): the vendor took the lead
                          and does not confirm the result
    erased                no longer sent: the customer was erased, or the retention has ended
    """,
)


@group.command("list", cls=Command)
def leads_list(
    context: typer.Context,
    offer: OfOffer = None,
    state: InState = None,
    stage: Annotated[
        str | None, typer.Option(help=f"Only leads of this stage: {', '.join(Stage)}.", autocompletion=stages)
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Only leads from this source, such as AzureMarketplace or SPZA.")
    ] = None,
    destination: Annotated[str | None, typer.Option(help="Only leads that go to a destination of this name.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only leads whose last attempt has this vendor's code.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help=f"Number of leads, at most {MAX_PAGE}.")] = 50,
    after: Annotated[
        str | None, typer.Option(help="Continue after this lead id, the last one of the previous page.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Print new leads and their changes until Ctrl-C."),
    ] = False,
    shape: ListShape = Shape.TABLE,
) -> None:
    """List leads, newest first, without personal data.

    With --follow the oldest comes first, and --json prints a line of JSON for each change.
    """
    flags = {"offer": offer, "state": state, "stage": stage, "source": source, "since": since, "until": until}
    which = from_flags(LeadFilter, **flags, destination=destination, reason=reason, limit=limit, after=after)
    if follow:
        if until or after:
            raise Invalid("--follow: never ends; leave out --until and --after")
        if shape is Shape.CSV:
            raise Invalid("--follow: can't be printed as csv; use --output jsonl")
        _follow(context, which, shape)
        return
    page = ask(context, list_leads, which)
    if not print_list(shape, columns_of(LeadLine), page.leads, page):
        nothing = "None of the examined leads." if page.after else ""
        print_page(page, nothing or nothing_found(which.model_dump(exclude={"limit"})))
    if page.after and shape is not Shape.JSON:
        print_line(f"There are more: {hints.again('--after', page.after)}", err=True)


def print_page(page: LeadPage, otherwise: str = "") -> None:
    """A list of leads, or `otherwise` if the list is empty."""
    if not page.leads:
        print_line(otherwise)
        return
    rows = [
        (
            time_of(lead.received_at)[:-3],
            lead.lead_id,
            lead.offer or "-",
            lead.stage,
            state_of(lead.state, test=lead.is_test, unconfirmed=lead.unconfirmed),
        )
        for lead in page.leads
    ]
    print_table(("received (UTC)", "lead", "offer", "stage", "state"), rows, "offer")


def _follow(context: typer.Context, which: LeadFilter, shape: Shape) -> None:
    """Print new leads and their changes until Ctrl-C, which is the normal end."""
    with until_interrupted() as interrupted:
        shown = _print_new(ask(context, list_leads, which).leads, {}, shape)
        rest = POLL_SECONDS
        while not interrupted(rest):
            began = time.monotonic()
            oldest = min((lead.received_at for lead in shown.values()), default=which.since)
            page = _patiently(context, which.model_copy(update={"since": which.since or oldest, "limit": MAX_PAGE}))
            if page:
                shown = _print_new(page.leads, shown, shape)
            # Asks for at most a fifth of the time, so a slow storage is not overloaded.
            rest = max(POLL_SECONDS, 4 * (time.monotonic() - began))


def _patiently(context: typer.Context, which: LeadFilter) -> LeadPage | None:
    """The page. None, with a line on standard error, if storage or app do not answer."""
    try:
        return ask(context, list_leads, which)
    except (StorageError, OutOfReach, Unavailable) as error:
        print_line(f"No answer ({type(error).__name__}); trying again", err=True)
        return None


def _print_new(page: list[LeadLine], shown: dict[str, LeadLine], shape: Shape) -> dict[str, LeadLine]:
    """Print new and changed leads, oldest first. Returns what is shown now, by id."""
    for lead in reversed(page):
        if shown.get(lead.lead_id) != lead:
            print_line(json_text(lead, indent=None) if shape is not Shape.TABLE else _line(lead))
    return {lead.lead_id: lead for lead in page}


def _line(lead: LeadLine) -> str:
    state = state_of(lead.state, test=lead.is_test, unconfirmed=lead.unconfirmed).plain
    if len(lead.destinations) > 1:
        state += f": {', '.join(f'{name} {state}' for name, state in lead.destinations.items())}"
    return f"{time_of(lead.received_at)}  {lead.lead_id}  {lead.offer or '-'}  {lead.stage}  {state}"


@group.command("show", cls=Command)
def leads_show(
    context: typer.Context,
    lead_id: Annotated[str, typer.Argument(metavar="LEAD", help="The lead's id, or its beginning: its day at least.")],
    person: Annotated[bool, typer.Option("--person", help="Also print the customer's personal data.")] = False,
    shape: AnswerShape = OneShape.TABLE,
) -> None:
    """Show the state of a lead, with every attempt.

    For each destination, shows the attempts with time, outcome, vendor's code and next try.

    Over HTTP, --person works only if the app setting LEADS_PERSONAL_DATA_OVER_HTTP allows it.
    """
    wanted = ShowLead(lead_id=whole_id(context, lead_id))
    lead = ask(context, show_lead, wanted)
    said = ask(context, show_person, wanted) if person else None
    if shape is OneShape.JSON:
        print_json(dict(lead) | ({"person": said} if said else {}))
        return
    _print_lead(lead)
    if said:
        print_line("")
        print_fields({name.replace("_", " "): _text_of(value) for name, value in said.model_dump().items()})


def _print_lead(lead: LeadView) -> None:
    named = ", ".join(f"{name} {text!r}" for name, text in lead.named_offer.items())
    print_fields(
        {
            "lead": lead.lead_id,
            "received": utc(lead.received_at),
            "offer": lead.offer or "none (unrouted)",
            "named by": named,
            "source": lead.source,
            "action": f"{lead.action or 'none'} ({lead.stage.replace('_', ' ')})",
            "imported": {"": "", "send": "yes", "record": "yes, to be recorded only"}[lead.imported],
            "corrects": lead.corrects,
            "personal data": f"removed {utc(lead.emptied_at)}" if lead.emptied_at else "",
            "state": state_of(lead.state, test=lead.is_test),
            "next step": next_step(lead),
        }
    )
    for delivery in lead.deliveries:
        _print_delivery(delivery)


def next_step(lead: LeadView) -> str:
    """The next command for a lead that needs a person or waits for a paused connection, "" for other leads."""
    connection = next((each.connection for each in lead.deliveries if each.state is State.PARKED), "")
    match lead.state:
        case State.UNREADABLE:
            return f"correct its body, then {hints.command('replay', lead.lead_id, '--lead', 'FILE')}"
        case State.DEAD_LETTER | State.HELD:
            return f"see the reason, then {hints.command('replay', lead.lead_id)}"
        case State.UNROUTED:
            return f"set an offer that takes it: {hints.command('offers', 'connect')}"
        case State.PARKED if connection:
            return f"see why its connection is paused: {hints.command('connections', 'show', connection)}"
        case _:
            return ""


def _print_delivery(delivery: DeliveryView) -> None:
    print_line("")
    print_fields(
        {
            "destination": delivery.destination,
            "state": state_of(delivery.state, unconfirmed=delivery.unconfirmed),
            "reason": delivery.reason,
            "dismissed": delivery.dismissed,
            "next try": utc(delivery.next_at),
            "record": delivery.record_id,
            "duplicate of": delivery.duplicate_of,
            "repeat of": delivery.repeat_of,
            "possibly twice": "yes: an answer was lost, and the app sent the lead again"
            if delivery.possibly_twice
            else "",
            "connection": delivery.connection,
        }
    )
    rows = [(time_of(a.at), a.outcome, a.code, f"{a.milliseconds} ms", time_of(a.next_at)) for a in delivery.attempts]
    if rows:
        print_table(("attempt (UTC)", "outcome", "code", "took", "next try (UTC)"), rows, "outcome", "code")


def _text_of(value: str | dict[str, str]) -> str:
    return value if isinstance(value, str) else "\n".join(f"{name}: {text}" for name, text in value.items())
