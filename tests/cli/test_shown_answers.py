"""The shell shows an endpoint's refusal in its own words, without the data that the refusal repeats."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from leads.app import examined_app
from leads.operations.doctor import examine_deployment
from leads.operations.operation import Nothing
from leads.operations.validation import ValidateOffer, validate_offer
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority
from tests.support.command_line import Run, one_line, run_against, working
from tests.support.memory import account_at
from tests.support.pipeline import Pipeline, a_lead, pipeline_over_tls

KEY = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
WHO = "admin@example.com"
REFUSAL = '{"detail": "token expired", '


class Repeating(VendorServer):
    """Refuses each request, and repeats the request in its answer."""

    status = 401

    def answer(self, request: Request) -> Response:
        sent = {"authorization": request.headers.get("authorization"), "who": WHO, "body": request.body.decode()}
        return Response(self.status, {"detail": "token expired", **sent})


@pytest.fixture
def endpoint(authority: Authority) -> Iterator[Repeating]:
    with Repeating(authority) as running:
        yield running


@pytest.fixture
def pipeline(fresh_storage: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("LEADS_SECRET_HOOK", KEY)
    monkeypatch.setenv("LEADS_SECRET_TOKEN", "Bearer hush-7")
    monkeypatch.setenv("LEADS_SECRET_CRM", "hush+7/x=")
    return pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch)


def hook(endpoint: Repeating) -> dict[str, Any]:
    headers = {"Authorization": "env:LEADS_SECRET_TOKEN"}
    settings = {"url": f"{endpoint.url}/leads", "secret": "env:LEADS_SECRET_HOOK", "headers": headers}
    return {"name": "hook", "type": "webhook", "settings": settings}


def crm(endpoint: Repeating) -> dict[str, Any]:
    settings = {"url": endpoint.url, "client_id": "3MVG9.a-client.id", "client_secret": "env:LEADS_SECRET_CRM"}
    return {"name": "crm", "type": "salesforce", "settings": settings}


@pytest.fixture
def paused(pipeline: Pipeline, endpoint: Repeating) -> None:
    """The endpoint refused leads until its connection was paused, so a test lead is parked at once."""
    pipeline.offer(hook(endpoint))
    for number in range(5):
        pipeline.post(a_lead(f"before{number}@example.com"))
        pipeline.run()


@pytest.mark.usefixtures("paused")
def test_a_refused_test_lead_is_sent_again_and_its_answer_is_redacted_and_not_stored(
    pipeline: Pipeline, endpoint: Repeating, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    posted = len(endpoint.journal)
    with working(pipeline):
        plain, shown = run("offers", "test", "contoso.crm"), run("offers", "test", "contoso.crm", "--show-answer")
    assert (plain.status, shown.status) == (5, 5)
    assert REFUSAL not in plain.err
    (line,) = [line for line in shown.err.splitlines() if REFUSAL in line]
    assert line.startswith("hook: sent again from this machine, and not taken (401); it answered: 401 " + REFUSAL)
    assert '"authorization": "***"' in line
    assert '"who": "***"' in line
    for kept in ("hush-7", WHO, "MSFT_TEST_", "1234567890"):
        assert kept not in line
    calls = [request for request in endpoint.journal[posted:] if request.method == "POST"]
    assert len(calls) == 1, "nothing is sent but what was asked for"
    lead = shown.out.partition("accepted as ")[2].partition(";")[0]
    assert calls[0].headers["webhook-id"] == f"{lead}_hook"
    assert not [
        row for _, row in account_at(pipeline.app.settings.storage_connection_string).rows() if "expired" in repr(row)
    ]
    assert "expired" not in caplog.text


@pytest.mark.usefixtures("paused")
def test_a_test_lead_that_is_taken_the_second_time_is_reported(
    pipeline: Pipeline, endpoint: Repeating, run: Run
) -> None:
    endpoint.status = 200
    with working(pipeline):
        shown = run("offers", "test", "contoso.crm", "--show-answer")
    assert "hook: sent again from this machine, and taken. The receiver gets another call" in shown.err


def test_validate_and_doctor_show_the_answer_at_the_shell_and_not_in_json_or_over_http(
    pipeline: Pipeline, endpoint: Repeating, run: Run
) -> None:
    pipeline.offer(crm(endpoint))
    for words in (("offers", "validate", "contoso.crm"), ("doctor",)):
        shown = run(*words)
        assert shown.status == 5
        assert f"it answered: 401 {REFUSAL}" in shown.out
        assert WHO not in shown.out
        assert "hush" not in shown.out
        assert "client_secret=***" in shown.out
        assert "expired" not in run(*words, "--json").out
    validated = pipeline.ask(validate_offer, ValidateOffer(offer_id="contoso.crm"))
    for found in (validated, examine_deployment(examined_app(), Nothing())):
        assert "token expired" not in found.model_dump_json()
        assert "'answer'" not in repr(type(found).model_json_schema(mode="serialization"))


def test_a_check_that_passes_shows_no_answer(pipeline: Pipeline, endpoint: Repeating, run: Run) -> None:
    pipeline.offer(hook(endpoint))
    assert "it answered" not in run("offers", "validate", "contoso.crm").out


def test_over_http_no_answer_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_against(capsys, "--app", "https://app.example.com")("offers", "test", "contoso.crm", "--show-answer")
    assert one_line(ran, 2).startswith("--show-answer: can't be used with --app")
