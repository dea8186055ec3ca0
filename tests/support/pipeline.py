"""The whole pipeline in this process, on a real storage account, with a clock that the test moves.

A delayed message waits here instead of in storage, until the test's clock reaches its time. All other parts are real.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import tests.support.recording  # noqa: F401 - registers the tests' own destination type
from leads.app import App
from leads.core import clock
from leads.core.messages import decode
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.ledger.rows import Delivery, LeadRecord
from leads.offers.model import Offer, read_offer
from leads.operations.operation import AnswerT, Parts, RequestT
from leads.operations.table import BY_FUNCTION
from leads.pipeline.delivery import deliver as deliver_message
from leads.pipeline.intake import accept
from leads.platform.settings import Settings, read_settings
from leads.platform.steps import carry_out
from leads.platform.storage import LEADS_QUEUE, Queue, Storage
from leads.platform.table_format import keys_beginning
from leads.watch import tick
from leads.watch.poison import poison_step
from tests.support.vendor import DELIVERED, REJECTED, Vendor

LEAD: dict[str, Any] = {
    "UserDetails": {
        "FirstName": "Ada",
        "LastName": "O'Neil",
        "Email": "ada@example.com",
        "Phone": "16175555555",
        "Country": "USA",
        "Company": "Example Works",
        "Title": "Engineer",
    },
    "LeadSource": "AzureMarketplace",
    "ActionCode": "INS",
    "OfferTitle": "Contoso CRM",
    "Description": "Please call",
}


def a_lead(email: str = "ada@example.com", action: str = "INS", **changes: Any) -> dict[str, Any]:
    """A lead's body; `changes` replace root fields."""
    return LEAD | {"UserDetails": LEAD["UserDetails"] | {"Email": email}, "ActionCode": action} | changes


EMAIL = "siobhan+crm@example.com"
"""The customer of `deliver`."""


class Killed(BaseException):
    """The process ends here. The product must not catch this."""


def text_of(message: Any) -> str:
    """The text of a message as the function would get it."""
    return b64decode(message.content).decode()


@dataclass
class TestClock:
    """The product's time, moved by hand. It begins at the same moment in each run.

    If storage's or a library's clock matters, too, a test begins at `datetime.now(UTC)`.
    """

    __test__ = False
    time: datetime = datetime(2026, 11, 4, 12, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time


class ClockedQueue(Queue):
    """The real queue, with delays by the test's clock."""

    def __init__(self, real: Queue, test_clock: TestClock) -> None:
        super().__init__(real._client)
        self._clock = test_clock
        self.delayed: list[tuple[datetime, str]] = []

    def put(self, text: str, delay: int = 0) -> None:
        if delay:
            self.delayed.append((self._clock.now() + timedelta(seconds=delay), text))
        else:
            super().put(text)

    def release(self) -> None:
        """Make the messages visible that are due now."""
        due = sorted(item for item in self.delayed if item[0] <= self._clock.now())
        self.delayed = [item for item in self.delayed if item not in due]
        for _, text in due:
            super().put(text)


class Pipeline:
    """One instance of the app, and the means to drive it. Several can share an account."""

    def __init__(
        self,
        connection_string: str,
        monkeypatch: Any,
        test_clock: TestClock | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.clock = test_clock or TestClock()
        monkeypatch.setattr(clock, "now", self.clock.now)
        monkeypatch.setenv("LeadsStorage", connection_string)
        self.app = App(Settings.model_validate({"LeadsStorage": connection_string}))
        self.app.storage = storage or self.app.storage
        self.queue = ClockedQueue(self.app.storage.queue(LEADS_QUEUE), self.clock)
        self.app.__dict__["queue"] = self.queue

    def offer(self, *destinations: dict[str, Any], offer_id: str = "contoso.crm", **more: Any) -> Offer:
        """Configure an offer; by default it takes leads titled "Contoso CRM"."""
        titles = more.pop("titles", ["Contoso CRM"])
        offer = read_offer({"id": offer_id, "titles": titles, "destinations": list(destinations), **more})
        self.app.offers.save(offer)
        return offer

    def post(self, body: dict[str, Any] | bytes | None = None, offer: str = "") -> str:
        """Accept a lead as the HTTP function does. Returns its id."""
        raw = body if isinstance(body, bytes) else json.dumps(body or a_lead()).encode()
        return accept(self.app.incoming, raw, offer).lead_id

    def ask(self, run: Callable[[*Parts, RequestT], AnswerT], request: RequestT) -> AnswerT:
        """The answer of an operation."""
        answer: AnswerT = BY_FUNCTION[run].carry_out(self.app, request)
        return answer

    def messages(self) -> list[Any]:
        """The visible messages, hidden from others for a while."""
        return self.queue.receive(32, 30)

    def step(self) -> int:
        """Deliver the visible messages once. Returns their number."""
        self.queue.release()
        received = self.messages()
        for message in received:
            deliver_message(self.app, text_of(message))
            self.queue.delete(message)
        return len(received)

    def run(self) -> int:
        """Deliver until no message is visible. Returns the number of messages."""
        handled = 0
        while count := self.step():
            handled += count
        return handled

    def advance(self, seconds: float) -> int:
        """Move the clock, then deliver the messages that have become visible."""
        self.clock.time += timedelta(seconds=seconds)
        return self.run()

    def watch(self) -> None:
        tick.watch(self.app)

    def drain_poison(self) -> None:
        """Run the step of `watch` that drains the poison queue. Raises its exception."""
        app = self.app
        fault = carry_out(poison_step(app.poison, app.incoming, app.ledger, app.tombstones))
        if fault is not None:
            raise fault

    def tick(self, minutes: int = 1) -> None:
        """Let minutes pass, each with `watch` and the messages that it puts."""
        for _ in range(minutes):
            self.advance(60)
            self.watch()
            self.run()

    def record(self, lead_id: str) -> LeadRecord:
        record = self.app.ledger.read(lead_id)
        assert record is not None, "the ledger does not know the lead"
        return record

    def delivery(self, lead_id: str, destination: str = "crm") -> Delivery:
        return self.record(lead_id).deliveries[destination]

    def states(self) -> Counter[str]:
        """The number of leads in each state."""
        return Counter(row["state"] for row in self.app.ledger.table.query(keys_beginning("lead;")))

    def pending(self) -> list[Any]:
        """The delayed messages, decoded."""
        return [decode(text) for _, text in sorted(self.queue.delayed)]


def deliver(pipeline: Pipeline, action: str = "INS", email: str = EMAIL, **changes: Any) -> str:
    """Post a lead and deliver it until it is settled or waits. Returns its id."""
    lead = pipeline.post(a_lead(email, action, **changes))
    pipeline.run()
    return lead


def rejected(pipeline: Pipeline, vendor: Vendor, *bodies: dict[str, Any]) -> list[str]:
    """Leads that the vendor has refused. From now on the vendor accepts leads."""
    vendor.answers(*[REJECTED] * len(bodies), DELIVERED)
    leads = [pipeline.post(body) for body in bodies]
    pipeline.run()
    assert all(pipeline.record(lead).state is State.DEAD_LETTER for lead in leads)
    return leads


def state(pipeline: Pipeline, lead: str) -> State:
    return pipeline.delivery(lead).state


def code(pipeline: Pipeline, lead: str) -> str:
    """The code of the lead's last attempt."""
    return pipeline.delivery(lead).attempts[-1].code


def at_once(*work: Callable[[], object]) -> None:
    """Do all of it at the same time, each in a thread."""
    threads = [Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def deliver_at_once(instances: Sequence[Pipeline], threads: int) -> None:
    """Deliver all visible messages, on this number of threads of each instance."""

    def handle(instance: Pipeline, message: Any) -> None:
        deliver_message(instance.app, text_of(message))
        instance.queue.delete(message)

    with ExitStack() as stack:
        pools = [stack.enter_context(ThreadPoolExecutor(threads)) for _ in instances]
        while True:
            for instance in instances:
                instance.queue.release()
            batches = [instance.messages() for instance in instances]
            work = [
                pool.submit(handle, instance, message)
                for pool, instance, messages in zip(pools, instances, batches, strict=True)
                for message in messages
            ]
            if not work:
                return
            for one in work:
                one.result()


def pipeline_over_tls(
    connection_string: str, bundle: str, monkeypatch: Any, test_clock: TestClock | None = None
) -> Pipeline:
    """A pipeline that trusts vendors on this machine. `bundle`: the certificate of their authority."""
    made = Pipeline(connection_string, monkeypatch, test_clock)
    monkeypatch.setenv("LEADS_ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("LEADS_CA_BUNDLE", bundle)
    made.app.__dict__["settings"] = read_settings()
    return made


def crm(url: str, name: str = "crm", **more: Any) -> dict[str, Any]:
    """A destination of the tests' type."""
    settings = {"url": url} | {key: more.pop(key) for key in ("keyless", "wide_scope") if key in more}
    return {"name": name, "type": "recording", "settings": settings, **more}


ENTRYS_OWN = ("name", "mapping", "follow_up", "when", "pace")


def destination_entry(type_name: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A destination in an offer, named `crm`. `more` are further settings, or other parts of the entry."""
    own = {key: more.pop(key) for key in ENTRYS_OWN if key in more}
    return {"name": "crm", "type": type_name, "settings": settings | more, **own}


def check_anew(pipeline: Pipeline, destination: dict[str, Any]) -> CheckResult:
    """The check of a destination by an app that has just started."""
    offer = read_offer({"id": "a.b", "destinations": [destination]})
    return App(pipeline.app.settings).destination(offer.destinations[0]).check()
