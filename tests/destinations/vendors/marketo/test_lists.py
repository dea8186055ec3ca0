"""Static lists of Marketo: a list never holds a lead up, and gets the person with the next lead."""

from __future__ import annotations

from typing import Any

import pytest

from leads.core.states import State
from leads.destinations.vendors.marketo.client import Client
from leads.ledger import transactions
from leads.pipeline import delivery
from leads.pipeline.replay import replay
from tests.fakes.https_server import LOSE_ANSWER, Response
from tests.fakes.marketo import FORM, LIST, Marketo
from tests.support.marketo import BY_FORM, check, crm, die, one
from tests.support.pipeline import EMAIL, Killed, Pipeline, a_lead, code, deliver, state, text_of


def test_every_person_is_put_on_the_static_list_once(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, static_list=int(LIST)))
    for action in ("INS", "PLT"):
        deliver(pipeline, action)
    assert marketo.members() == [one(marketo)["id"]]


def test_a_stage_may_have_its_own_list_and_rating(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.lists["2002"] = []
    wanted = {"contact_requested": {"list": "2002", "rating": "warm"}, "initial_interest": {"rating": "cold"}}
    pipeline.offer(crm(marketo, follow_up=wanted))
    deliver(pipeline)
    assert (one(marketo)["rating"], marketo.members("2002")) == ("Cold", [])
    deliver(pipeline, "PLT")
    assert (one(marketo)["rating"], marketo.members("2002")) == ("Warm", [one(marketo)["id"]])


def test_a_list_that_is_gone_holds_no_lead_up(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, static_list=int(LIST)))
    del marketo.lists[LIST]
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, f"list:{LIST}:1013")
    assert "static_list" in check(pipeline, marketo, static_list=int(LIST)).problem


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Response(200, {"success": False, "errors": [{"code": "1019"}]}), f"list:{LIST}:1019"),
        (Response(200, {"success": False, "errors": [{"code": "603"}]}), f"list:{LIST}:603"),
        (Response(400), f"list:{LIST}:400"),
        (LOSE_ANSWER, f"list:{LIST}:connection_lost"),
    ],
)
@pytest.mark.parametrize("by_form", [True, False])
def test_a_list_that_fails_leaves_the_lead_delivered_once_and_gets_the_person_with_the_next_lead(
    pipeline: Pipeline, marketo: Marketo, fault: Any, shown: str, by_form: bool
) -> None:
    pipeline.offer(crm(marketo, static_list=int(LIST), **(BY_FORM if by_form else {})))
    marketo.fault = lambda request: fault if f"/lists/{LIST}/" in request.path else None
    lead = deliver(pipeline)
    settled = pipeline.delivery(lead)
    assert (settled.state, settled.possibly_twice, code(pipeline, lead)) == (State.DELIVERED, False, shown)
    marketo.fault = lambda request: None
    pipeline.offer(crm(marketo, **(BY_FORM if by_form else {})))
    later = deliver(pipeline, "PLT")
    assert (state(pipeline, later), code(pipeline, later)) == (State.DELIVERED, "")
    assert marketo.members() == [one(marketo)["id"]]
    assert len(marketo.activities) == (2 if by_form else 0), "one for each lead"
    deliver(pipeline, "Create")
    assert len([request for request in marketo.journal if f"/lists/{LIST}/" in request.path]) == 2, (
        "it is on the list now"
    )


def test_a_filled_out_form_is_remembered_before_the_list_is_tried(
    pipeline: Pipeline, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(marketo, form_id=FORM, static_list=int(LIST)), policies={"unknown": "hold"})
    monkeypatch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
    lead = pipeline.post(a_lead(EMAIL))
    (message,) = pipeline.messages()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Client, "add_to_list", die)
        delivery.deliver(pipeline.app, text_of(message))
    delivery.deliver(pipeline.app, text_of(message))
    pipeline.queue.delete(message)
    settled = pipeline.delivery(lead)
    assert (settled.state, settled.possibly_twice) == (State.DELIVERED, False)
    assert len(marketo.activities) == 1
    assert marketo.members() == [one(marketo)["id"]] == [int(settled.record_id)]
    replay(pipeline.queue, pipeline.app.ledger, pipeline.app.offers, pipeline.record(lead), force=True)
    pipeline.advance(5)
    assert len(marketo.activities) == 2, "what a person asks for is sent again"
