"""Settling: applies the outcome of an attempt to its lead, its connection and the ledger."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from leads.core import clock, retry_schedule
from leads.core.messages import Message, encode, encode_notice
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Skipped, Unknown
from leads.core.states import State
from leads.core.wording import with_code
from leads.destinations.base import Destination
from leads.destinations.bounded_calls import check_connection
from leads.ledger.rows import AttemptLog, Delivery, LeadRecord
from leads.ledger.transactions import Claim
from leads.offers.model import DestinationConfig, Offer
from leads.pipeline.delivery_parts import DeliveryParts
from leads.pipeline.redriving import park_again
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.storage import StorageError

SETTLE_SECONDS: Final = 20
"""Time reserved for settling after the send: one try of each request."""


@dataclass(slots=True)
class UnsettledAttempt:
    """An attempt to deliver one lead to one destination, and the settling of its outcome."""

    parts: DeliveryParts
    record: LeadRecord
    name: str
    """The destination's name in the offer."""
    message: Message
    offer: Offer
    config: DestinationConfig
    destination: Destination
    began_at: datetime
    token: str
    """The unique token of the attempt's claim."""
    claim: Claim | None = None
    outcome: Outcome | None = None
    milliseconds: int = 0

    def delivery(self) -> Delivery:
        return self.record.delivery(self.name)

    def settle(self, outcome: Outcome) -> None:
        match outcome:
            case Delivered():
                self._settle_delivered(outcome)
            case Skipped():
                self.conclude(State.SKIPPED, reason=outcome.reason, outcome="skipped", code=outcome.code)
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

    def conclude(
        self, state: State, *, reason: str = "", duplicate_of: str = "", outcome: str = "", code: str = ""
    ) -> None:
        repeat_of = self.delivery().repeat_of

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.reason = state, reason
            delivery.duplicate_of, delivery.repeat_of = duplicate_of, repeat_of

        self._store(change, outcome=outcome, code=code)

    def _settle_delivered(self, outcome: Delivered) -> None:
        def change(delivery: Delivery) -> None:
            delivery.state, delivery.reason, delivery.record_id = State.DELIVERED, "", outcome.record_id
            delivery.unconfirmed = outcome.unconfirmed

        self._store(change, outcome="delivered", code=outcome.code, delivered=outcome)
        self._note_success()
        if self.offer.announce is not None:
            self._announce()

    def _announce(self) -> None:
        """Queue the announcement, which `watch` posts. A failure of the chat or the queue does not delay the lead."""
        try:
            self.parts.notices.put(encode_notice(self.record.lead_id, self.name))
        except StorageError as error:
            emit(Event.STORAGE_UNAVAILABLE, what="notices", why=type(error).__name__)

    def _note_success(self) -> None:
        try:
            connections = self.parts.connections
            connections.record_success(
                self.destination.connection, self.config.type, self.record.lead_id, self.began_at
            )
        except StorageError as error:
            emit(Event.STORAGE_UNAVAILABLE, what="connections", why=type(error).__name__)

    def _settle_doubtful(self, outcome: Rejected) -> None:
        """Settle a refusal. The lead is at fault if others were delivered since its last attempt, else the connection may be."""
        connections, connection_id = self.parts.connections, self.destination.connection
        attempts, known = self.delivery().attempts, connections.get(connection_id)
        is_at_fault = bool(attempts) and connections.succeeded_since(connection_id, attempts[-1].at)
        if known.paused and not is_at_fault:
            self.park(known.reason, outcome="rejected", code=outcome.code)
            return
        self._dead_letter(outcome.reason, outcome.code)
        if is_at_fault:
            return
        # Recorded after the dead letter is written, so that the attempt that pauses the connection finds and parks it.
        for delivery in connections.record_refusal(
            connection_id,
            self.config.type,
            self.record.lead_id,
            self.name,
            outcome.code,
            with_code(outcome.reason, outcome.code),
        ):
            lead_id, _, destination = delivery.partition("/")
            park_again(self.parts.ledger, connections, lead_id, destination, connection_id)

    def _settle_misconfigured(self, outcome: Misconfigured) -> None:
        connections, connection_id = self.parts.connections, self.destination.connection
        with deadline.leaving(SETTLE_SECONDS), connections.checking(connection_id):
            known = connections.get(connection_id)
            if known.paused and not self.message.probe:  # another lead's check has paused the connection
                self.park(known.reason, outcome="misconfigured", code=outcome.code)
                return
            # The secret may have been rotated, so cached secrets are read again before the connection is judged.
            self.parts.secrets.forget()
            check = check_connection(self.destination)
            reason = check.problem or outcome.reason
            if not check.ok and not check.transient:
                connections.pause(connection_id, self.config.type, reason, outcome.code)
        if check.ok or check.transient:
            refusal = with_code(outcome.reason, outcome.code) if check.ok else ""
            self._settle_retry(Retry(outcome.code or "misconfigured"), reason=outcome.reason, refusal=refusal)
        else:
            self.park(reason, outcome="misconfigured", code=outcome.code)

    def _settle_retry(
        self, outcome: Retry, *, reason: str = "", refusal: str = "", possibly_twice: bool = False
    ) -> None:
        delivery = self.delivery()
        connections = self.parts.connections
        previous = delivery.attempts[-1].at if delivery.attempts else None
        opened_at = connections.get(self.destination.connection).opened_at
        if previous is not None and opened_at is not None:
            previous = max(previous, opened_at)  # no attempt was possible while the connection was paused
        worked = paused = False
        if not outcome.ours:
            worked = previous is not None and connections.succeeded_since(self.destination.connection, previous)
            paused = connections.record_failure(
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
        # Only time in which the connection worked for others counts against the retry budget. An outage costs nothing.
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
        self.parts.queue.put(encode(Message(self.record.lead_id, self.name, seq)), seconds)
        next_at = now + timedelta(seconds=seconds)

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.seq, delivery.reason = State.RETRY, seq, reason
            delivery.step, delivery.spent = step, spent
            delivery.first_failed_at = delivery.first_failed_at or now
            delivery.possibly_twice = delivery.possibly_twice or possibly_twice

        self._store(change, outcome=name, code=outcome.code, next_at=next_at)

    def _settle_unknown(self, outcome: Unknown) -> None:
        if self.offer.policies.unknown == "resend" and not self.delivery().possibly_twice:
            self._settle_retry(Retry(outcome.code), possibly_twice=True)
            return

        def change(delivery: Delivery) -> None:
            delivery.state, delivery.seq = State.HELD, self.message.seq
            delivery.reason = "sent, but the answer was lost: check whether the lead arrived, then replay or dismiss it"

        self._store(change, outcome="unknown", code=outcome.code)

    def park(self, reason: str = "", outcome: str = "", code: str = "", possibly_twice: bool = False) -> None:
        """Park the lead: `watch` re-drives it when the connection is open again."""

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
        """Write the result of the attempt, release the claim, and log the result.

        If another attempt has changed the delivery's state since, that state stays. This attempt is only added to the history.
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
        offer, stage, begun = self.record.offer, self.record.stage, self.delivery()

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
        stored = self.parts.ledger.settle(self.record, change_record, self.claim, delivered, key_refused=key_refused)
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
