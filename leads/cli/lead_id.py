"""The lead that a command names, by its id or by the beginning of its id."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from leads.cli.output import printable, time_of
from leads.cli.prompts import ask
from leads.operations.leads import MAX_PAGE, LeadFilter, list_leads
from leads.operations.problems import Invalid, NotFound

OneLead = Annotated[
    str, typer.Argument(metavar="LEAD", help="A lead's id, or its beginning. Without it, options select leads.")
]
CANDIDATES: Final = 10
"""The most leads that an error lists if several ids have the same beginning."""
_BEGINNING: Final = re.compile(r"[0-9]{8,16}|[0-9]{17}(-[0-9a-f]{0,12}|-[0-9a-f]{12}-)?")
"""The beginning of an id, with the whole day: a shorter one would ask for months of leads."""
_MILLISECONDS: Final = (86_400_000, 36_000_000, 3_600_000, 600_000, 60_000, 10_000, 1_000, 100, 10, 1)
"""The time span that 8, 9, … 17 digits of an id leave open."""


def is_for_one(lead_id: str, many: Mapping[str, object], to: str | None, for_one: Mapping[str, object]) -> bool:
    """Whether a command is for one lead, and not for many. Raises `Invalid` if it is for neither or for both.

    `many`: flags that select many leads. `to`: a destination's name, which also selects many. `for_one`: flags that need LEAD.
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
    """The id that begins with `text`. A whole id, and text that can't begin an id, are returned unchanged.

    Raises `NotFound` if no id begins so, and `Invalid`, which lists some ids, if several do.
    """
    beginning = text.strip().lower()
    if not _BEGINNING.fullmatch(beginning):
        return text
    try:
        since, until = _span(beginning[:17])
    except ValueError:
        return text
    # With less than the whole time, each lead of the span fits. With more, the leads of one millisecond are searched.
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
    """The time span whose ids begin with these digits, within one day. Raises ValueError if there is no such time."""
    begin = datetime.strptime(f"{digits:0<17}000Z", "%Y%m%d%H%M%S%f%z").astimezone(UTC)
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return begin, min(begin + timedelta(milliseconds=_MILLISECONDS[len(digits) - 8]), midnight)
