"""Leads by a Marketo form: its fields, its activities, and outcomes that are unknown."""

from __future__ import annotations

from typing import Any

import pytest

from leads.core.states import State
from leads.destinations.text import NOT_PROVIDED
from leads.ledger import transactions
from leads.pipeline import delivery
from tests.fakes.https_server import LOSE_ANSWER, Response
from tests.fakes.marketo import FORM, Form, Marketo
from tests.support.marketo import BY_FORM, crm, die, is_write, one, writes
from tests.support.pipeline import EMAIL, Killed, Pipeline, a_lead, code, deliver, state, text_of


def test_a_lead_fills_out_the_form_with_the_fields_that_it_has(
    pipeline: Pipeline, marketo: Marketo, form: Form
) -> None:
    lead = deliver(pipeline)
    (activity,) = marketo.activities
    assert activity == {
        "person": one(marketo)["id"],
        "form": FORM,
        "program": None,
        "email": EMAIL,
        "firstName": "Ada",
        "lastName": "O'Neil",
        "phone": "16175555555",
        "company": "Example Works",
        "leadSource": "AzureMarketplace",
    }
    assert state(pipeline, lead) is State.DELIVERED
    assert [len(body["input"]) for body in writes(marketo)] == [1]


def test_the_form_is_asked_for_once_and_each_lead_costs_two_calls(
    pipeline: Pipeline, marketo: Marketo, form: Form
) -> None:
    deliver(pipeline, email="other@example.com")
    before = marketo.requests()
    deliver(pipeline)
    deliver(pipeline, "PLT")
    assert marketo.requests() - before == 4
    person = max(marketo.persons)
    assert [activity["person"] for activity in marketo.activities][1:] == [person] * 2


def test_a_form_overwrites_nothing_that_a_person_has_edited(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    marketo.add_person(email=EMAIL, company="Their name")
    deliver(pipeline)
    deliver(pipeline, "PLT")
    assert (one(marketo)["company"], one(marketo)["lastName"]) == ("Their name", "O'Neil")


def test_a_form_overwrites_where_the_offer_asks_for_it(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    marketo.add_person(email=EMAIL, company="Their name")
    pipeline.offer(crm(marketo, form_id=FORM), policies={"existing_records": "overwrite"})
    deliver(pipeline)
    assert one(marketo)["company"] == "Example Works"


def test_a_required_form_field_gets_the_persons_value_or_a_visible_placeholder(
    pipeline: Pipeline, marketo: Marketo, form: Form
) -> None:
    form.fields |= {"company": True, "phone": True}
    deliver(pipeline, UserDetails={"Email": "someone@gmail.com"})
    assert (one(marketo)["company"], one(marketo)["phone"]) == (NOT_PROVIDED, NOT_PROVIDED)
    marketo.add_person(email=EMAIL, company="Their name")
    deliver(pipeline)
    person = marketo.persons[max(marketo.persons)]
    assert (person["company"], person["phone"]) == ("Their name", "16175555555")


def test_a_field_that_was_taken_off_the_form_costs_no_lead(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    deliver(pipeline, email="other@example.com")
    del form.fields["phone"]
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    assert len(pipeline.delivery(lead).attempts) == 1
    person = marketo.persons[max(marketo.persons)]
    assert (person["lastName"], person.get("phone")) == ("O'Neil", None)


@pytest.mark.parametrize("record", [{"status": "skipped"}, {"status": "skipped", "reasons": []}])
def test_skipped_is_never_delivered(pipeline: Pipeline, marketo: Marketo, form: Form, record: dict[str, Any]) -> None:
    marketo.fault = lambda r: Response(200, {"success": True, "result": [record]}) if is_write(r) else None
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DEAD_LETTER, "skipped")


def test_a_program_is_passed_on(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    pipeline.offer(crm(marketo, form_id=FORM, program_id=77))
    deliver(pipeline)
    assert marketo.activities[0]["program"] == 77


def test_lengths_of_a_form_are_kept(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    form.lengths["lastName"] = 5
    deliver(pipeline)
    assert one(marketo)["lastName"] == "O'Ne…"


@pytest.mark.parametrize(
    "lost",
    [
        LOSE_ANSWER,
        Response(502, b"<html>"),
        Response(200, b"<html>"),
        Response(200, {"success": False, "errors": [{"code": "604"}]}),
    ],
)
def test_a_lost_answer_of_a_form_is_one_person_and_perhaps_two_activities(
    pipeline: Pipeline, marketo: Marketo, form: Form, lost: Any
) -> None:
    marketo.fail_next(lost, is_write)
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).attempts[-1].outcome == "unknown"
    pipeline.advance(15)
    delivery = pipeline.delivery(lead)
    assert delivery.state is State.DELIVERED and delivery.possibly_twice
    assert len(marketo.persons) == 1
    assert len(marketo.activities) == (2 if lost is LOSE_ANSWER else 1)


@pytest.mark.parametrize("by_form", [True, False])
def test_with_a_form_an_attempt_cut_off_by_a_crash_has_an_unknown_outcome(
    pipeline: Pipeline, marketo: Marketo, monkeypatch: pytest.MonkeyPatch, by_form: bool
) -> None:
    pipeline.offer(crm(marketo, **(BY_FORM if by_form else {})))
    monkeypatch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
    lead = pipeline.post(a_lead(EMAIL))
    (message,) = pipeline.messages()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(pipeline.app.ledger, "settle", die)
        delivery.deliver(pipeline.app, text_of(message))
    delivery.deliver(pipeline.app, text_of(message))
    pipeline.queue.delete(message)
    pipeline.advance(13)
    settled = pipeline.delivery(lead)
    assert settled.state is State.DELIVERED
    assert settled.possibly_twice is by_form
    assert len(marketo.persons) == 1


def test_a_form_that_was_never_sent_is_retried(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    deliver(pipeline)
    with marketo.refusing_connections():
        lead = deliver(pipeline, "PLT")
    assert pipeline.delivery(lead).attempts[-1].outcome == "retry"
