"""Structured log events: one line each, with a stable name and fields that never hold personal data.

A line reads `event=NAME {json}`, so that it can be found as text and parsed with `parse_json` in Log Analytics.
Alarm events are logged at ERROR, the rest at INFO; alert rules match on the name.
"""

import json
import logging
from enum import StrEnum

_log = logging.getLogger("leads")
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one each time


class Event(StrEnum):
    """Every event the product emits. The name is a contract with alert rules: never rename one."""

    LEAD_ACCEPTED = "lead_accepted"
    LEAD_ATTEMPTED = "lead_attempted"
    LEAD_SETTLED = "lead_settled"
    LEAD_DROPPED = "lead_dropped"
    LEAD_PUT_BACK = "lead_put_back"
    LEAD_UNROUTED = "lead_unrouted"
    LEAD_UNREADABLE = "lead_unreadable"
    LEAD_DEAD_LETTERED = "lead_dead_lettered"
    LEAD_CRASHED = "lead_crashed"
    LEADS_REDRIVEN = "leads_redriven"
    MESSAGE_TOO_NEW = "message_too_new"
    OFFER_UNREADABLE = "offer_unreadable"
    INTAKE_UNAVAILABLE = "intake_unavailable"
    CONNECTION_PAUSED = "connection_paused"
    CONNECTION_PROBED = "connection_probed"
    CONNECTION_OPENED = "connection_opened"
    STORAGE_UNAVAILABLE = "storage_unavailable"


ALARMS = frozenset(
    {
        Event.LEAD_UNREADABLE,
        Event.LEAD_DEAD_LETTERED,
        Event.LEAD_CRASHED,
        Event.MESSAGE_TOO_NEW,
        Event.OFFER_UNREADABLE,
        Event.INTAKE_UNAVAILABLE,
        Event.CONNECTION_PAUSED,
    }
)


def emit(event: Event, **fields: str | int | float | None) -> None:
    """Log one event. `fields` are ids, names, codes, counts and milliseconds, never anything a customer wrote."""
    level = logging.ERROR if event in ALARMS else logging.INFO
    if _log.isEnabledFor(level):
        _log.log(level, "event=%s %s", event.value, _to_json(fields))
