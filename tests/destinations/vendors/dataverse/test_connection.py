"""The connection to Dynamics 365: sign-in, throttling, what a check finds wrong, and what an error means for a lead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.destinations.http import MAX_ANSWER_BYTES
from leads.health.connection import FAILURES_UNTIL_PAUSE
from leads.offers.model import InvalidOffer, read_offer
from leads.platform.settings import read_settings
from tests.fakes.dataverse import CAMPAIGN, CLIENT, QUEUE, TEAM, TENANT, Dataverse, Throttle
from tests.fakes.https_server import Response
from tests.fakes.tls import make_authority
from tests.support.dataverse import check, crm, is_write, tokens
from tests.support.pipeline import Pipeline, a_lead, deliver, state


@pytest.fixture
def identity(
    pipeline: Pipeline, dynamics: Dataverse, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> HTTPServer:
    """The app's managed identity, with a token endpoint of the tests."""
    dynamics.entra.issued["an identity's token"] = datetime(2100, 1, 1, tzinfo=UTC)
    answer = {"access_token": "an identity's token", "expires_on": str(4_000_000_000), "token_type": "Bearer"}
    httpserver.expect_request("/token").respond_with_json(answer)
    monkeypatch.setenv("IDENTITY_ENDPOINT", httpserver.url_for("/token"))
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    monkeypatch.setenv("LeadsStorage__credential", "managedidentity")
    monkeypatch.setenv("LeadsStorage__clientId", CLIENT)
    pipeline.app.__dict__["settings"] = read_settings()
    return httpserver


# --- Errors -------------------------------------------------------------------------------------------------------------


def test_a_throttled_lead_waits_as_long_as_it_is_told(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.throttle = Throttle(1, retry_after="90")
    lead = deliver(pipeline)
    assert pipeline.delivery(lead).attempts[-1].code == "0x80072322"
    pipeline.advance(89)
    assert state(pipeline, lead) is State.RETRY
    dynamics.throttle = None
    pipeline.advance(2)
    assert state(pipeline, lead) is State.DELIVERED


def test_a_token_that_ends_is_renewed_before_it_does(pipeline: Pipeline, dynamics: Dataverse) -> None:
    deliver(pipeline)
    pipeline.advance(3600 - 240)
    deliver(pipeline, "PLT")
    assert tokens(dynamics) == 2
    assert not [request for request in dynamics.journal if request.headers["authorization"] == "Bearer "]


IDENTITY = {"tenant_id": None, "client_id": None, "client_secret": None}


def test_the_apps_identity_needs_no_secret(pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer) -> None:
    pipeline.offer(crm(dynamics, **IDENTITY))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DELIVERED
    ((request, _),) = identity.log
    assert request.args["resource"] == dynamics.url
    assert request.args["client_id"] == CLIENT
    assert not dynamics.entra.journal


def test_an_identity_without_a_token_has_its_own_words(
    pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer
) -> None:
    identity.clear()
    identity.expect_request("/token").respond_with_json({"statusCode": 400, "message": "No identity"}, status=400)
    pipeline.offer(crm(dynamics, **IDENTITY))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    assert "managed identity" in pipeline.delivery(lead).reason


def test_an_endpoint_for_the_identitys_token_that_does_not_answer_is_not_held_against_the_connection(
    pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer
) -> None:
    identity.clear()
    identity.expect_request("/token").respond_with_data("busy", status=503)
    pipeline.offer(crm(dynamics, **IDENTITY))
    leads = [deliver(pipeline, email=f"c{number}@example.com") for number in range(FAILURES_UNTIL_PAUSE + 1)]
    assert {state(pipeline, lead) for lead in leads} == {State.RETRY}
    assert not pipeline.app.connections.stored()


def test_a_credential_is_given_whole_or_not_at_all(dynamics: Dataverse) -> None:
    with pytest.raises(InvalidOffer, match="client_secret: is needed too"):
        read_offer({"id": "a.b", "destinations": [crm(dynamics, client_secret=None)]})


def test_a_host_that_is_not_there_is_named_as_the_fault(
    pipeline: Pipeline, dynamics: Dataverse, identity: HTTPServer
) -> None:
    result = check(pipeline, dynamics, **IDENTITY, url="https://contoso.crm4.dynamics.invalid")
    assert not result.ok and result.transient, "it may be the name service that is out of order"
    assert "url" in result.problem


def refuse_secret(dynamics: Dataverse) -> None:
    dynamics.entra.set_secret("another")


def _follow_up(**wanted: Any) -> dict[str, Any]:
    return {"follow_up": {"purchase": wanted}}


def _without(right: str) -> SettingUp:
    return lambda dynamics: dynamics.rights.discard(right)


SettingUp = Callable[[Dataverse], Any]
MISCONFIGURED: list[tuple[str, dict[str, Any], SettingUp, str, str]] = [
    ("wrong secret", {}, refuse_secret, "AADSTS7000215", "secret's value"),
    ("expired secret", {}, lambda d: d.entra.expire_secrets(), "AADSTS7000222", "expired"),
    ("wrong client", {"client_id": TENANT}, lambda d: None, "AADSTS700016", "client_id"),
    ("wrong tenant", {"tenant_id": CLIENT}, lambda d: None, "AADSTS90002", "tenant_id"),
    ("not of this tenant", {}, lambda d: d.entra.resources.clear(), "AADSTS500011", "url"),
    ("no role", {}, lambda d: setattr(d, "user", "no role"), "0x80042f09", "security role"),
    ("no application user", {}, lambda d: setattr(d, "user", "missing"), "0x80072560", "Application users"),
    ("disabled user", {}, lambda d: setattr(d, "user", "disabled"), "0x80040225", "enable it"),
    (
        "no such secret",
        {"client_secret": "env:LEADS_SECRET_NOT_SET"},
        lambda d: None,
        "settings",
        "LEADS_SECRET_NOT_SET",
    ),
    ("missing right", {}, lambda d: d.rights.discard("prvCreateNote"), "check", "prvCreateNote"),
    ("missing right to columns", {}, lambda d: d.rights.discard("prvReadAttribute"), "check", "prvReadAttribute"),
    (
        "missing column",
        {"mapping": {"new_x": "{email}"}},
        lambda d: None,
        "check",
        "mapping.new_x: the lead table has no such",
    ),
    (
        "read-only column",
        {"mapping": {"createdon": "{email}"}},
        lambda d: None,
        "check",
        "mapping.createdon: Dynamics sets",
    ),
    (
        "capitals",
        {"mapping": {"JobTitle": "{title}"}},
        lambda d: None,
        "check",
        "mapping.JobTitle: column names have no capitals",
    ),
    ("text for a choice", {"mapping": {"leadsourcecode": "{source}"}}, lambda d: None, "check", "takes a whole number"),
    (
        "number for a text",
        {"mapping": {"jobtitle": 8}},
        lambda d: None,
        "check",
        "mapping.jobtitle: the column takes a text",
    ),
    ("text for a yes or no", {"mapping": {"donotfax": "true"}}, lambda d: None, "check", "takes true or false"),
    ("lookup as a text", {"mapping": {"campaignid": "{source}"}}, lambda d: None, "check", "map campaignid@odata.bind"),
    ("text as a lookup", {"mapping": {"jobtitle@odata.bind": "/x(1)"}}, lambda d: None, "check", "is not a lookup"),
    ("missing right to tasks", _follow_up(task={}), _without("prvCreateActivity"), "check", "prvCreateActivity"),
    ("no such host", {"url": "https://contoso.crm4.dynamics.invalid"}, lambda d: None, "AADSTS500011", "url"),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "code", "words"),
    [row[1:] for row in MISCONFIGURED],
    ids=[row[0] for row in MISCONFIGURED],
)
def test_a_check_says_precisely_what_to_change_and_writes_nothing(
    pipeline: Pipeline, dynamics: Dataverse, settings_: dict[str, Any], break_it: SettingUp, code: str, words: str
) -> None:
    break_it(dynamics)
    result = check(pipeline, dynamics, **settings_)
    assert not result.ok and not result.transient
    assert result.code == code
    assert words in result.problem
    assert not [request for request in dynamics.journal if is_write(request)]


def test_a_check_of_what_works_says_so(pipeline: Pipeline, dynamics: Dataverse) -> None:
    follow_up = {"purchase": {"owner": f"team:{TEAM}", "queue": QUEUE, "campaign": CAMPAIGN, "task": {}}}
    mapping = {
        "campaignid@odata.bind": f"/campaigns({CAMPAIGN})",
        "leadsourcecode": 10,
        "donotfax": True,
        "jobtitle": None,
    }
    assert check(pipeline, dynamics, follow_up=follow_up, mapping=mapping) == CheckResult(ok=True)


def test_a_check_that_can_not_be_finished_keeps_no_connection_closed(
    pipeline: Pipeline, dynamics: Dataverse, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large = Response(200, b"x" * (MAX_ANSWER_BYTES + 1))
    dynamics.fault = lambda request: too_large if "Privileges" in request.path else None
    refuse_secret(dynamics)
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    monkeypatch.setenv("LEADS_SECRET_DYNAMICS", "another")
    pipeline.tick(3)
    assert state(pipeline, lead) is State.DELIVERED


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_outage_of_the_sign_in_service_is_waited_for(pipeline: Pipeline, dynamics: Dataverse, status: int) -> None:
    dynamics.entra.fault = lambda _: Response(status, b"<html>busy</html>", {"Retry-After": "90"})
    found = check(pipeline, dynamics)
    assert found.transient and found.code == str(status)
    lead = deliver(pipeline)
    pipeline.advance(89)
    assert state(pipeline, lead) is State.RETRY
    dynamics.entra.fault = lambda request: None
    pipeline.advance(2)
    assert state(pipeline, lead) is State.DELIVERED


@pytest.mark.parametrize(
    "body",
    [b"<html>Welcome</html>", b"[]", {}, {"access_token": "x", "expires_in": "soon"}, {"error_codes": 7}],
    ids=str,
)
def test_a_sign_in_that_answers_nonsense_is_tried_again(pipeline: Pipeline, dynamics: Dataverse, body: Any) -> None:
    dynamics.entra.fault = lambda _: Response(200, body)
    assert check(pipeline, dynamics).transient
    assert state(pipeline, deliver(pipeline)) is State.RETRY


def test_a_wrong_authority_is_named(pipeline: Pipeline, dynamics: Dataverse, tmp_path: Path) -> None:
    for authority in (dynamics.url, "https://login.example.invalid"):
        assert "authority" in check(pipeline, dynamics, authority=authority).problem
    with dynamics.entra.with_certificate_of(make_authority(tmp_path)):
        found = check(pipeline, dynamics)
    assert (found.code, found.transient) == ("tls", False) and "authority" in found.problem


def test_a_lead_that_is_refused_for_a_right_names_it(pipeline: Pipeline, dynamics: Dataverse) -> None:
    dynamics.rights.discard("prvCreateNote")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    assert "prvCreateNote" in pipeline.delivery(lead).reason


def test_an_expired_secret_pauses_after_few_requests_and_heals_by_itself(
    pipeline: Pipeline, dynamics: Dataverse, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(pipeline)
    refuse_secret(dynamics)
    dynamics.entra.revoke_tokens()
    leads = [pipeline.post(a_lead(f"c{number}@example.com")) for number in range(30)]
    pipeline.run()
    assert {state(pipeline, lead) for lead in leads} == {State.PARKED}
    assert tokens(dynamics) <= 8
    (connection,) = [found for found in pipeline.app.connections.stored() if found.paused]
    assert "secret" in connection.reason
    monkeypatch.setenv("LEADS_SECRET_DYNAMICS", "another")
    pipeline.tick(4)
    assert {state(pipeline, lead) for lead in leads} == {State.DELIVERED}
    assert len(dynamics.leads) == 31


def test_a_bad_choice_is_a_dead_letter_that_names_the_mapping(pipeline: Pipeline, dynamics: Dataverse) -> None:
    pipeline.offer(crm(dynamics, mapping={"leadsourcecode": 99}))
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.DEAD_LETTER
    assert "mapping" in pipeline.delivery(lead).reason
