"""A customer's journey as one text: a line for each stage, and the present lead in full. Each write replaces the whole text.

The lines come from the customer's memory in the ledger, which has each stage under its lead's ID and no personal data. A repeated
lead therefore has only one line.
"""

from collections.abc import Mapping
from typing import Final

from leads.destinations.base import OutgoingLead
from leads.destinations.text import headline, summary, truncate

STAGES_KEPT: Final = 40
EARLIER: Final = "earlier"
"""The memory's key that marks that earlier stages were dropped."""
_HEADLINE_CHARACTERS: Final = 100


def with_stage(memory: Mapping[str, str], outgoing: OutgoingLead) -> dict[str, str]:
    """The stages to remember, newest first, including this lead's stage. A lead's ID begins with its time."""
    stages = {name: what for name, what in memory.items() if name[:1].isdigit()}
    stages[outgoing.lead_id] = truncate(" ".join(headline(outgoing).split()), _HEADLINE_CHARACTERS)
    newest = sorted(stages, reverse=True)
    kept = {lead_id: stages[lead_id] for lead_id in newest[:STAGES_KEPT]}
    return kept | ({EARLIER: "…"} if len(newest) > STAGES_KEPT or EARLIER in memory else {})


def as_text(stages: Mapping[str, str], outgoing: OutgoingLead, remarks: list[str]) -> str:
    """The text of the journey field. The least important part is at the end, where a small field cuts the text."""
    lines = [_line(lead_id, what) for lead_id, what in stages.items()]
    return "\n".join([*lines, "", *(line for remark in remarks for line in (remark, "")), summary(outgoing)])


def _line(lead_id: str, what: str) -> str:
    if lead_id == EARLIER:
        return what
    year, month, day, hour, minute = (lead_id[a:b] for a, b in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12)))
    return f"{year}-{month}-{day} {hour}:{minute} UTC · {what} · {lead_id}"
