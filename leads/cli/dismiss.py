"""`dismiss`: end the alarms of leads that need no repair."""

from typing import Annotated

import typer

from leads.cli.completion import states
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.lead_id import OneLead, is_for_one, whole_id
from leads.cli.output import print_line, print_table
from leads.cli.prompts import ask, confirm_change, from_flags, nothing_found
from leads.cli.shapes import ListShape, Shape, columns_of, print_list
from leads.cli.steps import After, AllOfConnection, AllOfOffer, AllSince, AllUntil, DryRun, Yes, in_steps, show_progress
from leads.core.wording import counted
from leads.operations.dismissal import BulkDismissalFilter, DismissLead, DismissOptions, dismiss_lead, dismiss_leads
from leads.pipeline.dismissal import Dismissal


def dismiss(
    context: typer.Context,
    lead_id: OneLead = "",
    note: Annotated[str, typer.Option(help="The reason. Write no personal data.")] = "",
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="Only for the destination of this name.")
    ] = None,
    take_back: Annotated[bool, typer.Option("--take-back", help="With LEAD: take the dismissal back.")] = False,
    code: Annotated[str | None, typer.Option(help="All leads whose last attempt has this code.")] = None,
    offer: AllOfOffer = None,
    connection: AllOfConnection = None,
    since: AllSince = None,
    until: AllUntil = None,
    state: Annotated[
        str,
        typer.Option(
            help="The state of the leads: dead_letter, held, crashed, unrouted or unreadable.", autocompletion=states
        ),
    ] = "dead_letter",
    dry_run: DryRun = False,
    yes: Yes = False,
    after: After = "",
    shape: ListShape = Shape.TABLE,
) -> int:
    """Dismiss leads that need no repair: one, or many by their cause.

    A dismissed lead raises no alarm and counts as skipped. It keeps its history and your note, and is not sent. You can take a
    dismissal back, lead by lead.

    \b
    python -m leads dismiss 20260131235959999-0123456789ab-c --note "a competitor's test"
    python -m leads dismiss 20260131235959999-0123456789ab-c --take-back
    python -m leads dismiss --offer contoso.crm --code INVALID_EMAIL --note "typing errors" --dry-run
    """
    many = {"code": code, "offer": offer, "connection": connection, "since": since, "until": until}
    if is_for_one(lead_id, many, to, {"take-back": take_back}):
        how = DismissOptions.model_validate(
            {"note": note, "destination": to, "take_back": take_back, "dry_run": dry_run}
        )
        return _one(context, DismissLead(lead_id=whole_id(context, lead_id), dismissal=how), shape)
    which = from_flags(BulkDismissalFilter, **many, note=note, destination=to, state=state, dry_run=dry_run)
    if not (dry_run or yes) and not confirm_change(context, "Dismiss these leads? (--dry-run shows them)"):
        return DONE
    return _many(context, which, after, shape)


def _one(context: typer.Context, request: DismissLead, shape: Shape) -> int:
    done = ask(context, dismiss_lead, request)
    if not print_list(shape, columns_of(Dismissal), done.deliveries, done):
        for each in done.deliveries:
            print_line(f"{each.destination or 'the lead'}: {_result(each, request.dismissal)}")
    return DONE if done.done else NEEDS_A_PERSON


def _result(each: Dismissal, how: DismissOptions) -> str:
    if each.kept:
        return f"left as it is: {each.kept}"
    if how.take_back:
        return "would wait for a person again" if how.dry_run else "waits for a person again"
    return _dismissed(each, dry_run=how.dry_run)


def _dismissed(each: Dismissal, *, dry_run: bool) -> str:
    return f"{'would be dismissed' if dry_run else 'is dismissed'} (it was {each.state})"


def _many(context: typer.Context, which: BulkDismissalFilter, after: str, shape: Shape) -> int:
    found: list[Dismissal] = []
    for step in in_steps(context, dismiss_leads, which, after):
        found += step.deliveries
        show_progress(counted(len(found), "lead"))
    if print_list(shape, columns_of(Dismissal), found, found):
        return DONE
    if not found:
        print_line(nothing_found(which.model_dump(exclude={"after", "dry_run", "note"})))
    else:
        rows = [
            (each.lead_id, each.destination or "-", each.kept or _dismissed(each, dry_run=which.dry_run))
            for each in found
        ]
        print_table(("lead", "destination", "result"), rows, "result")
        done = sum(not each.kept for each in found)
        print_line(f"{done} {'would be dismissed' if which.dry_run else 'dismissed'}.")
    return DONE
