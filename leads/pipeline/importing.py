"""Import: makes leads of the rows of a list or table, unless the app has the leads already."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from leads.core import clock
from leads.core.actions import in_code, may_be_same
from leads.core.columns import fields_of, time_in
from leads.core.dates import DateOrder, orders_shown, read_date
from leads.core.identity import (
    action_fingerprint,
    customer_identity,
    customer_of,
    is_lead_id,
    new_lead_id,
    partition_of,
    received_at_of,
    similar_action_fingerprints,
)
from leads.core.lead import Lead, known_source
from leads.core.lead_parsing import UnreadableLead, holds_a_field, parse_record
from leads.core.messages import Imported, Message
from leads.core.routing import OfferReferences, route
from leads.core.states import State
from leads.ledger.customer_rows import RecentLead
from leads.ledger.incoming import IncomingLeads
from leads.ledger.queries import Known, within
from leads.ledger.transactions import Ledger
from leads.offers.model import DestinationOf, Offer
from leads.offers.table import Offers
from leads.pipeline.attempt import IMPORT_WINDOW
from leads.pipeline.intake import MAX_BODY_BYTES
from leads.platform.events import Event, emit
from leads.platform.threads import map_in_order

AT_ONCE: Final = 8
"""Requests to storage at the same time."""
IMPORT_SECONDS: Final = 60
"""Time limit for all requests of one kind in a call. A call has up to 500 rows; storage takes some hundred requests a second."""
_FUTURE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list. `number`: its position, for people. `key`: its identifier, "" = the content identifies the row.

    `written_at`: when the row was written, None if unknown. `offer`: the offer in the lead's address, "" if unknown.
    """

    number: int
    record: Mapping[str, Any]
    key: str = ""
    written_at: datetime | None = None
    offer: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows are read. `columns`: the lead's field of each column ("" = the column is left out).

    `order`: the order of day and month in dates, None if unknown. `time`, `offer`: the defaults for rows without them.
    """

    columns: Mapping[str, str]
    order: DateOrder | None = None
    time: datetime | None = None
    offer: str = ""


class BadRow(Exception):
    """A row that can't be imported. The text says why, and quotes nothing of the row."""


class MixedDates(Exception):
    """Some dates of a list have the day first, others the month. The text names a row of each kind."""


class Verdict(StrEnum):
    """The result of comparing a row with the app's leads."""

    MISSING = "missing"
    KNOWN = "known"
    TWICE = "twice"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row, read as a lead. Reading the row again gives the same `lead_id`."""

    lead_id: str
    lead: Lead
    offer: str = ""

    @property
    def references(self) -> OfferReferences:
        return OfferReferences.of(self.lead, self.offer)

    @property
    def received_at(self) -> datetime:
        return received_at_of(self.lead_id)


@dataclass(frozen=True, slots=True)
class Judged:
    """A row and its verdict. `known_as`: the id of the app's lead. `state`: the state of that lead, None if its row is gone."""

    row: Row
    verdict: Verdict
    candidate: Candidate | None = None
    known_as: str = ""
    state: State | None = None
    reason: str = ""

    @property
    def missing(self) -> Candidate | None:
        """The lead, if the app does not have it."""
        return self.candidate if self.verdict is Verdict.MISSING else None


# --- Reading ------------------------------------------------------------------------------------------------------------


def in_one_order(rows: Sequence[Row], reading: Reading) -> Reading:
    """The reading, with the order of day and month if the dates show it. Raises `MixedDates`."""
    shown = orders_shown(time_in(row.record, reading.columns) for row in rows)
    said = {
        order: f"row {rows[index].number} can only have the {'day' if order is DateOrder.DAY else 'month'} first"
        for order, index in shown.items()
    }
    if len(said) > 1:
        raise MixedDates(f"the date of {', that of '.join(said.values())}; write all dates one way, such as 2026-01-31")
    if reading.order and said and reading.order not in said:
        raise MixedDates(f"the date of {said.popitem()[1]}, and {reading.order} says otherwise")
    return replace(reading, order=reading.order or next(iter(said), None))


def read_row(row: Row, reading: Reading) -> Candidate:
    """The lead of a row. Raises `BadRow`."""
    try:
        lead = parse_record(fields_of(row.record, reading.columns))
    except UnreadableLead as why:
        raise BadRow(why.detail) from None
    if lead == Lead():
        raise BadRow("is empty")
    if not holds_a_field(lead):
        raise BadRow("holds none of a lead's fields")
    if (code := in_code(lead.action_code, known_source(lead))) != lead.action_code:
        lead = lead.model_copy(update={"action_code": code})
    if len(lead.model_dump_json().encode()) > MAX_BODY_BYTES:
        raise BadRow(f"has more than {MAX_BODY_BYTES} bytes")
    return Candidate(_lead_id(row, lead, _time_of(row, lead, reading)), lead, row.offer or reading.offer)


def _time_of(row: Row, lead: Lead, reading: Reading) -> datetime:
    if lead.created_time:
        moment = _read_time(lead.created_time, row.written_at, reading.order)
        if moment is None:
            raise BadRow("created_time can't be read as a time; write it as 2026-01-31 14:00:00, in UTC")
    else:
        moment = row.written_at or reading.time
        if moment is None:
            raise BadRow(
                "has no time; name its column with --map 'COLUMN=created_time', or give all such rows one with --time"
            )
    if moment > clock.now() + _FUTURE:
        raise BadRow("created_time is in the future")
    return moment


def _read_time(text: str, written_at: datetime | None, order: DateOrder | None) -> datetime | None:
    """The time in a text, in the order of day and month that `written_at` confirms: shortly before the row was written.

    A row that a program has changed or copied was written long after its time. It is then read in the usual order, unless that
    time was still to come.
    """
    if written_at is None:
        return read_date(text, order)
    readings = (read_date(text), *(read_date(text, either) for either in DateOrder))

    def doubt(moment: datetime) -> tuple[bool, bool]:
        later = written_at - moment
        return abs(later) > IMPORT_WINDOW, later < -IMPORT_WINDOW

    return min(filter(None, readings), key=doubt, default=None)


def _lead_id(row: Row, lead: Lead, moment: datetime) -> str:
    """The lead id in a row that this app has written; for other rows, an id derived from the row."""
    if is_lead_id(row.key) and customer_of(lead, row.key)[0] == partition_of(row.key):
        return row.key
    identity = customer_identity(lead, "")
    anonymous = identity == customer_identity(Lead(), "")
    who = lead.model_dump_json(exclude={"original"}) if anonymous else identity
    what = row.key or f"{who}\n{action_fingerprint(lead, lead.offer_part or lead.product_id or lead.offer_title)}"
    return new_lead_id(moment, lead, sha256(what.encode()).hexdigest()[:12])


# --- Comparing ----------------------------------------------------------------------------------------------------------


def compare(ledger: Ledger, offers: Offers, rows: Iterable[Row], reading: Reading) -> list[Judged]:
    """A verdict for each row, in the rows' order."""
    offers.renew()
    judged: list[Judged] = []
    seen: dict[str, int] = {}
    for row in rows:
        try:
            candidate = read_row(row, reading)
        except BadRow as bad:
            judged.append(Judged(row, Verdict.BAD, reason=str(bad)))
            continue
        if candidate.lead_id in seen:
            judged.append(Judged(row, Verdict.TWICE, candidate, reason=f"is the same as row {seen[candidate.lead_id]}"))
            continue
        seen[candidate.lead_id] = row.number
        judged.append(Judged(row, Verdict.MISSING, candidate))
    return _found_in_the_ledger(ledger, offers.all(), judged)


def _found_in_the_ledger(ledger: Ledger, offers: list[Offer], judged: list[Judged]) -> list[Judged]:
    missing = [each.missing for each in judged if each.missing]
    if not missing:
        return judged
    # Only leads of the list's customers are collected, because the ledger can have far more leads of this time.
    known: dict[str, list[Known]] = {_customer_of(candidate): [] for candidate in missing}
    times = [candidate.received_at for candidate in missing]
    for lead in within(ledger, min(times) - IMPORT_WINDOW, max(times) + IMPORT_WINDOW):
        if lead.customer in known:
            known[lead.customer].append(lead)
    return [_matched(each, known, offers) for each in judged]


def _offer_of(candidate: Candidate, offers: list[Offer]) -> Offer | None:
    """The offer of a row's lead; None if no offer takes the lead, or the row names no offer."""
    return route(candidate.references, offers) if candidate.references.names else None


def _customer_of(candidate: Candidate) -> str:
    return customer_of(candidate.lead, candidate.lead_id)


def _matched(judged: Judged, known: Mapping[str, Sequence[Known]], offers: list[Offer]) -> Judged:
    candidate = judged.missing
    if candidate is None:
        return judged
    offer = _offer_of(candidate, offers)
    found = [
        other
        for other in known[_customer_of(candidate)]
        if other.lead_id == candidate.lead_id
        or (
            abs(received_at_of(other.lead_id) - candidate.received_at) <= IMPORT_WINDOW
            and may_be_same(other.action, candidate.lead.action)
            and (not other.offer or offer is None or other.offer.casefold() == offer.id.casefold())
        )
    ]
    if not found:
        return judged
    best = min(found, key=lambda other: (other.lead_id != candidate.lead_id, other.state is not State.DELIVERED))
    return replace(judged, verdict=Verdict.KNOWN, known_as=best.lead_id, state=best.state)


def remembered(
    ledger: Ledger,
    offers: list[Offer],
    destination_of: DestinationOf,
    judged: list[Judged],
) -> list[Judged]:
    """Find missing leads in customers' rows, which are kept longer than leads. Without an offer, all offers are searched."""

    def ask(each: Judged) -> Judged:
        if (candidate := each.missing) is None:
            return each
        offer = _offer_of(candidate, offers)
        named = bool(candidate.references.names)
        asked = [offer] if offer else [] if named else offers
        found = next((seen for one in asked for seen in _seen_of(ledger, destination_of, candidate, one)), None)
        return replace(each, verdict=Verdict.KNOWN, known_as=found.lead_id) if found else each

    return list(map_in_order(ask, judged, at_most=AT_ONCE, seconds=IMPORT_SECONDS))


def _seen_of(ledger: Ledger, destination_of: DestinationOf, candidate: Candidate, offer: Offer) -> Iterator[RecentLead]:
    """The recent leads in the customer's rows at the offer's destinations that match this lead."""
    wanted = similar_action_fingerprints(candidate.lead, offer.dedup_scope(candidate.offer))
    for config in offer.destinations:
        scope = destination_of(config).record_scope(offer.id, config.name)
        customer = ledger.customer(customer_of(candidate.lead, candidate.lead_id), scope)
        for seen in customer.recent if customer else ():
            if seen.action_fingerprint in wanted and abs(seen.at - candidate.received_at) <= IMPORT_WINDOW:
                yield seen


# --- Taking in ----------------------------------------------------------------------------------------------------------


def fit_for(policy: Imported, judged: list[Judged]) -> list[Judged]:
    """The rows, with the verdict `bad` for those that the policy can't import: only a lead with an offer can be recorded."""
    why = "names no offer, so the app would still send its lead later; name the offer with --offer"
    return [
        replace(each, verdict=Verdict.BAD, reason=why)
        if policy is Imported.RECORD and each.missing and not each.missing.references.names
        else each
        for each in judged
    ]


def take_in(incoming: IncomingLeads, judged: Iterable[Judged], policy: Imported) -> None:
    """Put the missing leads on the queue. Safe to repeat: their ids are the same.

    Raises `StorageError` or `NotDoneInTime` if some are not on the queue.
    """

    def put(candidate: Candidate) -> str:
        incoming.put(
            Message(
                candidate.lead_id,
                received_at=candidate.received_at,
                offer=candidate.offer,
                lead=candidate.lead,
                imported=policy,
            )
        )
        return candidate.lead_id

    missing = [each.missing for each in judged if each.missing]
    for lead_id in map_in_order(put, missing, at_most=AT_ONCE, seconds=IMPORT_SECONDS):
        emit(Event.LEAD_IMPORTED, lead_id=lead_id)
