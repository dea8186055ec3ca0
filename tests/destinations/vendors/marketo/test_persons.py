"""The customer's person in Marketo, whoever has made, changed or deleted it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from leads.core.states import State
from tests.fakes.https_server import Request
from tests.fakes.marketo import FORM, Marketo
from tests.support.marketo import JOURNEY, crm, is_write, one, writes
from tests.support.pipeline import EMAIL, Pipeline, a_lead, code, deliver, state


def test_a_first_lead_is_a_person(pipeline: Pipeline, marketo: Marketo) -> None:
    lead = deliver(pipeline)
    person = one(marketo)
    expected = {
        "firstName": "Ada",
        "lastName": "O'Neil",
        "email": EMAIL,
        "phone": "16175555555",
        "company": "Example Works",
        "title": "Engineer",
        "country": "USA",
        "leadSource": "AzureMarketplace",
        "rating": "Warm",
    }
    assert {name: person[name] for name in expected} == expected
    assert pipeline.delivery(lead).record_id == str(person["id"])


def test_it_costs_one_call_and_a_later_stage_two(pipeline: Pipeline, marketo: Marketo) -> None:
    deliver(pipeline, email="other@example.com")  # asks for the fields, once a day
    before = marketo.requests()
    deliver(pipeline)
    assert marketo.requests() - before == 1
    deliver(pipeline, "PLT")
    assert marketo.requests() - before == 3


def test_missing_values_stay_empty_and_the_domain_replaces_the_company(pipeline: Pipeline, marketo: Marketo) -> None:
    deliver(pipeline, UserDetails={"Email": "someone@contoso.example.com"})
    deliver(pipeline, UserDetails={"Email": "someone@gmail.com"}, Description="another")
    own, free = marketo.persons.values()
    assert own["company"] == "contoso.example.com"
    assert "company" not in free
    assert "lastName" not in own


@pytest.mark.parametrize(
    ("email", "words"),
    [
        ("siobhán@example.com", "ASCII"),
        ("ada@exämple.com", "ASCII"),
        ("", "no e-mail address"),
        ("a" * 250 + "@example.com", "longer than the 255"),
    ],
)
def test_a_lead_whose_address_marketo_can_not_hold_is_a_dead_letter_that_says_so(
    pipeline: Pipeline, marketo: Marketo, email: str, words: str
) -> None:
    lead = deliver(pipeline, email=email)
    assert state(pipeline, lead) is State.DEAD_LETTER
    assert words in pipeline.delivery(lead).reason
    assert email not in pipeline.delivery(lead).reason or not email
    assert marketo.requests() == 0


def test_marketo_itself_refuses_a_malformed_address(pipeline: Pipeline, marketo: Marketo) -> None:
    lead = deliver(pipeline, email="not an address")
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DEAD_LETTER, "1003")


def test_new_persons_are_made_in_the_partition_that_is_named(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.partitions.add("Europe")
    pipeline.offer(crm(marketo, partition="Europe"))
    deliver(pipeline)
    assert writes(marketo)[0]["partitionName"] == "Europe"


def test_customers_of_all_offers_of_an_instance_are_the_same_persons(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    pipeline.offer(crm(marketo, journey_field=JOURNEY), offer_id="contoso.other", titles=["Other"])
    deliver(pipeline)
    deliver(pipeline, "PLT", OfferTitle="Other")
    text = one(marketo)[JOURNEY]
    assert "Initial interest: Contoso CRM" in text and "Contact requested: Other" in text


def test_leads_of_one_customer_are_never_sent_at_the_same_time(
    pipeline: Pipeline, fresh_storage: str, marketo: Marketo
) -> None:
    """Upserts of one address that overlap make two persons: the claim is the instance's, whatever the offer."""
    pipeline.offer(crm(marketo), offer_id="contoso.other", titles=["Other"])
    seen: list[str] = []

    def in_between(request: Request) -> None:
        if is_write(request) and not seen:
            seen.append("first")
            pipeline.post(a_lead(EMAIL, "PLT", OfferTitle="Other"))
            before = len(writes(marketo))
            pipeline.step()
            assert len(writes(marketo)) == before

    marketo.fault = in_between
    deliver(pipeline)
    marketo.fault = lambda request: None
    pipeline.advance(11)
    assert seen and len(marketo.persons) == 1


def test_an_offer_may_ask_for_everything_to_be_overwritten_in_one_call(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo), policies={"existing_records": "overwrite"})
    deliver(pipeline)
    marketo.edit(one(marketo)["id"], title="Their title")
    before = marketo.requests()
    deliver(pipeline, "PLT")
    assert marketo.requests() - before == 1
    assert writes(marketo)[-1]["action"] == "createOrUpdate"
    assert (one(marketo)["title"], one(marketo)["rating"]) == ("Engineer", "Hot")
    deliver(pipeline, "INS", Description="later")
    assert one(marketo)["rating"] == "Hot", "a rating only rises"


def test_a_rating_of_others_is_not_taken_for_our_own(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.forms[FORM].fields["rating"] = False
    for number, form in enumerate(({}, {"form_id": FORM})):
        pipeline.offer(crm(marketo, **form))
        person = marketo.add_person(email=f"{number}@example.com", rating="Warm")
        for action in ("INS", "PLT"):
            deliver(pipeline, action, email=f"{number}@example.com")
        assert marketo.persons[person]["rating"] == "Warm"


def test_a_rating_that_the_form_could_not_set_is_not_taken_for_our_own(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, form_id=FORM))
    deliver(pipeline)
    marketo.edit(one(marketo)["id"], rating="Warm")
    marketo.forms[FORM].fields["rating"] = False
    pipeline.advance(86_401)
    deliver(pipeline, "PLT")
    assert one(marketo)["rating"] == "Warm"


def test_of_several_with_the_address_the_one_changed_last_gets_the_lead(pipeline: Pipeline, marketo: Marketo) -> None:
    for _ in range(2):
        marketo.add_person(email=EMAIL)
        pipeline.clock.time += timedelta(seconds=1)
    first, second = marketo.persons
    marketo.edit(first, title="Engineer")
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).record_id == str(first)
    pipeline.offer(crm(marketo), policies={"existing_records": "overwrite"})
    lead = deliver(pipeline, email=EMAIL, Description="later")
    assert pipeline.delivery(lead).record_id == str(first)
    assert "lastName" not in marketo.persons[second]


def test_an_address_with_a_comma_finds_no_other_person(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.add_person(email="x@example.com")
    lead = deliver(pipeline, email='x@example.com,"y"@example.com')
    assert state(pipeline, lead) is State.DEAD_LETTER
    assert "firstName" not in one(marketo)


def test_a_person_with_another_address_by_now_stays_the_customers(pipeline: Pipeline, marketo: Marketo) -> None:
    for form in ({}, {"form_id": FORM}):
        pipeline.offer(crm(marketo, **form))
        deliver(pipeline, email=f"{len(form)}@example.com")
        person = max(marketo.persons)
        marketo.edit(person, email=f"new{len(form)}@example.com")
        lead = deliver(pipeline, "PLT", email=f"{len(form)}@example.com")
        assert pipeline.delivery(lead).record_id == str(person)
        assert marketo.persons[person]["email"] == f"new{len(form)}@example.com"
    assert len(marketo.persons) == 2


def test_a_person_that_is_deleted_at_the_same_moment_is_tried_again(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    deliver(pipeline)

    def delete_in_between(request: Request) -> None:
        if b"updateOnly" in request.body and marketo.persons:
            marketo.delete(one(marketo)["id"])

    marketo.fault = delete_in_between
    lead = deliver(pipeline, "PLT")
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.RETRY, "1004")
    pipeline.advance(13)
    assert state(pipeline, lead) is State.DELIVERED
