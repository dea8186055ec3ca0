"""Replay: sends leads again at a person's request, one or many, unchanged or corrected."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from leads import destinations
from leads.core import clock
from leads.core.identity import new_lead_id
from leads.core.lead import Lead
from leads.core.messages import Imported, Message
from leads.core.states import CORRECTABLE, FINAL, State
from leads.ledger.incoming import IncomingLeads
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.transactions import Ledger
from leads.offers.model import offer_by_id
from leads.offers.table import Offers
from leads.pipeline.recovery import DEFAULT_PACE
from leads.pipeline.redriving import put_next
from leads.platform.events import Event, emit
from leads.platform.row_reading import UnreadableRow
from leads.platform.storage import Queue

READ_FIRST_SECONDS: Final = 3
"""The delay of a message that reopens a final delivery, so that the ledger is written before the message is read."""
_KEPT: Final = {
    State.PARKED: "its connection is paused: the app sends the lead when the connection works again",
    State.UNREADABLE: "its body can't be read: send a corrected lead",
    State.DELIVERED: "it was delivered",
    State.DUPLICATE: "it is a redelivery of another lead",
}
_ONLY_TO_RECORD: Final = "it was imported only to be recorded"
_DISMISSED: Final = "it was dismissed"
_REMOVED: Final = "the offer no longer has this destination: restore it, name another, or dismiss the lead"
_NOWHERE: Final = "no destination of its offer takes such leads: name a destination"


@dataclass(frozen=True, slots=True)
class Replay:
    """The replay of a lead to one destination, done or planned. `destination`: "" if the lead is routed again.

    `state`: the state before. `kept`: why the lead is not sent, "" if it is. `twice`: the effect of a second record, if any.
    """

    lead_id: str
    destination: str
    state: State
    kept: str = ""
    twice: str = ""


class NoDestination(Exception):
    """Neither the lead nor its offer has a destination of this name. The text names the existing ones."""


class NotCorrectable(Exception):
    """A lead in this state can't be corrected. The text says why."""


def replay(
    queue: Queue,
    ledger: Ledger,
    offers: Offers,
    record: LeadRecord,
    destination: str | None = None,
    *,
    force: bool = False,
    delay: int = 0,
    dry_run: bool = False,
) -> list[Replay]:
    """Send a lead again to one destination, or to all that it has not reached. Raises `NoDestination`.

    Safe to repeat: only one of the messages is handled. With `force`, destinations that are done get the lead again, too.
    `delay`: in seconds.
    """
    plans = [_plan(offers, record, name, force=force) for name in _targets(offers, record, destination)]
    for plan in plans:
        if plan.kept or dry_run:
            continue
        is_over = plan.state in FINAL or plan.destination not in record.deliveries
        wait = max(delay, READ_FIRST_SECONDS) if is_over else delay
        put_next(queue, ledger, record, plan.destination, wait, forced=force)
        emit(
            Event.LEAD_REPLAYED,
            record.traceparent,
            lead_id=record.lead_id,
            offer=record.offer,
            destination=plan.destination,
            state=plan.state.value,
        )
    return plans


def _targets(offers: Offers, record: LeadRecord, destination: str | None) -> list[str]:
    if destination is None:
        return [name for name in record.deliveries if name] or [""]
    offer = offer_by_id(record.offer, offers.renew())
    configured = [config.name for config in offer.destinations] if offer else []
    known = sorted({*configured, *filter(None, record.deliveries)})
    if destination not in known:
        raise NoDestination(
            f"the lead has no destination of that name; it has: {', '.join(known) or 'none, as it has no offer'}"
        )
    return [destination]


def _plan(offers: Offers, record: LeadRecord, name: str, *, force: bool) -> Replay:
    delivery = record.deliveries.get(name, Delivery(name))
    plan = Replay(record.lead_id, name, delivery.state)
    if record.emptied_at is not None:
        return replace(plan, kept="its personal data has been removed")
    if record.lead is None:
        return replace(plan, kept=_KEPT[State.UNREADABLE])
    why = _KEPT.get(delivery.state, "") or _left_out(record, delivery)
    if why and not (force and (delivery.state in FINAL or why == _ONLY_TO_RECORD)):
        return replace(plan, kept=why)
    if name and _is_removed(offers, record, name):
        return replace(plan, kept=_REMOVED)
    if not why:
        return plan
    if not name and _goes_nowhere(offers, record):
        return replace(plan, kept=_NOWHERE)
    return replace(plan, twice=_replay_warning(offers, record, name))


def _left_out(record: LeadRecord, delivery: Delivery) -> str:
    """Why the lead was not meant to be sent, "" if it was."""
    if delivery.dismissed_from:
        return _DISMISSED
    if record.imported is Imported.RECORD and not delivery.forced:
        return _ONLY_TO_RECORD
    return f"it was skipped: {delivery.reason}".rstrip(": ") if delivery.state is State.SKIPPED else ""


def _is_removed(offers: Offers, record: LeadRecord, name: str) -> bool:
    """Whether the lead's offer has no destination of this name, also by the newest offers."""
    for read in (offers.all, offers.renew):
        offer = offer_by_id(record.offer, read())
        if offer is None or offer.destination(name) is not None:
            return False
    return True


def _goes_nowhere(offers: Offers, record: LeadRecord) -> bool:
    """Whether an offer takes the lead, but none of the offer's destinations does."""
    offer = offers.route(record.references)
    if offer is None or record.lead is None:
        return False
    stage = offer.stage(record.lead)
    return not any(config.when.admits(record.lead, stage) for config in offer.destinations)


def _replay_warning(offers: Offers, record: LeadRecord, name: str) -> str:
    """The effect of a second record of a lead at this destination, for a person."""
    offer = offer_by_id(record.offer, offers.all())
    config = offer.destination(name) if offer else None
    return destinations.destination_class(config.type).replay_warning if config else ""


def in_bulk(
    queue: Queue, ledger: Ledger, offers: Offers, found: Iterable[tuple[str, str]], begun: int, *, dry_run: bool
) -> Iterator[Replay]:
    """Replay pairs of lead id and destination, spread at the app's pace. `begun`: how many were replayed before them."""
    for lead_id, destination in found:
        try:
            record = ledger.read(lead_id)
        except UnreadableRow as unreadable:
            unreadable.report()
            yield Replay(lead_id, destination, State.UNREADABLE, kept="this release can't read its row")
            continue
        if record is None or (destination and destination not in record.deliveries):
            continue
        delay = int(begun / DEFAULT_PACE)
        for plan in replay(queue, ledger, offers, record, destination or None, delay=delay, dry_run=dry_run):
            begun += not plan.kept
            yield plan


def correct(incoming: IncomingLeads, ledger: Ledger, record: LeadRecord, lead: Lead, *, dry_run: bool = False) -> str:
    """Send a corrected lead to the destinations that the original has not reached, and settle the original.

    Returns the id of the new lead. The same correction gives the same id, so it is safe to repeat. Raises `NotCorrectable`.
    """
    open_ones = [delivery for delivery in record.deliveries.values() if delivery.state in CORRECTABLE]
    if not open_ones:
        why = next((f" ({delivery.reason})" for delivery in record.deliveries.values() if delivery.reason), "")
        raise NotCorrectable(f"it is {record.state}{why}; only leads that wait for a person can be corrected")
    known_as = sha256(f"{record.lead_id} {lead.model_dump_json()}".encode()).hexdigest()[:12]
    lead_id = new_lead_id(record.received_at, lead, known_as)
    if dry_run:
        return lead_id
    message = Message(
        lead_id,
        received_at=record.received_at,
        offer=record.url_offer,
        traceparent=record.traceparent,
        lead=lead,
        imported=Imported.SEND if any(delivery.forced for delivery in open_ones) else record.imported,
        corrects=record.lead_id,
        only=tuple(sorted(delivery.destination for delivery in open_ones if delivery.destination)),
    )
    incoming.put(message)
    now = clock.now()

    def change(current: LeadRecord) -> None:
        for delivery in current.deliveries.values():
            if delivery.state in CORRECTABLE:
                delivery.state, delivery.next_at, delivery.updated_at = State.SKIPPED, None, now
                delivery.reason = f"sent with corrections as {lead_id}"

    ledger.settle(record, change)
    emit(Event.LEAD_CORRECTED, record.traceparent, lead_id=record.lead_id, offer=record.offer, corrected_as=lead_id)
    return lead_id
