"""`access` and `erase`: show the data about a person, or erase it.

The address comes from standard input, so that no process list or shell history shows it.
"""

import sys
from typing import Any

import typer

from leads.cli.exits import DONE, NEEDS_A_PERSON
from leads.cli.output import print_json, print_line, print_table
from leads.cli.prompts import confirm_change
from leads.cli.shapes import AnswerShape, OneShape
from leads.cli.steps import After, DryRun, Yes, in_steps, show_progress
from leads.operations.people import Access, Erasure, erase_customer, show_customer
from leads.operations.problems import Invalid
from leads.privacy.email_matcher import EmailMatcher
from leads.privacy.erasure import ErasureEntry, HandedOver


def access(context: typer.Context, after: After = "") -> None:
    """Print all data that the app holds about an e-mail address, as JSON.

    The command asks for the address or reads it from standard input, so that no process list or history shows it.

    The command searches the ledger, the queues, and bodies that can't be read. It lists leads of other people that mention the
    address by id only, and records in CRMs by link.
    """
    email = _address()
    held: dict[str, Any] = {}
    looked_at = 0
    for step in in_steps(context, show_customer, Access(email=email), after):
        part = step.model_dump(mode="json", exclude={"next", "looked_at"})
        held = {name: held.get(name, []) + value if isinstance(value, list) else value for name, value in part.items()}
        looked_at += step.looked_at
        show_progress(f"{looked_at} rows and messages")
    print_json(held)


def erase(
    context: typer.Context,
    dry_run: DryRun = False,
    yes: Yes = False,
    after: After = "",
    shape: AnswerShape = OneShape.TABLE,
) -> int:
    """Erase a customer by e-mail address: leads, customer rows and messages on the queues.

    The command asks for the address or reads it from standard input, so that no process list or history shows it.

    The command prints what it did with each row, and NOT ERASED for what you must erase, such as records in CRMs (exit status
    5). The app sends no undelivered lead of the customer. You can't undo an erasure. You can repeat it, or continue it
    after an interruption.
    """
    email = _address()
    if not (dry_run or yes) and not confirm_change(context, "Erase all data about this address permanently?"):
        raise typer.Abort
    trails: list[ErasureEntry] = []
    handed_over: list[HandedOver] = []
    looked_at = 0
    for step in in_steps(context, erase_customer, Erasure(email=email, dry_run=dry_run), after):
        trails += step.traces
        handed_over += step.handed_over
        looked_at += step.looked_at
        show_progress(f"{looked_at} rows and messages, {len(trails)} about this person")
    if shape is OneShape.JSON:
        print_json({"traces": trails, "handed_over": handed_over})
    else:
        _print(trails, handed_over, looked_at, dry_run=dry_run)
    return NEEDS_A_PERSON if _left(trails, handed_over) else DONE


def _left(trails: list[ErasureEntry], handed_over: list[HandedOver]) -> int:
    """The number of listed entries that are not erased."""
    return sum(trail.left for trail in trails) + sum(not one.removed for one in handed_over)


def _address() -> str:
    """The address, from standard input or a person. Raises `Invalid`, whose text does not repeat a malformed address."""
    text = typer.prompt("E-mail address") if sys.stdin.isatty() else sys.stdin.readline()
    try:
        return EmailMatcher.parse(text).email
    except ValueError as error:
        raise Invalid(f"e-mail: {error}; give the address on standard input") from None


def _print(trails: list[ErasureEntry], handed_over: list[HandedOver], looked_at: int, *, dry_run: bool) -> None:
    would = " What would be done:" if dry_run and trails else ""
    print_line(f"{looked_at} rows and messages looked through, {len(trails)} of them about this person.{would}")
    for trail in trails:
        print_line(f"{trail.place}  {trail.key}")
        print_line(f"    {'NOT ERASED: ' if trail.left else ''}{trail.what}")
    if handed_over:
        print_line("")
        print_line("Handed over to:")
        rows = dict.fromkeys((_where(one), _record(one), _result(one, dry_run=dry_run)) for one in handed_over)
        print_table(("to", "record", ""), list(rows), "record")
    if left := _left(trails, handed_over):
        print_line("")
        print_line(f"NOT ERASED: {left} of the listed entries. The app can't reach them or leaves the decision to you.")


def _where(one: HandedOver) -> str:
    return f"{one.offer} {one.destination}" + (f" ({one.type})" if one.type else " (removed or changed since)")


def _record(one: HandedOver) -> str:
    return one.link or one.place or one.record_id or f"of lead {one.lead_id}; look for the address there"


def _result(one: HandedOver, *, dry_run: bool) -> str:
    if one.removed:
        return "would be erased" if dry_run else "erased"
    return "NOT ERASED: erase it there" if one.certain else "NOT ERASED: it may be there"
