"""A customer's journey as one text that is set whole each time: a line for each stage, and the newest lead in full.

The lines are what the ledger remembers of a customer. They hold no personal data, and each stands under its lead's ID, so that a
lead that is sent again is there once.
"""

from typing import Final

from leads.destinations.base import OutgoingLead
from leads.destinations.words import cut, headline, story
from leads.lead import received_at_of

STAGES_KEPT: Final = 40
_HEADLINE_CHARACTERS: Final = 100
_EARLIER: Final = "…"


def with_stage(kept: str, outgoing: OutgoingLead) -> str:
    """The lines that are remembered, newest first, with this lead's among them. The oldest give way to an ellipsis."""
    lines = {line.partition(" ")[0]: line for line in kept.split("\n") if line}
    earlier = lines.pop(_EARLIER, "")
    lines[outgoing.lead_id] = f"{outgoing.lead_id} {cut(' '.join(headline(outgoing).split()), _HEADLINE_CHARACTERS)}"
    ordered = [lines[lead_id] for lead_id in sorted(lines, reverse=True)]
    if len(ordered) > STAGES_KEPT:
        ordered, earlier = ordered[:STAGES_KEPT], _EARLIER
    return "\n".join([*ordered, *filter(None, [earlier])])


def as_text(kept: str, outgoing: OutgoingLead, remarks: list[str]) -> str:
    """The text of the journey field; where it is too long for the field, its end can be cut off."""
    lines = [_shown(line) for line in kept.split("\n")]
    return "\n".join([*lines, "", *(line for remark in remarks for line in (remark, "")), story(outgoing)])


def _shown(line: str) -> str:
    lead_id, _, what = line.partition(" ")
    return f"{received_at_of(lead_id):%Y-%m-%d %H:%M} UTC · {what} · {lead_id}" if what else line
