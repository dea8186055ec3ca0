"""`replay`: send leads again."""

from typing import Annotated

import typer

from leads.cli import hints
from leads.cli.completion import states
from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.files import read_bytes
from leads.cli.lead_id import OneLead, is_for_one, whole_id
from leads.cli.output import print_line, print_table
from leads.cli.prompts import ask, confirm_change, from_flags, nothing_found
from leads.cli.shapes import ListShape, Shape, columns_of, print_list
from leads.cli.steps import After, AllOfConnection, AllOfOffer, AllSince, AllUntil, DryRun, Yes, in_steps, show_progress
from leads.core.lenient_json import text_of_body
from leads.core.states import State
from leads.core.wording import counted
from leads.operations.problems import Invalid
from leads.operations.replay import BulkReplayFilter, ReplayedLead, ReplayLead, ReplayOptions, replay_lead, replay_leads
from leads.operations.wire import read_json
from leads.pipeline.replay import Replay


def replay(
    context: typer.Context,
    lead_id: OneLead = "",
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="Only to the destination of this name.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With LEAD: send even if the lead was delivered or skipped. --dry-run shows the effect.",
        ),
    ] = False,
    fields: Annotated[
        str,
        typer.Option(metavar="FILE", help='With LEAD: corrected fields as JSON, {"email": "…"}; - is standard input.'),
    ] = "",
    lead: Annotated[
        str, typer.Option(metavar="FILE", help="With LEAD: the whole lead, corrected; - is standard input.")
    ] = "",
    offer: AllOfOffer = None,
    connection: AllOfConnection = None,
    since: AllSince = None,
    until: AllUntil = None,
    state: Annotated[
        str,
        typer.Option(
            help="The state of the leads: dead_letter, held, crashed, or retry (they wait for the next attempt).",
            autocompletion=states,
        ),
    ] = "dead_letter",
    dry_run: DryRun = False,
    yes: Yes = False,
    after: After = "",
    shape: ListShape = Shape.TABLE,
) -> int:
    """Send leads again: one, or many that have not arrived.

    Delivered leads are not sent. Leads go out at five a second, after new leads.

    A correction is a new lead, and the ledger keeps the original. The command reads corrections from a file or from standard
    input, because others can read arguments.

    \b
    python -m leads replay 20260131235959999-0123456789ab-c
    python -m leads replay 20260131235959999-0123456789ab-c --fields corrected.json
    python -m leads replay --offer contoso.crm --dry-run
    python -m leads replay --connection 0123456789abcdef --since 3d
    """
    many = {"offer": offer, "connection": connection, "since": since, "until": until}
    if is_for_one(lead_id, many, to, {"force": force, "fields": fields, "lead": lead}):
        again = {"destination": to, "force": force, "dry_run": dry_run}
        how = ReplayOptions.model_validate({**again, **_correction(fields, lead)})
        return _one(context, whole_id(context, lead_id), how, shape)
    which = from_flags(BulkReplayFilter, **many, destination=to, state=state, dry_run=dry_run)
    if not (dry_run or yes) and not confirm_change(context, "Send these leads again? (--dry-run shows them)"):
        return DONE
    return _many(context, which, after, shape)


def _correction(fields: str, lead: str) -> dict[str, object]:
    if fields and lead:
        raise Invalid("--fields: leave it out, because --lead gives the whole lead")
    if lead:
        return {"lead": text_of_body(read_bytes(lead))[0]}
    return {"fields": read_json(read_bytes(fields), "FILE")} if fields else {}


def _one(context: typer.Context, lead_id: str, again: ReplayOptions, shape: Shape) -> int:
    done = ask(context, replay_lead, ReplayLead(lead_id=lead_id, again=again))
    if not print_list(shape, columns_of(Replay), done.deliveries, done):
        _print_one(done, again.dry_run)
    return DONE if done.sent else NEEDS_A_PERSON


def _print_one(done: ReplayedLead, dry_run: bool) -> None:
    if done.corrected_as:
        print_line(f"{_will(dry_run)} with corrections as {done.corrected_as}")
    for delivery in done.deliveries:
        print_line(f"{delivery.destination or 'the lead'}: {_result(delivery, dry_run)}")


def _result(delivery: Replay, dry_run: bool) -> str:
    if delivery.kept and delivery.state is State.UNREADABLE:
        return f"not sent: {delivery.kept}: {hints.command('replay', delivery.lead_id, '--lead', 'FILE')}"
    if delivery.kept:
        return f"not sent: {delivery.kept}"
    return " ".join(filter(None, (_will(dry_run), f"(it was {delivery.state}).", delivery.twice)))


def _will(dry_run: bool) -> str:
    return "would be sent again" if dry_run else "is sent again"


def _many(context: typer.Context, which: BulkReplayFilter, after: str, shape: Shape) -> int:
    found: list[Replay] = []
    for step in in_steps(context, replay_leads, which, after):
        found += step.deliveries
        show_progress(counted(len(found), "lead"))
    if print_list(shape, columns_of(Replay), found, found):
        return DONE
    if not found:
        print_line(nothing_found(which.model_dump(exclude={"after", "dry_run"})))
    else:
        rows = [(each.lead_id, each.destination or "-", _result(each, which.dry_run)) for each in found]
        print_table(("lead", "destination", "result"), rows, "result")
        sent = sum(not each.kept for each in found)
        again = "would be sent again" if which.dry_run else "sent again"
        print_line(f"{sent} {again}, {len(found) - sent} left out.")
    return DONE
