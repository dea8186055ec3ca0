"""Structured log events: one line each, with a stable name and fields that never hold personal data.

A line reads `event=NAME {json}`, so that it can be found as text and parsed with `parse_json` in Log Analytics. Alarms are
logged at ERROR, the rest at INFO; alert rules match on the name. This is the catalogue: docs/operations.md is made from it.
"""

import json
import logging
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

_log = logging.getLogger("leads")
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one each time

_LEAD = "lead_id offer destination"


@dataclass(frozen=True, slots=True)
class _Says:
    """What the catalogue says of an event; `fields` and `about` are names separated by blanks."""

    name: str
    meaning: str
    fields: str
    alarm: bool = False
    about: str = ""
    ended_by: str = ""


class Event(StrEnum):
    """Every event the product emits: its name, what it means, and its fields.

    Name and fields are a contract with alert rules: never rename one. An alarm says what a person may have to do; `ended_by`
    names the event that ends it, with the same `about` fields. What has no such event is about one moment.
    """

    meaning: str
    fields: tuple[str, ...]
    is_alarm: bool
    about: tuple[str, ...]
    ended_by: str

    def __new__(cls, says: _Says) -> Self:
        event = str.__new__(cls, says.name)
        event._value_ = says.name
        event.meaning, event.is_alarm, event.ended_by = says.meaning, says.alarm, says.ended_by
        event.fields, event.about = tuple(says.fields.split()), tuple(says.about.split())
        return event

    LEAD_ACCEPTED = _Says("lead_accepted", "A lead is on the queue.", "lead_id")
    LEAD_ATTEMPTED = _Says(
        "lead_attempted",
        "A lead was sent: destination, outcome, the vendor's code, milliseconds, and the state it is in now.",
        f"{_LEAD} seq state outcome code milliseconds",
    )
    LEAD_SETTLED = _Says(
        "lead_settled",
        "A lead was settled without being sent: a redelivery, one that a policy skips, or one that is parked because its "
        "connection is paused.",
        f"{_LEAD} seq state outcome code milliseconds",
    )
    LEAD_DROPPED = _Says(
        "lead_dropped",
        "A message that has been dealt with before came again.",
        "lead_id destination seq why",
    )
    LEAD_PUT_BACK = _Says(
        "lead_put_back",
        "It has to wait a moment: `why` says for what.",
        "lead_id destination why seconds",
    )
    LEAD_EMPTIED = _Says(
        "lead_emptied",
        "A lead surfaced that was received before its customer was [erased](privacy.md#erasure): it is not sent, and only what "
        "is left without the person is kept.",
        "lead_id",
    )
    LEADS_EMPTIED = _Says(
        "leads_emptied",
        "Personal data was removed from leads whose [time was over](privacy.md#retention).",
        "count",
    )
    LEAD_UNROUTED = _Says("lead_unrouted", "No offer takes the lead.", "lead_id")
    LEAD_UNREADABLE = _Says(
        "lead_unreadable",
        "A body that can't be read was kept: [correct it](recovering.md#corrections).",
        "lead_id bytes",
        alarm=True,
        about="lead_id",
    )
    LEAD_DEAD_LETTERED = _Says(
        "lead_dead_lettered",
        "A lead is not tried any more: see its reason.",
        f"{_LEAD} code",
        alarm=True,
        about="lead_id destination",
    )
    LEAD_CRASHED = _Says(
        "lead_crashed",
        "A lead came through the poison queue.",
        f"{_LEAD} code",
        alarm=True,
        about="lead_id destination",
    )
    LEADS_REDRIVEN = _Says("leads_redriven", "`watch` has put leads back on the queue.", "count state connection")
    LEAD_IMPORTED = _Says("lead_imported", "A lead of a list or another table is on the queue.", "lead_id")
    LEAD_REPLAYED = _Says(
        "lead_replayed", "A person has sent a lead again; `state` is what it was in.", f"{_LEAD} state"
    )
    LEAD_CORRECTED = _Says(
        "lead_corrected",
        "A person has corrected a lead: it is sent as the lead `corrected_as`.",
        "lead_id offer corrected_as",
    )
    MESSAGE_TOO_NEW = _Says(
        "message_too_new",
        "A message of a newer release, after a rollback: it waits for that release.",
        "",
        alarm=True,
    )
    OFFER_UNREADABLE = _Says(
        "offer_unreadable",
        "A stored offer can't be read by this release, after a rollback say. It and the offer `*` take no leads until then; "
        "those wait as `unrouted`. Remove it and set it anew.",
        "row",
        alarm=True,
        about="row",
    )
    INTAKE_UNAVAILABLE = _Says(
        "intake_unavailable",
        "A sender got 503: storage does not answer, or `LeadsStorage` is wrong.",
        "why",
        alarm=True,
    )
    CONNECTION_PAUSED = _Says(
        "connection_paused",
        "Leads are parked until the connection works: see `status`.",
        "connection type code failures",
        alarm=True,
        about="connection",
        ended_by="connection_opened",
    )
    LEADS_WAIT_LONG = _Says(
        "leads_wait_long",
        "Leads have been parked behind a connection for over an hour, the oldest for `minutes`.",
        "connection type minutes",
        alarm=True,
        about="connection",
        ended_by="leads_wait_no_more",
    )
    LEADS_WAIT_NO_MORE = _Says(
        "leads_wait_no_more", "No lead is parked behind the connection for over an hour.", "connection"
    )
    LEADS_NEED_A_PERSON = _Says(
        "leads_need_a_person",
        "Leads of an offer are in a `state` that the app does not end by itself: see [States](#states).",
        "state offer destination count",
        alarm=True,
        about="state offer destination",
        ended_by="leads_need_nobody",
    )
    LEADS_NEED_NOBODY = _Says(
        "leads_need_nobody", "None of the offer's leads is in this state any more.", "state offer destination"
    )
    SECRET_EXPIRING = _Says(
        "secret_expiring",
        "A secret of a destination expires in `days`: renew it, and store it where `reference` points.",
        "offer destination setting reference within days",
        alarm=True,
        about="offer destination setting within",
        ended_by="secret_renewed",
    )
    SECRET_RENEWED = _Says(
        "secret_renewed",
        "It does not expire within that time any more.",
        "offer destination setting within",
    )
    OFFER_OVER_CEILING = _Says(
        "offer_over_ceiling",
        "More leads of an offer than its policy `daily_ceiling` came in on one day (UTC): what is over it is parked until the "
        "next day, or until the ceiling is raised.",
        "offer ceiling",
        alarm=True,
        about="offer",
        ended_by="offer_within_ceiling",
    )
    OFFER_WITHIN_CEILING = _Says("offer_within_ceiling", "Its leads go out again.", "offer")
    OFFER_SILENT = _Says(
        "offer_silent",
        "No real lead of an offer has come for `hours`, in which by its own history `expected` would have come: "
        "[look why](#a-silent-offer).",
        "offer hours expected",
        alarm=True,
        about="offer",
        ended_by="offer_heard_again",
    )
    OFFER_HEARD_AGAIN = _Says(
        "offer_heard_again",
        "Leads of the offer come again. Or its silence is no alarm any more, because offers were changed.",
        "offer",
    )
    NOTICE_FAILED = _Says(
        "notice_failed", "A notification or announcement could not be posted: it is tried again.", "what why"
    )
    CONNECTION_CHECKED = _Says(
        "connection_checked",
        "`watch` has asked a connection that nothing was sent over for a while.",
        "connection type ok code",
    )
    CONNECTION_PROBED = _Says("connection_probed", "`watch` has asked a paused connection.", "connection type ok code")
    CONNECTION_OPENED = _Says("connection_opened", "A paused connection works again.", "connection")
    CONNECTION_PAUSED_BY_PERSON = _Says(
        "connection_paused_by_person",
        "A person has paused a connection: its leads are parked until a person resumes it.",
        "connection",
    )
    CONNECTION_RESUMED_BY_PERSON = _Says(
        "connection_resumed_by_person", "A person has resumed a connection that a person had paused.", "connection"
    )
    STORAGE_UNAVAILABLE = _Says(
        "storage_unavailable",
        "A request to the app's storage failed where no lead is lost by it: `what` says which.",
        "what why",
    )

    @property
    def plain_meaning(self) -> str:
        """The meaning without the marks of the documents."""
        return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", self.meaning).replace("`", "")

    @property
    def end(self) -> "Event | None":
        """The event that ends this alarm."""
        return named(self.ended_by)


ALARMS = frozenset(event for event in Event if event.is_alarm)


def named(name: str) -> Event | None:
    """The event of this name, None if this release knows none."""
    return Event.__members__.get(name.upper())


def emit(event: Event, **fields: str | int | float | None) -> None:
    """Log one event. `fields` are ids, names, codes, counts and milliseconds, never anything a customer wrote."""
    level = logging.ERROR if event.is_alarm else logging.INFO
    if _log.isEnabledFor(level):
        _log.log(level, "event=%s %s", event.value, _to_json(fields))
