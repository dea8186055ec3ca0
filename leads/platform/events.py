"""Structured log events: one line each, with a stable name and fields that never hold personal data.

A line reads `event=NAME {json}`: it can be found as text, and parsed with `parse_json` in Log Analytics. Alert rules match on
the name. Alarms are logged at ERROR, events about a lead that needs a person at WARNING, all others at INFO. An event about a
lead also has the field `trace`, the same from the intake on. docs/reference/operations.md is generated from this catalogue.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from leads.platform.tracing import trace_id

_log = logging.getLogger("leads")
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make one each time

_LEAD = "lead_id offer destination"


@dataclass(frozen=True, slots=True)
class _Says:
    """An event's entry in the catalogue. `fields` and `about` are names separated by blanks."""

    name: str
    meaning: str
    fields: str
    level: int = logging.INFO
    about: str = ""
    ended_by: str = ""


class Event(StrEnum):
    """Every event the product emits: its name, what it means, and its fields.

    Name and fields are a contract with alert rules: never rename one. An alarm says what a person may have to do; `ended_by`
    names the event that ends it, with the same `about` fields. An alarm without one is logged again as long as it lasts.
    """

    meaning: str
    fields: tuple[str, ...]
    level: int
    about: tuple[str, ...]
    ended_by: str

    def __new__(cls, says: _Says) -> Self:
        event = str.__new__(cls, says.name)
        event._value_ = says.name
        event.meaning, event.level, event.ended_by = says.meaning, says.level, says.ended_by
        event.fields, event.about = tuple(says.fields.split()), tuple(says.about.split())
        return event

    LEAD_ACCEPTED = _Says("lead_accepted", "A lead is on the queue.", "lead_id milliseconds")
    LEAD_ROUTED = _Says(
        "lead_routed",
        "An offer takes the lead: so many of its destinations get it.",
        "lead_id offer stage destinations",
    )
    LEAD_ATTEMPTED = _Says(
        "lead_attempted",
        "A lead was sent: how often by now (40 = that or more), outcome, the vendor's code, milliseconds, and the state it is "
        "in now.",
        f"{_LEAD} stage seq attempt state outcome code milliseconds",
    )
    LEAD_SETTLED = _Says(
        "lead_settled",
        "A lead was settled without being sent: a redelivery, one that a policy skips, or one that is parked because its "
        "connection is paused or its offer is over its ceiling.",
        f"{_LEAD} stage seq attempt state outcome code milliseconds",
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
        "A lead was not delivered when its customer was [erased](docs/how-to/privacy.md#erasure): it is not sent, and only "
        "what is left without the person is kept.",
        "lead_id",
    )
    LEADS_EMPTIED = _Says(
        "leads_emptied",
        "Personal data was removed from leads whose [time was over](docs/how-to/privacy.md#retention).",
        "count",
    )
    LEAD_UNROUTED = _Says("lead_unrouted", "No offer takes the lead.", "lead_id")
    LEAD_UNREADABLE = _Says(
        "lead_unreadable",
        "A body that can't be read was kept: [correct it](docs/how-to/recover-leads.md#corrections). The alarm is "
        "`leads_need_a_person`.",
        "lead_id bytes",
        level=logging.WARNING,
    )
    LEAD_DEAD_LETTERED = _Says(
        "lead_dead_lettered",
        "A lead is not tried any more: see its reason. The alarm is `leads_need_a_person`.",
        f"{_LEAD} code",
        level=logging.WARNING,
    )
    LEAD_CRASHED = _Says(
        "lead_crashed",
        "A lead came through the poison queue. The alarm is `leads_need_a_person`.",
        f"{_LEAD} code",
        level=logging.WARNING,
    )
    LEAD_REDRIVEN = _Says(
        "lead_redriven",
        "`watch` has put a lead back on the queue, to be sent in `seconds`; `state` is what it was in.",
        f"{_LEAD} state seconds",
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
    LEAD_DISMISSED = _Says(
        "lead_dismissed",
        "A person has [dismissed](docs/how-to/recover-leads.md#what-nobody-will-repair) a lead: it calls for nobody any more. "
        "`state` is what it had been in.",
        f"{_LEAD} state",
    )
    LEAD_DISMISSAL_TAKEN_BACK = _Says(
        "lead_dismissal_taken_back",
        "A person has taken a dismissal back; `state` is what the lead is in again.",
        f"{_LEAD} state",
    )
    MESSAGE_TOO_NEW = _Says(
        "message_too_new",
        "A message of a newer release, after a rollback: it waits for that release.",
        "",
        level=logging.ERROR,
    )
    OFFER_UNREADABLE = _Says(
        "offer_unreadable",
        "A stored offer can't be read by this release, after a rollback say. It and the offer `*` take no leads until then; "
        "those wait as `unrouted`. Remove it and set it anew.",
        "row",
        level=logging.ERROR,
        about="row",
    )
    ROWS_UNREADABLE = _Says(
        "rows_unreadable",
        "`count` stored rows (`what`) were left out because this release can't read them, after a rollback say. The first is "
        "`row`; `why` is the place in the code.",
        "what row why count",
        level=logging.ERROR,
    )
    INTAKE_UNAVAILABLE = _Says(
        "intake_unavailable",
        "A sender got 503: storage does not answer, `LeadsStorage` is wrong, or the app itself failed, where `why` is a place "
        "in its code.",
        "why",
        level=logging.ERROR,
    )
    BODY_WITHOUT_LENGTH = _Says(
        "body_without_length",
        "A lead came without a Content-Length and is lost: the platform hands no such body on. Its sender, which calls itself "
        "`user_agent`, got 411: [what helps](docs/how-to/connect.md#a-sender-that-gives-no-length).",
        "user_agent",
        level=logging.ERROR,
    )
    BODY_EMPTY = _Says(
        "body_empty",
        "Something was posted without a body and answered 400. The alarm is `bodies_empty`.",
        "user_agent",
        level=logging.WARNING,
    )
    BODIES_EMPTY = _Says(
        "bodies_empty",
        "Within an hour, `count` requests or more came without a body: what they were to bring is lost. The last sender calls "
        "itself `user_agent`.",
        "count user_agent",
        level=logging.ERROR,
        ended_by="bodies_empty_no_more",
    )
    BODIES_EMPTY_NO_MORE = _Says("bodies_empty_no_more", "Several empty bodies within an hour come no more.", "")
    PACKAGES_UNUSABLE = _Says(
        "packages_unusable",
        "The app can't start: Python `running` runs, and its packages are for `built_for`. Leads are not taken. Publish the "
        "package of the release, as [Deploy](docs/how-to/deploy.md) says.",
        "running built_for error",
        level=logging.ERROR,
    )
    SETTINGS_WRONG = _Says(
        "settings_wrong",
        "The app can't work: an app setting is wrong. `problem` names it and the fix. Leads are answered 503.",
        "problem",
        level=logging.WARNING,  # `app_unreachable` and `intake_unavailable` are the alarms
    )
    CONNECTION_PAUSED = _Says(
        "connection_paused",
        "Leads for `used_by` are parked until the connection works: `reason`.",
        "connection type used_by host reason waiting code failures",
        level=logging.ERROR,
        about="connection",
        ended_by="connection_opened",
    )
    LEADS_WAIT_LONG = _Says(
        "leads_wait_long",
        "Leads for `used_by` have been parked behind a connection for over an hour, the oldest for `minutes` minutes.",
        "connection type used_by host reason waiting minutes",
        level=logging.ERROR,
        about="connection",
        ended_by="leads_wait_no_more",
    )
    LEADS_WAIT_NO_MORE = _Says(
        "leads_wait_no_more", "No lead is parked behind the connection for over an hour.", "connection"
    )
    LEADS_NEED_A_PERSON = _Says(
        "leads_need_a_person",
        "Leads of an offer are in the state `state`, which needs a person: see [States](#states).",
        "state offer destination count",
        level=logging.ERROR,
        about="state offer destination",
        ended_by="leads_need_nobody",
    )
    LEADS_NEED_NOBODY = _Says(
        "leads_need_nobody", "None of the offer's leads is in this state any more.", "state offer destination"
    )
    SECRET_EXPIRING = _Says(
        "secret_expiring",
        "A secret of a destination expires in `days` days: renew it, and store it where `reference` points.",
        "offer destination setting reference within days",
        level=logging.ERROR,
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
        level=logging.ERROR,
        about="offer",
        ended_by="offer_within_ceiling",
    )
    OFFER_WITHIN_CEILING = _Says("offer_within_ceiling", "Its leads go out again.", "offer")
    OFFER_SILENT = _Says(
        "offer_silent",
        "No real lead of an offer has come for `hours` hours, which is unusual for it: [look why](#a-silent-offer).",
        "offer hours expected",
        level=logging.ERROR,
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
    CONNECTION_OPENED = _Says(
        "connection_opened", "A paused connection works again, or no offer uses it any more.", "connection"
    )
    CONNECTION_PAUSED_BY_PERSON = _Says(
        "connection_paused_by_person",
        "A person has paused a connection: its leads are parked until a person resumes it.",
        "connection",
    )
    CONNECTION_RESUMED_BY_PERSON = _Says(
        "connection_resumed_by_person", "A person has resumed a connection that a person had paused.", "connection"
    )
    CHANGE_MADE = _Says(
        "change_made",
        "Somebody has changed something: the operation, what it was about, and [who](docs/how-to/access.md#who-did-what), "
        "never by name.",
        "operation about level by who",
    )
    PERSONAL_DATA_VIEWED = _Says(
        "personal_data_viewed",
        "Somebody was given what customers said: the operation, what it was about, and "
        "[who](docs/how-to/access.md#who-did-what), never by name.",
        "operation about level by who",
    )
    REQUEST_FAILED = _Says(
        "request_failed",
        "The app failed to answer a request to `what`, at the place `why` in its code, and answered 500.",
        "what why",
        level=logging.WARNING,
    )
    STEP_FAILED = _Says(
        "step_failed",
        "`what` failed, a step of a timer or one thing in it, at the place `why` in the code. It is tried again, and the others "
        "go on.",
        "what why",
        level=logging.WARNING,
    )
    STEP_OVERRAN = _Says(
        "step_overran",
        "A step of a timer, `what`, was not done in its `seconds` seconds, because something it waited for hangs or is slow. The "
        "next run goes on with what it has not reached; `why` says how much that is, or the place in the code.",
        "what seconds why",
        level=logging.WARNING,
    )
    STORAGE_UNAVAILABLE = _Says(
        "storage_unavailable",
        "A request to the app's storage failed where no lead is lost by it: `what` says which.",
        "what why",
    )

    @property
    def is_alarm(self) -> bool:
        return self.level == logging.ERROR

    def told(self, fields: Mapping[str, str | int | float]) -> str:
        """The meaning for people, with the value of each field that it names."""
        return re.sub(r"`(\w+)`", lambda named: str(fields.get(named[1], named[1])), self._plain)

    def in_words(self, fields: Mapping[str, str | int | float]) -> str:
        """Name and meaning for people. Fields that the meaning does not name follow the name in parentheses."""
        others = [f"{name} {value}" for name, value in fields.items() if value != "" and f"`{name}`" not in self._plain]
        behind = f" ({', '.join(others)})" if others else ""
        return f"{self.value}{behind}: {self.told(fields)}"

    @property
    def _plain(self) -> str:
        """The meaning without the links of the documents."""
        return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", self.meaning)

    @property
    def end(self) -> "Event | None":
        """The event that ends this alarm."""
        return named(self.ended_by)


ALARMS = frozenset(event for event in Event if event.is_alarm)


def named(name: str) -> Event | None:
    """The event of this name, None if this release knows none."""
    return Event.__members__.get(name.upper())


def emit(event: Event, traceparent: str = "", /, **fields: str | int | float | None) -> None:
    """Log one event. `fields` are ids, names, codes, counts and milliseconds, never anything a customer wrote.

    `traceparent`: that of the event's lead, for a caller outside `tracing`.
    """
    if _log.isEnabledFor(event.level):
        if trace := trace_id(traceparent):
            fields["trace"] = trace
        _tell((event, fields))


Told = tuple[Event, Mapping[str, str | int | float | None]]
"""An event that was emitted, and its fields."""
_held: ContextVar[list[Told] | None] = ContextVar("held", default=None)


@contextmanager
def holding() -> Iterator[list[Told]]:
    """Hold the events of the block in a list instead of logging them, for a thread whose records the host would drop."""
    held: list[Told] = []
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


def release(held: Iterable[Told]) -> None:
    """Log events that were held."""
    for one in held:
        _tell(one)


def _tell(told: Told) -> None:
    held = _held.get()
    if held is not None:
        held.append(told)
        return
    event, fields = told
    _log.log(event.level, "event=%s %s", event.value, _to_json(fields))
