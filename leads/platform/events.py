"""Structured log events: one line each, with a stable name and fields that never hold personal data.

A line reads `event=NAME {json}`: it can be found as text, and parsed with `parse_json` in Log Analytics. Alert rules match on
the name. Alarms are logged at ERROR, events about a lead that needs a person at WARNING, all others at INFO. An event about a
lead also has the field `trace`, the same from the intake on. docs/reference/events.md is generated from this catalogue.
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
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder for each call

_LEAD = "lead_id offer destination"


@dataclass(frozen=True, slots=True)
class _Entry:
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
    names the event that ends it, with the same `about` fields. An alarm without `ended_by` is logged repeatedly while it lasts.
    """

    meaning: str
    fields: tuple[str, ...]
    level: int
    about: tuple[str, ...]
    ended_by: str

    def __new__(cls, says: _Entry) -> Self:
        event = str.__new__(cls, says.name)
        event._value_ = says.name
        event.meaning, event.level, event.ended_by = says.meaning, says.level, says.ended_by
        event.fields, event.about = tuple(says.fields.split()), tuple(says.about.split())
        return event

    LEAD_ACCEPTED = _Entry("lead_accepted", "A lead is on the queue.", "lead_id milliseconds")
    LEAD_ROUTED = _Entry(
        "lead_routed",
        "An offer takes the lead. `destinations` is the number of its destinations that get the lead.",
        "lead_id offer stage destinations",
    )
    LEAD_ATTEMPTED = _Entry(
        "lead_attempted",
        "The app sent a lead. The event has the number of the attempt (40 means 40 or more), the outcome, the vendor's code, "
        "the time taken and the new state.",
        f"{_LEAD} stage seq attempt state outcome code milliseconds",
    )
    LEAD_SETTLED = _Entry(
        "lead_settled",
        "The app settled a lead without sending it: it is a redelivery, a policy skips it, or it is parked because its "
        "connection is paused or its offer is over the ceiling.",
        f"{_LEAD} stage seq attempt state outcome code milliseconds",
    )
    LEAD_DROPPED = _Entry(
        "lead_dropped",
        "The app dropped a message that it had already handled.",
        "lead_id destination seq why",
    )
    LEAD_PUT_BACK = _Entry(
        "lead_put_back",
        "The app put a message back on the queue for a short time. `why` is the reason.",
        "lead_id destination why seconds",
    )
    LEAD_EMPTIED = _Entry(
        "lead_emptied",
        "The customer was [erased](docs/how-to/privacy.md#erasure) before this lead was delivered. The app removed the personal "
        "data and does not send the lead.",
        "lead_id",
    )
    LEADS_EMPTIED = _Entry(
        "leads_emptied",
        "The app removed personal data from leads at the end of their [retention](docs/how-to/privacy.md#retention).",
        "count",
    )
    LEAD_UNROUTED = _Entry("lead_unrouted", "No offer takes the lead.", "lead_id")
    LEAD_UNREADABLE = _Entry(
        "lead_unreadable",
        "The app kept a body that it can't read: [correct it](docs/how-to/recover-leads.md#corrections). The alarm is "
        "`leads_need_a_person`.",
        "lead_id bytes",
        level=logging.WARNING,
    )
    LEAD_DEAD_LETTERED = _Entry(
        "lead_dead_lettered",
        "The app no longer retries a lead: see its reason. The alarm is `leads_need_a_person`.",
        f"{_LEAD} code",
        level=logging.WARNING,
    )
    LEAD_CRASHED = _Entry(
        "lead_crashed",
        "A lead came through the poison queue. The alarm is `leads_need_a_person`.",
        f"{_LEAD} code",
        level=logging.WARNING,
    )
    LEAD_REDRIVEN = _Entry(
        "lead_redriven",
        "`watch` put a lead back on the queue, to be sent in `seconds`. `state` is its state before.",
        f"{_LEAD} state seconds",
    )
    LEADS_REDRIVEN = _Entry("leads_redriven", "`watch` put leads back on the queue.", "count state connection")
    LEAD_IMPORTED = _Entry("lead_imported", "An imported lead is on the queue.", "lead_id")
    LEAD_REPLAYED = _Entry("lead_replayed", "A person replayed a lead. `state` is its state before.", f"{_LEAD} state")
    LEAD_CORRECTED = _Entry(
        "lead_corrected",
        "A person corrected a lead. The app sends it as the lead `corrected_as`.",
        "lead_id offer corrected_as",
    )
    LEAD_DISMISSED = _Entry(
        "lead_dismissed",
        "A person [dismissed](docs/how-to/recover-leads.md#dismiss-junk) a lead: it no longer raises an alarm. "
        "`state` is its state before.",
        f"{_LEAD} state",
    )
    LEAD_DISMISSAL_TAKEN_BACK = _Entry(
        "lead_dismissal_taken_back",
        "A person took a dismissal back. `state` is the lead's state again.",
        f"{_LEAD} state",
    )
    MESSAGE_TOO_NEW = _Entry(
        "message_too_new",
        "A newer release wrote this message, before a rollback. The message waits for that release.",
        "",
        level=logging.ERROR,
    )
    OFFER_UNREADABLE = _Entry(
        "offer_unreadable",
        "This release can't read a stored offer, for example after a rollback. Until that is fixed, this offer and the offer "
        "`*` take no leads; their leads wait as `unrouted`. Remove the offer and save it again.",
        "row",
        level=logging.ERROR,
        about="row",
    )
    ROWS_UNREADABLE = _Entry(
        "rows_unreadable",
        "The app skipped `count` stored rows (`what`) that this release can't read, for example after a rollback. The first is "
        "`row`; `why` is the place in the code.",
        "what row why count",
        level=logging.ERROR,
    )
    INTAKE_UNAVAILABLE = _Entry(
        "intake_unavailable",
        "A sender got 503: storage does not answer, an app setting is wrong, or the app itself failed. If the app failed, `why` "
        "is the place in its code.",
        "why",
        level=logging.ERROR,
    )
    BODY_WITHOUT_LENGTH = _Entry(
        "body_without_length",
        "A lead came without a Content-Length and is lost, because the platform passes no such body to the app. The sender "
        "`user_agent` got 411: [what helps](docs/how-to/connect.md#a-sender-that-gives-no-length).",
        "user_agent",
        level=logging.ERROR,
    )
    BODY_EMPTY = _Entry(
        "body_empty",
        "A request to the lead address had no body and got 400. The alarm is `bodies_empty`.",
        "user_agent",
        level=logging.WARNING,
    )
    BODIES_EMPTY = _Entry(
        "bodies_empty",
        "Within an hour, `count` or more requests came without a body. If they were leads, those are lost. The last sender is "
        "`user_agent`.",
        "count user_agent",
        level=logging.ERROR,
        ended_by="bodies_empty_no_more",
    )
    BODIES_EMPTY_NO_MORE = _Entry(
        "bodies_empty_no_more", "Requests without a body no longer come several times an hour.", ""
    )
    PACKAGES_UNUSABLE = _Entry(
        "packages_unusable",
        "The app can't start and takes no leads: it runs on Python `running`, and its packages are for `built_for`, or one is "
        "missing (`error`). Publish the package of the release, as [Deploy](docs/how-to/deploy.md) says.",
        "running built_for error",
        level=logging.ERROR,
    )
    SETTINGS_WRONG = _Entry(
        "settings_wrong",
        "The app can't work because an app setting is wrong. `problem` names the setting and the fix. Senders of leads get 503.",
        "problem",
        level=logging.WARNING,  # `app_unreachable` and `intake_unavailable` are the alarms
    )
    CONNECTION_PAUSED = _Entry(
        "connection_paused",
        "Leads for `used_by` are parked until the connection works: `reason`.",
        "connection type used_by host reason waiting code failures",
        level=logging.ERROR,
        about="connection",
        ended_by="connection_opened",
    )
    LEADS_WAIT_LONG = _Entry(
        "leads_wait_long",
        "Leads for `used_by` have been parked behind a connection for over an hour, the oldest for `minutes` minutes.",
        "connection type used_by host reason waiting minutes",
        level=logging.ERROR,
        about="connection",
        ended_by="leads_wait_no_more",
    )
    LEADS_WAIT_NO_MORE = _Entry(
        "leads_wait_no_more", "No lead is parked behind the connection for over an hour.", "connection"
    )
    LEADS_NEED_A_PERSON = _Entry(
        "leads_need_a_person",
        "Leads of an offer are in the state `state` and need a person: see [States](docs/reference/events.md#states).",
        "state offer destination count",
        level=logging.ERROR,
        about="state offer destination",
        ended_by="leads_need_nobody",
    )
    LEADS_NEED_NOBODY = _Entry(
        "leads_need_nobody", "The offer has no more leads in this state.", "state offer destination"
    )
    SECRET_EXPIRING = _Entry(
        "secret_expiring",
        "Days until a secret of a destination expires: `days`. Renew it and store it where `reference` points.",
        "offer destination setting reference within days",
        level=logging.ERROR,
        about="offer destination setting within",
        ended_by="secret_renewed",
    )
    SECRET_RENEWED = _Entry(
        "secret_renewed",
        "The secret no longer expires within that time.",
        "offer destination setting within",
    )
    OFFER_OVER_CEILING = _Entry(
        "offer_over_ceiling",
        "More leads of an offer came within 24 hours than its policy `daily_ceiling` allows. The leads over the ceiling are "
        "parked until there is room again or until you raise the ceiling.",
        "offer ceiling",
        level=logging.ERROR,
        about="offer",
        ended_by="offer_within_ceiling",
    )
    OFFER_WITHIN_CEILING = _Entry("offer_within_ceiling", "The app sends the offer's leads again.", "offer")
    OFFER_SILENT = _Entry(
        "offer_silent",
        "No real lead of an offer has come for `hours` hours, which is unusual for this offer: "
        "[look why](docs/how-to/on-call.md#offer_silent).",
        "offer hours expected",
        level=logging.ERROR,
        about="offer",
        ended_by="offer_heard_again",
    )
    OFFER_HEARD_AGAIN = _Entry(
        "offer_heard_again",
        "The offer was heard from, or a change to the offers cleared the alarm.",
        "offer",
    )
    NOTICE_FAILED = _Entry(
        "notice_failed", "The app could not post a notification or announcement and will retry.", "what why"
    )
    CONNECTION_CHECKED = _Entry(
        "connection_checked",
        "`watch` checked a connection that had sent nothing for a while.",
        "connection type ok code",
    )
    CONNECTION_PROBED = _Entry("connection_probed", "`watch` probed a paused connection.", "connection type ok code")
    CONNECTION_OPENED = _Entry(
        "connection_opened", "A paused connection works again, or no offer uses it now.", "connection"
    )
    CONNECTION_PAUSED_BY_PERSON = _Entry(
        "connection_paused_by_person",
        "A person paused a connection: its leads are parked until a person resumes it.",
        "connection",
    )
    CONNECTION_RESUMED_BY_PERSON = _Entry(
        "connection_resumed_by_person", "A person resumed a connection that a person had paused.", "connection"
    )
    CHANGE_MADE = _Entry(
        "change_made",
        "A person or program changed something: the operation, what it was about, and "
        "[who](docs/how-to/access.md#who-did-what), never by name.",
        "operation about level by who",
    )
    PERSONAL_DATA_VIEWED = _Entry(
        "personal_data_viewed",
        "A person or program read personal data: the operation, what it was about, and "
        "[who](docs/how-to/access.md#who-did-what), never by name.",
        "operation about level by who",
    )
    REQUEST_FAILED = _Entry(
        "request_failed",
        "A request to `what` failed at the place `why` in the app's code and got 500.",
        "what why",
        level=logging.WARNING,
    )
    STEP_FAILED = _Entry(
        "step_failed",
        "A step of a timer, or one item of a step, failed: `what`, at the place `why` in the code. The app retries it; the "
        "other steps continue.",
        "what why",
        level=logging.WARNING,
    )
    STEP_OVERRAN = _Entry(
        "step_overran",
        "The step `what` of a timer did not finish within `seconds` seconds, because something that it waited for is slow or "
        "hangs. The next run continues. `why` says how much is left, or is the place in the code.",
        "what seconds why",
        level=logging.WARNING,
    )
    STORAGE_UNAVAILABLE = _Entry(
        "storage_unavailable",
        "A request to the app's storage failed. No lead is lost by this. `what` says which request.",
        "what why",
    )

    @property
    def is_alarm(self) -> bool:
        return self.level == logging.ERROR

    def meaning_with(self, fields: Mapping[str, str | int | float]) -> str:
        """The meaning for people, with the values of the fields in place of their names."""
        return re.sub(r"`(\w+)`", lambda named: str(fields.get(named[1], named[1])).removesuffix("."), self._plain)

    def in_words(self, fields: Mapping[str, str | int | float]) -> str:
        """Name and meaning for people. Fields that the meaning does not mention follow the name in parentheses."""
        others = [f"{name} {value}" for name, value in fields.items() if value != "" and f"`{name}`" not in self._plain]
        behind = f" ({', '.join(others)})" if others else ""
        return f"{self.value}{behind}: {self.meaning_with(fields)}"

    @property
    def runbook(self) -> str:
        """The runbook of an alarm: path from the root of the repository, and anchor."""
        return f"docs/how-to/on-call.md#{self.value}"

    @property
    def _plain(self) -> str:
        """The meaning without links."""
        return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", self.meaning)

    @property
    def end(self) -> "Event | None":
        """The event that ends this alarm."""
        return named(self.ended_by)


ALARMS = frozenset(event for event in Event if event.is_alarm)


def named(name: str) -> Event | None:
    """The event of this name, None if this release does not know it."""
    return Event.__members__.get(name.upper())


def emit(event: Event, traceparent: str = "", /, **fields: str | int | float | None) -> None:
    """Log one event. `fields` are ids, names, codes, counts and milliseconds, never text of a customer.

    `traceparent`: the lead's, for a caller outside a `tracing` block.
    """
    if _log.isEnabledFor(event.level):
        if trace := trace_id(traceparent):
            fields["trace"] = trace
        _log_or_hold((event, fields))


EmittedEvent = tuple[Event, Mapping[str, str | int | float | None]]
"""An event that was emitted, and its fields."""
_held: ContextVar[list[EmittedEvent] | None] = ContextVar("held", default=None)


@contextmanager
def holding() -> Iterator[list[EmittedEvent]]:
    """Collect the events of the block in a list instead of logging them. For threads whose log records the host drops."""
    held: list[EmittedEvent] = []
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


def release(held: Iterable[EmittedEvent]) -> None:
    """Log events that were held."""
    for one in held:
        _log_or_hold(one)


def _log_or_hold(emitted: EmittedEvent) -> None:
    held = _held.get()
    if held is not None:
        held.append(emitted)
        return
    event, fields = emitted
    _log.log(event.level, "event=%s %s", event.value, _to_json(fields))
