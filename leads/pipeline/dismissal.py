"""Dismissal: a person decides that a lead needs no repair. The lead no longer raises an alarm. A dismissal can be taken back."""

from collections.abc import Iterator
from dataclasses import dataclass

from leads.core import clock
from leads.core.states import CORRECTABLE, State
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.transactions import Ledger
from leads.platform.events import Event, emit


@dataclass(frozen=True, slots=True)
class Dismissal:
    """A change at one destination of a lead, done or planned. `destination`: "" if the lead is not routed.

    `state`: the state before. `kept`: why nothing is changed, "" if something is.
    """

    lead_id: str
    destination: str
    state: State
    kept: str = ""


def dismiss(
    ledger: Ledger, record: LeadRecord, note: str, destination: str | None = None, *, dry_run: bool = False
) -> list[Dismissal]:
    """Dismiss the deliveries that wait for a person, to one destination or to all. A second dismissal keeps the first note."""
    plans = [_dismissal(record.lead_id, delivery) for delivery in _wanted(record, destination)]
    chosen = {plan.destination for plan in plans if not plan.kept}
    if not chosen or dry_run:
        return plans
    now = clock.now()

    def change(current: LeadRecord) -> None:
        for delivery in _of(current, chosen):
            if delivery.state in CORRECTABLE:
                delivery.dismissed, delivery.dismissed_from = note, delivery.state
                delivery.state, delivery.next_at, delivery.updated_at = State.SKIPPED, None, now

    ledger.settle(record, change)
    for plan in plans:
        if not plan.kept:
            _log(Event.LEAD_DISMISSED, record, plan.destination, plan.state)
    return plans


def take_back(
    ledger: Ledger, record: LeadRecord, destination: str | None = None, *, dry_run: bool = False
) -> list[Dismissal]:
    """Take the dismissal of a lead back. Each destination gets the state that it had before."""
    plans = [_taken_back(record.lead_id, delivery) for delivery in _wanted(record, destination)]
    chosen = {plan.destination for plan in plans if not plan.kept}
    if not chosen or dry_run:
        return plans
    now = clock.now()

    def change(current: LeadRecord) -> None:
        for delivery in _of(current, chosen):
            if delivery.dismissed_from is not None:
                delivery.state, delivery.updated_at = delivery.dismissed_from, now
                delivery.dismissed, delivery.dismissed_from = "", None

    stored = ledger.settle(record, change)
    for delivery in _of(stored, chosen):
        _log(Event.LEAD_DISMISSAL_TAKEN_BACK, record, delivery.destination, delivery.state)
    return plans


def _wanted(record: LeadRecord, destination: str | None) -> list[Delivery]:
    return [delivery for name, delivery in sorted(record.deliveries.items()) if destination in {None, name}]


def _of(record: LeadRecord, names: set[str]) -> Iterator[Delivery]:
    return (delivery for name, delivery in record.deliveries.items() if name in names)


def _dismissal(lead_id: str, delivery: Delivery) -> Dismissal:
    kept = "" if delivery.state in CORRECTABLE else f"it is {delivery.state}, and does not wait for a person"
    return Dismissal(lead_id, delivery.destination, delivery.state, kept)


def _taken_back(lead_id: str, delivery: Delivery) -> Dismissal:
    kept = "" if delivery.dismissed_from is not None else "it was not dismissed"
    return Dismissal(lead_id, delivery.destination, delivery.state, kept)


def _log(event: Event, record: LeadRecord, destination: str, state: State) -> None:
    emit(
        event,
        record.traceparent,
        lead_id=record.lead_id,
        offer=record.offer,
        destination=destination,
        state=state.value,
    )
