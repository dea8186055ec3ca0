"""Preview shows the requests that the app sends, and sends nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.core.identity import new_lead_id
from leads.core.lead_parsing import parse_record
from leads.destinations import destination_class
from leads.destinations.base import MASK, Customer, PreviewedRequest
from leads.destinations.vendors.marketo.records import DEFAULT_MAPPING
from leads.offers.model import Offer, read_offer
from leads.operations.preview import Preview, WantedPreview, preview_lead
from leads.operations.problems import Invalid, NotFound, TooLarge
from leads.pipeline.attempt import outgoing_lead
from tests.destinations.faults.subjects import SECRETS, SUBJECTS, Subject, running
from tests.fakes import marketo
from tests.fakes.https_server import Request
from tests.fakes.tls import Authority
from tests.support.pipeline import LEAD, Pipeline, a_lead, crm, pipeline_over_tls
from tests.support.strategies import bodies
from tests.support.vendor import Vendor

FOLLOW_UP = {"contact_requested": {"task": {"subject": "Call {first_name}", "due_hours": 4}}}


def preview(pipeline: Pipeline, **wanted: Any) -> Preview:
    return pipeline.ask(preview_lead, WantedPreview.model_validate(wanted))


# What is shown is what is sent


@pytest.fixture(params=sorted(SUBJECTS))
def subject(
    request: pytest.FixtureRequest, authority: Authority, monkeypatch: pytest.MonkeyPatch, fresh_storage: str
) -> Iterator[Subject]:
    """A destination of each type with its vendor."""
    with running(SUBJECTS[request.param](authority, monkeypatch, fresh_storage)) as made:
        yield made


def test_the_requests_shown_are_those_that_the_vendor_sees(
    subject: Subject, authority: Authority, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_shown_as_sent(subject, subject.config, pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch))


def test_the_requests_shown_are_those_of_a_form_where_marketo_is_to_fill_one_out(
    authority: Authority, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(SUBJECTS["marketo"](authority, monkeypatch, fresh_storage)) as subject:
        config = subject.config
        config["settings"] |= {"form_id": marketo.FORM, "static_list": int(marketo.LIST)}
        on_form = [*DEFAULT_MAPPING, "rating", "marketplaceJourney"]
        assert isinstance(subject.vendor, marketo.Marketo)
        subject.vendor.forms = {marketo.FORM: marketo.Form(dict.fromkeys(on_form, False))}
        assert_shown_as_sent(subject, config, pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch))


def assert_shown_as_sent(subject: Subject, config: dict[str, Any], pipeline: Pipeline) -> None:
    """Preview a customer's first lead, send the lead, and compare with the vendor's requests."""
    has_tasks = "task" in destination_class(config["type"]).follow_ups
    follow_up = FOLLOW_UP if has_tasks else {}
    offer = read_offer({"id": "contoso.crm", "destinations": [config | {"follow_up": follow_up}]})
    lead, now = parse_record(a_lead(action="PLT", PartnerTier="gold")), datetime.now(UTC)
    outgoing = outgoing_lead(
        offer,
        offer.destinations[0],
        lead,
        lead_id=new_lead_id(now, lead),
        received_at=now,
        stage=offer.stage(lead),
    )
    destination, customer = pipeline.app.destination(offer.destinations[0]), Customer("c" * 32, "", str(uuid4()))
    shown = destination.preview(outgoing, customer)
    assert [request for server in subject.servers for request in server.journal] == [], "it sends nothing"
    destination.send(outgoing, customer)
    # The preview leaves out sign-in and questions about fields.
    asked = [one for one in subject.vendor.journal if one.method != "GET" and "/oauth" not in one.path]
    assert len(shown) == len(asked)
    for previewed, request in zip(shown, asked, strict=True):
        assert_same(previewed, request, subject)


def assert_same(previewed: PreviewedRequest, request: Request, subject: Subject) -> None:
    assert previewed.method == request.method
    address = previewed.url.removeprefix(f"(env:{subject.secret_setting})").removeprefix(subject.vendor.url)
    assert request.target.endswith(address)
    for name, value in previewed.headers.items():
        sent = request.headers[name.lower()]
        if MASK in value:
            assert sent.startswith(value.partition(MASK)[0])
            assert sent != value
        elif "boundary=" not in value:
            assert sent == value
    if "form-urlencoded" in request.headers.get("content-type", ""):
        assert request.form == previewed.body
    elif not previewed.parts and request.body:
        # The Table client adds the type of each column.
        sent_body = json.loads(subject.as_previewed(request.body))
        assert {name: sent_body[name] for name in sent_body if "@odata.type" not in name} == previewed.body
    text = request.body.decode()
    for part in previewed.parts:
        assert f"{part.method} {part.url} HTTP/1.1" in text
        assert all(f"{name}: {value}\r\n" in text for name, value in part.headers.items())
        assert part.body is None or json.dumps(part.body) in text


def test_secrets_are_masked_and_not_even_read(
    subject: Subject, authority: Authority, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    offer = {"id": "contoso.crm", "destinations": [subject.config]}
    found = preview(pipeline, offer=offer)
    assert [request for server in subject.servers for request in server.journal] == []
    for secret in (*SECRETS.values(), *([subject.secret("before")] if subject.has_secret else []), "AccountKey"):
        assert secret not in found.model_dump_json()
    monkeypatch.delenv(subject.secret_setting, raising=False)
    again = preview(pipeline, offer=offer)
    assert [request.method for request in again.destinations[0].requests] == [
        request.method for request in found.destinations[0].requests
    ]


def test_a_webhooks_own_headers_are_masked(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_SECRET_HOOK_TOKEN", "s3cret")
    settings = {
        "url": "https://hooks.example.com/x",
        "secret": "keyvault:hook",
        "headers": {"Authorization": "env:LEADS_SECRET_HOOK_TOKEN"},
    }
    found = preview(
        pipeline, offer={"id": "a.b", "destinations": [{"name": "h", "type": "webhook", "settings": settings}]}
    )
    headers = found.destinations[0].requests[0].headers
    assert (headers["Authorization"], headers["webhook-signature"]) == (MASK, f"v1,{MASK}")


# Which lead, and where it goes


def test_a_lead_is_routed_staged_and_rendered_as_it_would_be(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url), crm(vendor.url, "purchases", when={"stage": ["purchase"], "country": ["DE"]}))
    found = preview(pipeline, lead=a_lead(action="PLT"))
    assert (found.offer, found.stage, found.country_code, found.is_test) == (
        "contoso.crm",
        "contact_requested",
        "US",
        False,
    )
    first, second = found.destinations
    (request,) = first.requests
    body: Any = request.body
    assert (body["lead"]["email"], body["stage"], body["customer_record"]) == (
        "ada@example.com",
        "contact_requested",
        "",
    )
    assert (second.requests, second.skipped) == ([], "when.stage: only purchase; the lead is contact_requested")
    assert preview(pipeline, lead=a_lead(action="Create")).destinations[1].skipped == (
        "when.country: only DE; the lead has US"
    )
    assert vendor.calls == []


@pytest.mark.parametrize(
    ("policies", "lead", "why"),
    [
        ({"test_leads": "skip"}, a_lead("MSFT_TEST_636573304831318844@test.com"), "policy test_leads"),
        ({"dnc": "skip"}, a_lead(action="DNC"), "policy dnc"),
    ],
)
def test_a_policy_that_would_skip_it_is_named(
    pipeline: Pipeline, vendor: Vendor, policies: dict[str, str], lead: dict[str, Any], why: str
) -> None:
    pipeline.offer(crm(vendor.url), policies=policies)
    assert why in preview(pipeline, lead=lead).destinations[0].skipped
    assert pipeline.post(lead)
    pipeline.run()
    assert vendor.calls == []


def test_a_made_up_customer_does_what_one_asks_for(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    found = preview(pipeline, offer_id="crm", action="Create")
    assert (found.offer, found.stage) == ("contoso.crm", "purchase")
    body: Any = found.destinations[0].requests[0].body
    assert body["lead"]["email"].endswith("@example.com")


def test_an_offer_that_is_not_saved_takes_the_place_of_its_namesake(pipeline: Pipeline, vendor: Vendor) -> None:
    stored = pipeline.offer(crm(vendor.url))
    unsaved: Offer = read_offer(stored.model_dump() | {"id": "Contoso.CRM", "stages": {"INS": "trial"}})
    assert preview(pipeline, offer=unsaved.model_dump()).stage == "trial"
    assert preview(pipeline, offer_id="contoso.crm").stage == "initial_interest"


def test_a_lead_that_no_offer_takes_is_unrouted(pipeline: Pipeline) -> None:
    found = preview(pipeline, lead=a_lead())
    assert (found.offer, found.stage, found.destinations) == ("", "initial_interest", [])


@pytest.mark.parametrize(
    ("wanted", "problem", "text"),
    [
        ({"offer_id": "contoso.nope"}, NotFound, "offer: no offer has the id contoso.nope"),
        ({"lead": "{"}, Invalid, "lead: "),
        ({"lead": ""}, Invalid, "lead: The body is empty"),
        ({"lead": []}, Invalid, "lead: "),
        ({"lead": {"Description": "x" * 300_000}}, TooLarge, "lead: has more than 262144 bytes"),
    ],
)
def test_a_wrong_preview_is_one_line(
    pipeline: Pipeline, vendor: Vendor, wanted: dict[str, Any], problem: type[Exception], text: str
) -> None:
    pipeline.offer(crm(vendor.url), offer_id="*")
    with pytest.raises(problem, match=f"^{text}") as refused:
        preview(pipeline, **wanted)
    assert len(str(refused.value).splitlines()) == 1


def test_a_preview_shows_that_a_type_would_refuse_the_lead(pipeline: Pipeline) -> None:
    settings = {"munchkin_id": "123-ABC-456", "client_id": "0" * 36, "client_secret": "env:LEADS_SECRET_MARKETO"}
    offer = {"id": "a.b", "destinations": [{"name": "m", "type": "marketo", "settings": settings}]}
    (found,) = preview(pipeline, offer=offer, lead=a_lead(email="")).destinations
    assert found.requests == []
    assert found.problem.startswith("The lead has no e-mail address")


def test_a_fault_in_one_type_is_its_answer_alone(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url), {"name": "table", "type": "azure_table"})

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError(LEAD["UserDetails"]["Email"])

    monkeypatch.setattr("leads.destinations.vendors.azure_table.to_entity", broken)
    first, second = preview(pipeline, lead=a_lead()).destinations
    assert (first.problem, len(first.requests)) == ("", 1)
    assert second.problem.startswith("The preview itself failed: ZeroDivisionError at ")
    assert "ada@" not in second.problem


@given(body=bodies | st.binary(max_size=40))
@settings(max_examples=30)
def test_any_text_is_shown_as_a_lead_or_refused_in_one_line(shared: Pipeline, body: bytes) -> None:
    try:
        found = preview(shared, lead=body.decode(errors="replace"))
    except Invalid as refused:
        assert str(refused).startswith("lead: ")
        return
    assert found.destinations[0].problem == ""


@pytest.fixture(scope="module")
def shared(azurite: Any) -> Iterator[Pipeline]:
    """A pipeline with one table, for many examples."""
    with pytest.MonkeyPatch.context() as patch:
        made = Pipeline(azurite.account_connection_strings[-1], patch)
        made.offer({"name": "table", "type": "azure_table"}, offer_id="*")
        yield made
