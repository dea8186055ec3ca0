"""What the intake's answers and events are made of, where a sender has a say in it."""

from __future__ import annotations

import re

import azure.functions as func
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.http import USER_AGENT_CHARACTERS, base_address, plain_words
from leads.settings import read_settings

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
