"""Salesforce, from the intake to the record: what the destination and the app around it have to agree on."""

from __future__ import annotations

import pytest

from leads.core.states import State
from leads.operations.replay import ReplayLead, replay_lead
from tests.fakes.https_server import LOSE_ANSWER
from tests.fakes.salesforce import Salesforce, VendorError
from tests.support.pipeline import Pipeline, a_lead, deliver, state
from tests.support.salesforce import crm


def test_the_idempotency_key_was_stored_before_the_first_send(pipeline: Pipeline, org: Salesforce) -> None:
    pipeline.offer(crm(org, match_existing="off"))
    org.fail_next(LOSE_ANSWER, lambda request: request.path.endswith("/ui-api/records"))
    deliver(pipeline)
    pipeline.advance(15)
    first, again = [request for request in org.journal if request.path.endswith("/ui-api/records")]
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert len(org.leads) == 1


@pytest.mark.parametrize("code", ["UNABLE_TO_LOCK_ROW", "FIELD_CUSTOM_VALIDATION_EXCEPTION"])
def test_a_refusal_is_not_heard_again_once_its_cause_is_gone(pipeline: Pipeline, org: Salesforce, code: str) -> None:
    pipeline.offer(crm(org, match_existing="off"))
    org.validation_rule = lambda table, values: VendorError(400, code, "refused")
    lead = deliver(pipeline)
    org.validation_rule = lambda table, values: None
    if state(pipeline, lead) is State.DEAD_LETTER:
        pipeline.ask(replay_lead, ReplayLead(lead_id=lead))
    pipeline.advance(15)
    assert state(pipeline, lead) is State.DELIVERED
    assert len(org.leads) == 1


def test_a_right_that_is_given_later_lets_the_leads_through(pipeline: Pipeline, org: Salesforce) -> None:
    org.rights["Lead"].discard("create")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    org.rights["Lead"].add("create")
    pipeline.tick(3)
    assert state(pipeline, lead) is State.DELIVERED


def test_a_used_up_day_parks_the_leads_until_there_are_requests_again(pipeline: Pipeline, org: Salesforce) -> None:
    deliver(pipeline)
    org.requests_left = 1
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(5)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    (connection,) = pipeline.app.connections.stored()
    assert connection.paused and "24 hours" in connection.reason
    before = len(org.journal)
    pipeline.tick(10)
    assert len(org.journal) - before <= 11, "a look each minute"
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    org.requests_left = None
    pipeline.tick(4)
    assert {state(pipeline, lead) for lead in leads} == {State.DELIVERED}
    assert len(org.leads) == 6
    assert all(len(pipeline.delivery(lead).attempts) <= 2 for lead in leads)
