"""A customer's journey in a CRM, whichever it is: one record, each stage once, and nothing of a person's overwritten.

Each CRM gets all of this by its subject.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leads.core.states import State
from leads.destinations import destination_class
from leads.destinations.text import NOT_PROVIDED
from tests.destinations.faults.subjects import SUBJECTS, running
from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.https_server import LOSE_ANSWER, Broken, Response
from tests.fakes.tls import Authority
from tests.support.pipeline import EMAIL, Pipeline, check_anew, deliver, pipeline_over_tls
from tests.support.pipeline import crm as recording
from tests.support.vendor import Vendor

CRMS = {
    f"{name}{f', {about}' if about else ''}": (kind, settings)
    for name, kind in SUBJECTS.items()
    if isinstance(kind, type) and issubclass(kind, CrmSubject)
    for about, settings in kind.variants.items()
}
RATING = [name for name, (kind, _) in CRMS.items() if kind.ratings]
"""The CRMs that rate records."""
SEARCHING = [name for name, (kind, _) in CRMS.items() if kind.without_search]
"""Those that look for a record by the address, and make one where the lead has none."""
ONE_EACH = [name for name in CRMS if "," not in name]


@pytest.fixture(params=CRMS)
def crm(
    request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch, fresh_storage: str
) -> Iterator[CrmSubject]:
    kind, more_settings = CRMS[request.param]
    subject = kind(authority, monkeypatch, fresh_storage)
    subject.more_settings |= more_settings
    with running(subject):
        yield subject


@pytest.fixture
def pipeline(crm: CrmSubject, fresh_storage: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    made.offer(crm.config)
    return made


rated = pytest.mark.parametrize("crm", RATING, indirect=True)
searching = pytest.mark.parametrize("crm", SEARCHING, indirect=True)
one_each = pytest.mark.parametrize("crm", ONE_EACH, indirect=True)


def with_settings(crm: CrmSubject, **more: Any) -> dict[str, Any]:
    return crm.config | {"settings": crm.config["settings"] | more}


def lose_answer(pipeline: Pipeline, crm: CrmSubject, action: str) -> str:
    """Deliver a lead after a lost answer."""
    crm.vendor.fail_next(LOSE_ANSWER, crm.is_write)
    lead = deliver(pipeline, action)
    assert pipeline.delivery(lead).state is State.RETRY
    pipeline.advance(15)
    assert pipeline.delivery(lead).state is State.DELIVERED
    return lead


def one(crm: CrmSubject) -> tuple[str, dict[str, Any]]:
    """The one record: its id and what it holds."""
    ((record, values),) = crm.people().items()
    return record, values


def told(crm: CrmSubject, leads: list[str]) -> list[str]:
    """The lead of each stage."""
    return sorted(lead for text in crm.stages() for lead in leads if lead in text)


# --- One record, each stage once ----------------------------------------------------------------------------------------


def test_each_stage_is_stored_once_at_the_one_record_and_the_rating_rises(pipeline: Pipeline, crm: CrmSubject) -> None:
    actions = ("INS", "StartTestDrive", "PLT", "INS")
    leads = []
    for number, action in enumerate(actions):
        pipeline.advance(60)
        leads.append(deliver(pipeline, action, Description=f"note {number}"))
    record, values = one(crm)
    assert {pipeline.delivery(lead).record_id for lead in leads} == {record}
    assert told(crm, leads) == sorted(leads)
    names = ("Initial interest", "Trial", "Contact requested", "Initial interest")
    assert [name in text for name, text in zip(names, crm.stages(), strict=True)] == [True] * 4
    assert values["rating"] in ("hot", ""), "it does not fall again"


def test_a_lead_that_is_sent_twice_is_there_once(pipeline: Pipeline, crm: CrmSubject) -> None:
    leads = [lose_answer(pipeline, crm, action) for action in ("INS", "PLT", "Create")]
    assert told(crm, leads) == sorted(leads)
    _, values = one(crm)
    assert values["rating"] in ("hot", "") or not crm.knows_its_own


@pytest.mark.parametrize("searches", [True, False])
def test_leads_that_overlap_after_a_lost_answer_are_one_record_with_each_stage_once(
    pipeline: Pipeline, crm: CrmSubject, searches: bool
) -> None:
    pipeline.offer(with_settings(crm, **({} if searches else crm.without_search)))
    crm.vendor.fail_next(LOSE_ANSWER, crm.is_write)
    leads = [deliver(pipeline), deliver(pipeline, "PLT")]
    pipeline.advance(15)
    assert {pipeline.delivery(lead).state for lead in leads} == {State.DELIVERED}
    one(crm)
    assert told(crm, leads) == sorted(leads)


@searching
def test_a_search_that_is_switched_off_finds_no_record(pipeline: Pipeline, crm: CrmSubject) -> None:
    crm.add(email=EMAIL)
    pipeline.offer(with_settings(crm, **crm.without_search))
    deliver(pipeline)
    assert len(crm.people()) == 2


@searching
def test_leads_without_an_address_are_not_searched_for_and_never_merge(pipeline: Pipeline, crm: CrmSubject) -> None:
    for phone in ("1", "2"):
        deliver(pipeline, UserDetails={"LastName": "Kim", "Phone": phone})
    assert len(crm.people()) == crm.vendor.requests() == 2


@searching
def test_a_missing_value_is_a_visible_placeholder_or_the_domain(pipeline: Pipeline, crm: CrmSubject) -> None:
    for email in ("someone@contoso.example.com", "someone@gmail.com"):
        deliver(pipeline, UserDetails={"Email": email})
    own, free = crm.people().values()
    assert (own["last"], own["company"]) == (NOT_PROVIDED, "contoso.example.com")
    assert (free["last"], free["company"]) == (NOT_PROVIDED, NOT_PROVIDED)


def test_no_address_holds_anything_personal_or_secret(pipeline: Pipeline, crm: CrmSubject) -> None:
    crm.add(email=EMAIL)
    for action in ("INS", "PLT"):
        deliver(pipeline, action)
    targets = " ".join(request.target for server in crm.servers for request in server.journal).lower()
    entered = [
        value.lower() for name, value in crm.config["settings"].items() if name in ("client_id", "external_id_field")
    ]
    for word in ("siobhan", "example", "neil", "secret", "16175555555", "token=", *entered):
        assert word not in targets


@one_each
def test_offers_that_share_a_credential_share_a_token(pipeline: Pipeline, crm: CrmSubject) -> None:
    pipeline.offer(crm.config | {"mapping": {crm.names["title"]: None}}, offer_id="contoso.other", titles=["Other"])
    deliver(pipeline)
    deliver(pipeline, email="b@example.com", OfferTitle="Other")
    asked = [request for server in crm.servers for request in server.journal if request.path.endswith("/token")]
    assert len(asked) == crm.has_tokens


# --- Existing records ---------------------------------------------------------------------------------------------------


def test_nothing_that_a_person_has_edited_is_overwritten(pipeline: Pipeline, crm: CrmSubject) -> None:
    deliver(pipeline)
    record, _ = one(crm)
    crm.edit(record, company="Their name", title=None, **({"rating": "cold"} if crm.ratings else {}))
    leads = [deliver(pipeline, "PLT"), deliver(pipeline, "Create")]
    _, values = one(crm)
    assert (values["company"], values["title"]) == ("Their name", "")
    assert values["rating"] in ("cold", "")
    assert told(crm, leads) == sorted(leads)


@rated
@pytest.mark.parametrize("has_task", [True, False])
def test_a_rating_that_no_person_has_changed_rises_and_edits_are_not_forgotten(
    pipeline: Pipeline, crm: CrmSubject, has_task: bool
) -> None:
    if has_task and "task" in destination_class(crm.type_name).follow_ups:
        pipeline.offer(crm.config | {"follow_up": {"cross_listed": {"task": {}}}})
    deliver(pipeline, "DNC")
    crm.edit(one(crm)[0], title=None)
    for action, rating in (("INS", "warm"), ("PLT", "hot"), ("StartTestDrive", "hot")):
        deliver(pipeline, action)
        values = one(crm)[1]
        assert (values["rating"], values["title"]) == (rating, ""), (
            "our own change must not hide that a person was there"
        )


def test_edits_are_not_forgotten_when_an_answer_is_lost(pipeline: Pipeline, crm: CrmSubject) -> None:
    deliver(pipeline)
    crm.edit(one(crm)[0], title=None)
    lose_answer(pipeline, crm, "PLT")
    deliver(pipeline, "Create")
    values = one(crm)[1]
    assert values["rating"] in ("hot", "") and values["title"] == ""


def test_a_later_lead_fills_empty_fields_and_placeholders(pipeline: Pipeline, crm: CrmSubject) -> None:
    deliver(pipeline, UserDetails={"Email": "someone@gmail.com"})
    deliver(pipeline, "PLT", "someone@gmail.com")
    values = one(crm)[1]
    assert (values["last"], values["company"], values["phone"]) == ("O'Neil", "Example Works", "16175555555")


@rated
def test_an_offer_may_ask_for_everything_to_be_overwritten(pipeline: Pipeline, crm: CrmSubject) -> None:
    pipeline.offer(crm.config, policies={"existing_records": "overwrite"})
    leads = [deliver(pipeline)]
    crm.edit(one(crm)[0], title="Their title", rating="cold")
    leads.append(deliver(pipeline, "PLT"))
    values = one(crm)[1]
    assert (values["title"], values["rating"]) == ("Engineer", "hot")
    assert told(crm, leads) == sorted(leads)


def test_a_record_of_a_trade_show_is_found_and_only_its_empty_fields_are_filled(
    pipeline: Pipeline, crm: CrmSubject
) -> None:
    theirs = crm.add(email=EMAIL.upper(), last="Oneil", **({"rating": "cold"} if crm.ratings else {}))
    leads = [deliver(pipeline, action) for action in ("PLT", "Create")]
    record, values = one(crm)
    assert (record, values["last"], values["phone"]) == (theirs, "Oneil", "16175555555")
    assert values["rating"] in ("cold", "")
    assert told(crm, leads) == sorted(leads)


def test_a_deleted_record_is_made_again_once(pipeline: Pipeline, crm: CrmSubject) -> None:
    deliver(pipeline)
    first, _ = one(crm)
    crm.delete(first)
    leads = [lose_answer(pipeline, crm, "PLT"), deliver(pipeline, "Create")]
    record, values = one(crm)
    assert record != first and values["last"] == "O'Neil"
    assert [lead in " ".join(crm.stages(record)) for lead in leads] == [True, True]


@pytest.mark.parametrize("policies", [{}, {"existing_records": "overwrite"}])
def test_or_it_stays_deleted(pipeline: Pipeline, crm: CrmSubject, policies: dict[str, str]) -> None:
    pipeline.offer(with_settings(crm, deleted_records="skip"), policies=policies)
    deliver(pipeline)
    crm.delete(one(crm)[0])
    lead = deliver(pipeline, "PLT")
    assert pipeline.delivery(lead).state is State.SKIPPED
    assert "deleted" in pipeline.delivery(lead).reason
    assert not crm.people()


@one_each
def test_a_customer_of_another_type_of_destination_under_the_same_name_is_no_deleted_record(
    crm: CrmSubject, pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(recording(vendor.url))
    known = deliver(pipeline)
    assert pipeline.delivery(known).record_id
    pipeline.offer(with_settings(crm, deleted_records="skip"))
    leads = [deliver(pipeline, action) for action in ("PLT", "Create")]
    record, _ = one(crm)
    assert told(crm, leads) == sorted(leads)
    assert [pipeline.delivery(lead).record_id for lead in leads] == [record, record]


def test_a_merged_record_is_followed_to_its_survivor(pipeline: Pipeline, crm: CrmSubject) -> None:
    deliver(pipeline)
    ours = one(crm)[0]
    survivor = crm.add(first="Siobhan")
    crm.merge(ours, survivor)
    lead = deliver(pipeline, "PLT")
    assert pipeline.delivery(lead).record_id == survivor
    assert one(crm)[1]["first"] == "Siobhan"
    assert [text for text in crm.stages(survivor) if lead in text]


# --- Do not contact -----------------------------------------------------------------------------------------------------


@rated
def test_a_cross_listed_lead_makes_a_record_that_says_do_not_contact_and_real_interest_takes_that_back(
    pipeline: Pipeline, crm: CrmSubject
) -> None:
    deliver(pipeline, "DNC")
    ((record, row),) = crm.rows().items()
    assert all(crm.flags(row)) and crm.people()[record]["rating"] == "cold"
    deliver(pipeline, "PLT")
    assert not any(crm.flags(crm.rows()[record])) and crm.people()[record]["rating"] == "hot"
    assert "not to contact" not in " ".join(crm.stages())


@rated
def test_a_cross_listed_lead_of_a_known_customer_is_a_stage_alone(pipeline: Pipeline, crm: CrmSubject) -> None:
    leads = [deliver(pipeline, action) for action in ("PLT", "DNC")]
    record, values = one(crm)
    assert not any(crm.flags(crm.rows()[record])) and values["rating"] == "hot"
    assert told(crm, leads) == sorted(leads)


@pytest.mark.parametrize("crm", [name for name in RATING if CRMS[name][0].knows_its_own], indirect=True)
def test_flags_stay_through_all_later_stages_once_a_person_has_touched_the_record(
    pipeline: Pipeline, crm: CrmSubject
) -> None:
    deliver(pipeline, "DNC")
    crm.edit(one(crm)[0], company="Their name")
    deliver(pipeline, "INS")  # raises the rating, and so is the last who changed the record
    deliver(pipeline, "PLT")
    record, values = one(crm)
    assert all(crm.flags(crm.rows()[record])) and values["rating"] == "hot"
    assert "not to contact" in crm.stages()[-1]


@rated
def test_by_policy_a_cross_listed_lead_sets_no_flags(pipeline: Pipeline, crm: CrmSubject) -> None:
    pipeline.offer(crm.config, policies={"dnc": "note"})
    deliver(pipeline, "DNC")
    assert not any(crm.flags(crm.rows()[one(crm)[0]]))


# --- Texts --------------------------------------------------------------------------------------------------------------


@one_each
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_arrives_as_it_was_written(pipeline: Pipeline, crm: CrmSubject, text: str) -> None:
    lead = deliver(pipeline, email=f"{uuid.uuid4()}@example.com", Description=f"<{text}>")
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert f"<{text}>" in crm.stages()[-1]


@one_each
def test_nothing_of_the_customer_or_of_secrets_is_logged_or_kept_with_the_attempt(
    pipeline: Pipeline, crm: CrmSubject, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    leads = [deliver(pipeline)]
    crm.vendor.fail_next(crm.refusal(f"{EMAIL} O'Neil"), crm.is_write)
    leads.append(deliver(pipeline, "PLT"))
    kept = " ".join([caplog.text, *(repr(pipeline.delivery(lead)) for lead in leads)])
    tokens = [request.headers.get("authorization", "-").removeprefix("Bearer ") for request in crm.vendor.journal]
    for secret in (EMAIL, "O'Neil", "16175555555", "Example Works", crm.secret("before"), *tokens):
        assert secret not in kept or secret == "-"


# --- The check ----------------------------------------------------------------------------------------------------------


@one_each
@pytest.mark.parametrize("answer", [None, Response(500), Response(429), Broken(acts=False)])
def test_a_check_during_an_outage_blames_no_setting(pipeline: Pipeline, crm: CrmSubject, answer: Any) -> None:
    crm.vendor.fault = lambda request: answer or (None if request.path.endswith("/token") else crm.busy)
    result = check_anew(pipeline, crm.config)
    assert not result.ok and result.transient


@one_each
@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_host_that_is_not_the_vendors_means_a_wrong_address(pipeline: Pipeline, crm: CrmSubject, status: int) -> None:
    crm.vendor.fault = lambda request: Response(status, b"<html>Welcome</html>")
    result = check_anew(pipeline, crm.config)
    assert not result.ok and not result.transient
    assert crm.address_setting in result.problem
