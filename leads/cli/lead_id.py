"""The lead that a command is for: its whole id, or the beginning of it that no other lead has."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

from leads.cli.output import printable, time_of
from leads.cli.prompts import ask
from leads.operations.leads import MAX_PAGE, LeadFilter, list_leads
from leads.operations.problems import Invalid, NotFound

CANDIDATES: Final = 10
"""Leads that are named where several have the same beginning."""
_BEGINNING: Final = re.compile(r"[0-9]{8,16}|[0-9]{17}(-[0-9a-f]{0,12}|-[0-9a-f]{12}-)?")
"""Part of an id, from its day on: less would ask for months of leads."""
_SPANS: Final = (
    timedelta(days=1),
    timedelta(hours=10),
    timedelta(hours=1),
    timedelta(minutes=10),
    timedelta(minutes=1),
    timedelta(seconds=10),
    timedelta(seconds=1),
    timedelta(milliseconds=100),
    timedelta(milliseconds=10),
    timedelta(milliseconds=1),
)
"""How long the time goes on that begins with 8, 9, … 17 digits."""


def is_for_one(lead_id: str, many: Mapping[str, object], to: str | None, for_one: Mapping[str, object]) -> bool:
    """Whether a command is for one lead, and not for many. Raises `Invalid` for neither and for both.

    `many` are the flags that choose many leads, `to` the destination's name, which does so, too; `for_one` those that need LEAD.
    """
    if lead_id:
        if given := next((name for name, value in many.items() if value is not None), ""):
            raise Invalid(f"--{given}: is for many leads; leave it or LEAD out")
        return True
    if given := next((name for name, value in for_one.items() if value), ""):
        raise Invalid(f"LEAD: is missing; --{given} is for one lead")
    if to is None and all(value is None for value in many.values()):
        raise Invalid(f"LEAD: is missing; or say which leads, with {', '.join(f'--{name}' for name in many)} or --to")
    return False


def whole_id(context: typer.Context, text: str) -> str:
    """The id that begins so; a whole one, or what can be none, as it is.

    Raises `NotFound` where no lead's does, and `Invalid` with some of them where several do.
    """
    beginning = text.strip().lower()
    if not _BEGINNING.fullmatch(beginning):
        return text
    try:
        since, until = _span(beginning[:17])
    except ValueError:
        return text
    # Before the time is whole, every lead of the span has the beginning; after it, those of a millisecond are looked through.
    limit = MAX_PAGE if len(beginning) > 17 else CANDIDATES + 1
    page = ask(context, list_leads, LeadFilter(since=since, until=until, limit=limit))
    found = [lead for lead in page.leads if lead.lead_id.startswith(beginning)]
    if not found:
        raise NotFound(
            f"lead_id: no id begins with {beginning}; a lead that came in just now may still be on the queue"
        )
    if len(found) == 1:
        return found[0].lead_id
    lines = [f"  {lead.lead_id}  {time_of(lead.received_at)}  {lead.offer or '-'}  {lead.state}" for lead in found]
    more = ["  …"] if len(found) > CANDIDATES else []
    raise Invalid("\n".join((f"LEAD: several ids begin with {beginning}:", *map(printable, lines[:CANDIDATES]), *more)))


def _span(digits: str) -> tuple[datetime, datetime]:
    """The time that begins with these digits of an id, within one day. Raises ValueError for none that exists."""
    begin = datetime.strptime(f"{digits:0<17}000Z", "%Y%m%d%H%M%S%f%z").astimezone(UTC)
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return begin, min(begin + _SPANS[len(digits) - 8], midnight)
