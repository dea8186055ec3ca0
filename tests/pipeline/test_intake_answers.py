"""The intake's answers and events, as far as senders can influence them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import azure.functions as func
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.ledger.incoming import IncomingLeads
from leads.operations.http import answer_with_key
from leads.pipeline.http import USER_AGENT_CHARACTERS, answer_intake, answer_status, base_address, plain_words
from leads.platform.settings import read_settings
from tests.support.logs import logged

# --- The address of a lead's state ------------------------------------------------------------------------------------


def base(url: str, host_name: str = "", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    settings = read_settings({"WEBSITE_HOSTNAME": host_name} if host_name else {})
    return base_address(func.HttpRequest("POST", url, headers=named, body=b""), settings.host_name)


def test_the_app_is_called_by_the_name_that_the_platform_gives_it_whatever_was_asked_for() -> None:
    for asked in (
        "https://evil.example/api/leads",
        "http://10.0.0.4:8080/api/leads",
        "https://leads.example.com/api/leads",
    ):
        assert base(asked, "Contoso.azurewebsites.net", X_Forwarded_Proto="http") == "https://contoso.azurewebsites.net"


def test_without_such_a_name_it_is_called_as_it_was_asked_for() -> None:
    assert base("http://localhost:7071/api/leads?code=key") == "http://localhost:7071"
    assert base("http://leads.example.com/api/leads", X_Forwarded_Proto="https") == "https://leads.example.com"
    assert base("http://leads.example.com/api/leads", X_Forwarded_Proto=" HTTPS , http") == "https://leads.example.com"
    assert base("http://leads.example.com/api/leads", X_Forwarded_Proto="javascript") == "http://leads.example.com"


def test_the_name_that_local_tools_give_has_the_scheme_of_the_request() -> None:
    assert base("http://127.0.0.1:7071/api/leads", "localhost:7071") == "http://localhost:7071"
    assert base("https://127.0.0.1:7071/api/leads", "localhost:7071") == "https://localhost:7071"


@pytest.mark.parametrize("name", ["", " ", "two words", "a/b", "x@y", "a:b", "a\r\nb", "\N{SNOWMAN}.example"])
def test_a_name_that_is_none_is_left_out_and_refuses_no_lead(name: str) -> None:
    assert base("https://leads.example.com/api/leads", name) == "https://leads.example.com"


# --- What a sender calls itself ---------------------------------------------------------------------------------------


@given(st.text())
@example("ada@example.com")
@example("Mail for <ada%40example.com>")
@example("ada\N{FULLWIDTH COMMERCIAL AT}example.com")
@example("Sender/1.0\r\nevent=lead_accepted \x1b[0m")
@example("x " * 10_000)
def test_what_a_sender_calls_itself_is_short_plain_and_without_an_address(user_agent: str) -> None:
    told = plain_words(user_agent)
    assert len(told) <= USER_AGENT_CHARACTERS
    assert re.fullmatch("[ -~]*", told)
    assert "@" not in told
    assert "%40" not in told
    assert "example" not in told or "@" not in user_agent


def test_a_plain_name_is_told_as_it_is() -> None:
    assert (
        plain_words("Mozilla/5.0 (Windows NT 10.0; x64)  ada@example.com") == "Mozilla/5.0 (Windows NT 10.0; x64) ***"
    )


# --- What nobody foresaw ----------------------------------------------------------------------------------------------


def fail(*_: Any, **__: Any) -> NoReturn:
    raise KeyError("ada@example.com")


def app_with(ledger: Any = None) -> Any:
    """An app without a queue."""
    return SimpleNamespace(incoming=IncomingLeads(fail, lambda: ledger))


def to(path: str, /, **route: str) -> func.HttpRequest:
    url = f"https://contoso.azurewebsites.net/api/{path}"
    return func.HttpRequest(
        "POST" if path == "leads" else "GET", url, route_params=route, body=b'{"Email": "a@example.com"}'
    )


def test_a_fault_of_the_app_is_answered_as_a_lead_that_is_to_be_sent_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Senders may not retry after a 500. 503 with Retry-After asks them to."""
    for broken in (
        "leads.pipeline.http.get_app",
        "leads.pipeline.http.accept",
        "leads.ledger.incoming.encode",
        "leads.pipeline.intake.new_lead_id",
    ):
        monkeypatch.setattr("leads.pipeline.http.get_app", app_with)
        monkeypatch.setattr(broken, fail)
        answer = answer_intake(to("leads"), "")
        assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
        assert int(answer.headers["Retry-After"]) > 0
        assert json.loads(answer.get_body())["detail"] == "The lead could not be stored. Send it again."
        monkeypatch.undo()
        assert re.fullmatch(r"KeyError at test_intake_answers\.py:\d+", logged(caplog, "intake_unavailable")[-1]["why"])
    assert "ada@example.com" not in caplog.text


def test_a_body_that_the_app_fails_to_read_is_kept_as_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try would fail, and senders may retry often."""
    kept: list[bytes] = []
    ledger: Any = SimpleNamespace(keep_unreadable=lambda _, body: kept.append(body))
    monkeypatch.setattr("leads.pipeline.http.get_app", lambda: app_with(ledger))
    monkeypatch.setattr("leads.pipeline.intake.parse_body", fail)
    answer = answer_intake(to("leads"), "")
    assert (answer.status_code, kept) == (422, [b'{"Email": "a@example.com"}'])
    said = json.loads(answer.get_body())
    assert re.fullmatch(r"The app failed to read the body, and has kept it \(KeyError at .*\)\.", said["detail"])
    assert said["lead_id"]


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda: answer_status(to("status", lead_id="20260131235959999-0123456789ab-c")), "status"),
        (lambda: answer_with_key(to("manage/status", path="status"), "manage"), "manage"),
    ],
    ids=["status", "manage"],
)
def test_a_fault_of_the_app_is_a_500_that_tells_nothing_and_an_event_with_its_place(
    ask: Callable[[], func.HttpResponse], what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("leads.pipeline.http.get_app", fail)
    monkeypatch.setattr("leads.operations.http.get_app", fail)
    answer = ask()
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"KeyError" not in answer.get_body()
    (event,) = logged(caplog, "request_failed")
    assert event["what"] == what
    assert re.fullmatch(r"KeyError at test_intake_answers\.py:\d+", event["why"])
    assert "ada@example.com" not in caplog.text
