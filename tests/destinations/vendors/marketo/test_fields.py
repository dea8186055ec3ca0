"""Fields of Marketo: what an instance has, mapping, lengths, hostile texts, and a company that may not be changed."""

from __future__ import annotations

import pytest

from leads.core.states import State
from tests.fakes.marketo import FORM, Field, Marketo
from tests.support.marketo import BY_FORM, JOURNEY, check, crm, one
from tests.support.pipeline import EMAIL, Pipeline, code, deliver, state


def test_the_fields_are_asked_for_again_after_a_day(pipeline: Pipeline, marketo: Marketo) -> None:
    def asked() -> int:
        return sum(request.path.endswith("/describe.json") for request in marketo.journal)

    for number in range(3):
        deliver(pipeline, email=f"c{number}@example.com")
    assert asked() == 1
    pipeline.advance(86_401)
    deliver(pipeline)
    assert asked() == 2


def test_an_instance_may_have_thousands_of_fields(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.fields |= {f"custom{number}": Field(f"Custom_{number}__c") for number in range(8_000)}
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED


def test_a_mapping_fills_fields_of_ones_own_and_leaves_others_out(pipeline: Pipeline, marketo: Marketo) -> None:
    mapping = {"marketplaceOffer": "{offer_title} {campaign.mktcmpid}", "leadScore": 7, "title": None}
    pipeline.offer(crm(marketo, mapping=mapping))
    deliver(pipeline, Description='{"mktcmpid": "spring"}')
    person = one(marketo)
    assert (person["marketplaceOffer"], person["leadScore"]) == ("Contoso CRM spring", 7)
    assert "title" not in person


def test_the_address_is_the_leads_own_whatever_the_mapping_says(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, mapping={"email": "{first_name}@example.com"}))
    deliver(pipeline)
    assert one(marketo)["email"] == EMAIL


def test_texts_are_cut_to_their_fields_and_whole_in_the_journey(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.fields["title"] = Field("Title", length=40)
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    details = {
        "LastName": "N" * 300,
        "Company": "🏢" * 200,
        "Phone": "1" * 300,
        "Title": "T" * 41,
        "Email": EMAIL,
    }
    lead = deliver(pipeline, UserDetails=details, Description="D" * 3000)
    assert state(pipeline, lead) is State.DELIVERED
    person = one(marketo)
    assert person["lastName"] == "N" * 254 + "…"
    assert person["company"] == "🏢" * 127 + "…"
    assert person["title"] == "T" * 39 + "…"
    assert "phone" not in person, "a shortened one would be a wrong one"
    for value in (*details.values(), "D" * 3000):
        assert value in person[JOURNEY]


def test_a_rating_can_have_another_field_or_none(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, rating_field="marketplaceOffer"))
    deliver(pipeline)
    assert (one(marketo)["marketplaceOffer"], one(marketo).get("rating")) == ("Warm", None)
    pipeline.offer(crm(marketo, rating_field=None))
    deliver(pipeline, email="other@example.com")
    assert "rating" not in marketo.persons[max(marketo.persons)]


HOSTILE = [
    "x\r\nX-Evil: 1",
    'x","unsubscribed":true,"x":"',
    "{company} {{email}} {lead.Email:default=x}",
    "a&filterType=id&filterValues=1,2;%00",
    "x' or 1 eq 1 or 'a' eq 'a",
    "=cmd|' /C calc'!A1",
    "\u2028\u202e<script>",
]


@pytest.mark.parametrize(("hostile", "form"), [*((hostile, {}) for hostile in HOSTILE), (HOSTILE[1], BY_FORM)])
def test_what_looks_like_syntax_is_text(
    pipeline: Pipeline, marketo: Marketo, hostile: str, form: dict[str, int]
) -> None:
    pipeline.offer(crm(marketo, **form))
    details = dict.fromkeys(("FirstName", "LastName", "Phone", "Country", "Company", "Title"), hostile)
    for action in ("INS", "PLT"):
        lead = deliver(pipeline, action, UserDetails=details | {"Email": EMAIL}, Description=hostile, Offer="x")
        assert state(pipeline, lead) is State.DELIVERED
    person = one(marketo)
    kept = pipeline.record(lead).lead
    assert kept is not None
    assert (person["firstName"], person["company"]) == (kept.first_name, kept.company)
    assert "unsubscribed" not in person
    assert not [request for request in marketo.journal if "x-evil" in request.headers]


@pytest.mark.parametrize("form", [{}, {"form_id": FORM}], ids=["directly", "form"])
def test_a_refused_company_is_left_out_and_named(pipeline: Pipeline, marketo: Marketo, form: dict[str, int]) -> None:
    marketo.forms[FORM].fields[JOURNEY] = False
    marketo.company_is_kept = True
    marketo.add_person(email=EMAIL)
    pipeline.offer(crm(marketo, journey_field=JOURNEY, **form))
    lead = deliver(pipeline, "PLT")
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "1021")
    person = one(marketo)
    assert (person.get("company"), person["lastName"]) == (None, "O'Neil")
    assert "changes to the person's company" in person[JOURNEY] and "Company: Example Works" in person[JOURNEY]
    before = marketo.requests()
    lead = deliver(pipeline, "Create")
    assert (code(pipeline, lead), marketo.requests() - before) == ("", 2), "it is not tried again"


@pytest.mark.parametrize("field", [Field("Company", read_only=True), None])
def test_a_default_field_that_the_instance_does_not_let_be_set_is_left_out_and_the_journey_holds_the_company(
    pipeline: Pipeline, marketo: Marketo, field: Field | None
) -> None:
    del marketo.fields["company"]
    marketo.fields |= {"company": field} if field else {}
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    for action in ("INS", "PLT"):
        lead = deliver(pipeline, action)
        assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "left_out:company")
    assert one(marketo).get("company") is None
    assert "does not allow changes to the person's company" in one(marketo)[JOURNEY]
    assert "Company: Example Works" in one(marketo)[JOURNEY]
    assert check(pipeline, marketo).ok
    entered = check(pipeline, marketo, mapping={"company": "{company}"})
    assert not entered.ok and "mapping.company" in entered.problem


def test_the_company_that_a_person_shares_with_others_is_never_replaced(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo), policies={"existing_records": "overwrite"})
    deliver(pipeline)
    person = one(marketo)["id"]
    colleague = marketo.add_person(email="colleague@example.com", company="Example Works")
    marketo.colleagues.append({person, colleague})
    marketo.edit(person, title="Chief")
    deliver(pipeline, "PLT", UserDetails={"Email": EMAIL, "Company": "Typo Works", "Title": "Engineer"})
    assert marketo.persons[person]["title"] == "Engineer", "the policy asks for it"
    companies = {marketo.persons[number]["company"] for number in (person, colleague)}
    assert companies == {"Example Works"}
    marketo.delete(person)
    deliver(pipeline, "Create")
    assert marketo.persons[max(marketo.persons)]["company"] == "Example Works", "a new person has no company yet"


def test_a_refused_company_as_the_only_change_means_no_change(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.company_is_kept = True
    marketo.add_person(email=EMAIL, rating="Hot")
    pipeline.offer(
        crm(marketo, mapping=dict.fromkeys(("firstName", "lastName", "phone", "title", "country", "leadSource")))
    )
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, "1021")
