"""One attempt: claim the customer, send to the destination, settle what came of it in the ledger."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import token_hex
from time import perf_counter
from typing import Final

from leads.app import App
from leads.core import clock, retry_schedule
from leads.core.identity import action_fingerprint, customer_of, fingerprint, similar_action_fingerprints
from leads.core.lead import Lead, Stage
from leads.core.messages import Imported, Message, Reception, encode, encode_notice
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Skipped, Unknown
from leads.core.problems import code_location
from leads.core.states import State
from leads.destinations.base import (
    CHECK_SECONDS,
    OWN_OUTAGE_SECONDS,
    SEND_SECONDS,
    CheckResult,
    Customer,
    Destination,
    OutgoingLead,
)
from leads.destinations.follow_up import follow_up_of
from leads.ledger.rows import AttemptLog, CustomerRow, Delivery, LeadRecord, RecentLead
from leads.ledger.transactions import TRIES, Claim, CustomerChanged
from leads.offers.model import DestinationConfig, Offer
from leads.pipeline.redriving import park_again
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.slots import ClaimHeld
from leads.platform.storage import StorageError

REDELIVERY_WINDOW: Final = timedelta(minutes=15)
SETTLE_SECONDS: Final = 20
"""What is left at least for settling, however long the send took: one try of each of its requests."""
IMPORT_WINDOW: Final = timedelta(hours=36)
"""How far apart the times of an imported lead and of the same lead as it came may be: lists tell local days, not moments."""


def attempt(
    app: App,
    record: LeadRecord,
    delivery: Delivery,
    message: Message,
    offer: Offer,
    config: DestinationConfig,
) -> None:
    """Send the lead to one destination when it is its customer's turn and a slot of the connection is free, or park it where the
    connection is paused.

    Raises ClaimHeld or NoFreeSlot where it can't be sent now, StorageError where storage gives out before or after it.
    """
    destination = app.destination(config)
    token = new_token(message.reception)
    attempting = DeliveryAttempt(
        app, record, delivery.destination, message, offer, config, destination, clock.now(), token
    )
    if not attempting.may_go_on():
        attempting.park()
        return
    # First the customer's turn: whoever waits for that holds no slot meanwhile.
    with app.customers.turn(attempting.turn) as attempting.had_others, app.slots.slot(destination.connection):
        if attempting.may_go_on():
            attempting.run()
            return
    attempting.park()  # the connection was paused while it waited for its slot


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
    """What one of the offer's destinations is told of a lead."""
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
    """A claim's token, which no other attempt has; it tells which reception of which queue message the attempt handles."""
    unique = token_hex(8)
    return f"{_short(reception)}/{reception.dequeue_count}/{unique}" if reception else unique


def was_given_out_before(reception: Reception | None, token: str) -> bool:
    """Whether a claim is that of an earlier reception of the same queue message: whoever had it has failed or died.

    Otherwise a lead that kills its worker would be put back as a new message each time, and never become poison.
    """
    message, _, count = token.rpartition("/")[0].rpartition("/")
    return reception is not None and message == _short(reception) and int(count) < reception.dequeue_count


def _short(reception: Reception) -> str:
    return reception.message_id.replace("-", "")[:16]


@dataclass(slots=True)
class DeliveryAttempt:
    """One attempt: claim the customer, send, settle."""

    app: App
    record: LeadRecord
    name: str
    message: Message
    offer: Offer
    config: DestinationConfig
    destination: Destination
    began_at: datetime
    token: str
    """Of its claim: no other attempt has it."""
    claim: Claim | None = None
    cut_off: bool = False
    may_have_sent: bool = False
    """Whether the lead may have been sent, by it or an attempt that was cut off before it."""
    outcome: Outcome | None = None
    milliseconds: int = 0
    had_others: bool = False
    """Whether other leads of the customer wanted their turn at the same time."""

    @property
    def customer(self) -> tuple[str, str]:
        """Whom the lead is from, and within which record scope."""
        assert self.record.lead is not None  # noqa: S101
        key = customer_of(self.record.lead, self.record.lead_id)
        return key, self.destination.record_scope(self.offer.id, self.name)

    @property
    def turn(self) -> str:
        """What it has to have its turn with."""
        return "|".join(self.customer)

    def may_go_on(self) -> bool:
        """Whether the connection lets it through; what is only recorded does not need it."""
        if self._only_recorded:
            return True
        return self.app.connections.get(self.destination.connection).allows(probe=self.message.probe)

    def run(self) -> None:
        try:
            with deadline.leaving(SEND_SECONDS + SETTLE_SECONDS):
                customer = self._claim()
            if customer is not None:
                self._carry_out(customer)
        except ClaimHeld:
            raise
        except Exception:
            self.app.ledger.give_up(self.token, may_have_sent=self.may_have_sent)
            raise

    def _carry_out(self, customer: Customer) -> None:
        if self._only_recorded:
            self._conclude(State.SKIPPED, reason="imported: only recorded")
            return
        self.may_have_sent = True
        started = perf_counter()
        unsure = self.cut_off and not self.destination.idempotent and not customer.stored
        self.outcome = Unknown("cut_off") if unsure else self._send(customer)
        self.milliseconds = round((perf_counter() - started) * 1000)
        self._settle(self.outcome)

    # claim

    def _claim(self) -> Customer | None:
        """Take the customer, or settle the lead as a redelivery or by policy and return None."""
        lead = self.record.lead
        assert lead is not None  # noqa: S101
        key, scope = self.customer
        offer = self.offer.dedup_scope(self.record.url_offer)
        seen = RecentLead(
            fingerprint(lead, offer),
            self.record.lead_id,
            self.record.received_at,
            claim=self.token,
            action_fingerprint=action_fingerprint(lead, offer),
            imported=bool(self.record.imported),
        )
        # A lead that the ledger knows has most likely claimed its customer before; so have those that it had to wait for.
        known = self.app.ledger.customer(key, scope) if self.record.etag or self.had_others else None
        for _ in range(TRIES):
            if known is not None and self._settled_by_history(known, seen):
                return None
            if known is not None and known.claim != self.token:
                if known.held and not was_given_out_before(self.message.reception, known.claim):
                    raise self.app.customers.taken(self.turn)
                self.cut_off = self.may_have_sent = self._was_cut_off(known)
            try:
                self.claim = self.app.ledger.claim(self.record, key, scope, known, seen)
            except CustomerChanged:
                known = self.app.ledger.customer(key, scope)
            else:
                return self._customer(key, self.claim)
        raise self.app.customers.taken(self.turn)

    def _customer(self, key: str, claim: Claim) -> Customer:
        row = claim.customer
        stored = any(seen.stored_by == self.name for seen in row.recent if seen.lead_id == self.record.lead_id)

        def remember(done: Delivered) -> None:
            try:
                self.app.ledger.remember(claim, self.record.lead_id, self.name, done)
            except StorageError as error:  # the attempt goes on: what comes of it is written in the end, too
                emit(Event.STORAGE_UNAVAILABLE, what="ledger", why=type(error).__name__)

        return Customer(key, row.record_id, row.idempotency_key, row.memory, stored, remember)

    def _was_cut_off(self, known: CustomerRow) -> bool:
        """Whether an earlier attempt at this lead has claimed the customer and never settled: it may have been sent."""
        claims = {other.claim for other in known.recent if other.lead_id == self.record.lead_id} - {""}
        settled = {attempt.id for attempt in self._delivery().attempts}
        return any(claim not in settled and not self.app.ledger.never_sent(claim) for claim in claims)

    def _settled_by_history(self, known: CustomerRow, seen: RecentLead) -> bool:
        if self._delivery().forced:
            return False
        others = [other for other in known.recent if other.lead_id not in {seen.lead_id, self.record.corrects}]
        lead, offer = self.record.lead, self.offer.dedup_scope(self.record.url_offer)
        assert lead is not None  # noqa: S101
        action_fingerprints = similar_action_fingerprints(lead, offer)
        redelivered = next((other for other in others if is_redelivery(other, seen, action_fingerprints)), None)
        if redelivered is not None:
            self._conclude(State.DUPLICATE, duplicate_of=redelivered.lead_id)
            return True
        earlier = [other for other in others if other.fingerprint == seen.fingerprint and other.at < seen.at]
        if not earlier:
            return False
        self._delivery().repeat_of = earlier[-1].lead_id
        if self.offer.policies.repeats == "skip":
            self._conclude(State.SKIPPED, reason="repeats are only recorded (policy repeats)")
            return True
        return False

    @property
    def _only_recorded(self) -> bool:
        """Whether its import wants no more of it, and no person has since."""
        return self.record.imported is Imported.RECORD and not self._delivery().forced

    def _delivery(self) -> Delivery:
        return self.record.delivery(self.name)

    def _conclude(
        self, state: State, *, reason: str = "", duplicate_of: str = "", outcome: str = "", code: str = ""
    ) -> None:
        repeat_of = self._delivery().repeat_of

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.reason = state, reason
            delivery.duplicate_of, delivery.repeat_of = duplicate_of, repeat_of

        self._store(change, outcome=outcome, code=code)

    # send

    def _send(self, customer: Customer) -> Outcome:
        lead = self.record.lead
        assert lead is not None  # noqa: S101
        outgoing = outgoing_lead(
            self.offer,
            self.config,
            lead,
            lead_id=self.record.lead_id,
            received_at=self.record.received_at,
            stage=self.record.stage,
            repeat_of=self._delivery().repeat_of,
        )
        with deadline.within(SEND_SECONDS):
            try:
                return self.destination.send(outgoing, customer)
            except StorageError as error:  # a vendor has no part in the app's own storage
                return Retry(type(error).__name__, OWN_OUTAGE_SECONDS, ours=True)
            except Exception as error:  # noqa: BLE001 - a fault in one destination must not take others' messages to poison
                return Retry(code_location(error))

    # settle

    def _settle(self, outcome: Outcome) -> None:
        match outcome:
            case Delivered():
                self._settle_delivered(outcome)
            case Skipped():
                self._conclude(State.SKIPPED, reason=outcome.reason, outcome="skipped", code=outcome.code)
                self._note_success()
            case Rejected(doubtful=True):
                self._settle_doubtful(outcome)
            case Rejected():
                self._dead_letter(outcome.reason, outcome.code)
            case Misconfigured():
                self._settle_misconfigured(outcome)
            case Retry():
                self._settle_retry(outcome)
            case Unknown():
                self._settle_unknown(outcome)

    def _settle_delivered(self, outcome: Delivered) -> None:
        def change(delivery: Delivery) -> None:
            delivery.state, delivery.reason, delivery.record_id = State.DELIVERED, "", outcome.record_id
            delivery.unconfirmed = outcome.unconfirmed

        self._store(change, outcome="delivered", code=outcome.code, delivered=outcome)
        self._note_success()
        if self.offer.announce is not None:
            self._announce()

    def _announce(self) -> None:
        """Leave it to `watch` to tell people: neither their chat nor the queue for it holds up a lead."""
        try:
            self.app.notices.put(encode_notice(self.record.lead_id, self.name))
        except StorageError as error:
            emit(Event.STORAGE_UNAVAILABLE, what="notices", why=type(error).__name__)

    def _note_success(self) -> None:
        try:
            connections = self.app.connections
            connections.succeeded(self.destination.connection, self.config.type, self.record.lead_id, self.began_at)
        except StorageError as error:
            emit(Event.STORAGE_UNAVAILABLE, what="connections", why=type(error).__name__)

    def _settle_doubtful(self, outcome: Rejected) -> None:
        """A refused lead is at fault itself if others have come through since it was tried before; else it may not be."""
        connections, connection_id = self.app.connections, self.destination.connection
        attempts, known = self._delivery().attempts, connections.get(connection_id)
        is_at_fault = bool(attempts) and connections.succeeded_since(connection_id, attempts[-1].at)
        if known.paused and not is_at_fault:
            self.park(known.reason, outcome="rejected", code=outcome.code)
            return
        self._dead_letter(outcome.reason, outcome.code)
        if is_at_fault:
            return
        # Only then, so that whoever pauses the connection finds this one as a dead letter and takes it back.
        for delivery in connections.refused(
            connection_id, self.config.type, self.record.lead_id, self.name, outcome.code, with_code(outcome)
        ):
            lead_id, _, destination = delivery.partition("/")
            park_again(self.app.ledger, connections, lead_id, destination, connection_id)

    def _settle_misconfigured(self, outcome: Misconfigured) -> None:
        connections, connection_id = self.app.connections, self.destination.connection
        with deadline.leaving(SETTLE_SECONDS), connections.checking(connection_id):
            known = connections.get(connection_id)
            if known.paused and not self.message.probe:  # of the leads that were under way, one has had it checked
                self.park(known.reason, outcome="misconfigured", code=outcome.code)
                return
            # A rotated secret may be there already: what is cached is read again before anything is believed.
            self.app.secrets.forget()
            check = checked(self.destination)
            reason = check.problem or outcome.reason
            if not check.ok and not check.transient:
                connections.pause(connection_id, self.config.type, reason, outcome.code)
        if check.ok or check.transient:
            refusal = with_code(outcome) if check.ok else ""
            self._settle_retry(Retry(outcome.code or "misconfigured"), reason=outcome.reason, refusal=refusal)
        else:
            self.park(reason, outcome="misconfigured", code=outcome.code)

    def _settle_retry(
        self, outcome: Retry, *, reason: str = "", refusal: str = "", possibly_twice: bool = False
    ) -> None:
        delivery = self._delivery()
        connections = self.app.connections
        previous = delivery.attempts[-1].at if delivery.attempts else None
        opened_at = connections.get(self.destination.connection).opened_at
        if previous is not None and opened_at is not None:
            previous = max(previous, opened_at)  # while the connection was paused, the lead could not be tried
        worked = paused = False
        if not outcome.ours:
            worked = previous is not None and connections.succeeded_since(self.destination.connection, previous)
            paused = connections.failed(
                self.destination.connection,
                self.config.type,
                first=previous is None,
                reason=reason or outcome.code,
                refusal=refusal,
                retry_after=outcome.after,
            )
        name = "unknown" if possibly_twice else "retry"
        if paused:
            self.park(reason, outcome=name, code=outcome.code, possibly_twice=possibly_twice)
            return
        now = clock.now()
        # Only time in which the connection worked for others is the lead's own: an outage costs it nothing.
        step = delivery.step + 1 if worked else delivery.step
        spent = delivery.spent + ((now - previous).total_seconds() if worked and previous else 0)
        if retry_schedule.exhausted(spent):
            self._dead_letter(
                "it could not be delivered in seven days, though the connection worked for others",
                outcome.code,
            )
            return
        seconds = retry_schedule.delay(step, outcome.after)
        seq = max(delivery.seq, self.message.seq) + 1
        self.app.queue.put(encode(Message(self.record.lead_id, self.name, seq)), seconds)
        next_at = now + timedelta(seconds=seconds)

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.seq, delivery.reason = State.RETRY, seq, reason
            delivery.step, delivery.spent = step, spent
            delivery.first_failed_at = delivery.first_failed_at or now
            delivery.possibly_twice = delivery.possibly_twice or possibly_twice

        self._store(change, outcome=name, code=outcome.code, next_at=next_at)

    def _settle_unknown(self, outcome: Unknown) -> None:
        if self.offer.policies.unknown == "resend" and not self._delivery().possibly_twice:
            self._settle_retry(Retry(outcome.code), possibly_twice=True)
            return

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.seq = State.HELD, self.message.seq
            delivery.reason = "sent, but the answer was lost: look whether it has arrived, then replay it or leave it"

        self._store(change, outcome="unknown", code=outcome.code)

    def park(self, reason: str = "", outcome: str = "", code: str = "", possibly_twice: bool = False) -> None:
        """Leave the lead to `watch`, which sends it when the connection is open again."""

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.reason = State.PARKED, reason
            delivery.seq = max(delivery.seq, self.message.seq)
            delivery.possibly_twice = delivery.possibly_twice or possibly_twice

        self._store(change, outcome=outcome, code=code)

    def _dead_letter(self, reason: str, code: str) -> None:
        def change(delivery: Delivery) -> None:
            delivery.state, delivery.seq, delivery.reason = State.DEAD_LETTER, self.message.seq, reason

        self._store(change, outcome="rejected", code=code)
        emit(
            Event.LEAD_DEAD_LETTERED,
            lead_id=self.record.lead_id,
            offer=self.offer.id,
            destination=self.name,
            code=code,
        )

    def _store(
        self,
        change: Callable[[Delivery], None],
        *,
        outcome: str = "",
        code: str = "",
        next_at: datetime | None = None,
        delivered: Delivered | None = None,
    ) -> None:
        """Write what came of the attempt, release the claim, and say so in the log.

        A delivery that somebody else has finished or taken further meanwhile keeps its state: this attempt is only added to
        its history.
        """
        now = clock.now()
        this = AttemptLog(
            self.claim.token if self.claim else "",
            now,
            outcome,
            code,
            next_at=next_at,
            milliseconds=self.milliseconds,
        )
        offer, stage, begun = self.record.offer, self.record.stage, self._delivery()

        def change_record(current: LeadRecord) -> None:
            if not any(current.deliveries):
                current.offer, current.stage, current.deliveries = offer, stage, {self.name: replace(begun)}
            delivery = current.delivery(self.name)
            repeated = this.id != "" and any(known.id == this.id for known in delivery.attempts)
            if repeated:
                return
            if outcome:
                delivery.log(this)
            if outcome == "delivered" or delivery.still_to_do(self.message.seq):
                change(delivery)
                delivery.connection = self.destination.connection
                delivery.updated_at, delivery.next_at = now, next_at

        key_refused = self.outcome is not None and self.outcome.key_refused
        stored = self.app.ledger.settle(self.record, change_record, self.claim, delivered, key_refused=key_refused)
        emit(
            Event.LEAD_ATTEMPTED if outcome else Event.LEAD_SETTLED,
            lead_id=self.record.lead_id,
            offer=self.offer.id,
            destination=self.name,
            stage=stage,
            seq=self.message.seq,
            attempt=len(stored.deliveries[self.name].attempts),
            state=stored.deliveries[self.name].state.value,
            outcome=outcome,
            code=code,
            milliseconds=self.milliseconds,
        )


def with_code(refused: Rejected | Misconfigured) -> str:
    """Why the vendor refused, with its code."""
    return f"{refused.reason} ({refused.code})" if refused.code else refused.reason


def checked(destination: Destination) -> CheckResult:
    """What a destination says of its connection within `CHECK_SECONDS`. A fault in its code is kept from all others."""
    with deadline.within(CHECK_SECONDS):
        try:
            return destination.check()
        except Exception as error:  # noqa: BLE001 - as in `send`
            place = code_location(error)
            return CheckResult(ok=True, problem=f"its check has a fault of its own ({place})", code=place)


def is_redelivery(other: RecentLead, seen: RecentLead, action_fingerprints: Collection[str]) -> bool:
    """Whether two leads of one customer are one that came twice; `action_fingerprints` are those that `seen` may have."""
    apart = abs(other.at - seen.at)
    if other.fingerprint == seen.fingerprint and apart <= REDELIVERY_WINDOW:
        return True
    # Lists hold a lead's fields otherwise than the marketplace sends them.
    return (
        (other.imported or seen.imported) and other.action_fingerprint in action_fingerprints and apart <= IMPORT_WINDOW
    )
