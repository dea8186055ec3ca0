"""A customer's journey as one text that is set whole each time: a line for each stage, and the lead at hand in full.

The lines come from what the ledger remembers of a customer: each stage under its lead's ID, so that a lead that is sent again is
there once, and nothing personal.
"""

from collections.abc import Mapping
from typing import Final

from leads.destinations.base import OutgoingLead
from leads.destinations.text import headline, summary, truncate

STAGES_KEPT: Final = 40
EARLIER: Final = "earlier"
"""Says that stages before those that are remembered were forgotten."""
_HEADLINE_CHARACTERS: Final = 100


def with_stage(memory: Mapping[str, str], outgoing: OutgoingLead) -> dict[str, str]:
    """The stages that are to be remembered, newest first, this lead's among them. A lead's ID begins with its time."""
    stages = {name: what for name, what in memory.items() if name[:1].isdigit()}
    stages[outgoing.lead_id] = truncate(" ".join(headline(outgoing).split()), _HEADLINE_CHARACTERS)
    newest = sorted(stages, reverse=True)
    kept = {lead_id: stages[lead_id] for lead_id in newest[:STAGES_KEPT]}
    return kept | ({EARLIER: "…"} if len(newest) > STAGES_KEPT or EARLIER in memory else {})


def as_text(stages: Mapping[str, str], outgoing: OutgoingLead, remarks: list[str]) -> str:
    """The text of the journey field. Where that is too small, the text's end can be cut off."""
    lines = [_line(lead_id, what) for lead_id, what in stages.items()]
    return "\n".join([*lines, "", *(line for remark in remarks for line in (remark, "")), summary(outgoing)])


def _line(lead_id: str, what: str) -> str:
    if lead_id == EARLIER:
        return what
    year, month, day, hour, minute = (lead_id[a:b] for a, b in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12)))
    return f"{year}-{month}-{day} {hour}:{minute} UTC · {what} · {lead_id}"
