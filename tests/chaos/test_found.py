"""Faults that were found by breaking things, each in its smallest form."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from datetime import timedelta
from typing import Any

import pytest

from leads.app import App
from leads.core.identity import customer_hash, customer_identity
from leads.core.messages import Message, decode, encode
from leads.core.states import State
from leads.ledger import transactions
from leads.ledger.customer_rows import RecentLead
from leads.ledger.transactions import Claim, Ledger
from leads.pipeline.delivery import deliver
from leads.pipeline.new_leads import new_record
from leads.platform.settings import Settings
from tests.support.pipeline import Pipeline, a_lead, crm, text_of
from tests.support.vendor import MISCONFIGURED, RETRY, Vendor

SCOPE = "contoso.crm|crm"


@pytest.fixture
def pipeline(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    # A lease that is over at once: whoever settles may find that another worker has come in between.
    monkeypatch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
    return Pipeline(fresh_storage, monkeypatch)


def put_two_stages(pipeline: Pipeline) -> list[Any]:
    """Two leads of one customer; their messages, oldest first."""
    pipeline.post()
    pipeline.post(a_lead(action="PLT"))
    return pipeline.messages()


def just_before_it_settles(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object], settle: str = "settle"
) -> None:
    """The next worker that settles stalls right before it, while this happens."""
    original = getattr(Ledger, settle)

    def late(self: Ledger, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(Ledger, settle, original)
        with ThreadPoolExecutor(1) as another_worker:
            another_worker.submit(Context().run, meanwhile).result()
        return original(self, *args, **more)

    monkeypatch.setattr(Ledger, settle, late)


def test_an_outcome_that_comes_late_leaves_a_newer_one_alone(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else the row waits for a message that has been dealt with, and the lead for the net of overdue rows."""
    pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY, RETRY, MISCONFIGURED)
    lead = pipeline.post()
    pipeline.run()
    vendor.checked = {"ok": False, "problem": "the secret has expired", "code": "401"}

    def the_other_worker_goes_on() -> None:
        pipeline.clock.time += timedelta(seconds=80)
        pipeline.queue.release()
        second.run()

    just_before_it_settles(monkeypatch, the_other_worker_goes_on)
    pipeline.advance(13)
    assert pipeline.delivery(lead).state is State.PARKED
    assert len(pipeline.delivery(lead).attempts) == 3, "all are in its history"
    vendor.works()
    pipeline.tick(2)
    assert pipeline.delivery(lead).state is State.DELIVERED


def test_a_delivery_that_comes_late_counts_though_the_row_has_moved_on(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host hands a stalled worker's message out again, and the second try fails: the record is there all the same."""
    pipeline.offer(crm(vendor.url))
    vendor.answers({"outcome": "delivered"}, RETRY)
    lead = pipeline.post()
    text = text_of(pipeline.messages()[0])
    just_before_it_settles(monkeypatch, lambda: deliver(second.app, text))
    deliver(pipeline.app, text)
    assert pipeline.delivery(lead).state is State.DELIVERED
    second.advance(13)
    assert vendor.keys() == [lead, lead]


def test_an_outcome_that_comes_late_releases_no_claim_but_its_own(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url))
    first, later = (decode(text_of(message)) for message in put_two_stages(pipeline))
    assert first.lead and later.lead
    customer = customer_hash(customer_identity(first.lead, first.lead_id))
    taken: list[Claim] = []

    def take_over() -> None:
        known = second.app.ledger.customer(customer, SCOPE)
        seen = RecentLead("another", later.lead_id, pipeline.clock.now(), claim="another")
        taken.append(second.app.ledger.claim(new_record(later, later.lead), customer, SCOPE, known, seen))

    just_before_it_settles(monkeypatch, take_over)
    deliver(pipeline.app, encode(first))
    assert pipeline.delivery(first.lead_id).state is State.DELIVERED
    found = pipeline.app.ledger.customer(customer, SCOPE)
    assert found and (found.claim, found.record_id) == (taken[0].token, first.lead_id)


def test_a_retry_that_comes_before_the_first_attempt_has_settled_waits_for_it(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger does not know the lead yet; dropped, the message would be missing when it does."""
    pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY, {"outcome": "delivered"})
    lead = pipeline.post()
    just_before_it_settles(monkeypatch, lambda: pipeline.advance(13))
    pipeline.step()
    assert vendor.keys() == [lead]
    pipeline.advance(61)
    assert pipeline.delivery(lead).state is State.DELIVERED


def test_a_message_of_a_lead_that_is_nowhere_does_not_go_round_for_ever(pipeline: Pipeline) -> None:
    lead = pipeline.post()
    pipeline.queue.delete(pipeline.messages()[0])
    pipeline.queue.put(encode(Message(lead, "crm", 1)))
    for _ in range(12):
        pipeline.advance(61)
    assert not pipeline.pending()


def test_a_watch_that_stalls_takes_no_delivery_back(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls a retry overdue; before it says so in the ledger, a worker has handled its message and put the next one."""
    pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY)
    lead = pipeline.post()
    pipeline.run()
    pipeline.clock.time += timedelta(hours=2)
    just_before_it_settles(monkeypatch, pipeline.run, "settle_all")
    pipeline.watch()
    assert vendor.keys() == [lead, lead]
    assert pipeline.delivery(lead).seq == max(message.seq for message in pipeline.pending())


def test_a_worker_that_does_not_know_the_offer_yet_takes_no_delivery_back(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = pipeline.post()
    pipeline.run()
    assert pipeline.record(lead).state is State.UNROUTED
    second.offer(crm(vendor.url))
    second.watch()
    text = text_of(pipeline.messages()[0])
    just_before_it_settles(monkeypatch, lambda: deliver(second.app, text))
    deliver(pipeline.app, text)
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert vendor.keys() == [lead]


def test_a_worker_that_finds_the_offer_gone_takes_no_delivery_back(
    pipeline: Pipeline, second: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = pipeline.offer(crm(vendor.url))
    vendor.answers(RETRY, {"outcome": "delivered"})
    lead = pipeline.post()
    pipeline.run()
    second.app.offers.all()
    pipeline.app.offers.remove(offer.id)
    (_, text), *_ = pipeline.queue.delayed
    just_before_it_settles(monkeypatch, lambda: deliver(second.app, text))
    deliver(pipeline.app, text)
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert vendor.keys() == [lead, lead]


def test_two_accounts_in_one_process_stay_apart(azurite: Any, fresh_storage: str) -> None:
    """Queue clients once shared a retry policy, and with it the account and the key of the one that was made last."""
    apps = [App(Settings.model_validate({"LeadsStorage": text})) for text in (fresh_storage, azurite.connection_string)]
    queues = [app.storage.queue("apart") for app in apps]
    queues[0].put("of the first")
    assert [text_of(message) for message in queues[0].receive(1, 1)] == ["of the first"]
    assert queues[1].depth() == 0
