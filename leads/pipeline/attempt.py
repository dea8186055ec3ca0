"""One attempt: claim the customer, send to the destination, settle the outcome in the ledger."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from time import perf_counter
from typing import Final

from leads.core import clock
from leads.core.identity import action_fingerprint, customer_of, fingerprint, similar_action_fingerprints
from leads.core.lead import Lead, Stage
from leads.core.messages import Imported, Message, Reception
from leads.core.outcomes import Delivered, Outcome, Unknown
from leads.core.states import State
from leads.destinations import bounded_calls
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.follow_up import follow_up_of
from leads.ledger.customer_rows import REDELIVERY_WINDOW, CustomerRow, RecentLead
from leads.ledger.rows import Delivery, LeadRecord
from leads.ledger.transactions import TRIES, Claim, CustomerChanged
from leads.offers.model import DestinationConfig, Offer
from leads.pipeline import settling
from leads.pipeline.delivery_parts import DeliveryParts
from leads.pipeline.settling import UnsettledAttempt
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.slots import ClaimHeld
from leads.platform.storage import StorageError

IMPORT_WINDOW: Final = timedelta(hours=36)
"""The largest time difference between an imported lead and the same received lead. Lists have local days, not times."""


def attempt(
    parts: DeliveryParts,
    record: LeadRecord,
    delivery: Delivery,
    message: Message,
    offer: Offer,
    config: DestinationConfig,
) -> None:
    """Send the lead to one destination, once the customer's turn and a slot of the connection are free.

    The lead is parked if the connection is paused. Raises `ClaimHeld` or `NoFreeSlot` if the lead can't be sent now, and
    `StorageError` if the app's storage fails before or after the send.
    """
    destination = parts.destination_of(config)
    token = new_token(message.reception)
    this = DeliveryAttempt(parts, record, delivery.destination, message, offer, config, destination, clock.now(), token)
    if not this.may_go_on():
        this.park()
        return
    # The customer's turn comes first, so that an attempt that waits for the turn holds no slot.
    with parts.customers.turn(this.turn) as this.contended, parts.slots.slot(destination.connection):
        if this.may_go_on():
            this.run()
            return
    this.park()  # the connection was paused while the attempt waited for its slot


def outgoing_lead(
    offer: Offer,
    config: DestinationConfig,
    lead: Lead,
    *,
    lead_id: str,
    received_at: datetime,
    stage: Stage,
    repeat_of: str = "",
) -> OutgoingLead:
    """The lead in the form that a destination of its offer gets."""
    return OutgoingLead(
        lead_id=lead_id,
        lead=lead,
        offer=offer.id,
        destination=config.name,
        stage=stage,
        received_at=received_at,
        repeat_of=repeat_of,
        follow_up=follow_up_of(stage, config.follow_up),
        set_do_not_contact=stage is Stage.CROSS_LISTED and offer.policies.dnc == "flag",
        overwrite=offer.policies.existing_records == "overwrite",
    )


def new_token(reception: Reception | None) -> str:
    """A unique token for a claim. It names the queue message and the reception that the attempt handles."""
    unique = token_hex(8)
    return f"{_short(reception)}/{reception.dequeue_count}/{unique}" if reception else unique


def is_of_earlier_reception(reception: Reception | None, token: str) -> bool:
    """Whether a claim was made for an earlier reception of the same queue message. That attempt failed, or its worker died.

    The lead does not wait for such a claim. If it were put back as a new message each time, a lead that kills its worker would
    never become poison.
    """
    message, _, count = token.rpartition("/")[0].rpartition("/")
    return reception is not None and message == _short(reception) and int(count) < reception.dequeue_count


def _short(reception: Reception) -> str:
    return reception.message_id.replace("-", "")[:16]


@dataclass(slots=True)
class DeliveryAttempt(UnsettledAttempt):
    """An attempt that claims the customer and sends the lead."""

    cut_off: bool = False
    """Whether an earlier attempt was interrupted after it may have sent the lead."""
    may_have_sent: bool = False
    """Whether this attempt, or an earlier attempt that was interrupted, may have sent the lead."""
    contended: bool = False
    """Whether other leads of the customer wanted their turn at the same time."""

    @property
    def lead(self) -> Lead:
        assert self.record.lead is not None  # noqa: S101
        return self.record.lead

    @property
    def customer(self) -> tuple[str, str]:
        """The customer's key and the record scope."""
        key = customer_of(self.lead, self.record.lead_id)
        return key, self.destination.record_scope(self.offer.id, self.name)

    @property
    def turn(self) -> str:
        """The key of the customer's turn, which only one attempt of this process may have at a time."""
        return "|".join(self.customer)

    def may_go_on(self) -> bool:
        """Whether the connection allows the lead. A lead that is only recorded needs no connection."""
        if self._only_recorded:
            return True
        return self.parts.connections.get(self.destination.connection).allows(probe=self.message.probe)

    def run(self) -> None:
        try:
            with deadline.leaving(bounded_calls.SEND_SECONDS + settling.SETTLE_SECONDS):
                customer = self._claim()
            if customer is not None:
                self._carry_out(customer)
        except ClaimHeld:
            raise
        except Exception:
            self.parts.ledger.give_up(self.token, may_have_sent=self.may_have_sent)
            raise

    def _carry_out(self, customer: Customer) -> None:
        if self._only_recorded:
            self.conclude(State.SKIPPED, reason="imported: only recorded")
            return
        self.may_have_sent = True
        started = perf_counter()
        unsure = self.cut_off and not self.destination.idempotent and not customer.stored
        self.outcome = Unknown("cut_off") if unsure else self._send(customer)
        self.milliseconds = round((perf_counter() - started) * 1000)
        self.settle(self.outcome)

    # claim

    def _claim(self) -> Customer | None:
        """Claim the customer. Returns None if the lead was settled instead, as a redelivery or by policy."""
        key, scope = self.customer
        offer = self.offer.dedup_scope(self.record.url_offer)
        this = RecentLead(
            fingerprint(self.lead, offer),
            self.record.lead_id,
            self.record.received_at,
            claim=self.token,
            action_fingerprint=action_fingerprint(self.lead, offer),
            imported=bool(self.record.imported),
        )
        # The customer's row probably exists if the ledger knows the lead, or if other leads of the customer had their turn.
        known = self.parts.ledger.customer(key, scope) if self.record.etag or self.contended else None
        for _ in range(TRIES):
            if known is not None and self._settled_by_history(known, this):
                return None
            if known is not None and known.claim != self.token:
                if known.held and not is_of_earlier_reception(self.message.reception, known.claim):
                    raise self.parts.customers.claimed_elsewhere(self.turn)
                self.cut_off = self.may_have_sent = self._was_cut_off(known)
            try:
                self.claim = self.parts.ledger.claim(self.record, key, scope, known, this)
            except CustomerChanged:
                known = self.parts.ledger.customer(key, scope)
            else:
                return self._customer(key, self.claim)
        raise self.parts.customers.claimed_elsewhere(self.turn)

    def _customer(self, key: str, claim: Claim) -> Customer:
        row = claim.customer
        stored = any(seen.stored_by == self.name for seen in row.recent if seen.lead_id == self.record.lead_id)

        def remember(done: Delivered) -> None:
            try:
                self.parts.ledger.remember(claim, self.record.lead_id, self.name, done)
            except StorageError as error:  # the attempt continues: settling writes the same
                emit(Event.STORAGE_UNAVAILABLE, what="ledger", why=type(error).__name__)

        return Customer(key, row.record_id, row.idempotency_key, row.memory, stored, remember)

    def _was_cut_off(self, known: CustomerRow) -> bool:
        """Whether an earlier attempt claimed the customer for this lead and never settled. It may have sent the lead."""
        claims = {other.claim for other in known.recent if other.lead_id == self.record.lead_id} - {""}
        settled = {attempt.id for attempt in self.delivery().attempts}
        return any(claim not in settled and not self.parts.ledger.never_sent(claim) for claim in claims)

    def _settled_by_history(self, known: CustomerRow, this: RecentLead) -> bool:
        if self.delivery().forced:
            return False
        others = [other for other in known.recent if other.lead_id not in {this.lead_id, self.record.corrects}]
        action_fingerprints = similar_action_fingerprints(self.lead, self.offer.dedup_scope(self.record.url_offer))
        redelivered = next((other for other in others if is_redelivery(other, this, action_fingerprints)), None)
        if redelivered is not None:
            self.conclude(State.DUPLICATE, duplicate_of=redelivered.lead_id)
            return True
        earlier = [other for other in others if other.fingerprint == this.fingerprint and other.at < this.at]
        if not earlier:
            return False
        self.delivery().repeat_of = earlier[-1].lead_id
        if self.offer.policies.repeats == "skip":
            self.conclude(State.SKIPPED, reason="repeats are only recorded (policy repeats)")
            return True
        return False

    @property
    def _only_recorded(self) -> bool:
        """Whether the lead was imported only to be recorded, and no person has asked to send it since."""
        return self.record.imported is Imported.RECORD and not self.delivery().forced

    # send

    def _send(self, customer: Customer) -> Outcome:
        outgoing = outgoing_lead(
            self.offer,
            self.config,
            self.lead,
            lead_id=self.record.lead_id,
            received_at=self.record.received_at,
            stage=self.record.stage,
            repeat_of=self.delivery().repeat_of,
        )
        return bounded_calls.send_lead(self.destination, outgoing, customer)


def is_redelivery(other: RecentLead, this: RecentLead, action_fingerprints: Collection[str]) -> bool:
    """Whether two leads of one customer are one lead, received twice. `action_fingerprints`: those that `this` may have."""
    apart = abs(other.at - this.at)
    if other.fingerprint == this.fingerprint and apart <= REDELIVERY_WINDOW:
        return True
    # An exported list has other values for a lead's fields than the marketplace sends.
    return (
        (other.imported or this.imported) and other.action_fingerprint in action_fingerprints and apart <= IMPORT_WINDOW
    )
