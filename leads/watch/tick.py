"""A tick of the timer `watch`: steps, each with a deadline, the most urgent first.

The first steps re-drive leads and raise alarms. They wait only for the app's storage. The later steps also wait for vendors,
chats and Key Vault. They run concurrently, so that no step waits for another step's vendor. The poison queue is one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from leads.app import App
from leads.core import clock
from leads.health.connection import Connection
from leads.ledger.queries import Backlog
from leads.offers.model import Offer, by_connection
from leads.offers.usage import Uses
from leads.pipeline import recovery, redriving
from leads.platform import deadline
from leads.platform.steps import Step, carry_out, log_overrun
from leads.platform.threads import NotDoneInTime, map_as_done
from leads.privacy import erasure, retention
from leads.privacy.stores import PersonalDataStores
from leads.watch import conditions
from leads.watch.announcements import ANNOUNCE_SECONDS, Announcer
from leads.watch.poison import poison_step
from leads.watch.probes import ASK_SECONDS, Prober

WATCH_SECONDS: Final = 180
READ_SECONDS: Final = 25
PRIVACY_EVERY_MINUTES: Final = 5
PRIVACY_AT_MINUTE: Final = 3
"""The minute in each five minutes. Leads are counted in another minute."""
DAYS_AT_MINUTE: Final = 1
"""Days are counted before retention, which removes the countries of leads."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The data that the steps of a tick share. `uses`: the destinations of each connection in use."""

    app: App
    offers: list[Offer]
    uses: Uses
    connections: list[Connection]
    backlog: Backlog


def watch(app: App) -> None:
    """Run one tick within `WATCH_SECONDS`: re-drive waiting leads, raise alarms, ask vendors, and do the housekeeping.

    A step that fails does not stop the others. The first error is raised at the end; a step past its deadline is logged. If
    offers or connections can't be read, the poison queue is still drained.
    """
    poison = poison_step(app.poison, app.incoming, app.ledger, app.tombstones)
    faults: list[Exception | None] = []
    with deadline.within(WATCH_SECONDS):
        later = [poison]
        try:
            with deadline.within(READ_SECONDS):
                tick = begun(app)
        except Exception as error:  # noqa: BLE001 - raised below
            faults.append(error)
        else:
            faults += [carry_out(step) for step in first_steps(tick)]
            later += later_steps(tick)
        faults += _side_by_side(later)
    for fault in faults:
        if fault is not None:
            raise fault


def begun(app: App) -> Tick:
    """A new tick, with offers, connections and the backlog as they are stored now."""
    app.offers.forget()
    app.connections.forget()
    offers = app.offers.all()
    uses = by_connection(offers)
    backlog = Backlog(app.ledger)
    connections = {key: Connection(key) for key in (*uses, *backlog.connections)}
    connections |= {connection.id: connection for connection in app.connections.stored()}
    return Tick(app, offers, uses, list(connections.values()), backlog)


def first_steps(tick: Tick) -> list[Step]:
    """Steps that run one after the other. A tick has time for all of them, and for the longest later step."""
    app, offers, uses, connections, backlog = tick.app, tick.offers, tick.uses, tick.connections, tick.backlog
    redrive = partial(redriving.redrive, app.queue, app.ledger, app.offers)
    return [
        Step(
            "leads behind connections",
            30,
            lambda: recovery.redrive_behind(redrive, app.connections, connections, uses, backlog),
        ),
        Step("unrouted leads", 15, lambda: recovery.redrive_unrouted(redrive, backlog, offers, app.offers.changed_at)),
        Step("crashed leads", 10, lambda: recovery.redrive_one_crashed(redrive, backlog)),
        Step(
            "alarms",
            15,
            lambda: conditions.raise_alarms(app.alarms, app.empty_bodies, offers, connections, uses, backlog),
        ),
    ]


def later_steps(tick: Tick) -> list[Step]:
    """Steps that run concurrently."""
    app, offers, uses, connections = tick.app, tick.offers, tick.uses, tick.connections
    prober = Prober(app.connections, app.secrets, app.destination, app.queue, tick.backlog)
    announcer = Announcer(app.notices, app.ledger, app.settings, app.secrets, app.destination)
    steps = [
        Step("vendors", ASK_SECONDS, lambda: prober.ask_vendors(connections, uses)),
        Step(
            "connections to open", 30, lambda: recovery.reopen(app.connections, app.ceilings, offers, connections, uses)
        ),
        Step("notifications", 45, lambda: conditions.notify(app.alarms, app.settings, app.secrets)),
        Step(
            "silence and expiry",
            52,
            lambda: conditions.raise_slow_alarms(app.alarms, app.secrets, app.counts, app.offers),
        ),
        Step("announcements", ANNOUNCE_SECONDS, lambda: announcer.announce(offers)),
    ]
    now = clock.now()
    if now.minute == 0:
        steps.append(Step("bodies without a lead", 60, lambda: recovery.sweep_orphaned_bodies(app.queue, app.ledger)))
        steps.append(Step("old audit rows", 30, lambda: app.audit.remove_old(now)))
    if now.minute % PRIVACY_EVERY_MINUTES == DAYS_AT_MINUTE:
        steps.append(Step("numbers of the days", 60, lambda: app.daily_counts.count(now)))
    if now.minute % PRIVACY_EVERY_MINUTES == PRIVACY_AT_MINUTE:
        stores = PersonalDataStores(app.ledger, app.tombstones, app.lead_queues, app.offers, app.destination)
        unrouted_days = app.settings.unrouted_retention_days
        steps.append(Step("erasure", 75, lambda: erasure.finish_erasures(stores, now)))
        steps.append(Step("retention", 60, lambda: retention.sweep(app.ledger, offers, unrouted_days, now)))
    return steps


def _side_by_side(steps: Sequence[Step]) -> Iterator[Exception | None]:
    waiting = list(steps)
    try:
        for step, fault in map_as_done(
            lambda step: (step, carry_out(step)), steps, at_most=len(steps), seconds=WATCH_SECONDS
        ):
            waiting.remove(step)
            yield fault
    except NotDoneInTime as late:
        for step in waiting:
            log_overrun(step, str(late))
