"""Salesforce, from the intake to the record: what the destination and the app around it have to agree on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from leads.core.states import State
from leads.operations.replay import ReplayLead, replay_lead
from tests.fakes.https_server import LOSE_ANSWER
from tests.fakes.salesforce import Field, Salesforce, VendorError
from tests.fakes.tls import Authority
from tests.support.pipeline import EMAIL, Pipeline, a_lead, deliver, destination_entry, pipeline_over_tls, state

KEY = "Marketplace_Key__c"


@pytest.fixture
def org(authority: Authority) -> Iterator[Salesforce]:
    with Salesforce(authority) as running:
        running.fields["Lead"][KEY] = Field("string", 32, external_id=True, unique=True)
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, org: Salesforce, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("LEADS_SECRET_SALESFORCE", "the secret")
    made.offer(crm(org))
    return made


def crm(org: Salesforce, **more: Any) -> dict[str, Any]:
    return destination_entry("salesforce", org.settings("env:LEADS_SECRET_SALESFORCE"), **more)


def told(org: Salesforce) -> list[str]:
    """The leads of which the organisation's texts tell."""
    texts = [str(row.get("Description")) for row in [*org.leads, *org.tasks()]]
    return sorted(line[6:] for text in texts for line in text.splitlines() if line.startswith("Lead: "))


@pytest.mark.parametrize("key", [None, KEY])
def test_a_journey_is_one_record_with_each_stage_once_although_answers_are_lost(
    pipeline: Pipeline, org: Salesforce, key: str | None
) -> None:
    pipeline.offer(crm(org, external_id_field=key, follow_up={"contact_requested": {"task": {}}}))
    leads = []
    for action in ("INS", "StartTestDrive", "PLT", "Create"):
        org.fail_next(LOSE_ANSWER, lambda request: request.method == "POST" and b'"Description"' in request.body)
        leads.append(deliver(pipeline, action))
        assert state(pipeline, leads[-1]) is State.RETRY
        pipeline.advance(15)
        assert state(pipeline, leads[-1]) is State.DELIVERED
    (row,) = org.leads
    assert row["Rating"] == "Hot"
    assert told(org) == sorted(leads)
    assert [(task["Subject"].partition(":")[0], task["Status"]) for task in org.tasks(row["Id"])] == [
        ("Trial", "Completed"),
        ("Follow up", "Not Started"),
        ("Purchase", "Completed"),
    ]
    assert {pipeline.delivery(lead).record_id for lead in leads} == {row["Id"]}


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
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(20)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    (connection,) = pipeline.app.connections.stored()
    assert connection.paused and "24 hours" in connection.reason
    before = len(org.journal)
    pipeline.tick(30)
    assert len(org.journal) - before <= 31, "a look each minute"
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    org.requests_left = None
    pipeline.tick(4)
    assert {state(pipeline, lead) for lead in leads} == {State.DELIVERED}
    assert len(org.leads) == 21
    assert all(len(pipeline.delivery(lead).attempts) <= 2 for lead in leads)


def test_too_many_requests_at_once_are_only_waited_for(pipeline: Pipeline, org: Salesforce) -> None:
    org.too_many_at_once = True
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.RETRY
    assert pipeline.delivery(lead).attempts[-1].code == "REQUEST_LIMIT_EXCEEDED"
    org.too_many_at_once = False
    pipeline.advance(15)
    assert state(pipeline, lead) is State.DELIVERED


def test_left_out_fields_are_named_with_the_lead(pipeline: Pipeline, org: Salesforce) -> None:
    org.hidden.add(("Lead", "Title"))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    assert pipeline.delivery(lead).attempts[-1].code == "left_out:Title"


def test_a_lead_that_a_rule_refuses_is_a_dead_letter_that_repeats_nothing(
    pipeline: Pipeline, org: Salesforce, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    org.validation_rule = lambda table, values: VendorError(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", str(values))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DEAD_LETTER
    assert "validation rule" in pipeline.delivery(lead).reason
    kept = repr(pipeline.delivery(lead)) + caplog.text
    for secret in (EMAIL, "O'Neil", "16175555555", "Example Works", "the secret", *org.sessions):
        assert secret not in kept
