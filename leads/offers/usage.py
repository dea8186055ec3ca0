"""Names the offers that use a connection, and its host, for alarms and lists."""

from collections.abc import Mapping, Sequence
from typing import Final

from leads.destinations import host_of
from leads.offers.model import DestinationConfig, Offer

Uses = Mapping[str, Sequence[tuple[Offer, DestinationConfig]]]
"""Connection's id → the offers' destinations that use it."""
NAMED_AT_MOST: Final = 5


def named(connection_id: str, uses: Uses) -> dict[str, str]:
    """`used_by`: the first offers with their destinations, and the number of the others. `host`: "" if only a secret names it."""
    using = uses.get(connection_id, ())
    names = [f"{offer.id}/{config.name}" for offer, config in using]
    if (left_out := len(names) - NAMED_AT_MOST) > 0:
        names[NAMED_AT_MOST:] = [f"{left_out} more"]
    hosts = [host_of(config.type, config.settings) for _, config in using[:1]]
    return {"used_by": ", ".join(names) or "no offer", "host": "".join(hosts)}
