"""Messages of one lead, each of them twice, in every order: whatever comes when, the lead is delivered, once."""

from __future__ import annotations

from itertools import permutations

import pytest

from leads.core.messages import Message, encode
from leads.core.states import State
from leads.pipeline.delivery import deliver
from tests.support.pipeline import Pipeline, a_lead, crm, text_of
from tests.support.vendor import DELIVERED, RETRY, Vendor

ORDERS = sorted(set(permutations((0, 0, 1, 1, 2))))
FAILURES = 2


def test_every_order_of_every_message_ends_in_one_delivery(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vendor() as vendor:
        pipeline = Pipeline(fresh_storage, monkeypatch)
        pipeline.offer(crm(vendor.url))
        # The connection is well for others: or else it would pause, and nothing of an order be left to see.
        monkeypatch.setattr("leads.health.connection.FAILURES_UNTIL_PAUSE", 10_000)
        vendor.answer = lambda call: RETRY if vendor.keys().count(call.key) <= FAILURES else DELIVERED
        for order in ORDERS:
            _try(pipeline, vendor, order)


def _try(pipeline: Pipeline, vendor: Vendor, order: tuple[int, ...]) -> None:
    """The first attempt puts message 1 and its outcome is in the ledger; then messages 0, 1, 2 come in this order."""
    lead = pipeline.post(a_lead("".join(map(str, order)) + "@example.com"))
    (first,) = [text_of(message) for message in _taken(pipeline)]
    deliver(pipeline.app, first)
    texts = [first, encode(Message(lead, "crm", 1)), encode(Message(lead, "crm", 2))]
    pipeline.queue.delayed.clear()
    for seq in order:
        deliver(pipeline.app, texts[seq])
    for _ in range(6):
        pipeline.advance(400)
    delivery = pipeline.delivery(lead)
    assert delivery.state is State.DELIVERED, order
    assert vendor.records[lead] == 1
    assert vendor.keys().count(lead) == len(delivery.attempts) == FAILURES + 1, order
    assert not pipeline.pending(), order


def _taken(pipeline: Pipeline) -> list[object]:
    messages = pipeline.messages()
    for message in messages:
        pipeline.queue.delete(message)
    return messages
