"""One lead's life on a storage account of its own, behind a proxy of its own, with workers that may be killed."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Self

from azure.storage.queue import QueueClient, TextBase64EncodePolicy

import tests.support.recording  # noqa: F401 - registers the tests' own destination type
from devhost.clock import Clock
from leads.app import App
from leads.core.states import FINAL, State
from leads.ledger.rows import Delivery, LeadRecord
from leads.offers.model import read_offer
from leads.operations.doctor import TABLES
from leads.pipeline.delivery import deliver
from leads.pipeline.intake import accept
from leads.platform.settings import Settings
from leads.platform.storage import LEADS_QUEUE, POISON_QUEUE, TABLE_TIMEOUTS, Queue, make_table
from tests.chaos.workers import ForkServer, Worker
from tests.support.pipeline import a_lead, crm
from tests.support.proxy import Proxy, Rule
from tests.support.vendor import Vendor

LEASE_SECONDS = 5
"""The queue lease of a worker that is to be killed, so that others take over soon. A worker on a busy machine may look like a
dead one: what is said of such a case holds for both."""
LONG_LEASE_SECONDS = 60
"""Where no worker is killed: no stall of the machine is as long, so each message is handed out once."""
CLOCK_FACTOR = 20
"""A minute of the app is three seconds here: `watch` and retries come quickly; leases go by storage's own clock."""
SECONDS_TO_SETTLE = 600
SECONDS_UNDER_WAY = 0.05


def patient_app(connection_string: str) -> App:
    """The app as the test itself uses it, beside the workers: on a busy machine it waits where the intake would give up."""
    app = App(Settings.model_validate({"LeadsStorage": connection_string}), TABLE_TIMEOUTS | {"read_timeout": 60})
    for part, name, encoding in (("queue", LEADS_QUEUE, TextBase64EncodePolicy()), ("poison", POISON_QUEUE, None)):
        client = QueueClient.from_connection_string(connection_string, name, message_encode_policy=encoding)
        app.__dict__[part] = Queue(client)
    return app


class Case:
    """An account, its offer and vendors, and the workers on it.

    `accepted` are the ids of the leads whose sender was told that they are stored.
    """

    def __init__(self, connection_string: str, forks: ForkServer, clock: Clock) -> None:
        self.forks = forks
        self.clock = clock
        self.connection_string = connection_string
        self.app = patient_app(connection_string)
        self.proxy = Proxy(connection_string)
        self.vendors: dict[str, Vendor] = {}
        self.accepted: list[str] = []
        self.arguments: tuple[str, ...] = ("--no-http", "--no-timers")
        self.mode: tuple[str, ...] = ("--in-process",)
        self.env: dict[str, str] = {}
        self.lease_seconds = LEASE_SECONDS
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.proxy.close()
        for vendor in self.vendors.values():
            vendor.__exit__()
        # Azurite keeps the messages of all accounts in one collection: what is left slows down every later case.
        for queue in (self.app.queue, self.app.poison):
            while messages := queue.receive(32, 1):
                for message in messages:
                    queue.delete(message)

    # What there is before a worker starts.

    def make_storage(self) -> None:
        """Make the tables and queues that the app makes as it needs them."""
        for name in TABLES:
            make_table(self.app.storage.table(name).client)
        for name in (LEADS_QUEUE, POISON_QUEUE):
            QueueClient.from_connection_string(self.connection_string, name).create_queue()

    def vendor(self, name: str) -> Vendor:
        """A vendor for a destination of this name."""
        self.vendors[name] = Vendor().__enter__()
        return self.vendors[name]

    def offer(self, *names: str) -> None:
        """Configure the offer with these destinations, each with its vendor."""
        for name in names:
            if name not in self.vendors:
                self.vendor(name)
        destinations = [crm(self.vendors[name].url, name) for name in names]
        offer = {"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": destinations}
        self.app.offers.save(read_offer(offer))

    def post(self, **changes: Any) -> str:
        """Take a lead in, without a worker. Returns its id."""
        lead_id = accept(self.app.incoming, json.dumps(a_lead(**changes)).encode()).lead_id
        self.accepted.append(lead_id)
        return lead_id

    def deliver_all(self) -> None:
        """Deliver what is on the queue, without a worker."""
        for message in self.app.queue.receive(32, 30):
            deliver(self.app, b64decode(message.content).decode())
            self.app.queue.delete(message)

    # Workers

    def start(self, rule: Rule | None = None, proxy: Proxy | None = None, **env: str) -> Worker:
        """A worker behind the proxy, which follows this rule from now on."""
        proxy = proxy or self.proxy
        proxy.protect(0, rule)
        arguments = [*self.mode, "--with", "tests.support.recording", "--with", "tests.chaos.altered"]
        arguments += ["--lease-seconds", str(self.lease_seconds)]
        arguments += ["--clock-factor", str(self.clock.factor), "--clock-epoch", repr(self.clock.epoch)]
        settings = {"LeadsStorage": proxy.connection_string, "AzureWebJobsStorage": ""}
        worker = self.forks.start([*arguments, *self.arguments], settings | self.env | env)
        proxy.pid = worker.pid
        self.workers.append(worker)
        return worker

    # What came of it

    def record(self, lead_id: str) -> LeadRecord | None:
        return self.app.ledger.read(lead_id)

    def deliveries(self, lead_id: str) -> dict[str, Delivery]:
        record = self.record(lead_id)
        return record.deliveries if record else {}

    def is_finished(self) -> bool:
        """Whether every accepted lead is settled for good and no message is left."""
        if not all(vendor.records for vendor in self.vendors.values()):
            return False
        states = [self.deliveries(lead_id) for lead_id in self.accepted]
        if not all(found and all(delivery.state in FINAL for delivery in found.values()) for found in states):
            return False
        return self.app.queue.depth() == 0 and self.app.poison.depth() == 0

    def calls(self) -> int:
        """How many calls the vendors have got."""
        return sum(len(vendor.calls) for vendor in self.vendors.values())

    def unsettled_calls(self) -> dict[tuple[str, str], int]:
        """By lead and destination: how many calls the vendor got of which the ledger does not know the outcome."""
        calls = [(call.key, name) for name, vendor in self.vendors.items() for call in list(vendor.calls)]
        found = {}
        for lead_id, name in set(calls):
            delivery = self.deliveries(lead_id).get(name)
            known = len([attempt for attempt in delivery.attempts if attempt.outcome]) if delivery else 0
            found[lead_id, name] = calls.count((lead_id, name)) - known
        return found

    def lost_calls(self) -> dict[tuple[str, str], int]:
        """The calls whose outcome went down with a worker that is dead now."""
        time.sleep(SECONDS_UNDER_WAY)  # what was on the wire to the vendor
        return {key: count for key, count in self.unsettled_calls().items() if count}

    def has_stalled(self) -> bool:
        """Whether a worker was so slow that it lost the lease of a message, for which no kill is to blame: that is sent again."""
        return any(
            r.operation in {"update", "delete"} and r.service == "queue" and r.status >= 400 for r in self.proxy.journal
        )

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS_TO_SETTLE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {seconds} s\n{self.story()}")
            time.sleep(0.1)

    def story(self) -> str:
        """What a person needs to find out what went wrong."""
        lines = [f"calls at {name}: {vendor.keys()}" for name, vendor in self.vendors.items()]
        for lead_id in self.accepted:
            lines.append(f"{lead_id}: {self.deliveries(lead_id)}")
        lines.append(f"messages: {self.app.queue.depth()}, poison: {self.app.poison.depth()}")
        lines += [f"{r.number} {r.step} {r.name} {r.status} {r.fault}" for r in self.proxy.journal if r.step or r.fault]
        lines += [f"--- worker {worker.pid}\n{worker.log[-6000:]}" for worker in self.workers]
        return "\n".join(lines)


def states(case: Case) -> set[State]:
    """The states of all accepted leads' deliveries."""
    return {delivery.state for lead_id in case.accepted for delivery in case.deliveries(lead_id).values()}
