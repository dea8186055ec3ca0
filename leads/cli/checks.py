"""`offers validate`, `preview` and `test`: check an offer before its first customer."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer
from rich.text import Text

from leads.cli import hints
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.files import read_bytes, read_offers
from leads.cli.offers import group
from leads.cli.output import json_text, print_json, print_line, print_table, printable, utc, with_answer
from leads.cli.prompts import OfferId, ask
from leads.cli.shapes import AnswerShape, Command, ListShape, OneShape, Shape, columns_of, print_list
from leads.cli.transport import StorageTransport
from leads.core.lenient_json import text_of_body
from leads.core.states import RESTING, State
from leads.core.wording import counted, with_code
from leads.destinations.base import PreviewedRequest
from leads.offers.model import Offer
from leads.operations.connections import list_connections
from leads.operations.leads import DeliveryView, LeadView, ShowLead, show_lead
from leads.operations.operation import Nothing
from leads.operations.preview import Preview, PreviewedDestination, WantedPreview, preview_lead
from leads.operations.problems import Invalid, NotFound
from leads.operations.status import show_status
from leads.operations.test_lead import SendTestLead, SentTestLead, TestLead, send_once_more, send_test_lead
from leads.operations.validation import (
    Validated,
    ValidateDestination,
    ValidateOffer,
    Validation,
    validate_destination,
    validate_offer,
)

POLL_SECONDS: Final = 0.5

UnsavedFile = Annotated[
    str,
    typer.Option("--file", metavar="FILE", help="Read the offer from a YAML or JSON file, saved or not."),
]


# --- Validate -----------------------------------------------------------------------------------------------------------


@group.command("validate", cls=Command)
def offers_validate(
    context: typer.Context,
    offer_id: OfferId = "",
    destination: Annotated[str, typer.Option(metavar="NAME", help="Only the destination of this name.")] = "",
    file: UnsavedFile = "",
    shape: ListShape = Shape.TABLE,
) -> int:
    """Check whether an offer's destinations are usable.

    Signs in and checks whether leads can be written. Writes no lead.

    Says what to change for each destination that is not usable. Exit status 5 if a destination is not usable, or if its last
    delivery was refused although the check passes. Without --app, this machine makes the check, with your network and the
    env:NAME secrets of your environment.
    """
    if file:
        found = validate_unsaved(context, _from_file(file, offer_id), destination)
    elif offer_id:
        found = ask(context, validate_offer, ValidateOffer(offer_id=offer_id, destination=destination))
    else:
        raise Invalid("ID: is missing; name an offer, or a file with --file")
    if not print_list(shape, columns_of(Validated), found.destinations, found):
        print_validation(context, found.destinations)
    return DONE if found.ok and not any(each.refusal for each in found.destinations) else NEEDS_A_PERSON


def validate_unsaved(context: typer.Context, offer: Offer, destination: str = "") -> Validation:
    """Check the destinations of an offer, saved or not. Raises `NotFound` if none has the name."""
    chosen = [config for config in offer.destinations if destination in {"", config.name}]
    answers = [ask(context, validate_destination, ValidateDestination(destination=config)) for config in chosen]
    found = [each for answer in answers for each in answer.destinations]
    if not found:
        raise NotFound("destination: the offer has no destination of that name; show the offer to see its destinations")
    return Validation(ok=all(each.ok for each in found), destinations=found)


def print_validation(context: typer.Context, found: Sequence[Validated]) -> None:
    """Print a line for each destination, with what to change."""
    rows = [(each.destination, each.type, _verdict(each), f"{each.milliseconds} ms") for each in found]
    print_table(("destination", "type", "result", "took"), rows, "result")
    if any(not each.ok for each in found) and isinstance(context.obj, StorageTransport):
        print_line(
            "Checked from this machine; --app URL checks where the app runs, with its settings and network.", err=True
        )


def _verdict(each: Validated) -> Text:
    if each.ok and each.refusal:
        return Text(printable(f"its check passes, but {each.refusal}"), "red")
    if each.ok and not each.problem:
        return Text("usable", "green")
    if each.ok:
        return Text(printable(f"usable, but: {each.problem}"), "yellow")
    words = f"out of reach for now: {each.problem}" if each.transient else each.problem
    words = with_answer(with_code(words, each.code), each.answer)
    return Text(printable(words), "yellow" if each.transient else "red")


# --- Preview ------------------------------------------------------------------------------------------------------------


@group.command("preview", cls=Command)
def offers_preview(
    context: typer.Context,
    offer_id: OfferId = "",
    lead: Annotated[
        str, typer.Option(metavar="FILE", help="A lead in any format that the app accepts; - is standard input.")
    ] = "",
    action: Annotated[
        str, typer.Option(metavar="CODE", help="Without --lead: what a made-up customer does, such as PLT or Create.")
    ] = "",
    file: UnsavedFile = "",
    shape: AnswerShape = OneShape.TABLE,
) -> None:
    """Show what a lead would send to each destination.

    Each request with its address, headers and body. Nothing is sent or looked up.

    The app routes and renders the lead as a customer's first lead, with the code that sends leads. Secrets show as ***.

    \b
    python -m leads offers preview contoso.crm --action PLT
    python -m leads offers preview contoso.crm --lead lead.json
    python -m leads offers preview --file offers.yaml contoso.crm
    """
    wanted = WantedPreview(
        lead=text_of_body(read_bytes(lead))[0] if lead else None,
        action=action,
        offer_id=offer_id,
        offer=_from_file(file, offer_id) if file else None,
    )
    found = ask(context, preview_lead, wanted)
    if shape is OneShape.JSON:
        print_json(found)
    else:
        _print_preview(found)


def _from_file(file: str, offer_id: str) -> Offer:
    """The offer with this id in a file; without an id, the only offer of the file. Raises `Invalid`."""
    found = [offer for offer in read_offers(file) if offer_id.casefold() in {"", offer.id.casefold()}]
    if len(found) != 1:
        raise Invalid("ID: name one of the offers in the file")
    return found[0]


def _print_preview(found: Preview) -> None:
    country = f", country {found.country_code}" if found.country_code else ""
    test = ", a test lead" if found.is_test else ""
    print_line(
        f"{found.stage.replace('_', ' ')} ({found.action or 'no action'}), source {found.source or 'none'}{country}{test}"
    )
    if not found.offer:
        print_line("No offer takes this lead. The app would keep it as unrouted, and send it once an offer takes it.")
        return
    print_line(f"goes to offer {found.offer}")
    for destination in found.destinations:
        print_line("")
        print_line(f"{destination.destination} ({destination.type})")
        for line in _lines_of(destination):
            typer.echo(f"  {line}".rstrip())


def _lines_of(destination: PreviewedDestination) -> Iterator[str]:
    if destination.skipped:
        yield printable(f"would skip the lead: {destination.skipped}")
    if destination.problem:
        yield printable(f"can't be shown: {destination.problem}")
    for request in destination.requests:
        yield from _lines_of_request(request)


def _lines_of_request(request: PreviewedRequest) -> Iterator[str]:
    yield printable(f"{request.method} {request.url}")
    if request.note:
        yield f"  {request.note}"
    for name, value in request.headers.items():
        yield printable(f"  {name}: {value}")
    if request.body is not None:
        yield from (f"  {line}" for line in json_text(request.body).splitlines())
    for part in request.parts:
        yield from (f"  {line}" for line in _lines_of_request(part))


# --- Test lead ----------------------------------------------------------------------------------------------------------


@group.command("test")
def offers_test(
    context: typer.Context,
    offer_id: OfferId,
    action: Annotated[
        str,
        typer.Option(metavar="CODE", help="What the customer does: INS, PLT, Create, StartTestDrive, DNC or another."),
    ] = "INS",
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for it to arrive.")] = 60,
    show_answer: Annotated[
        bool,
        typer.Option(
            "--show-answer",
            help="If the lead is refused, send it again from this machine and show an excerpt of the answer.",
        ),
    ] = False,
) -> int:
    """Send a test lead and wait until it has arrived.

    The test lead has the marketplace's format and goes through the whole app: queue, routing, destinations. In the CRM, find
    it by its mark MSFT_TEST_ and number, and remove it. Exit status 5 if it has not arrived in time; the app still retries it.
    """
    if show_answer and not isinstance(context.obj, StorageTransport):
        raise Invalid(
            "--show-answer: can't be used with --app, because this machine must send the lead; leave out one of them"
        )
    return send_and_wait(context, offer_id, action, timeout, show_answer=show_answer)


def send_and_wait(
    context: typer.Context, offer_id: str, action: str, timeout: float, *, show_answer: bool = False
) -> int:
    """Send a test lead, and print each step of its delivery. `timeout` is in seconds. Returns the exit status."""
    request = SendTestLead(offer_id=offer_id, test_lead=TestLead(action=action))
    started = time.monotonic()
    sent = ask(context, send_test_lead, request)
    said: list[str] = []
    _say(started, f"accepted as {sent.lead_id}; its mark is {sent.mark}")
    while True:
        lead = _found(context, sent)
        for step in _steps(lead) if lead else ():
            if step not in said:
                said.append(step)
                _say(started, step)
        if lead and all(delivery.state in RESTING for delivery in lead.deliveries):
            status = _conclude(context, lead)
            break
        if time.monotonic() - started >= timeout:
            _explain_delay(context, lead, timeout)
            status = NEEDS_A_PERSON
            break
        time.sleep(POLL_SECONDS)
    if lead and show_answer:
        _show_answers(context, lead)
    return status


def _say(started: float, step: str) -> None:
    print_line(f"{time.monotonic() - started:6.1f} s  {step}")


def _found(context: typer.Context, sent: SentTestLead) -> LeadView | None:
    """The lead, or None while it is on the queue."""
    try:
        return ask(context, show_lead, ShowLead(lead_id=sent.lead_id))
    except NotFound:
        return None


def _steps(lead: LeadView) -> Iterator[str]:
    """The steps of the lead so far. A step always has the same words, so the caller can print it once."""
    yield f"picked up: offer {lead.offer or 'none'}, {lead.stage.replace('_', ' ')}"
    for delivery in lead.deliveries:
        for attempt in delivery.attempts:
            code = f" ({attempt.code})" if attempt.code else ""
            due = f", next try at {utc(attempt.next_at)}" if attempt.next_at else ""
            yield f"{delivery.destination}: {attempt.outcome}{code}, {attempt.milliseconds} ms{due}"
        if delivery.state in RESTING and delivery.state not in {attempt.outcome for attempt in delivery.attempts}:
            yield f"{delivery.destination or 'no destination'}: {delivery.state}"


def _conclude(context: typer.Context, lead: LeadView) -> int:
    """Print whether a lead has arrived and, if not, what to do. Returns the exit status."""
    if lead.deliveries and all(delivery.state is State.DELIVERED for delivery in lead.deliveries):
        print_line("The test lead has arrived.")
        return DONE
    for delivery in lead.deliveries:
        if delivery.state is not State.DELIVERED:
            print_line(f"{delivery.destination or lead.offer or 'The lead'}: {_why(context, delivery)}", err=True)
            if not delivery.reason:
                print_line(f"All attempts: {hints.command('leads', 'show', lead.lead_id)}", err=True)
    return NEEDS_A_PERSON


def _show_answers(context: typer.Context, lead: LeadView) -> None:
    """Send the lead again to each destination that has not taken it, and print the answer."""
    transport: StorageTransport = context.obj
    app = transport.app
    for delivery in lead.deliveries:
        if delivery.destination and delivery.state not in {State.DELIVERED, State.SKIPPED}:
            says, answer = send_once_more(app.ledger, app.offers, app.context, lead.lead_id, delivery.destination)
            print_line(f"{delivery.destination}: {with_answer(says, answer)}", err=True)


def _why(context: typer.Context, delivery: DeliveryView) -> str:
    """Why the lead has not arrived at a destination."""
    if delivery.state is State.PARKED:
        found = ask(context, list_connections, Nothing()).connections
        health = next((view.health for view in found if view.id == delivery.connection), "paused")
        return f"not sent: the connection {delivery.connection} is {health}. The app sends the lead when the connection opens"
    if delivery.state is State.SKIPPED:
        return f"not sent: {delivery.reason}"
    return f"{delivery.state}: {delivery.reason}" if delivery.reason else str(delivery.state)


def _explain_delay(context: typer.Context, lead: LeadView | None, timeout: float) -> None:
    """Print what is known of a lead that has not arrived in time."""
    late = f"Not delivered after {timeout:g} s"
    if lead is None:
        waiting = ask(context, show_status, Nothing()).queue.leads
        print_line(
            f"{late}: nothing has picked it up. Check that the app runs, and that it uses this storage account. "
            f"The queue holds about {counted(waiting, 'message')}, which the app then delivers",
            err=True,
        )
        return
    for delivery in lead.deliveries:
        if delivery.state not in RESTING:
            last = delivery.attempts[-1] if delivery.attempts else None
            tried = (
                f"the last try was {last.outcome} ({last.code or 'no code'})" if last else "the lead was not tried yet"
            )
            print_line(f"{late}: {delivery.destination}: {tried}; the app retries it", err=True)
