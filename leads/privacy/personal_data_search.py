"""Finds all stored data about an e-mail address, in parts. A cursor says where the next part begins.

The search reads the customer's rows, every lead and body in the ledger, and the visible messages on the queues. It reads every
lead because an address can be in another person's lead, or in a body that can't be parsed.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from azure.storage.queue import QueueMessage

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
from leads.platform.storage import LEADS_QUEUE, POISON_QUEUE, StorageError
from leads.platform.table_format import keys_beginning
from leads.privacy.email_matcher import EmailMatcher
from leads.privacy.stores import PersonalDataStores

QUEUES: Final = (LEADS_QUEUE, POISON_QUEUE)
"""The queues with messages that can hold a lead. Messages on other queues have only a lead's id."""
HIDDEN_SECONDS: Final = 20
"""Visibility timeout of the messages during the search. In this time no worker receives them."""
RELEASED_AT_MOST: Final = 320
"""The most messages that are made visible again after the search. Others become visible when their timeout ends."""
LEADS_A_PAGE: Final = 500
BODIES_A_PAGE: Final = 15
"""A body has up to 256 KiB, and an answer of the service up to 4 MiB."""
_BATCH: Final = 32

Relation = Literal["own", "unreadable", "mention", "damaged"]
"""own: the person's lead. unreadable: a body with the address that can't be parsed. mention: another person's lead that contains
the address. damaged: a lead with the address whose row this release can't read."""


@dataclass(frozen=True, slots=True)
class FoundCustomer:
    """The customer's row in one record scope."""

    row: CustomerRow


@dataclass(frozen=True, slots=True)
class FoundLead:
    """A lead. `body`: the received body, if it has its own row. `record.etag`: "" if the ledger has only the body."""

    record: LeadRecord
    relation: Relation
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message that contains the address. `message` is None if this release can't decode it."""

    queue: str
    stored: QueueMessage
    message: Message | None = None
    lead: Lead | None = None
    is_own: bool = False
    too_new: bool = False


Found = FoundCustomer | FoundLead | FoundMessage


class InvalidCursor(ValueError):
    """Malformed cursor."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The progress of a search. `part`: the present partition or queue. `after`: the last row key, or the messages left."""

    part: str = ""
    after: str = ""

    _FORM = re.compile(r"[0-9a-f]:[a-z]*(?:;[0-9a-f-]{32})?|leads:[0-9]{0,9}|leads-poison:[0-9]{0,9}")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Raises `InvalidCursor`."""
        if not cls._FORM.fullmatch(text):
            raise InvalidCursor(text)
        part, _, after = text.partition(":")
        return cls(part, after)

    def __str__(self) -> str:
        return f"{self.part}:{self.after}" if self.part else ""


@dataclass(frozen=True, slots=True)
class SearchPart:
    """What was found since the last part. `cursor`: where the next part begins. `count`: rows and messages that were read."""

    cursor: Cursor
    found: tuple[Found, ...] = ()
    count: int = 0


def search(stores: PersonalDataStores, matcher: EmailMatcher, cursor: Cursor) -> Iterator[SearchPart]:
    """Search from the cursor to the end, with a few requests for each part."""
    if not cursor.part:
        rows = stores.ledger.customers(matcher.customer)
        cursor = Cursor(PARTITIONS[0])
        yield SearchPart(cursor, tuple(map(FoundCustomer, rows)), len(rows))
    if cursor.part not in QUEUES:
        for partition in PARTITIONS[PARTITIONS.index(cursor.part) :]:
            after = cursor.after if partition == cursor.part else ""
            if not after.startswith("lead;"):
                yield from _bodies(stores.ledger, matcher, partition, after)
                after = ""
            yield from _leads(stores.ledger, matcher, partition, after)
        cursor = Cursor(QUEUES[0])
    for name in QUEUES[QUEUES.index(cursor.part) :]:
        yield from _messages(stores, matcher, name, cursor.after if name == cursor.part else "")


# --- The ledger ---------------------------------------------------------------------------------------------------------


def _bodies(ledger: Ledger, matcher: EmailMatcher, partition: str, after: str) -> Iterator[SearchPart]:
    """Search the body rows: large bodies, and bodies that can't be parsed."""
    condition = _between(partition, "body;", after)
    for page in ledger.table.pages(condition, page_size=BODIES_A_PAGE):
        if page:
            found = read_each(page, partial(_in_body, ledger, matcher))
            yield SearchPart(Cursor(partition, page[-1]["RowKey"]), _with_originals(ledger, matcher, found), len(page))


def _in_body(ledger: Ledger, matcher: EmailMatcher, row: Any) -> FoundLead | None:
    body = read_body(row)
    if not matcher.matches_body(body):
        return None
    lead_id = row["RowKey"].removeprefix("body;")
    record = ledger.read(lead_id) or LeadRecord(lead_id, received_at_of(lead_id), None, has_body=True)
    lead = record.lead or _lead_in(body, record)
    if lead is None:
        return FoundLead(record, "unreadable", body)
    record.lead = lead
    return FoundLead(record, "own" if matcher.owns(lead, lead_id) else "mention", body)


def _lead_in(body: bytes, record: LeadRecord) -> Lead | None:
    """The lead in a body without a record; its message is still on the queue, or was never put. None if unreadable."""
    if record.state is State.UNREADABLE:
        return None
    try:
        return parse_kept(body)
    except UnreadableLead:
        return None


def _leads(ledger: Ledger, matcher: EmailMatcher, partition: str, after: str) -> Iterator[SearchPart]:
    """Search the leads with data in their own row, and the customer's leads that are emptied already."""
    condition = f"{_between(partition, 'lead;', after)} and (lead ge '' or customer eq '{matcher.customer}')"
    for page in ledger.table.pages(condition, page_size=LEADS_A_PAGE):
        if page:
            found = read_each(page, partial(_in_lead, ledger, matcher))
            yield SearchPart(Cursor(partition, page[-1]["RowKey"]), _with_originals(ledger, matcher, found), len(page))


def _in_lead(ledger: Ledger, matcher: EmailMatcher, row: Any) -> FoundLead | None:
    try:
        record = read_lead(row, row.metadata["etag"])
    except UnreadableRow:
        if row.get("customer") != matcher.customer and not matcher.matches_body(repr(dict(row)).encode()):
            raise
        lead_id = complement(row["RowKey"].removeprefix("lead;"))
        return FoundLead(LeadRecord(lead_id, received_at_of(lead_id), None), "damaged")
    if record.has_body:
        return _in_lead_of_body(ledger, matcher, record)
    if record.lead is None:
        return FoundLead(record, "own") if record.emptied_at and record.customer == matcher.customer else None
    if matcher.owns(record.lead, record.lead_id):
        return FoundLead(record, "own")
    return FoundLead(record, "mention") if matcher.matches_lead(record.lead) else None


def _in_lead_of_body(ledger: Ledger, matcher: EmailMatcher, record: LeadRecord) -> FoundLead | None:
    """The customer's lead with a body row, unless `_bodies` has found the address in the body."""
    body = ledger.body(record.lead_id)
    if record.customer != matcher.customer or (body is not None and matcher.matches_body(body)):
        return None
    return FoundLead(ledger.read(record.lead_id) or record, "own", body)


def _with_originals(ledger: Ledger, matcher: EmailMatcher, found: Iterable[FoundLead | None]) -> tuple[FoundLead, ...]:
    """The found leads, and the originals of the person's corrected leads."""
    leads = [lead for lead in found if lead]
    corrected = [lead.record.corrects for lead in leads if lead.relation == "own" and lead.record.corrects]
    originals = [FoundLead(one, "own", ledger.body(lead_id)) for lead_id in corrected if (one := ledger.read(lead_id))]
    return (*leads, *(lead for lead in originals if not _is_found_by_itself(matcher, lead)))


def _is_found_by_itself(matcher: EmailMatcher, found: FoundLead) -> bool:
    record = found.record
    if record.lead is not None:
        return matcher.owns(record.lead, record.lead_id)
    return record.customer == matcher.customer or (found.body is not None and matcher.matches_body(found.body))


def _between(partition: str, prefix: str, after: str) -> str:
    behind = f" and RowKey gt '{after}'" if after.startswith(prefix) else ""
    return f"PartitionKey eq '{partition}' and {keys_beginning(prefix)}{behind}"


# --- The queues ---------------------------------------------------------------------------------------------------------


def _messages(stores: PersonalDataStores, matcher: EmailMatcher, name: str, left: str) -> Iterator[SearchPart]:
    """Search the messages that are on the queue when the search begins, each once. Then make them visible again."""
    queue = stores.queues[name]
    remaining = int(left) if left else queue.depth()
    hidden: deque[QueueMessage] = deque(maxlen=RELEASED_AT_MOST)
    try:
        while remaining > 0 and (messages := queue.receive(_BATCH, HIDDEN_SECONDS)):
            hidden.extend(messages)
            remaining = max(0, remaining - len(messages))
            found = (_in_message(stores.ledger, matcher, name, message) for message in messages)
            yield SearchPart(Cursor(name, str(remaining)), tuple(filter(None, found)), len(messages))
    finally:
        with suppress(StorageError):  # without this they become visible after `HIDDEN_SECONDS`
            for message in hidden:
                queue.show_again(message)


def _in_message(ledger: Ledger, matcher: EmailMatcher, name: str, stored: QueueMessage) -> FoundMessage | None:
    raw = bytes_of(stored.content)
    try:
        message = decode(raw)
    except (MessageTooNew, MessageUnreadable) as why:
        too_new = isinstance(why, MessageTooNew)
        return FoundMessage(name, stored, too_new=too_new) if matcher.matches_body(raw) else None
    lead = message.lead
    if message.has_body and (body := ledger.body(message.lead_id)):
        with suppress(UnreadableLead):
            lead = parse_kept(body)
    if lead is None:
        return None
    if matcher.owns(lead, message.lead_id):
        return FoundMessage(name, stored, message, lead, is_own=True)
    return FoundMessage(name, stored, message, lead) if matcher.matches_lead(lead) else None
