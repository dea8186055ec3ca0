"""The webhook destination: signed calls that the official library verifies, from the intake to the receiver."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from leads import destinations
from leads.app import App
from leads.core.clock import now
from leads.core.lead import Stage
from leads.core.lead_parsing import parse_record
from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry
from leads.core.states import State
from leads.destinations.base import Context, Customer, OutgoingLead
from leads.destinations.mapping import FIELDS
from leads.offers.model import InvalidOffer, read_offer
from leads.pipeline.intake import accept
from leads.platform.settings import read_settings
from tests.fakes.https_server import LOSE_ANSWER
from tests.fakes.tls import Authority
from tests.fakes.webhook import Receiver
from tests.support.command_line import run_against
from tests.support.pipeline import Pipeline, TestClock, a_lead, pipeline_over_tls

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Receiver]:
    with Receiver(authority, [SECRET]) as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline that may reach this machine's network, with an offer for the receiver."""
    real_time = TestClock(datetime.now(UTC))  # by which the receiver refuses what is older than five minutes
    made = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch, real_time)
    monkeypatch.setenv("LEADS_SECRET_HOOK", SECRET)
    monkeypatch.setenv("LEADS_SECRET_HOOK_TOKEN", "Bearer abc")
    made.offer(hook(receiver))
    return made


def hook(receiver: Receiver, **settings: Any) -> dict[str, Any]:
    settings = {"url": receiver.url, "secret": "env:LEADS_SECRET_HOOK", **settings}
    return {"name": "hook", "type": "webhook", "settings": settings}


def send(app: App, settings: dict[str, Any], **lead: Any) -> Outcome:
    made = destinations.make("webhook", settings, Context(app.settings, app.secrets, app.storage))
    parsed = parse_record(a_lead(**lead))
    outgoing = OutgoingLead("20260101000000000-0123456789ab-c", parsed, "contoso.crm", "hook", Stage.UNKNOWN, now())
    return made.send(outgoing, Customer("c" * 32))


def test_a_lead_arrives_signed_under_an_id_of_lead_and_destination(pipeline: Pipeline, receiver: Receiver) -> None:
    lead = pipeline.post(a_lead("ada+crm@example.com", Description='{"mktcmpid": "42"}', Tier="gold"))
    pipeline.run()
    assert pipeline.delivery(lead, "hook").state is State.DELIVERED
    body = receiver.records[f"{lead}_hook"]
    assert (body["type"], body["version"]) == ("lead.received", 1)
    data = body["data"]
    assert (data["lead_id"], data["offer"], data["stage"]) == (lead, "contoso.crm", "initial_interest")
    assert data["customer"]["last_name"] == "O'Neil"
    assert data["customer"]["email"] == "ada+crm@example.com"
    assert data["campaign"] == {"mktcmpid": "42"}
    assert data["extra"] == {"Tier": "gold"}


def test_a_lost_answer_is_sent_again_under_the_same_id(pipeline: Pipeline, receiver: Receiver) -> None:
    receiver.status = lambda number: (503, {"Retry-After": "30"}) if number == 1 else (200, {})
    lead = pipeline.post()
    pipeline.run()
    pipeline.advance(29)
    assert pipeline.delivery(lead, "hook").state is State.RETRY
    pipeline.advance(2)
    assert pipeline.delivery(lead, "hook").state is State.DELIVERED
    assert receiver.calls == [f"{lead}_hook"] * 2
    assert len(receiver.records) == 1


def test_while_a_secret_is_changed_both_sign(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_SECRET_HOOK_NEXT", NEXT_SECRET)
    pipeline.offer(hook(receiver, secret="env:LEADS_SECRET_HOOK_NEXT", previous_secret="env:LEADS_SECRET_HOOK"))
    for accepted in ([SECRET], [NEXT_SECRET]):
        receiver.secrets = accepted
        lead = pipeline.post(a_lead(Description=accepted[0][-5:]))
        pipeline.run()
        assert pipeline.delivery(lead, "hook").state is State.DELIVERED


def test_a_secret_that_was_rotated_is_used_without_a_restart(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.secrets = [NEXT_SECRET]
    lead = pipeline.post()
    pipeline.run()
    assert pipeline.delivery(lead, "hook").state is State.RETRY
    monkeypatch.setenv("LEADS_SECRET_HOOK", NEXT_SECRET)
    pipeline.advance(13)
    assert pipeline.delivery(lead, "hook").state is State.DELIVERED


@pytest.fixture
def timeless(pipeline: Pipeline, authority: Authority) -> Iterator[Receiver]:
    """A receiver that ignores how far the test has moved the app's clock."""
    with Receiver(authority, [SECRET], real_time=False) as running:
        pipeline.offer(hook(running))
        yield running


def states(pipeline: Pipeline, leads: list[str]) -> set[State]:
    return {pipeline.delivery(lead, "hook").state for lead in leads}


def from_customers(pipeline: Pipeline, kind: str, count: int) -> list[str]:
    """Leads of this number of customers, one after the other."""
    leads = []
    for number in range(count):
        leads.append(pipeline.post(a_lead(f"{kind}{number}@example.com")))
        pipeline.run()
    return leads


@pytest.mark.parametrize("unsigned", [400, 401, 403, 422])
def test_a_secret_that_was_rotated_wrongly_pauses_the_connection_and_costs_no_lead(
    pipeline: Pipeline, timeless: Receiver, monkeypatch: pytest.MonkeyPatch, unsigned: int
) -> None:
    from_customers(pipeline, "before", 1)
    pipeline.advance(1)
    timeless.secrets, timeless.unsigned = [NEXT_SECRET], unsigned
    waiting = from_customers(pipeline, "during", 8)
    assert State.DEAD_LETTER not in states(pipeline, waiting)
    assert pipeline.app.connections.stored()[0].paused
    assert len(set(timeless.calls)) < 8, "the last of them were not even tried"
    pipeline.tick(3)
    assert State.DEAD_LETTER not in states(pipeline, waiting), "nor by a probe"
    monkeypatch.setenv("LEADS_SECRET_HOOK", NEXT_SECRET)
    pipeline.tick(6)
    assert states(pipeline, waiting) == {State.DELIVERED}
    assert not pipeline.app.connections.stored()[0].paused
    assert len(timeless.records) == 9


@pytest.mark.parametrize("unsigned", [400, 401])
def test_doctor_and_validate_tell_of_refused_deliveries_though_the_check_passes_until_one_comes_through(
    pipeline: Pipeline,
    timeless: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unsigned: int,
) -> None:
    run = run_against(capsys)
    timeless.secrets, timeless.unsigned = [NEXT_SECRET], unsigned
    for count in (1, 5):  # of one lead, and once the connection is paused
        from_customers(pipeline, f"during{count}", count)
        doctor, validated = run("doctor"), run("offers", "validate", "contoso.crm")
        for ran in (doctor, validated):
            assert ran.status == 5
            assert "its check passes, but the last delivery was refused at " in ran.out
            assert f"({unsigned})" in ran.out
        assert "python -m leads offers test contoso.crm" in doctor.out
        assert json.loads(run("offers", "validate", "contoso.crm", "--json").out)["destinations"][0]["refusal"]
    monkeypatch.setenv("LEADS_SECRET_HOOK", NEXT_SECRET)
    pipeline.tick(6)
    assert run("offers", "validate", "contoso.crm").status == 0
    assert "refused" not in run("doctor").out


def test_an_odd_lead_is_a_dead_letter_and_stops_no_other(pipeline: Pipeline, receiver: Receiver) -> None:
    receiver.odd = lambda body: body["data"]["customer"]["email"] == "odd@example.com"
    odd = []
    for action in ("INS", "PLT", "Create", "StartTestDrive"):
        odd.append(pipeline.post(a_lead("odd@example.com", action)))
        pipeline.run()
    assert states(pipeline, odd) == {State.DEAD_LETTER}
    assert states(pipeline, from_customers(pipeline, "good", 2)) == {State.DELIVERED}
    assert receiver.calls.count(f"{odd[0]}_hook") == 1


def test_odd_leads_that_happen_to_follow_each_other_are_dead_letters_once_another_lead_has_come_through(
    pipeline: Pipeline, timeless: Receiver
) -> None:
    timeless.odd = lambda body: body["data"]["customer"]["email"].startswith("odd")
    odd = from_customers(pipeline, "odd", 3)
    assert states(pipeline, odd) == {State.PARKED}
    good = from_customers(pipeline, "good", 1)
    pipeline.tick(12)
    assert states(pipeline, good) == {State.DELIVERED}
    assert states(pipeline, odd) == {State.DEAD_LETTER}
    assert not pipeline.app.connections.stored()[0].paused


def test_headers_come_from_secrets(pipeline: Pipeline, receiver: Receiver) -> None:
    pipeline.offer(hook(receiver, headers={"Authorization": "env:LEADS_SECRET_HOOK_TOKEN"}))
    pipeline.post()
    pipeline.run()
    assert receiver.headers[0]["authorization"] == "Bearer abc"


def test_a_configured_body_is_rendered_and_a_customers_words_stay_text(pipeline: Pipeline, receiver: Receiver) -> None:
    template = {"text": "New: {first_name} {last_name} ({stage}), {campaign.x}{{}}", "n": 1, "list": ["{email}"]}
    pipeline.offer(hook(receiver, body=template))
    nasty = '{email} {0} "}],\u2028{{ \\ %s ${x} <b> \r\nX: y'
    lead = pipeline.post(a_lead(UserDetails={"FirstName": nasty, "LastName": "L", "Email": "a@example.com"}))
    pipeline.run()
    got = receiver.records[f"{lead}_hook"]
    assert got == {"text": f"New: {nasty} L (initial_interest), {{}}", "n": 1, "list": ["a@example.com"]}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Delivered),
        (204, Delivered),
        (302, Misconfigured),
        (400, Rejected),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (408, Retry),
        (410, Misconfigured),
        (413, Rejected),
        (422, Rejected),
        (429, Retry),
        (500, Retry),
        (502, Retry),
        (503, Retry),
    ],
)
def test_each_status_has_its_outcome(
    pipeline: Pipeline, receiver: Receiver, status: int, outcome: type[Outcome]
) -> None:
    receiver.status = lambda number: (status, {})
    assert isinstance(send(pipeline.app, hook(receiver)["settings"]), outcome)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"url": "https://no-such-host.invalid/"}, "no_such_host", "No host has this name: check url."),
        ({"url": "https://10.0.0.1.invalid/"}, "no_such_host", "No host has this name: check url."),
        ({"url": "https://127.0.0.1:1/"}, "connection_refused", "the endpoint did not answer"),
        ({"secret": "env:LEADS_SECRET_NOT_SET"}, "settings", "LEADS_SECRET_NOT_SET"),
        ({"secret": "env:LEADS_SECRET_HOOK_TOKEN"}, "settings", "whsec_"),
        ({"headers": {"X-A": "env:LEADS_SECRET_NOT_SET"}}, "settings", "LEADS_SECRET_NOT_SET"),
        ({"headers": {"X-A": "env:LEADS_SECRET_HOOK_LINES"}}, "settings", "The header X-A"),
    ],
    ids=str,
)
def test_a_failure_before_the_call_has_an_outcome_and_the_check_says_what_to_change(
    pipeline: Pipeline,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    code: str,
    words: str,
) -> None:
    monkeypatch.setenv("LEADS_SECRET_HOOK_LINES", "a\nb")
    settings, is_fault = hook(receiver, **changes)["settings"], code == "settings"
    got, found = send(pipeline.app, settings), destinations.make("webhook", settings, pipeline.app.context).check()
    assert isinstance(got, Misconfigured if is_fault else Retry)
    assert got.code == code
    assert not found.ok and found.transient is not is_fault
    assert words in found.problem
    assert receiver.calls == []


def test_a_setting_that_offers_may_not_name_is_sent_nowhere_and_the_leads_wait_until_it_is_listed(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_TOKEN", "s3cret")
    pipeline.offer(hook(receiver, headers={"X-Api-Key": "env:ERP_TOKEN"}))
    lead = pipeline.post()
    pipeline.run()
    assert receiver.calls == []
    assert pipeline.delivery(lead, "hook").state is State.PARKED
    assert "list ERP_TOKEN" in pipeline.app.connections.stored()[0].reason
    monkeypatch.setenv("LEADS_ALLOWED_SETTINGS", "ERP_TOKEN")
    restarted = Pipeline(pipeline.app.settings.storage_connection_string, monkeypatch, pipeline.clock)
    restarted.app.__dict__["settings"] = read_settings()
    restarted.tick(5)
    assert restarted.delivery(lead, "hook").state is State.DELIVERED
    assert receiver.headers[-1]["x-api-key"] == "s3cret"


def test_a_private_address_pauses_the_connection_and_says_what_to_do(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_ALLOWED_NETWORKS", "")
    pipeline.app.__dict__["settings"] = read_settings()
    lead = pipeline.post()
    pipeline.run()
    assert pipeline.delivery(lead, "hook").state is State.PARKED
    assert "LEADS_ALLOWED_NETWORKS" in pipeline.app.connections.stored()[0].reason
    assert receiver.calls == []


@pytest.mark.parametrize("answers_head", [True, False])
def test_the_check_posts_nothing_and_takes_an_endpoint_that_has_no_answer_to_its_method(
    pipeline: Pipeline, receiver: Receiver, answers_head: bool
) -> None:
    receiver.fault = lambda request: LOSE_ANSWER if request.method == "HEAD" and not answers_head else None
    made = pipeline.app.destination(pipeline.app.offers.all()[0].destinations[0])
    assert made.check().ok
    assert receiver.calls == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://user:pw@example.com/"}, "url"),
        ({"secret": "whsec_abc"}, "secret"),
        ({"headers": {"Content-Type": "env:X"}}, "headers"),
        ({"headers": {"a b": "env:X"}}, "headers"),
        ({"headers": {"X": "Bearer abc"}}, "headers"),
        ({"body": {"text": "{frist_name}"}}, "body"),
        ({"body": {"text": "{first_name!r}"}}, "body"),
        ({"body": {"text": "{first_name"}}, "body"),
        ({"body": ["{first_name.__class__}"]}, "body"),
    ],
)
def test_settings_that_can_not_be_right_are_refused_when_the_offer_is_saved(
    receiver: Receiver, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidOffer) as refused:
        read_offer({"id": "x.y", "destinations": [hook(receiver, **settings)]})
    assert f"settings.{field}" in str(refused.value)
    assert "abc" not in str(refused.value)


def test_every_field_of_a_template_can_be_rendered(pipeline: Pipeline, receiver: Receiver) -> None:
    pipeline.offer(hook(receiver, body={name: "{" + name + "}" for name in FIELDS}))
    lead = pipeline.post()
    pipeline.run()
    got = receiver.records[f"{lead}_hook"]
    assert got["lead_id"] == lead
    assert got["country_code"] == "US"


def test_neither_the_secret_nor_the_customer_is_in_log_or_ledger_error(
    pipeline: Pipeline, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    receiver.status = lambda number: (500, {})
    lead = pipeline.post(a_lead("marker.person@example.com"))
    pipeline.run()
    shown = json.dumps([str(attempt) for attempt in pipeline.delivery(lead, "hook").attempts]) + caplog.text
    for secret in ("marker.person", "O'Neil", SECRET, SECRET[6:], receiver.url):
        assert secret not in shown


def test_a_call_hands_on_the_trace_of_its_lead(pipeline: Pipeline, receiver: Receiver) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    accept(pipeline.app.incoming, json.dumps(a_lead()).encode(), "", f"00-{trace}-b7ad6b7169203331-01")
    pipeline.run()
    pipeline.post(a_lead("2@example.com"))
    pipeline.run()
    traced, untraced = receiver.headers
    assert traced["traceparent"].startswith(f"00-{trace}-")
    assert "b7ad6b7169203331" not in traced["traceparent"]
    assert "traceparent" not in untraced
