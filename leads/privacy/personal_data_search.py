"""Traces: all that is held about an e-mail address, part after part, each with where to go on behind it.

Looked through are the customer's rows, every lead and body in the ledger, because an address can stand in another person's lead
or in a body that nobody can read, and what is visible on the queues.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from azure.storage.queue import QueueMessage

from leads.app import App
from leads.core.identity import complement, received_at_of
from leads.core.lead import Lead
from leads.core.lead_parsing import UnreadableLead, parse_kept
from leads.core.messages import Message, MessageTooNew, MessageUnreadable, bytes_of, decode
from leads.core.states import State
from leads.ledger.customer_rows import CustomerRow
from leads.ledger.queries import PARTITIONS
from leads.ledger.rows import LeadRecord, read_body, read_lead
from leads.ledger.transactions import Ledger
from leads.platform.row_reading import UnreadableRow, read_each
from leads.platform.storage import LEADS_QUEUE, POISON_QUEUE, Queue, StorageError
from leads.platform.table_format import keys_beginning
from leads.privacy.email_matcher import EmailMatcher

QUEUES: Final = (LEADS_QUEUE, POISON_QUEUE)
"""Those whose messages can hold a lead; the others only name one."""
HIDDEN_SECONDS: Final = 20
"""For at most so long messages that were looked at are hidden from who is to handle them."""
RELEASED_AT_MOST: Final = 320
"""Of more messages the first ones come back by themselves."""
LEADS_A_PAGE: Final = 500
BODIES_A_PAGE: Final = 15
"""A body has up to 256 KiB, and an answer of the service up to 4 MiB."""
_BATCH: Final = 32

Whose = Literal["own", "unreadable", "mention", "damaged"]
"""The person's own lead; a body that can't be read and holds the address; another person's lead that mentions it; a lead with the
address whose row this release can't read."""


@dataclass(frozen=True, slots=True)
class CustomerTrace:
    """What is remembered of the customer within one record scope."""

    row: CustomerRow


@dataclass(frozen=True, slots=True)
class LeadTrace:
    """A lead; `body` is what was received where that is kept apart. `record.etag` is "" if the ledger knows the body alone."""

    record: LeadRecord
    whose: Whose
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class MessageTrace:
    """A message that holds the address. `message` is None where it is none that this release reads."""

    queue: str
    stored: QueueMessage
    message: Message | None = None
    lead: Lead | None = None
    is_own: bool = False
    too_new: bool = False


Trace = CustomerTrace | LeadTrace | MessageTrace


class WrongPlace(ValueError):
    """This is no place that a search has come to."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a search has come: the partition or queue that it is in, and the last row key there or the messages left."""

    part: str = ""
    after: str = ""

    _FORM = re.compile(r"[0-9a-f]:[a-z]*(?:;[0-9a-f-]{32})?|leads:[0-9]{0,9}|leads-poison:[0-9]{0,9}")

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Raises `WrongPlace`."""
        if not cls._FORM.fullmatch(text):
            raise WrongPlace(text)
        part, _, after = text.partition(":")
        return cls(part, after)

    def __str__(self) -> str:
        return f"{self.part}:{self.after}" if self.part else ""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a search has found, and that it has come to a place; `count` is how much it has looked at on the way there."""

    place: Place
    traces: tuple[Trace, ...] = ()
    count: int = 0


def search(app: App, matcher: EmailMatcher, place: Place) -> Iterator[Looked]:
    """Go on from a place to the end, a request or a few at a time."""
    if not place.part:
        rows = app.ledger.customers(matcher.customer)
        place = Place(PARTITIONS[0])
        yield Looked(place, tuple(map(CustomerTrace, rows)), len(rows))
    if place.part not in QUEUES:
        for partition in PARTITIONS[PARTITIONS.index(place.part) :]:
            after = place.after if partition == place.part else ""
            if not after.startswith("lead;"):
                yield from _bodies(app.ledger, matcher, partition, after)
                after = ""
            yield from _leads(app.ledger, matcher, partition, after)
        place = Place(QUEUES[0])
    for name in QUEUES[QUEUES.index(place.part) :]:
        yield from _messages(app, matcher, name, place.after if name == place.part else "")


# --- The ledger ---------------------------------------------------------------------------------------------------------


def _bodies(ledger: Ledger, matcher: EmailMatcher, partition: str, after: str) -> Iterator[Looked]:
    """What stands in rows of its own: large bodies, and those that can't be read."""
    condition = _between(partition, "body;", after)
    for page in ledger.table.pages(condition, page_size=BODIES_A_PAGE):
        if page:
            found = read_each(page, partial(_in_body, ledger, matcher))
            yield Looked(Place(partition, page[-1]["RowKey"]), _with_originals(ledger, matcher, found), len(page))


def _in_body(ledger: Ledger, matcher: EmailMatcher, row: Any) -> LeadTrace | None:
    body = read_body(row)
    if not matcher.matches_body(body):
        return None
    lead_id = row["RowKey"].removeprefix("body;")
    record = ledger.read(lead_id) or LeadRecord(lead_id, received_at_of(lead_id), None, has_body=True)
    lead = record.lead or _lead_in(body, record)
    if lead is None:
        return LeadTrace(record, "unreadable", body)
    record.lead = lead
    return LeadTrace(record, "own" if matcher.owns(lead, lead_id) else "mention", body)


def _lead_in(body: bytes, record: LeadRecord) -> Lead | None:
    """The lead in a body whose message is still on its way, or was never put."""
    if record.state is State.UNREADABLE:
        return None
    try:
        return parse_kept(body)
    except UnreadableLead:
        return None


def _leads(ledger: Ledger, matcher: EmailMatcher, partition: str, after: str) -> Iterator[Looked]:
    """Leads whose row holds what they say, and those of the customer that are emptied already."""
    condition = f"{_between(partition, 'lead;', after)} and (lead ge '' or customer eq '{matcher.customer}')"
    for page in ledger.table.pages(condition, page_size=LEADS_A_PAGE):
        if page:
            found = read_each(page, partial(_in_lead, ledger, matcher))
            yield Looked(Place(partition, page[-1]["RowKey"]), _with_originals(ledger, matcher, found), len(page))


def _in_lead(ledger: Ledger, matcher: EmailMatcher, row: Any) -> LeadTrace | None:
    try:
        record = read_lead(row, row.metadata["etag"])
    except UnreadableRow:
        if row.get("customer") != matcher.customer and not matcher.matches_body(repr(dict(row)).encode()):
            raise
        lead_id = complement(row["RowKey"].removeprefix("lead;"))
        return LeadTrace(LeadRecord(lead_id, received_at_of(lead_id), None), "damaged")
    if record.has_body:
        return _in_lead_of_body(ledger, matcher, record)
    if record.lead is None:
        return LeadTrace(record, "own") if record.emptied_at and record.customer == matcher.customer else None
    if matcher.owns(record.lead, record.lead_id):
        return LeadTrace(record, "own")
    return LeadTrace(record, "mention") if matcher.matches_lead(record.lead) else None


def _in_lead_of_body(ledger: Ledger, matcher: EmailMatcher, record: LeadRecord) -> LeadTrace | None:
    """The customer's lead whose body stands apart, unless the address in it has been found there already."""
    body = ledger.body(record.lead_id)
    if record.customer != matcher.customer or (body is not None and matcher.matches_body(body)):
        return None
    return LeadTrace(ledger.read(record.lead_id) or record, "own", body)


def _with_originals(ledger: Ledger, matcher: EmailMatcher, found: Iterable[LeadTrace | None]) -> tuple[LeadTrace, ...]:
    """What was found, and the leads that stand beside those of the person that are their corrections."""
    traces = [trace for trace in found if trace]
    corrected = [trace.record.corrects for trace in traces if trace.whose == "own" and trace.record.corrects]
    originals = [LeadTrace(one, "own", ledger.body(lead_id)) for lead_id in corrected if (one := ledger.read(lead_id))]
    return (*traces, *(trace for trace in originals if not _is_found_by_itself(matcher, trace)))


def _is_found_by_itself(matcher: EmailMatcher, trace: LeadTrace) -> bool:
    record = trace.record
    if record.lead is not None:
        return matcher.owns(record.lead, record.lead_id)
    return record.customer == matcher.customer or (trace.body is not None and matcher.matches_body(trace.body))


def _between(partition: str, prefix: str, after: str) -> str:
    behind = f" and RowKey gt '{after}'" if after.startswith(prefix) else ""
    return f"PartitionKey eq '{partition}' and {keys_beginning(prefix)}{behind}"


# --- The queues ---------------------------------------------------------------------------------------------------------


def _messages(app: App, matcher: EmailMatcher, name: str, left: str) -> Iterator[Looked]:
    """Every message that is visible, once: as many as there were when the search began. Then they can be seen again."""
    queue = queue_of(app, name)
    remaining = int(left) if left else queue.depth()
    hidden: deque[QueueMessage] = deque(maxlen=RELEASED_AT_MOST)
    try:
        while remaining > 0 and (messages := queue.receive(_BATCH, HIDDEN_SECONDS)):
            hidden.extend(messages)
            remaining = max(0, remaining - len(messages))
            found = (_in_message(app, matcher, name, message) for message in messages)
            yield Looked(Place(name, str(remaining)), tuple(filter(None, found)), len(messages))
    finally:
        with suppress(StorageError):  # they come back by themselves, too
            for message in hidden:
                queue.show_again(message)


def queue_of(app: App, name: str) -> Queue:
    """One of `QUEUES`; messages are read as they are stored."""
    return app.poison if name == POISON_QUEUE else app.storage.queue(LEADS_QUEUE, encoded=False)


def _in_message(app: App, matcher: EmailMatcher, name: str, stored: QueueMessage) -> MessageTrace | None:
    raw = bytes_of(stored.content)
    try:
        message = decode(raw)
    except (MessageTooNew, MessageUnreadable) as why:
        too_new = isinstance(why, MessageTooNew)
        return MessageTrace(name, stored, too_new=too_new) if matcher.matches_body(raw) else None
    lead = message.lead
    if message.has_body and (body := app.ledger.body(message.lead_id)):
        with suppress(UnreadableLead):
            lead = parse_kept(body)
    if lead is None:
        return None
    if matcher.owns(lead, message.lead_id):
        return MessageTrace(name, stored, message, lead, is_own=True)
    return MessageTrace(name, stored, message, lead) if matcher.matches_lead(lead) else None
