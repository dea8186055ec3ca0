"""Delivery: one queue message becomes one settled attempt.

Nothing here raises in order to wait: what can't be done now is put back on the queue. Whatever is raised all the same is a
fault of ours, which the host counts and in the end moves to the poison queue.
"""

import random
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import Final

from azure.core.exceptions import HttpResponseError

from leads import clock, retry
from leads.announcements import encode_notice
from leads.app import App
from leads.connections import NoFreeSlot
from leads.destinations.base import (
    CHECK_SECONDS,
    SEND_SECONDS,
    CheckResult,
    Customer,
    Delivered,
    Destination,
    Misconfigured,
    Outcome,
    OutgoingLead,
    Rejected,
    Retry,
    Skipped,
    Unknown,
    send_ends_at,
)
from leads.destinations.follow_up import follow_up_of
from leads.events import Event, emit
from leads.lead import Lead, Stage, customer_of, fingerprint, journey, parse_body, stage_of
from leads.ledger import Claim, ClaimHeld, CustomerAppeared, LeadKnown, LedgerBusy
from leads.messages import Imported, Message, MessageTooNew, MessageUnreadable, decode, encode
from leads.offers import DestinationConfig, Offer, offer_by_id, route
from leads.problems import place_of
from leads.rows import ERASED_ON_REQUEST, Attempt, CustomerRow, Delivery, LeadRecord, Seen, State
from leads.storage import StorageError
from leads.trace import follow, tracing

PUT_BACK_SECONDS: Final = (2, 10)
LEDGER_DOWN_SECONDS: Final = 60
TOO_NEW_SECONDS: Final = 300
AHEAD_AT_MOST: Final = 10
"""Minutes that a message waits for the ledger to know its lead: longer than `functionTimeout` and any lease."""
REDELIVERY_WINDOW: Final = timedelta(minutes=15)
IMPORT_WINDOW: Final = timedelta(hours=36)
"""How far apart the times of an imported lead and of the same lead as it came may be: lists tell local days, not moments."""
JUST_RECEIVED: Final = timedelta(seconds=5)
"""So soon nearly all leads are handled, and they cost no request more."""
_TRIES: Final = 6


def deliver(app: App, text: str) -> None:
    """Handle one message of the queue `leads`. Returns when the message may be deleted."""
    try:
        message = decode(text)
    except MessageTooNew:
        emit(Event.MESSAGE_TOO_NEW)
        app.queue.put(text, TOO_NEW_SECONDS)
        return
    except MessageUnreadable:
        # It can't become readable by being tried again: straight to where unreadable bytes are kept.
        app.poison.put(b64encode(text.encode()).decode())
        return
    with tracing(message.traceparent):
        try:
            _deliver(app, message)
        except (ClaimHeld, NoFreeSlot, LedgerBusy) as wait:
            _put_back(app, text, message, _jittered_put_back(), type(wait).__name__)
        except StorageError as error:
            if is_our_fault(error):
                raise
            _put_back(app, text, message, LEDGER_DOWN_SECONDS, type(error).__name__)


def _jittered_put_back() -> int:
    return random.randint(*PUT_BACK_SECONDS)  # noqa: S311 - spreads load, keeps no secret


def is_our_fault(error: StorageError) -> bool:
    """Whether storage understood the request and refused it for what it says: waiting would not help."""
    return isinstance(error, HttpResponseError) and error.status_code in {400, 413}


def _put_back(app: App, text: str, message: Message, seconds: int, why: str) -> None:
    app.queue.put(text, seconds)
    emit(
        Event.LEAD_PUT_BACK,
        lead_id=message.lead_id,
        destination=message.destination,
        why=why,
        seconds=seconds,
    )


def _deliver(app: App, message: Message) -> None:
    record = _record_of(app, message)
    if record is None:
        _wait_for_the_ledger(app, message)
        return
    follow(record.traceparent)  # of the messages only the first one brings it
    if emptied_on_surfacing(app, record):
        return
    for _ in range(_TRIES):
        try:
            _advance(app, record, message)
        except LeadKnown as known:
            record = known.record
        else:
            return
    raise LedgerBusy(message.lead_id)


def _wait_for_the_ledger(app: App, message: Message) -> None:
    """Put back what came before the ledger knows its lead: the attempt that put it may not have settled yet."""
    if message.ahead < AHEAD_AT_MOST:
        later = replace(message, ahead=message.ahead + 1)
        _put_back(app, encode(later), later, LEDGER_DOWN_SECONDS, "the ledger does not know the lead yet")
    else:
        _drop(message, "the ledger does not know the lead")


def _record_of(app: App, message: Message) -> LeadRecord | None:
    """The lead's record: new if the message brings the lead, else what the ledger has."""
    lead = message.lead
    if message.has_body and (body := app.ledger.body(message.lead_id)):
        lead = parse_body(body)
    if lead is None or message.received_at is None:
        return app.ledger.read(message.lead_id)
    return new_record(message, lead)


def emptied_on_surfacing(app: App, record: LeadRecord) -> bool:
    """Whether a message brings a lead whose customer has been erased since: then the ledger gets what is left without them.

    A lead that came in just now is not looked up: an erasure at the same moment is what `erasure.look_after` is for.
    """
    if record.etag or record.lead is None or clock.now() - record.received_at < JUST_RECEIVED:
        return False
    customer = customer_of(record.lead, record.lead_id)
    if not app.tombstones.cover(customer, record.received_at):
        return False
    app.ledger.empty(record, clock.now(), ERASED_ON_REQUEST)
    emit(Event.LEAD_EMPTIED, lead_id=record.lead_id)
    return True


def new_record(message: Message, lead: Lead | None) -> LeadRecord:
    """The record that intake's message begins; it is not stored yet."""
    assert message.received_at is not None  # noqa: S101
    return LeadRecord(
        lead_id=message.lead_id,
        received_at=message.received_at,
        lead=lead,
        url_offer=message.offer,
        has_body=message.has_body,
        traceparent=message.traceparent,
        imported=message.imported,
        corrects=message.corrects,
        only=message.only,
    )


def _advance(app: App, record: LeadRecord, message: Message) -> None:
    """Do what the message asks for, if it is still to be done."""
    if record.lead is None:
        _drop(message, "its personal data has been removed" if record.emptied_at else "the lead can't be read")
        return
    if record.lead.is_test:
        # It is there to try what was configured a moment ago, and what this instance knows may be a minute old.
        app.offers.forget()
        app.connections.forget()
    named = [delivery for name, delivery in record.deliveries.items() if name]
    if message.destination or len(named) == 1:
        delivery = record.deliveries.get(message.destination) if message.destination else named[0]
        if delivery is None or not delivery.still_to_do(message.seq):
            _drop(message, "it has been dealt with")
            return
        _attempt_as_configured(app, record, delivery, message)
    elif named:
        _put_one_message_each(app, record)
    elif "" in record.deliveries and not record.deliveries[""].still_to_do(message.seq):
        _drop(message, "it has been dealt with")
    else:
        _route(app, record, message)


def _drop(message: Message, why: str) -> None:
    emit(Event.LEAD_DROPPED, lead_id=message.lead_id, destination=message.destination, seq=message.seq, why=why)


# --- Routing ------------------------------------------------------------------------------------------------------------


def _route(app: App, record: LeadRecord, message: Message) -> None:
    assert record.lead is not None  # noqa: S101
    offer = route(record.references, app.offers.all())
    record.stage = offer.stage(record.lead) if offer else stage_of(record.lead.action)
    if offer is None:
        _conclude(app, record, message, State.UNROUTED, "no configured offer takes this lead")
        return
    record.offer = offer.id
    if reason := offer.refusal(record.lead, record.stage):
        _conclude(app, record, message, State.SKIPPED, reason)
        return
    if not record.lead.is_test and not record.imported and app.ceilings.is_over(offer):
        reason = "the offer's daily ceiling is reached (policy daily_ceiling)"
        _conclude(app, record, message, State.PARKED, reason, offer.ceiling_connection)
        return
    chosen = [
        config
        for config in offer.destinations
        if config.when.admits(record.lead, record.stage) and (not record.only or config.name in record.only)
    ]
    if not chosen:
        _conclude(app, record, message, State.SKIPPED, "no destination of the offer takes such leads")
        return
    emit(
        Event.LEAD_ROUTED,
        lead_id=record.lead_id,
        offer=offer.id,
        stage=record.stage.value,
        destinations=len(chosen),
    )
    record.deliveries = {config.name: Delivery(config.name, seq=message.seq) for config in chosen}
    if len(chosen) == 1:
        _attempt(app, record, record.deliveries[chosen[0].name], message, offer, chosen[0])
        return
    fixed = record.deliveries
    stored = app.ledger.settle(record, lambda current: _fix_destinations(current, record, fixed))
    _put_one_message_each(app, stored)


def _fix_destinations(current: LeadRecord, routed: LeadRecord, fixed: dict[str, Delivery]) -> None:
    if not any(current.deliveries):
        current.offer, current.stage, current.deliveries = routed.offer, routed.stage, dict(fixed)


def _conclude(app: App, record: LeadRecord, message: Message, state: State, reason: str, connection: str = "") -> None:
    """Settle a lead that goes to no destination now; `connection` is what it waits behind."""
    offer, stage = record.offer, record.stage

    def change(current: LeadRecord) -> None:
        whole = current.deliveries.get("")
        if any(current.deliveries) or (whole is not None and not whole.still_to_do(message.seq)):
            return  # somebody else, who may know the offers better, was quicker
        current.offer, current.stage = offer, stage
        waiting = Delivery("", state, message.seq, connection, updated_at=clock.now(), reason=reason)
        current.deliveries = {"": waiting}

    app.ledger.settle(record, change)
    if state is State.UNROUTED:
        emit(Event.LEAD_UNROUTED, lead_id=record.lead_id)
        return
    emit(
        Event.LEAD_SETTLED,
        lead_id=record.lead_id,
        offer=offer,
        destination="",
        stage=stage,
        seq=message.seq,
        attempt=0,
        state=state.value,
        outcome="",
        code="",
        milliseconds=0,
    )


def _put_one_message_each(app: App, record: LeadRecord) -> None:
    """Begin every destination that has not begun: a message that was put before is recognised as a leftover."""
    for name, delivery in record.deliveries.items():
        if name and delivery.state is State.WAITING:
            app.queue.put(encode(Message(record.lead_id, name, delivery.seq + 1)))


# --- One attempt --------------------------------------------------------------------------------------------------------


def _attempt_as_configured(app: App, record: LeadRecord, delivery: Delivery, message: Message) -> None:
    """Attempt by what the offer says now, which may have changed since the lead was routed."""
    offer, config = _configured(app, record, delivery)
    if config is None:
        # The instance that routed the lead may have known of a change before this one.
        app.offers.forget()
        offer, config = _configured(app, record, delivery)
    if offer is not None and config is not None:
        _attempt(app, record, delivery, message, offer, config)
        return
    gone = (
        f"the offer has no destination {delivery.destination} any more"
        if offer
        else "the offer is not configured any more"
    )
    state = State.DEAD_LETTER if offer else State.UNROUTED
    now = clock.now()

    def change(current: LeadRecord) -> None:
        changed = current.delivery(delivery.destination)
        if not changed.still_to_do(message.seq):
            return
        changed.state, changed.seq, changed.reason, changed.updated_at, changed.connection = (
            state,
            message.seq,
            gone,
            now,
            "",
        )

    stored = app.ledger.settle(record, change)
    if stored.deliveries[delivery.destination].state is State.DEAD_LETTER:
        emit(
            Event.LEAD_DEAD_LETTERED,
            lead_id=record.lead_id,
            offer=record.offer,
            destination=delivery.destination,
            code="gone",
        )


def _configured(
    app: App, record: LeadRecord, delivery: Delivery
) -> tuple[Offer, DestinationConfig | None] | tuple[None, None]:
    offer = offer_by_id(record.offer, app.offers.all())
    return (offer, offer.destination(delivery.destination)) if offer else (None, None)


def _attempt(
    app: App,
    record: LeadRecord,
    delivery: Delivery,
    message: Message,
    offer: Offer,
    config: DestinationConfig,
) -> None:
    destination = app.destination(config)
    attempt = _Attempting(app, record, delivery.destination, message, offer, config, destination, clock.now())
    if not attempt.may_go_on():
        attempt.park()
        return
    with app.connections.slot(destination.connection):
        if attempt.may_go_on():
            attempt.run()
            return
    attempt.park()  # the connection was paused while it waited for its slot


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


@dataclass(slots=True)
class _Attempting:
    """One attempt: claim the customer, send, settle."""

    app: App
    record: LeadRecord
    name: str
    message: Message
    offer: Offer
    config: DestinationConfig
    destination: Destination
    began_at: datetime
    claim: Claim | None = None
    cut_off: bool = False
    outcome: Outcome | None = None
    milliseconds: int = 0

    def may_go_on(self) -> bool:
        """Whether the connection lets it through; what is only recorded does not need it."""
        if self.record.imported is Imported.RECORD:
            return True
        return self.app.connections.get(self.destination.connection).lets_through(probe=self.message.probe)

    def run(self) -> None:
        customer = self._claim()
        if customer is None:
            return
        if self.record.imported is Imported.RECORD:
            self._conclude(State.SKIPPED, reason="imported: only recorded")
            return
        started = perf_counter()
        self.outcome = Unknown("cut_off") if self.cut_off and self.destination.keyless else self._send(customer)
        self.milliseconds = round((perf_counter() - started) * 1000)
        self._settle(self.outcome)

    # claim

    def _claim(self) -> Customer | None:
        """Take the customer, or settle the lead as a redelivery or by policy and return None."""
        lead = self.record.lead
        assert lead is not None  # noqa: S101
        key = customer_of(lead, self.record.lead_id)
        scope = self.destination.record_scope(self.offer.id, self.name)
        offer = self.offer.told_apart_by(self.record.url_offer)
        seen = Seen(
            fingerprint(lead, offer),
            self.record.lead_id,
            self.record.received_at,
            journey=journey(lead, offer),
            imported=bool(self.record.imported),
        )
        # A lead that the ledger knows has most likely claimed its customer before.
        known = self.app.ledger.customer(key, scope) if self.record.etag else None
        for _ in range(_TRIES):
            if known is not None and self._settled_by_history(known, seen):
                return None
            if known is not None and known.held:
                raise ClaimHeld
            try:
                self.claim = self.app.ledger.claim(self.record, key, scope, known, seen)
            except CustomerAppeared:
                known = self.app.ledger.customer(key, scope)
            else:
                self.cut_off = known is not None and self._was_cut_off(known)
                return _customer_of(key, self.claim)
        raise ClaimHeld

    def _was_cut_off(self, known: CustomerRow) -> bool:
        """Whether an earlier attempt at this lead has claimed the customer and never settled: it may have been sent."""
        claims = {other.claim for other in known.recent if other.lead_id == self.record.lead_id} - {""}
        return bool(claims - {attempt.id for attempt in self._delivery().attempts})

    def _settled_by_history(self, known: CustomerRow, seen: Seen) -> bool:
        if self._delivery().forced:
            return False
        others = [other for other in known.recent if other.lead_id not in {seen.lead_id, self.record.corrects}]
        redelivered = next((other for other in others if is_redelivery(other, seen)), None)
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
        end = send_ends_at.set(monotonic() + SEND_SECONDS)
        try:
            return self.destination.send(outgoing, customer)
        except Exception as error:  # noqa: BLE001 - a fault in one destination must not take others' messages to poison
            return Retry(place_of(error))
        finally:
            send_ends_at.reset(end)

    # settle

    def _settle(self, outcome: Outcome) -> None:
        match outcome:
            case Delivered():
                self._settle_delivered(outcome)
            case Skipped():
                self._conclude(State.SKIPPED, reason=outcome.reason, outcome="skipped", code=outcome.code)
                self._note_success()
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

    def _settle_misconfigured(self, outcome: Misconfigured) -> None:
        connections, connection_id = self.app.connections, self.destination.connection
        with connections.checking(connection_id):
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
            self._settle_retry(Retry(outcome.code or "misconfigured"), reason=outcome.reason)
        else:
            self.park(reason, outcome="misconfigured", code=outcome.code)

    def _settle_retry(self, outcome: Retry, *, reason: str = "", possibly_twice: bool = False) -> None:
        delivery = self._delivery()
        connections = self.app.connections
        previous = delivery.attempts[-1].at if delivery.attempts else None
        opened_at = connections.get(self.destination.connection).opened_at
        if previous is not None and opened_at is not None:
            previous = max(previous, opened_at)  # while the connection was paused, the lead could not be tried
        worked = paused = False
        if not outcome.waited:
            worked = previous is not None and connections.worked_since(self.destination.connection, previous)
            paused = connections.failed(
                self.destination.connection,
                self.config.type,
                first=previous is None,
                reason=reason or outcome.code,
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
        if retry.exhausted(spent):
            self._dead_letter(
                "it could not be delivered in seven days, though the connection worked for others",
                outcome.code,
            )
            return
        seconds = retry.delay(step, outcome.after)
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
            delivery.state, delivery.seq, delivery.reason = (
                State.PARKED,
                max(delivery.seq, self.message.seq),
                reason,
            )
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
        attempt = Attempt(
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
            repeated = attempt.id != "" and any(known.id == attempt.id for known in delivery.attempts)
            if repeated:
                return
            if outcome:
                delivery.log(attempt)
            if outcome == "delivered" or delivery.still_to_do(self.message.seq):
                change(delivery)
                delivery.connection = self.destination.connection
                delivery.updated_at, delivery.next_at = now, next_at

        stored = self.app.ledger.settle(self.record, change_record, self.claim, delivered)
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


def checked(destination: Destination) -> CheckResult:
    """What a destination says of its connection within `CHECK_SECONDS`. A fault in its code is kept from all others."""
    end = send_ends_at.set(monotonic() + CHECK_SECONDS)
    try:
        return destination.check()
    except Exception as error:  # noqa: BLE001 - as in `send`
        place = place_of(error)
        return CheckResult(ok=False, problem=f"its check has a fault of its own ({place})", code=place, transient=True)
    finally:
        send_ends_at.reset(end)


def is_redelivery(other: Seen, seen: Seen) -> bool:
    """Whether two leads of one customer are one that came twice."""
    apart = abs(other.at - seen.at)
    if other.fingerprint == seen.fingerprint and apart <= REDELIVERY_WINDOW:
        return True
    # Lists hold a lead's fields otherwise than the marketplace sends them.
    return (other.imported or seen.imported) and other.journey == seen.journey and apart <= IMPORT_WINDOW


def _customer_of(key: str, claim: Claim) -> Customer:
    row = claim.customer
    return Customer(key, row.record_id, row.idempotency_key, row.memory)
