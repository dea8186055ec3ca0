"""The command line's requests to a deployed app, and the line of an error."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.cli.credentials import read_key
from leads.cli.environment import KEY_VARIABLE, TOKEN_VARIABLE, OutOfReach
from leads.cli.profiles import Profile
from leads.cli.transport import HttpTransport, read_address, read_url
from leads.operations.imports import ROWS_AT_ONCE
from leads.operations.offers import OfferList, RemoveOffer, ShowOffer, list_offers, remove_offer, show_offer
from leads.operations.operation import Nothing, Operation
from leads.operations.problems import Changed, Invalid, NotFound, Unavailable
from leads.operations.table import OPERATIONS
from leads.operations.wire import read_request
from leads.platform.settings import SettingsError
from tests.fakes.https_server import Request, Response, VendorServer

KEY = "k3y-of-manage=="


class Site(VendorServer):
    """A server at the address, with a given answer."""

    response = Response(200, {"offers": []})

    def answer(self, request: Request) -> Response:
        return self.response

    def problem(self, status: int, detail: str, field: str = "") -> None:
        """Answer a problem as the app does."""
        told = {"type": "about:blank", "title": "x", "status": status, "detail": detail}
        named = {"field": field} if field else {}
        self.response = Response(status, told | named, {"Content-Type": "application/problem+json"})


def reached(url: str) -> HttpTransport:
    """The app at an address, with the key and the token of the environment."""
    return HttpTransport(Profile(url=url))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with Site(None) as running:
        yield running


def refused(site: Site, kind: type[Exception] = OutOfReach) -> str:
    """The error text of a failed request."""
    with pytest.raises(kind) as raised:
        reached(site.url).ask(list_offers, Nothing())
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    assert KEY not in line
    return line.replace(site.url, "URL")


def test_a_question_carries_the_key_in_a_header_and_the_answer_comes_back_as_its_model(site: Site) -> None:
    assert reached(site.url + "/").ask(list_offers, Nothing()) == OfferList(offers=[])
    (asked,) = site.journal
    assert (asked.method, asked.target, asked.body) == ("GET", "/api/manage/offers", b"")
    assert asked.headers["x-functions-key"] == KEY
    assert "authorization" not in asked.headers


def test_a_token_is_sent_for_an_app_behind_entra_id(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "t0ken")
    reached(site.url).ask(list_offers, Nothing())
    assert site.journal[0].headers["authorization"] == "Bearer t0ken"


def test_a_token_without_a_key_is_a_sign_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "t0ken")
    monkeypatch.delenv(KEY_VARIABLE)
    reached(site.url).ask(list_offers, Nothing())
    (asked,) = site.journal
    assert asked.target == "/api/signed-in/offers"
    assert (asked.headers["authorization"], asked.headers["x-requested-with"]) == ("Bearer t0ken", "marketplace-leads")
    assert "x-functions-key" not in asked.headers
    site.response = Response(401)
    assert refused(site).startswith("URL refuses the login (401); get a new token, for a user with an app role (az ")
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(SettingsError, match=r"^LEADS_APP_TOKEN: set it to an access token for the app"):
        reached(f"{site.url}/api/signed-in").ask(list_offers, Nothing())


def test_a_netrc_of_the_machine_has_no_say(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password s3cret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    reached(site.url).ask(list_offers, Nothing())
    assert "authorization" not in site.journal[0].headers


def test_names_are_encoded_and_versions_travel_as_headers(site: Site) -> None:
    site.response = Response(204)
    reached(site.url).ask(remove_offer, RemoveOffer(offer_id="a/b ?#%x", if_match='W/"x"'))
    (asked,) = site.journal
    assert (asked.method, asked.target) == ("DELETE", "/api/manage/offers/a%2Fb%20%3F%23%25x")
    assert asked.headers["if-match"] == 'W/"x"'


BODIES: dict[str, Any] = {
    "set_offer": {"destinations": [{"name": "table", "type": "azure_table"}]},
    "validate_destination": {"name": "table", "type": "azure_table"},
    "pause_connection": {"note": "CRM upgrade \N{SNOWMAN}"},
    "import_rows": {"rows": [{"number": n, "record": {"Email": f"c{n}@example.com"}} for n in range(ROWS_AT_ONCE)]},
    "reconcile_rows": {"rows": [{"number": 1, "record": {"Email": "ada@example.com"}}]},
    "import_table": {"source": {"connection_string": "env:LEADS_SECRET_OLD_STORAGE"}},
    "replay_leads": {"offer": "a.b"},
    "dismiss_lead": {"note": "spam"},
    "dismiss_leads": {"offer": "a.b", "note": "spam"},
    "show_customer": {"email": "ada@example.com"},
    "erase_customer": {"email": "ada@example.com"},
}
"""Bodies for the operations that need one."""


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_body_is_sent_with_its_length(site: Site, operation: Operation[Any, Any]) -> None:
    body = json.dumps(BODIES.get(operation.name, {})).encode()
    segments = {part[1:-1]: "a.b" for part in operation.path.split("/") if part.startswith("{")}
    site.problem(503, "Ask again.")
    run: Any = operation.run
    with pytest.raises(Unavailable):
        reached(site.url).ask(run, read_request(operation, segments, {}, {}, body))
    (asked,) = site.journal
    assert "transfer-encoding" not in asked.headers
    assert asked.headers.get("content-length", "0") == str(len(asked.body))
    assert ("content-length" in asked.headers) is (asked.method != "GET")
    assert bool(asked.body) is operation.takes_body


@pytest.mark.parametrize(("status", "kind"), [(400, Invalid), (404, NotFound), (412, Changed), (503, Unavailable)])
def test_a_problem_of_the_app_is_raised_as_at_the_storage(site: Site, status: int, kind: type[Exception]) -> None:
    site.problem(status, "there is none", "offer")
    assert refused(site, kind) == "offer: there is none"
    if status != 404:
        site.problem(status, "Ask again.")
        assert refused(site, kind) == "Ask again."


@pytest.mark.parametrize(
    ("status", "headers", "line"),
    [
        (401, {}, "URL refuses the key (401); use the key of the function manage: az functionapp function keys list "),
        (403, {}, "URL refuses this machine or login (403); check its access restrictions, and LEADS_APP_TOKEN"),
        (404, {}, "URL has no management API (404); check the address, and that the app is deployed there"),
        (405, {}, "URL has no management API (405); "),
        (302, {"Location": "https://login.example.com/"}, "URL redirects (302); give the final address"),
        (500, {}, "URL answers 500; try again, then look at the app's log"),
        (502, {}, "URL answers 502; "),
        (503, {}, "URL answers 503; "),
        (429, {}, "URL answers 429; "),
    ],
)
def test_an_answer_of_a_gateway_is_not_taken_for_the_apps(
    site: Site, status: int, headers: dict[str, str], line: str
) -> None:
    site.response = Response(status, b"<h1>hello</h1>", {"Content-Type": "text/html"} | headers)
    assert refused(site).startswith(line)
    assert len(site.journal) == 1, "no redirect is followed: the key would go along"


@pytest.mark.parametrize(
    "body", [b"<h1>hello</h1>", b"", b"[]", b'{"offers": 1}', b'{"offers": [{"offer": {"id": "x"}}]}', b"\xff"]
)
def test_an_answer_in_an_unknown_format_is_one_line(site: Site, body: bytes) -> None:
    site.response = Response(200, body, {"Content-Type": "application/json"})
    assert refused(site).startswith("URL answers in an unknown format")


@pytest.mark.parametrize("status", [404, 405])
def test_an_app_that_lacks_the_operation_has_another_release(site: Site, status: int) -> None:
    site.problem(status, "GET /api/manage lists the addresses there are.")
    assert refused(site).startswith("URL has no such operation: app and command line have different releases")


def test_an_address_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            OutOfReach, match=r"does not answer \(ConnectionError\); check the address and the network$"
        ):
            reached(url).ask(show_offer, ShowOffer(offer_id="a.b"))


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://app.azurewebsites.net", "https://app.azurewebsites.net"),
        (" https://app.azurewebsites.net/ ", "https://app.azurewebsites.net"),
        ("https://gateway.example.com/leads", "https://gateway.example.com/leads"),
        ("http://localhost:7071", "http://localhost:7071"),
        ("http://[::1]:7071", "http://[::1]:7071"),
    ],
)
def test_an_address_is_read_as_it_is_pasted(written: str, url: str) -> None:
    assert read_url(written) == url
    assert read_address(written) == (url, "")


@pytest.mark.parametrize("function", ["report", "operate", "manage"])
def test_an_address_may_name_the_function_whose_key_is_given(site: Site, function: str) -> None:
    reached(f"{site.url}/api/{function}/").ask(list_offers, Nothing())
    assert site.journal[0].target == f"/api/{function}/offers"
    site.response = Response(401)
    with pytest.raises(OutOfReach, match=f"use the key of the function {function}: az .* --function-name {function}$"):
        reached(f"{site.url}/api/{function}").ask(list_offers, Nothing())


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("app.azurewebsites.net", "address: must be the app's, such as"),
        ("ftp://app.example.com", "address: must be the app's, such as"),
        ("https://", "address: must be the app's, such as"),
        ("https://[::1", "address: must be the app's, such as"),
        ("https://a:b:c", "address: must be the app's, such as"),
        ("https://a b", "address: must be the app's, such as"),
        ("https://app.example.com/api/manage?code=s3cret", "address: must hold no key; "),
        ("https://ada:s3cret@app.example.com", "address: must hold no key; "),
        ("http://app.azurewebsites.net", "address: must begin with https://"),
    ],
)
def test_an_address_that_would_not_do_is_refused_without_repeating_it(written: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"^{problem}") as refused_address:
        read_url(written)
    assert "s3cret" not in str(refused_address.value)


@given(st.text(max_size=40) | st.text(alphabet="htps:/[]@?#.%a1 ", max_size=30))
def test_any_text_is_an_address_or_refused_in_one_line(text: str) -> None:
    try:
        url = read_url(text)
    except SettingsError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert url.startswith(("https://", "http://"))


def test_a_key_is_never_guessed(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(SettingsError, match=r"^LEADS_APP_KEY: set it to the key of the function manage"):
        read_key("manage")
    monkeypatch.setenv(KEY_VARIABLE, "two words")
    with pytest.raises(SettingsError, match=r"^LEADS_APP_KEY: has a character that no key has"):
        reached(site.url).ask(list_offers, Nothing())
    assert site.journal == []
