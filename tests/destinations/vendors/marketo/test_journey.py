"""Marketo, from the intake to the person: over TLS, against an instance that behaves as Adobe documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from leads.app import App
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.destinations.text import NOT_PROVIDED
from leads.destinations.vendors import marketo as vendor
from leads.destinations.vendors.marketo import destination
from leads.destinations.vendors.marketo.client import DESCRIPTION_BYTES, Client
from leads.ledger import transactions
from leads.offers.model import InvalidOffer, read_offer
from leads.pipeline import delivery
from leads.pipeline.replay import replay
from tests.fakes.https_server import LOSE_ANSWER, Request, Response
from tests.fakes.marketo import CST, FORM, LIST, Field, Form, Marketo
from tests.fakes.tls import Authority
from tests.support.pipeline import (
    EMAIL,
    Killed,
    Pipeline,
    a_lead,
    check_anew,
    code,
    deliver,
    destination_entry,
    pipeline_over_tls,
    state,
    text_of,
)

JOURNEY = "marketplaceJourney"


@pytest.fixture
def marketo(authority: Authority) -> Iterator[Marketo]:
    with Marketo(authority) as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, marketo: Marketo, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    monkeypatch.setenv("LEADS_SECRET_MARKETO", "the secret")
    made.offer(crm(marketo))
    return made


def crm(marketo: Marketo, **more: Any) -> dict[str, Any]:
    settings = marketo.settings("env:LEADS_SECRET_MARKETO") | {"endpoint": f"{marketo.url}/rest"}
    return destination_entry("marketo", settings, **more)


def one(marketo: Marketo) -> dict[str, Any]:
    (person,) = marketo.persons.values()
    return person


def check(pipeline: Pipeline, marketo: Marketo, **more: Any) -> CheckResult:
    return check_anew(pipeline, crm(marketo, **more))


def is_write(request: Request) -> bool:
    """Whether a request stores something."""
    if request.method != "POST" or not request.path.startswith("/rest/") or request.query.get("_method") == "GET":
        return False
    return b'"input": []' not in request.body


def writes(marketo: Marketo) -> list[dict[str, Any]]:
    """The bodies of the requests that stored something."""
    return [json.loads(request.body) for request in marketo.journal if is_write(request) and request.body]


# --- A customer's first lead --------------------------------------------------------------------------------------------


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


def test_the_token_goes_in_the_header_alone(pipeline: Pipeline, marketo: Marketo) -> None:
    deliver(pipeline)
    (token,) = marketo.issued
    for request in marketo.journal:
        assert token not in request.target and token.encode() not in request.body


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


# --- The journey --------------------------------------------------------------------------------------------------------


def test_each_stage_is_a_line_of_the_one_journey_and_the_rating_rises(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    leads = []
    for number, action in enumerate(("INS", "StartTestDrive", "PLT", "INS")):
        pipeline.advance(60)
        leads.append(deliver(pipeline, action, Description=f"note {number}"))
    person = one(marketo)
    lines = person[JOURNEY].split("\n\n")[0].split("\n")
    assert [line.rpartition(" ")[2] for line in lines] == leads[::-1]
    assert [line.split(" · ")[1].partition(":")[0] for line in lines] == [
        "Initial interest",
        "Contact requested",
        "Trial",
        "Initial interest",
    ]
    assert "note 3" in person[JOURNEY] and "E-mail: " + EMAIL in person[JOURNEY], "the newest lead is there in full"
    assert person["rating"] == "Hot", "it does not fall again"


def test_the_journey_replaces_the_whole_field(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    first = deliver(pipeline)
    marketo.edit(one(marketo)["id"], **{JOURNEY: "scribbled over"})
    second = deliver(pipeline, "PLT")
    text = one(marketo)[JOURNEY]
    assert first in text and second in text and "scribbled" not in text


def test_the_ledgers_memory_of_a_journey_has_no_personal_data(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    for action in ("DNC", "PLT"):
        deliver(pipeline, action, Description="my note")
    rows = [row for row in pipeline.app.ledger.table.query("PartitionKey ge '0'") if row["RowKey"].startswith("cust;")]
    kept = json.dumps(rows[0]["memory"])
    for personal in (EMAIL, "siobhan", "Neil", "Ada", "16175555555", "Example Works", "my note", "USA"):
        assert personal not in kept
    assert "Contact requested: Contoso CRM" in kept


def test_stages_whose_sends_overlapped_are_both_remembered(
    pipeline: Pipeline, fresh_storage: str, authority: Authority, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process can stall for longer than its claim lasts."""
    another = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch, pipeline.clock)
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    leads: list[str] = []
    receive = marketo.receive

    def stall(request: Request) -> Any:
        if is_write(request) and not leads:
            leads.append(pipeline.post(a_lead(EMAIL, "StartTestDrive")))
            with monkeypatch.context() as patch:
                patch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
                another.step()
        return receive(request)

    monkeypatch.setattr(marketo, "receive", stall)
    leads.append(deliver(pipeline))
    leads.append(deliver(pipeline, "PLT"))
    assert [state(pipeline, lead) for lead in leads] == [State.DELIVERED] * 3
    assert [lead in one(marketo)[JOURNEY] for lead in leads] == [True] * 3


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


# --- Persons that others have made --------------------------------------------------------------------------------------


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


# --- Persons that people have changed -----------------------------------------------------------------------------------


def test_a_deleted_person_is_made_again_with_the_whole_journey(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    first = deliver(pipeline)
    marketo.delete(one(marketo)["id"])
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert first in one(marketo)[JOURNEY] and one(marketo)["lastName"] == "O'Neil"


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


# --- Do not contact -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policies", [{}, {"existing_records": "overwrite"}])
def test_on_a_person_that_is_there_it_is_a_stage_only(
    pipeline: Pipeline, marketo: Marketo, policies: dict[str, str]
) -> None:
    marketo.add_person(email=EMAIL, rating="Warm")
    pipeline.offer(crm(marketo, journey_field=JOURNEY), policies=policies)
    deliver(pipeline, "DNC")
    assert "doNotCall" not in one(marketo)
    assert "Cross-listed" in one(marketo)[JOURNEY]


def test_unsubscribed_is_set_only_where_a_setting_names_it(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, do_not_contact=["unsubscribed"]))
    deliver(pipeline, "DNC")
    assert one(marketo)["unsubscribed"] is True
    assert "doNotCall" not in one(marketo)


@pytest.mark.parametrize("policies", [{}, {"existing_records": "overwrite"}])
def test_real_interest_takes_our_flags_back(pipeline: Pipeline, marketo: Marketo, policies: dict[str, str]) -> None:
    pipeline.offer(crm(marketo), policies=policies)
    deliver(pipeline, "DNC")
    person = one(marketo)
    assert person["doNotCall"] is True and "Cross-listed" in person["doNotCallReason"]
    assert "unsubscribed" not in person
    deliver(pipeline, "PLT")
    person = one(marketo)
    assert (person["doNotCall"], person["doNotCallReason"], person["rating"]) == (False, None, "Hot")


def test_flags_that_somebody_else_has_set_stay_and_the_journey_says_so(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    deliver(pipeline, "DNC")
    marketo.edit(one(marketo)["id"], doNotCallReason="Asked for it by telephone")
    deliver(pipeline, "PLT")
    assert one(marketo)["doNotCall"] is True
    assert "not to contact" in one(marketo)[JOURNEY]


# --- Mapping and lengths ------------------------------------------------------------------------------------------------


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


def test_a_journey_that_is_too_long_keeps_its_newest_stages_and_says_that_it_was_cut(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    lead = deliver(pipeline, Description="ü" * 20_000)
    text = one(marketo)[JOURNEY]
    assert lead in text and text.endswith("ü…") and 29_990 < len(text.encode()) <= 30_000
    pipeline.offer(crm(marketo, journey_field="marketplaceOffer"))
    later = deliver(pipeline, "PLT")
    text = one(marketo)["marketplaceOffer"]
    assert later in text and lead in text and text.endswith("…") and len(text) <= 255


HOSTILE = [
    "x\r\nX-Evil: 1",
    'x","unsubscribed":true,"x":"',
    "{company} {{email}} {lead.Email:default=x}",
    "a&filterType=id&filterValues=1,2;%00",
    "x' or 1 eq 1 or 'a' eq 'a",
    "=cmd|' /C calc'!A1",
    "\u2028\u202e<script>",
]


@pytest.mark.parametrize("form", [{}, {"form_id": FORM}], ids=["directly", "form"])
@pytest.mark.parametrize("hostile", HOSTILE)
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


# --- Follow-up and lists ------------------------------------------------------------------------------------------------


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


def test_a_rating_can_have_another_field_or_none(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, rating_field="marketplaceOffer"))
    deliver(pipeline)
    assert (one(marketo)["marketplaceOffer"], one(marketo).get("rating")) == ("Warm", None)
    pipeline.offer(crm(marketo, rating_field=None))
    deliver(pipeline, email="other@example.com")
    assert "rating" not in marketo.persons[max(marketo.persons)]


def test_a_list_that_is_gone_holds_no_lead_up(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, static_list=int(LIST)))
    del marketo.lists[LIST]
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (State.DELIVERED, f"list:{LIST}:1013")
    assert "static_list" in check(pipeline, marketo, static_list=int(LIST)).problem


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"munchkin_id": "ys12"}, "munchkin_id"),
        ({"client_secret": "abc"}, "client_secret"),
        ({"endpoint": "http://123-abc-456.mktorest.com"}, "endpoint"),
        ({"form_id": 0}, "form_id"),
        ({"program_id": 7}, "program_id"),
        ({"form_id": FORM, "partition": "Europe"}, "partition"),
        ({"journey_field": "a field"}, "journey_field"),
        ({"do_not_contact": ["email"]}, "do_not_contact"),
        ({"follow_up": {"purchase": {"list": "a list"}}}, "list"),
        ({"follow_up": {"purchase": {"task": {}}}}, "task"),
    ],
)
def test_impossible_settings_are_refused_when_the_offer_is_saved(
    marketo: Marketo, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidOffer, match=field):
        read_offer({"id": "a.b", "destinations": [crm(marketo, **changes)]})


# --- A company that may not be changed ----------------------------------------------------------------------------------


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


# --- By a form ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def form(pipeline: Pipeline, marketo: Marketo) -> Form:
    """The offer goes through this form."""
    pipeline.offer(crm(marketo, form_id=FORM))
    return marketo.forms[FORM]


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


def test_each_stage_is_an_activity_of_the_one_person(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    for action in ("INS", "PLT"):
        deliver(pipeline, action)
    assert [activity["person"] for activity in marketo.activities] == [one(marketo)["id"]] * 2


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


def test_a_form_says_do_not_call_if_it_has_the_field(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    deliver(pipeline, "DNC")
    assert "doNotCall" not in one(marketo)
    form.fields |= {"doNotCall": False, "doNotCallReason": False}
    pipeline.advance(86_401)
    deliver(pipeline, "DNC", email="other@example.com")
    assert marketo.persons[max(marketo.persons)]["doNotCall"] is True


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
    pipeline.offer(crm(marketo, **({"form_id": FORM} if by_form else {})))
    monkeypatch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
    lead = pipeline.post(a_lead(EMAIL))
    (message,) = pipeline.messages()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(pipeline.app.ledger, "settle", _die)
        delivery.deliver(pipeline.app, text_of(message))
    delivery.deliver(pipeline.app, text_of(message))
    pipeline.queue.delete(message)
    pipeline.advance(13)
    settled = pipeline.delivery(lead)
    assert settled.state is State.DELIVERED
    assert settled.possibly_twice is by_form
    assert len(marketo.persons) == 1


def _die(*_: object, **__: object) -> None:
    raise Killed


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
    pipeline.offer(crm(marketo, static_list=int(LIST), **({"form_id": FORM} if by_form else {})))
    marketo.fault = lambda request: fault if f"/lists/{LIST}/" in request.path else None
    lead = deliver(pipeline)
    settled = pipeline.delivery(lead)
    assert (settled.state, settled.possibly_twice, code(pipeline, lead)) == (State.DELIVERED, False, shown)
    marketo.fault = lambda request: None
    pipeline.offer(crm(marketo, **({"form_id": FORM} if by_form else {})))
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
        patch.setattr(Client, "add_to_list", _die)
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


def test_by_policy_a_lost_answer_of_a_form_is_left_to_a_person(
    pipeline: Pipeline, marketo: Marketo, form: Form
) -> None:
    pipeline.offer(crm(marketo, form_id=FORM), policies={"unknown": "hold"})
    marketo.fail_next(LOSE_ANSWER, is_write)
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.HELD


def test_a_form_that_was_never_sent_is_retried(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    deliver(pipeline)
    with marketo.refusing_connections():
        lead = deliver(pipeline, "PLT")
    assert pipeline.delivery(lead).attempts[-1].outcome == "retry"


# --- Errors -------------------------------------------------------------------------------------------------------------


def refusal(number: str) -> Response:
    return Response(200, {"success": False, "errors": [{"code": number, "message": "words"}]})


def skip(number: str) -> Response:
    return Response(200, {"success": True, "result": [{"status": "skipped", "reasons": [{"code": number}]}]})


@pytest.mark.parametrize(
    ("answer", "expected", "shown"),
    [
        (refusal("606"), State.RETRY, "606"),
        (refusal("615"), State.RETRY, "615"),
        (refusal("713"), State.RETRY, "713"),
        (refusal("614"), State.RETRY, "614"),
        (refusal("609"), State.RETRY, "609"),
        (refusal("1234"), State.DEAD_LETTER, "1234"),
        (skip("1001"), State.DEAD_LETTER, "1001"),
        (skip("1029"), State.RETRY, "1029"),
        (skip("1999"), State.DEAD_LETTER, "1999"),
        (Response(200, {"success": True, "result": [{"errors": [{"code": 1003}]}]}), State.DEAD_LETTER, "1003"),
        (Response(200, {"success": True, "result": []}), State.RETRY, "unreadable_answer"),
        (Response(200, {"success": True, "result": [{"status": "created"}]}), State.RETRY, "unreadable_answer"),
        (Response(200, {"success": True, "result": [{"id": 1, "status": "odd"}]}), State.RETRY, "unreadable_answer"),
        (Response(200, {"success": False}), State.RETRY, "unreadable_answer"),
        (Response(413, b"too large"), State.DEAD_LETTER, "413"),
        (Response(429, b"", {"Retry-After": "40"}), State.RETRY, "429"),
    ],
)
def test_both_levels_of_errors_are_read(
    pipeline: Pipeline, marketo: Marketo, answer: Response, expected: State, shown: str
) -> None:
    marketo.fail_next(answer, is_write)
    lead = deliver(pipeline)
    assert (state(pipeline, lead), code(pipeline, lead)) == (expected, shown)
    assert not marketo.persons


def test_a_rate_limit_that_others_have_used_up_is_waited_for(pipeline: Pipeline, marketo: Marketo) -> None:
    marketo.fail_next(refusal("606"), is_write)
    lead = deliver(pipeline)
    pipeline.advance(19)
    assert state(pipeline, lead) is State.RETRY
    pipeline.advance(2)
    assert state(pipeline, lead) is State.DELIVERED


def tokens(marketo: Marketo) -> int:
    return sum(request.path == "/identity/oauth/token" for request in marketo.journal)


def test_a_token_is_asked_for_once_in_its_life_however_near_its_end(pipeline: Pipeline, marketo: Marketo) -> None:
    for seconds in (0, 3500, 50, 60):
        pipeline.advance(seconds)
        deliver(pipeline, email=f"{seconds}@example.com")
    assert tokens(marketo) == 2


def test_a_token_with_no_time_left_is_used_and_renewed_where_it_is_refused(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    deliver(pipeline)
    pipeline.app.context.__dict__["_shared"].clear()  # another instance, to which the last moment of the token is given
    pipeline.app.__dict__["_destinations"].clear()
    pipeline.clock.time += timedelta(seconds=3599, milliseconds=500)

    def time_flies(request: Request) -> None:
        if request.path.startswith("/rest/"):
            pipeline.clock.time += timedelta(milliseconds=400)

    marketo.fault = time_flies
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert len(pipeline.delivery(lead).attempts) == 1


def test_a_daily_quota_that_is_used_up_parks_the_leads_until_midnight_in_central_time(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    noon = pipeline.clock.now().astimezone(CST).replace(hour=12, minute=0)
    pipeline.clock.time = noon.astimezone(UTC)
    deliver(pipeline)
    marketo.use_up_quota()
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(5)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    assert "quota" in pipeline.delivery(leads[0]).reason
    (connection,) = [found for found in pipeline.app.connections.stored() if found.paused]
    assert "midnight" in connection.reason
    before = marketo.requests()
    pipeline.tick(5)
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    assert marketo.requests() - before == 5, "one call a minute, that of the check"
    midnight = (noon + timedelta(days=1)).replace(hour=0, minute=0, second=1)
    pipeline.clock.time = midnight.astimezone(UTC) - timedelta(minutes=2)
    pipeline.tick(1)
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    pipeline.tick(5)
    assert {state(pipeline, lead) for lead in leads} == {State.DELIVERED}


SettingUp = Callable[[Marketo], Any]


def keep_form(marketo: Marketo, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(marketo.forms[FORM], name, value)


BY_FORM = {"form_id": FORM}
MISCONFIGURED: list[tuple[str, dict[str, Any], SettingUp, str, str]] = [
    ("wrong secret", {}, lambda m: setattr(m, "secret", "another"), "invalid_client", "client secret"),
    ("wrong client", {"client_id": "0"}, lambda m: None, "unauthorized", "client_id"),
    (
        "no such secret",
        {"client_secret": "env:LEADS_SECRET_NOT_SET"},
        lambda m: None,
        "settings",
        "LEADS_SECRET_NOT_SET",
    ),
    ("no right to write", {}, lambda m: m.permissions.discard("Read-Write Lead"), "603", "Read-Write Lead"),
    ("no right to see forms", BY_FORM, lambda m: m.permissions.discard("Read-Only Assets"), "603", "Read-Only Assets"),
    ("quota", {}, lambda m: setattr(m, "quota", 0), "607", "quota"),
    ("missing field", {"mapping": {"newField": "{email}"}}, lambda m: None, "check", "mapping.newField"),
    ("read-only field", {"mapping": {"createdAt": "{email}"}}, lambda m: None, "check", "mapping.createdAt"),
    ("missing journey field", {"journey_field": "noField"}, lambda m: None, "check", "journey_field"),
    ("journey in a number", {"journey_field": "leadScore"}, lambda m: None, "check", "journey_field"),
    ("missing rating field", {"rating_field": "noField"}, lambda m: None, "check", "rating_field"),
    ("missing form", {"form_id": 7}, lambda m: None, "check", "form_id"),
    ("draft", BY_FORM, lambda m: keep_form(m, status="draft"), "check", "approve it"),
    ("form without e-mail", BY_FORM, lambda m: m.forms[FORM].fields.pop("email"), "check", "e-mail"),
    (
        "mapped, not on the form",
        BY_FORM | {"mapping": {"marketplaceOffer": "{offer}"}},
        lambda m: None,
        "check",
        "hidden",
    ),
    ("journey not on the form", BY_FORM | {"journey_field": JOURNEY}, lambda m: None, "check", "journey_field"),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "shown", "words"),
    [row[1:] for row in MISCONFIGURED],
    ids=[row[0] for row in MISCONFIGURED],
)
def test_a_check_says_precisely_what_to_change_and_writes_nothing(
    pipeline: Pipeline, marketo: Marketo, settings_: dict[str, Any], break_it: SettingUp, shown: str, words: str
) -> None:
    break_it(marketo)
    result = check(pipeline, marketo, **settings_)
    assert not result.ok and not result.transient
    assert result.code == shown
    assert words in result.problem
    assert not [request for request in marketo.journal if is_write(request)]


def test_a_check_says_which_lists_leads_are_not_put_on_and_that_they_arrive(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    result = check(pipeline, marketo, static_list=5, follow_up={"purchase": {"list": "6"}})
    assert result.ok and "static_list" in result.problem and "follow_up.purchase.list" in result.problem


def test_an_incomplete_check_does_not_count_against_the_connection(
    pipeline: Pipeline, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its answer a call may be under way for longest_call seconds, and the next one waits so long.
    monkeypatch.setattr(vendor, "RATE_LIMIT", replace(vendor.RATE_LIMIT, longest_call=0.0))
    too_large = Response(200, b"x" * (DESCRIPTION_BYTES + 1))
    marketo.fault = lambda request: too_large if "describe" in request.path else None
    result = check(pipeline, marketo, form_id=7)
    assert not result.ok and "form_id" in result.problem, "the check still finds other problems"
    result = check(pipeline, marketo)
    assert result.ok and "answer_too_large" in result.problem


@pytest.mark.parametrize("form", [{}, BY_FORM], ids=["directly", "form"])
def test_a_check_of_what_works_says_so(pipeline: Pipeline, marketo: Marketo, form: dict[str, Any]) -> None:
    marketo.forms[FORM].fields[JOURNEY] = False
    follow_up = {"purchase": {"list": LIST, "rating": "hot"}}
    more = {"static_list": int(LIST), "journey_field": JOURNEY, "follow_up": follow_up}
    assert check(pipeline, marketo, **more, **form) == CheckResult(ok=True)
    assert not marketo.persons


def test_a_host_that_is_not_there_is_named_as_the_fault(pipeline: Pipeline, marketo: Marketo) -> None:
    result = check(pipeline, marketo, endpoint="https://999-xxx-999.mktorest.invalid")
    assert not result.ok and result.transient, "it may be the name service that is out of order"
    assert "munchkin_id" in result.problem


def test_a_field_of_the_mapping_that_is_gone_pauses_and_heals(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, mapping={"marketplaceOffer": "{offer}"}))
    gone = marketo.fields.pop("marketplaceOffer")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    assert "mapping.marketplaceOffer" in pipeline.delivery(lead).reason
    marketo.fields["marketplaceOffer"] = gone
    pipeline.tick(3)
    assert state(pipeline, lead) is State.DELIVERED


# --- The rate limit -----------------------------------------------------------------------------------------------------


def test_a_lead_without_a_slot_in_time_goes_back_to_the_queue_and_pauses_nothing(
    pipeline: Pipeline, fresh_storage: str, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leads.destinations.vendors.marketo.TURN_SECONDS", 0.2)
    monkeypatch.setattr("leads.destinations.vendors.marketo.CHECK_TURN_SECONDS", 0.2)
    other = App(pipeline.app.settings).destination(pipeline.app.offers.all()[0].destinations[0])
    assert isinstance(other, destination)
    taken = ExitStack()
    for _ in range(5):
        taken.enter_context(other.limiter.slot(1))
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(7)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.RETRY}
    assert {code(pipeline, lead) for lead in leads} == {"allowance"}
    assert not [found for found in pipeline.app.connections.stored() if found.paused]
    assert marketo.requests() == 0
    result = check(pipeline, marketo)
    assert result.transient and result.code == "allowance"
    taken.close()
    monkeypatch.undo()
