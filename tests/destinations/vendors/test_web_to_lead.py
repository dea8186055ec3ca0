"""Salesforce Web-to-Lead, from the intake to the form: handed over, unconfirmed, and never more than a day admits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError

from leads import cli, destinations
from leads.app import App
from leads.core.lead import Stage
from leads.core.lead_parsing import parse_record
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry, Unknown
from leads.core.states import State
from leads.destinations.base import OWN_OUTAGE_SECONDS, CheckResult, Context, Customer, OutgoingLead
from leads.destinations.text import NOT_PROVIDED
from leads.destinations.vendors.salesforce_web_to_lead import HANDED_OVER, id_suffix
from leads.offers.model import InvalidOffer, read_offer
from leads.operations.operation import Nothing
from leads.operations.status import show_status
from leads.pipeline.delivery import deliver as deliver_message
from leads.pipeline.http import status_of
from leads.platform.storage import Table
from tests.fakes.chat import Chat
from tests.fakes.https_server import LOSE_ANSWER, Broken, Request, Response
from tests.fakes.tls import Authority
from tests.fakes.web_to_lead import OFFER_FIELD, OID, WebToLead
from tests.support.pipeline import (
    Pipeline,
    TestClock,
    a_lead,
    check_anew,
    destination_entry,
    pipeline_over_tls,
    text_of,
)

CAMPAIGN = "701xx0000004Q9R"


@pytest.fixture
def salesforce(authority: Authority) -> Iterator[WebToLead]:
    with WebToLead(authority) as running:
        yield running


@pytest.fixture
def pipeline(
    fresh_storage: str, authority: Authority, salesforce: WebToLead, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)
    salesforce.now = made.clock.now
    made.offer(crm(salesforce))
    return made


def crm(salesforce: WebToLead, **more: Any) -> dict[str, Any]:
    return destination_entry("salesforce_web_to_lead", {"oid": OID, "url": salesforce.url}, **more)


def deliver(pipeline: Pipeline, action: str = "INS", email: str = "ada@example.com", **changes: Any) -> str:
    """A lead, from its post until it is settled."""
    lead = pipeline.post(a_lead(email, action, **changes))
    pipeline.run()
    return lead


def person(**changes: str) -> dict[str, Any]:
    return {"UserDetails": a_lead()["UserDetails"] | changes}


def send(app: App, salesforce: WebToLead, **settings: Any) -> Outcome:
    context = Context(app.settings, app.secrets, app.storage)
    made = destinations.make("salesforce_web_to_lead", crm(salesforce, **settings)["settings"], context)
    outgoing = OutgoingLead(
        "20260101000000000-0123456789ab-c",
        parse_record(a_lead()),
        "contoso.crm",
        "crm",
        Stage.UNKNOWN,
        datetime.now(UTC),
    )
    return made.send(outgoing, Customer("c" * 32))


def check(pipeline: Pipeline, salesforce: WebToLead, **more: Any) -> CheckResult:
    return check_anew(pipeline, crm(salesforce, **more))


def posts(salesforce: WebToLead) -> list[Request]:
    return [request for request in salesforce.journal if request.method == "POST"]


# --- The form -----------------------------------------------------------------------------------------------------------


def test_a_lead_arrives_with_its_fields_and_its_whole_story(pipeline: Pipeline, salesforce: WebToLead) -> None:
    lead = deliver(pipeline, "PLT", "ada+crm@example.com", Description='{"mktcmpid": "42"}', Tier="gold")
    (made,) = salesforce.leads
    summary = made.pop("description")
    assert made == {
        "first_name": "Ada",
        "last_name": "O'Neil",
        "email": "ada+crm@example.com",
        "phone": "16175555555",
        "company": "Example Works",
        "title": "Engineer",
        "lead_source": "AzureMarketplace",
        "rating": "Hot",
    }
    for said in ("Contact requested", "Contoso CRM", "Country: USA", "Campaign mktcmpid: 42", "Tier: gold", lead):
        assert said in summary


def test_it_is_reported_as_handed_over_and_unconfirmed(
    pipeline: Pipeline, salesforce: WebToLead, fresh_storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lead = deliver(pipeline)
    delivery = pipeline.delivery(lead)
    assert delivery.state is State.DELIVERED
    assert (delivery.attempts[-1].code, delivery.record_id) == (HANDED_OVER, "")
    assert status_of(pipeline.record(lead))["destinations"]["crm"]["unconfirmed"]
    assert pipeline.ask(show_status, Nothing()).unconfirmed_of_last_24_hours == 1
    for command, said in (
        (["leads", "list"], "delivered (unconfirmed)"),
        (["leads", "show", lead], "delivered (unconfirmed)"),
        (["leads", "show", lead], "handed_over_unconfirmed"),
        (["status"], "last 24 hours   1 delivered (1 unconfirmed)"),
    ):
        assert cli.main(command) == 0
        assert said in capsys.readouterr().out


def test_it_is_announced_as_unconfirmed(
    pipeline: Pipeline, salesforce: WebToLead, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Chat(authority) as chat:
        monkeypatch.setenv("LEADS_SECRET_CHAT", f"{chat.url}/sales")
        pipeline.offer(crm(salesforce), announce={"webhook": "env:LEADS_SECRET_CHAT", "format": "slack"})
        lead = deliver(pipeline)
        pipeline.tick()
        assert [post["text"].splitlines()[1:] for post in chat.posts] == [
            [f"Initial interest – crm (unconfirmed), lead {lead}"]
        ]


def test_each_stage_is_a_separate_lead(pipeline: Pipeline, salesforce: WebToLead) -> None:
    for action in ("INS", "StartTestDrive", "PLT"):
        deliver(pipeline, action)
    assert [lead["rating"] for lead in salesforce.leads] == ["Warm", "Warm", "Hot"]
    assert len({lead["email"] for lead in salesforce.leads}) == 1


def test_the_form_is_posted_once_in_utf_8_and_the_address_holds_nothing_of_the_customer(
    pipeline: Pipeline, salesforce: WebToLead
) -> None:
    deliver(pipeline, **person(FirstName="Zoë", LastName="Łukasz", Company="北京 & Søn"))
    (request,) = posts(salesforce)
    assert request.query == {"encoding": "UTF-8", "orgId": OID}
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert (request.form["oid"], request.form["encoding"]) == (OID, "UTF-8")
    assert not {"debug", "debugEmail", "retURL"} & request.form.keys()
    (made,) = salesforce.leads
    assert (made["first_name"], made["last_name"], made["company"]) == ("Zoë", "Łukasz", "北京 & Søn")


def test_an_id_of_18_characters_is_the_same_organization(pipeline: Pipeline, salesforce: WebToLead) -> None:
    pipeline.offer(crm(salesforce, oid=OID + id_suffix(OID)))
    deliver(pipeline)
    assert len(salesforce.leads) == 1
    assert posts(salesforce)[0].form["oid"] == OID


def test_required_fields_are_present_in_every_lead(pipeline: Pipeline, salesforce: WebToLead) -> None:
    deliver(pipeline, **person(LastName="", Company="", Email="ada@contoso.example.com"))
    deliver(pipeline, **person(FirstName="", LastName="", Company="", Email="", Phone=""))
    assert [(lead["last_name"], lead["company"]) for lead in salesforce.leads] == [
        (NOT_PROVIDED, "contoso.example.com"),
        (NOT_PROVIDED, NOT_PROVIDED),
    ]


def test_a_mapping_that_leaves_a_required_field_out_costs_no_lead(pipeline: Pipeline, salesforce: WebToLead) -> None:
    pipeline.offer(crm(salesforce, mapping={"last_name": None, "company": "{campaign.none}"}))
    deliver(pipeline)
    assert (salesforce.leads[0]["last_name"], salesforce.leads[0]["company"]) == (NOT_PROVIDED, NOT_PROVIDED)


def test_a_too_long_text_is_shortened_and_complete_in_the_description(
    pipeline: Pipeline, salesforce: WebToLead
) -> None:
    long = {"FirstName": "F" * 60, "LastName": "L" * 100, "Company": "C" * 300, "Title": "🎈" * 100, "Phone": "1" * 60}
    deliver(pipeline, LeadSource="S" * 50, **person(**long))
    (made,) = salesforce.leads
    assert made["company"] == "C" * 39 + "…"
    assert made["title"] == "🎈" * 19 + "…"
    assert "phone" not in made, "half a number would be a wrong one"
    assert all(text in made["description"] for text in long.values())


def test_a_description_longer_than_the_column_is_cut(pipeline: Pipeline, salesforce: WebToLead) -> None:
    deliver(pipeline, Description="x" * 40_000)
    assert len(salesforce.leads[0]["description"]) == 32_000


@pytest.mark.parametrize("email", ["ada", "ada@localhost", ".ada@example.com", "müller@example.com", "a b@example.com"])
def test_an_address_that_salesforce_would_refuse_is_only_in_the_description(
    pipeline: Pipeline, salesforce: WebToLead, email: str
) -> None:
    deliver(pipeline, email=email)
    (made,) = salesforce.leads
    assert "email" not in made
    assert f"E-mail: {email}" in made["description"]


@pytest.mark.parametrize(("dnc", "flagged"), [("flag", True), ("note", False)])
def test_a_lead_that_need_not_be_contacted_is_flagged_by_policy(
    pipeline: Pipeline, salesforce: WebToLead, dnc: str, flagged: bool
) -> None:
    pipeline.offer(crm(salesforce), policies={"dnc": dnc})
    deliver(pipeline, "DNC")
    (made,) = salesforce.leads
    flags = {name for name in ("emailOptOut", "faxOptOut", "doNotCall") if made.get(name) == "1"}
    assert len(flags) == (3 if flagged else 0)
    assert made["rating"] == "Cold"


def test_fields_of_ones_own_are_named_as_the_generated_form_names_them(
    pipeline: Pipeline, salesforce: WebToLead
) -> None:
    mapping = {OFFER_FIELD: "{offer_title}", "doNotCall": True, "emailOptOut": False, "rating": None, "nonsense": 1}
    pipeline.offer(crm(salesforce, mapping=mapping))
    deliver(pipeline)
    (made,) = salesforce.leads
    assert (made[OFFER_FIELD], made["doNotCall"]) == ("Contoso CRM", "1")
    assert not {"emailOptOut", "rating", "nonsense"} & made.keys()


def test_a_mapping_can_not_change_the_organization(pipeline: Pipeline, salesforce: WebToLead) -> None:
    pipeline.offer(crm(salesforce, mapping={"oid": "{email}", "encoding": "UTF-16"}))
    deliver(pipeline)
    assert len(salesforce.leads) == 1


def test_the_follow_up_rates_a_lead_and_adds_it_to_a_campaign(pipeline: Pipeline, salesforce: WebToLead) -> None:
    pipeline.offer(crm(salesforce, follow_up={"initial_interest": {"rating": "cold", "campaign": CAMPAIGN}}))
    deliver(pipeline)
    assert (salesforce.leads[0]["rating"], salesforce.leads[0]["Campaign_ID"]) == ("Cold", CAMPAIGN)


COUNTRIES = {"United States", "United Kingdom", "Germany", "Viet Nam", "Korea, Republic of"}


@pytest.mark.parametrize("sent", ["USA", "UK", "Deutschland", "vietnam", "South Korea", "Atlantis", ""])
@pytest.mark.parametrize("picklist", [True, False])
@pytest.mark.parametrize("mapping", [{}, {"country": "{country_name}"}])
def test_no_country_costs_a_lead_with_picklists_of_countries_or_without(
    pipeline: Pipeline, salesforce: WebToLead, sent: str, picklist: bool, mapping: dict[str, str]
) -> None:
    if picklist:
        salesforce.picklists["country"] = COUNTRIES
    pipeline.offer(crm(salesforce, mapping=mapping))
    deliver(pipeline, **person(Country=sent))
    (made,) = salesforce.leads
    named = bool(mapping) and sent not in {"Atlantis", ""}
    assert (made.get("country") in COUNTRIES) is named
    assert sent in made["description"]


@pytest.mark.parametrize(
    ("mapping", "trouble"),
    [
        ({"country": "{country}"}, "country is not in the picklist"),
        ({"rating": "scorching"}, "rating is not in the picklist"),
    ],
)
def test_salesforce_does_not_report_dropped_leads_so_that_they_count_as_delivered(
    pipeline: Pipeline, salesforce: WebToLead, mapping: dict[str, str], trouble: str
) -> None:
    salesforce.picklists["country"] = COUNTRIES
    pipeline.offer(crm(salesforce, mapping=mapping))
    lead = deliver(pipeline)
    assert (salesforce.leads, salesforce.dropped) == ([], [trouble])
    assert pipeline.delivery(lead).state is State.DELIVERED
    assert pipeline.delivery(lead).unconfirmed


def test_where_salesforce_says_that_it_failed_the_lead_is_not_lost(pipeline: Pipeline, salesforce: WebToLead) -> None:
    salesforce.says_exception = True
    pipeline.offer(crm(salesforce, oid="00Dxx0000001gEr"))
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).state is State.DEAD_LETTER
    assert "check oid" in pipeline.delivery(lead).reason
    pipeline.offer(crm(salesforce))
    assert pipeline.delivery(deliver(pipeline, "PLT")).state is State.DELIVERED


# --- Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["012Kb000000wugkIAA", "08730000000l6DGAAY", "a2x80000003oKpYAAU"])
def test_the_suffix_of_an_id_is_computed_as_salesforce_does(identifier: str) -> None:
    assert id_suffix(identifier[:15]) == identifier[15:]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"oid": OID[:14]}, "settings.oid"),
        ({"oid": OID + "A"}, "settings.oid"),
        ({"oid": "001xx0000001gER"}, "settings.oid"),
        ({"oid": OID + "AAA"}, "settings.oid: its last three characters do not fit the others"),
        ({"oid": (OID + id_suffix(OID)).replace("gER", "ger")}, "settings.oid: its last three characters do not fit"),
        ({"url": "http://webto.salesforce.com/servlet/servlet.WebToLead"}, "settings.url"),
        ({"url": "https://webto.salesforce.com/servlet/servlet.WebToLead?encoding=UTF-8"}, "settings.url"),
        ({"daily_limit": 0}, "settings.daily_limit"),
        ({"secret": "env:X"}, "settings.secret"),
        ({"follow_up": {"purchase": {"owner": "user:1"}}}, "follow_up.purchase.owner"),
        ({"follow_up": {"purchase": {"campaign": "701xx0000004Q9RAAA"}}}, "follow_up.purchase.campaign"),
        ({"mapping": {OFFER_FIELD: "{frist_name}"}}, f"mapping.{OFFER_FIELD}"),
    ],
)
def test_settings_that_can_not_be_right_are_refused_when_the_offer_is_saved(
    salesforce: WebToLead, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidOffer) as refused:
        read_offer({"id": "x.y", "destinations": [crm(salesforce, **settings)]})
    assert said in str(refused.value)


# --- The check ----------------------------------------------------------------------------------------------------------


def test_the_check_posts_nothing_and_can_not_see_a_wrong_organization(
    pipeline: Pipeline, salesforce: WebToLead
) -> None:
    assert check(pipeline, salesforce).ok
    assert check(pipeline, salesforce, oid="00Dxx0000001gEr").ok
    assert posts(salesforce) == []


@pytest.mark.parametrize(
    ("answer", "ok", "transient"),
    [
        (Response(200), True, False),
        (Response(405), True, False),
        (Response(302), True, False),
        (Response(301), False, False),
        (Response(404), False, False),
        (Response(503), False, True),
        (Broken(acts=False), False, True),
    ],
)
def test_the_check_says_whether_the_address_answers(
    pipeline: Pipeline, salesforce: WebToLead, answer: Any, ok: bool, transient: bool
) -> None:
    salesforce.fail_next(answer)
    found = check(pipeline, salesforce)
    assert (found.ok, found.transient) == (ok, transient)
    assert ok or found.problem


def test_the_check_says_when_the_daily_limit_is_used_up_and_sends_no_request(
    pipeline: Pipeline, salesforce: WebToLead
) -> None:
    pipeline.offer(crm(salesforce, daily_limit=1))
    deliver(pipeline)
    salesforce.journal.clear()
    found = check(pipeline, salesforce, daily_limit=1)
    assert (found.ok, found.transient, found.code) == (False, False, "daily_limit")
    assert re.search(r"accepts 1 leads in 24 hours .* from \d{4}-\d\d-\d\d \d\d:05 UTC\.", found.problem)
    assert salesforce.journal == []


# --- Outcomes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome", "counted"),
    [
        (200, Delivered, True),
        (202, Delivered, True),
        (301, Misconfigured, False),
        (302, Unknown, True),
        (303, Unknown, True),
        (308, Misconfigured, False),
        (400, Rejected, True),
        (403, Misconfigured, False),
        (404, Misconfigured, False),
        (405, Misconfigured, False),
        (408, Retry, False),
        (413, Rejected, True),
        (429, Retry, False),
        (500, Unknown, True),
        (502, Unknown, True),
        (503, Retry, False),
        (504, Unknown, True),
    ],
)
def test_each_status_has_its_outcome_and_counts_unless_salesforce_can_not_have_the_lead(
    pipeline: Pipeline, salesforce: WebToLead, status: int, outcome: type[Outcome], counted: bool
) -> None:
    salesforce.fail_next(Response(status, b"", {"Retry-After": "30"}))
    got = send(pipeline.app, salesforce, daily_limit=1)
    assert isinstance(got, outcome)
    if isinstance(got, Retry):
        assert (got.code, got.after) == (str(status), 30)
    assert check(pipeline, salesforce, daily_limit=1).ok is not counted


def test_a_lead_that_was_not_sent_is_retried_and_does_not_count(pipeline: Pipeline, salesforce: WebToLead) -> None:
    with salesforce.refusing_connections():
        for _ in range(3):
            assert send(pipeline.app, salesforce, daily_limit=1) == Retry("connection_refused")
    assert isinstance(send(pipeline.app, salesforce, daily_limit=1), Delivered)


def test_a_lost_answer_is_resent_once_and_marked_possibly_twice(pipeline: Pipeline, salesforce: WebToLead) -> None:
    salesforce.fail_next(LOSE_ANSWER)
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).state is State.RETRY
    pipeline.advance(13)
    delivery = pipeline.delivery(lead)
    assert (delivery.state, delivery.possibly_twice) == (State.DELIVERED, True)
    assert len(salesforce.leads) == 2
    assert all(f"Lead: {lead}" in made["description"] for made in salesforce.leads), "by which a person finds both"


def test_a_second_lost_answer_leaves_the_lead_to_a_person(pipeline: Pipeline, salesforce: WebToLead) -> None:
    salesforce.fault = lambda request: LOSE_ANSWER if request.method == "POST" else None
    lead = deliver(pipeline)
    pipeline.tick(5)
    assert pipeline.delivery(lead).state is State.HELD
    assert len(salesforce.leads) == 2


def test_whatever_is_written_into_any_field_arrives_as_text(pipeline: Pipeline, salesforce: WebToLead) -> None:
    hostile = "a&oid=x&last_name=y;=%26%00+ \"'<b>{email}\r\nX-Evil: 1\u2028\\' OR 1=1 --"
    fields = ("FirstName", "LastName", "Phone", "Title", "Company", "Country")
    lead = deliver(
        pipeline, email=hostile, Description=hostile, Tier=hostile, **person(**dict.fromkeys(fields, hostile))
    )
    (made,) = salesforce.leads
    kept = pipeline.record(lead).lead
    assert kept is not None
    assert kept.company.count("&oid=x") == 1
    for name, text in (("first_name", kept.first_name), ("title", kept.title), ("company", kept.company)):
        assert made[name][:-1] == text[:39].rstrip()
    assert made["description"].count(kept.description) >= 1
    assert not [request for request in salesforce.journal if "x-evil" in request.headers]


# --- The daily limit ----------------------------------------------------------------------------------------------------


def test_without_an_answer_from_storage_nothing_is_sent_and_the_lead_comes_again(
    pipeline: Pipeline, salesforce: WebToLead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise ServiceRequestError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Table, "get", fail)
        assert send(pipeline.app, salesforce) == Retry("allowance_unavailable", OWN_OUTAGE_SECONDS, ours=True)
        assert check(pipeline, salesforce).transient
    assert posts(salesforce) == []


def test_offers_of_one_organization_share_the_daily_limit_and_a_lower_limit_pauses_only_its_own_offers(
    pipeline: Pipeline, salesforce: WebToLead
) -> None:
    pipeline.offer(crm(salesforce, daily_limit=3))
    pipeline.offer(crm(salesforce, daily_limit=1), offer_id="contoso.erp", titles=["Contoso ERP"])
    first = deliver(pipeline)
    second = deliver(pipeline, OfferTitle="Contoso ERP")
    third = deliver(pipeline, "PLT")
    states = [pipeline.delivery(lead).state for lead in (first, second, third)]
    assert states == [State.DELIVERED, State.PARKED, State.DELIVERED]


def test_by_default_as_many_leads_are_sent_a_day_as_salesforce_takes(salesforce: WebToLead) -> None:
    assert destinations.read_settings("salesforce_web_to_lead", {"oid": OID}).daily_limit == salesforce.limit  # type: ignore[attr-defined]


def test_of_60_leads_in_a_day_50_are_sent_and_10_on_the_next_none_lost_and_none_twice(
    fresh_storage: str,
    authority: Authority,
    salesforce: WebToLead,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """20 come at eight, at noon and at four; two instances send them. Salesforce takes 50."""
    caplog.set_level("INFO", "leads")
    time = TestClock()
    instances = [pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch, time) for _ in range(2)]
    salesforce.now, salesforce.limit = time.now, 50
    instances[0].offer(crm(salesforce, daily_limit=50))

    def an_hour() -> None:
        time.time += timedelta(minutes=57)
        for _ in range(3):
            time.time += timedelta(minutes=1)
            instances[0].watch()
            work(instances)

    leads: list[str] = []
    for hour in range(24):
        if hour in {8, 12, 16}:
            leads += [instances[0].post(a_lead(f"c{hour}-{number}@example.com")) for number in range(20)]
            work(instances)
        an_hour()
    assert len(salesforce.leads) == 50
    assert instances[0].ask(show_status, Nothing()).undelivered[State.PARKED] == 10
    for _ in range(24):
        an_hour()
    assert len(salesforce.leads) == 60
    stories = "\n".join(made["description"] for made in salesforce.leads)
    assert Counter(re.findall(r"^Lead: (.+)$", stories, re.MULTILINE)) == dict.fromkeys(leads, 1)
    assert salesforce.pending == [], "never more than Salesforce takes"
    assert not any(instances[0].ask(show_status, Nothing()).undelivered.values())
    assert len(posts(salesforce)) == len(leads)
    questions = len(salesforce.journal) - len(leads)
    assert questions <= 2 * 24 + 10, "one an hour while nothing is sent, and one each time the connection opens"
    assert caplog.text.count("event=connection_paused") <= 10, "about once for each hour in which room comes free"


def work(instances: list[Pipeline]) -> None:
    """Let all instances deliver at the same time, with two threads each, until no message is visible."""
    for instance in instances:
        instance.queue.release()

    def deliver_all(instance: Pipeline) -> None:
        while messages := instance.queue.receive(16, 300):
            for message in messages:
                deliver_message(instance.app, text_of(message))
                instance.queue.delete(message)

    with ThreadPoolExecutor(2 * len(instances)) as threads:
        list(threads.map(deliver_all, instances * 2))
