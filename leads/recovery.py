"""Recovery: what was parked, unrouted, overdue or crashed comes back by itself, and the poison queue is emptied.

Every step may be done twice: the message comes first, then the ledger's row, and a message that was put twice is recognised by
its number.
"""

from datetime import datetime, timedelta
from typing import Final

from leads import clock, deadline, erasure, retention, watching
from leads.announcements import announce
from leads.app import App
from leads.attempt import checked
from leads.ceiling import CEILING
from leads.connections import Connection
from leads.delivery import emptied_on_surfacing, is_our_fault, new_record
from leads.events import Event, emit
from leads.intake import keep_unreadable
from leads.lead import Lead, parse_kept
from leads.ledger import LeadKnown
from leads.listing import Backlog, bodies
from leads.messages import Message, MessageTooNew, MessageUnreadable, bytes_of, decode, encode
from leads.offers import CACHE_SECONDS, DestinationConfig, Offer, by_connection, offer_by_id, route
from leads.problems import place_of
from leads.redriving import redrive
from leads.rows import Delivery, LeadRecord, State, Todo
from leads.storage import StorageError
from leads.stored import UnreadableRow

TICK: Final = timedelta(minutes=1)
OVERDUE: Final = timedelta(hours=1)
DEFAULT_PACE: Final = 5.0
CRASH_DELAYS: Final = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
ORPHANED_AFTER: Final = timedelta(days=8)
ORPHANS_SOUGHT_FOR: Final = timedelta(days=8)
OFFERS_SETTLE: Final = timedelta(seconds=CACHE_SECONDS) + timedelta(minutes=9)
"""How long after a change of the offers a worker can still judge a lead by the old ones: its cache, then one attempt."""
UNROUTED_SWEPT_EVERY_MINUTES: Final = 10
PRIVACY_EVERY_MINUTES: Final = 5
PRIVACY_AT_MINUTE: Final = 3
"""Of these minutes; not that in which leads are counted."""
POISON_BATCH: Final = 32
POISON_HIDDEN_SECONDS: Final = 120
POISON_AGAIN_SECONDS: Final = 300
"""After this time a poison message that could not be recorded is looked at again."""
WATCH_SECONDS: Final = 180
DRAIN_SECONDS: Final = 100
"""Below the time for which the messages of a batch are hidden: nobody else has one of them meanwhile."""


def watch(app: App) -> None:
    """One tick, within `WATCH_SECONDS`: probe what is paused, re-drive what waits behind an open connection, and what is overdue.

    What the deadline cuts off raises; the next tick begins anew.
    """
    with deadline.within(WATCH_SECONDS):
        _watch(app)


def _watch(app: App) -> None:
    now = clock.now()
    app.offers.forget()
    app.connections.forget()
    offers = app.offers.all()
    in_use = {key: [config for _, config in uses] for key, uses in by_connection(offers).items()}
    backlog = Backlog(app.ledger)
    stored = {connection.id: connection for connection in app.connections.stored()}
    for connection in (stored | {key: Connection(key) for key in in_use if key not in stored}).values():
        used_by = in_use.get(connection.id)
        if connection.by_person:
            continue
        if connection.type == CEILING and connection.paused:
            _reopen_if_room(app, offers, connection)
        elif connection.paused and used_by:
            if connection.wait_until is None or now >= connection.wait_until:
                _probe(app, backlog, connection, used_by[0])
        else:
            pace = min((config.pace for config in used_by or ()), default=DEFAULT_PACE)
            _redrive_connection(app, backlog, connection, now, pace)
    _redrive_unrouted(app, backlog, offers, now)
    _redrive_one_crashed(app, backlog, now)
    _sweep_orphaned_bodies(app, now)
    watching.check_quiet_connections(app, in_use)
    watching.raise_alarms(app, offers, backlog)
    announce(app, offers)
    if now.minute % PRIVACY_EVERY_MINUTES == PRIVACY_AT_MINUTE:
        erasure.look_after(app, now)
        retention.sweep(app, offers, now)


def _reopen_if_room(app: App, offers: list[Offer], connection: Connection) -> None:
    """Let leads over an offer's ceiling go when there is room again; those of an offer that is gone have none to wait for."""
    offer = next((offer for offer in offers if offer.ceiling_connection == connection.id), None)
    if offer is None:
        app.connections.reopen(connection.id, quietly=True)
    else:
        app.ceilings.reopen_if_room(offer)


# --- Paused connections -------------------------------------------------------------------------------------------------


def _probe(app: App, backlog: Backlog, connection: Connection, config: DestinationConfig) -> None:
    """`check()`, then one lead; whoever delivers it opens the connection. Another lead next time, if this one fails."""
    if not app.connections.take_turn(connection.id, config.type):
        return
    app.secrets.forget()
    check = checked(app.destination(config))
    emit(Event.CONNECTION_PROBED, connection=connection.id, type=config.type, ok=check.ok, code=check.code)
    if not check.ok:
        if check.problem and check.problem != connection.reason:
            app.connections.pause(connection.id, config.type, check.problem, check.code)
        return
    waiting = backlog.find(State.PARKED, connection.id, after=connection.probed_lead, limit=1)
    waiting = waiting or backlog.find(State.PARKED, connection.id, limit=1)
    if not waiting:
        app.connections.reopen(connection.id)
        return
    item = waiting[0]
    app.connections.note_probe(connection.id, item.lead_id)
    # The row stays parked: only the outcome moves it, and a lost probe costs nothing.
    app.queue.put(encode(Message(item.lead_id, item.destination, item.seq + 1, probe=True)))


# --- Open connections ---------------------------------------------------------------------------------------------------


def _redrive_connection(app: App, backlog: Backlog, connection: Connection, now: datetime, pace: float) -> None:
    """One minute's worth of what waits behind an open connection, oldest first."""
    allowance = max(1, int(pace * TICK.total_seconds()))
    opened_at = connection.opened_at

    def should_go(item: Todo) -> bool:
        # What failed before the connection healed need not wait for a try that lies hours ahead.
        return _overdue(item, now) or (opened_at is not None and item.updated_at < opened_at)

    waiting = backlog.find(State.PARKED, connection.id, limit=allowance)
    if len(waiting) < allowance:
        waiting += backlog.find(State.RETRY, connection.id, where=should_go, limit=allowance - len(waiting))
    if waiting and app.connections.take_turn(connection.id, connection.type):
        _redrive_all(app, waiting, pace)


def _overdue(item: Todo, now: datetime) -> bool:
    return item.next_at is not None and item.next_at < now - OVERDUE


def _redrive_all(app: App, waiting: list[Todo], pace: float) -> None:
    """Put leads back on the queue, spread over the coming minute."""
    for number, item in enumerate(waiting):
        redrive(app, item, delay=int(number / pace))
    if waiting:
        emit(
            Event.LEADS_REDRIVEN,
            count=len(waiting),
            state=waiting[0].state.value,
            connection=waiting[0].connection,
        )


# --- Unrouted leads -----------------------------------------------------------------------------------------------------


def _redrive_unrouted(app: App, backlog: Backlog, offers: list[Offer], now: datetime) -> None:
    """Send on what has an offer now. Without a change of the offers there is little to find, and it is sought rarely."""
    changed_at = app.offers.changed_at()
    if changed_at is None:
        return
    if now - changed_at > OFFERS_SETTLE and now.minute % UNROUTED_SWEPT_EVERY_MINUTES:
        return
    allowance = int(DEFAULT_PACE * TICK.total_seconds())
    found = backlog.find(State.UNROUTED, "", where=lambda item: _has_offer(item, offers), limit=allowance)
    found += backlog.find(State.RETRY, "", where=lambda item: _overdue(item, now), limit=allowance)
    _redrive_all(app, found[:allowance], DEFAULT_PACE)


def _has_offer(item: Todo, offers: list[Offer]) -> bool:
    """Whether an offer takes it now: its own, or any other unless a destination of its own is done with it."""
    if item.destination and offer_by_id(item.offer, offers) is not None:
        return True
    return not item.partly_done and route(item.references, offers) is not None


# --- Crashed leads and poison -------------------------------------------------------------------------------------------


def _redrive_one_crashed(app: App, backlog: Backlog, now: datetime) -> None:
    """One at a time: should it crash again, no neighbour goes down with it."""
    due = backlog.find(State.CRASHED, where=lambda item: item.next_at is not None and item.next_at < now, limit=1)
    _redrive_all(app, due, DEFAULT_PACE)


def drain_poison(app: App) -> None:
    """Move what the host gave up on from the poison queue to the ledger; a message is deleted only after that.

    What does not fit into `DRAIN_SECONDS` is left to the next tick.
    """
    with deadline.within(DRAIN_SECONDS):
        _drain_poison(app)


def _drain_poison(app: App) -> None:
    while deadline.remaining() > DRAIN_SECONDS / 2 and (
        messages := app.poison.receive(POISON_BATCH, POISON_HIDDEN_SECONDS)
    ):
        for message in messages:
            if not _is_kept(app, message.content):
                app.poison.put(message.content, POISON_AGAIN_SECONDS)  # the host's own copy ends after seven days
            app.poison.delete(message)


def _is_kept(app: App, stored: str) -> bool:
    """Record one poison message. Returns whether it was: what is wrong with one keeps no other from the ledger."""
    try:
        return _keep_poison(app, stored)
    except UnreadableRow as unreadable:
        unreadable.report()
    except StorageError as error:
        if not is_our_fault(error):
            raise
        emit(Event.STORAGE_UNAVAILABLE, what="poison", why=type(error).__name__)
    except Exception as error:  # noqa: BLE001
        emit(Event.STEP_FAILED, what="poison", why=place_of(error))
    return False


def _keep_poison(app: App, stored: str) -> bool:
    raw = bytes_of(stored)
    try:
        message = decode(raw)
    except MessageTooNew:
        emit(Event.MESSAGE_TOO_NEW)
        return False
    except MessageUnreadable as error:
        keep_unreadable(app, raw, str(error))
        return True
    for _ in range(3):
        try:
            _record_crash(app, message)
        except LeadKnown:
            continue
        return True
    return False


def _record_crash(app: App, message: Message) -> None:
    record = app.ledger.read(message.lead_id)
    if record is None and message.received_at is None:
        return  # a later message of a lead that the ledger has forgotten
    if record is None:
        record = new_record(message, _lead_in(app, message))
        if emptied_on_surfacing(app, record):
            return
    now = clock.now()
    concluded: list[tuple[str, Delivery]] = []

    def change(current: LeadRecord) -> None:
        concluded.clear()
        for name in _crashed_deliveries(current, message):
            delivery = current.delivery(name)
            if not delivery.still_to_do(message.seq):
                continue
            delivery.seq, delivery.crashes, delivery.updated_at = message.seq, delivery.crashes + 1, now
            if delivery.crashes > len(CRASH_DELAYS):
                delivery.state, delivery.next_at = State.DEAD_LETTER, None
                delivery.reason = "the worker crashed or failed each time it handled this lead"
            else:
                delivery.state, delivery.next_at = State.CRASHED, now + CRASH_DELAYS[delivery.crashes - 1]
                delivery.reason = "the worker crashed or failed while it handled this lead"
            concluded.append((name, delivery))

    stored = app.ledger.settle(record, change)
    for name, delivery in concluded:
        event = Event.LEAD_DEAD_LETTERED if delivery.state is State.DEAD_LETTER else Event.LEAD_CRASHED
        emit(event, stored.traceparent, lead_id=stored.lead_id, offer=stored.offer, destination=name, code="crash")


def _lead_in(app: App, message: Message) -> Lead | None:
    """The lead that a first message brings, or whose body the ledger keeps."""
    body = app.ledger.body(message.lead_id) if message.has_body else None
    return parse_kept(body) if body else message.lead


def _crashed_deliveries(record: LeadRecord, message: Message) -> list[str]:
    """What a poison message was about: one destination, or all that the lead has (the lead itself while it has none)."""
    if message.destination:
        return [message.destination]
    return [name for name in record.deliveries if name] or [""]


# --- Bodies whose lead was never put on the queue -----------------------------------------------------------------------


def _sweep_orphaned_bodies(app: App, now: datetime) -> None:
    """Remove bodies that were kept, but whose message was refused (the sender was told so). Once an hour is enough.

    With messages on the queue nothing is removed: one of them could be the body's own, after a long stop of the app.
    """
    if now.minute != 0 or app.queue.depth() > 0:
        return
    oldest = now - ORPHANED_AFTER - ORPHANS_SOUGHT_FOR
    for lead_id in bodies(app.ledger, before=now - ORPHANED_AFTER, after=oldest):
        if _is_orphaned(app, lead_id):
            app.ledger.drop_body(lead_id)


def _is_orphaned(app: App, lead_id: str) -> bool:
    try:
        return app.ledger.read(lead_id) is None
    except UnreadableRow as unreadable:
        unreadable.report()
        return False
