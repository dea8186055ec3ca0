"""The management API, called as a host calls it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from devhost.routes import parse_route
from devhost.runtime import HttpResult, LoadedApp
from leads.app import get_app
from tests.support.pipeline import LEAD, Pipeline, a_lead

OFFER = {"titles": ["Contoso CRM"], "destinations": [{"name": "table", "type": "azure_table"}]}
Ask = Callable[..., HttpResult]


@pytest.fixture
def ask(function_app: LoadedApp) -> Ask:
    """Asks for a path under /api/manage; the route's parameter is what ASP.NET Core makes of the path."""

    def call(method: str, path: str, body: object = b"", **headers: str) -> HttpResult:
        url = f"http://localhost/api/manage{path}"
        route = parse_route(f"api/{function_app.functions['manage'].route}")
        params = route.match(f"/api/manage{path.partition('?')[0]}")
        assert params is not None
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = function_app.invoke_http("manage", method, url, headers=named, body=data, params=params)
        return replace(answer, headers={name.lower(): value for name, value in answer.headers.items()})

    return call


def problem(answer: HttpResult, status: int, field: str) -> Any:
    """The problem+json of an answer."""
    body = answer.json()
    assert (answer.status, body["status"], body.get("field", "")) == (status, status, field)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert body["detail"]
    return body


def test_manage_is_one_function_under_its_own_key(indexed_app: LoadedApp) -> None:
    manage = indexed_app.functions["manage"]
    assert (manage.route, manage.auth_level) == ("manage/{*path}", "function")
    assert set(manage.methods) == {"GET", "PUT", "DELETE"}


def test_the_root_lists_the_routes_and_each_of_them_answers(ask: Ask) -> None:
    routes = ask("GET", "").json()["routes"]
    assert {"method": "GET", "path": "/api/manage/status"}.items() <= routes[-1].items()
    for route in routes:
        if "{" not in route["path"]:
            assert ask(route["method"], route["path"].removeprefix("/api/manage")).status == 200


@pytest.mark.parametrize(
    "offer_id", ["contoso.crm", "*", "a/b.c\\d", "what?#50%.x", "o'neil.crm", "Ünï.cödé 🎈", "a+b & c"]
)
def test_an_offer_is_put_read_and_removed_whatever_its_id(ask: Ask, offer_id: str) -> None:
    path = f"/offers/{quote(offer_id, safe='')}"
    created = ask("PUT", path, OFFER)
    assert (created.status, created.json()["result"]) == (201, "created")
    shown = ask("GET", path)
    assert shown.json()["id"] == offer_id
    assert shown.headers["etag"] == created.headers["etag"]
    again = ask("PUT", path, shown.body, If_Match=shown.headers["etag"])
    assert (again.status, again.json()["result"]) == (200, "unchanged")
    assert [view["offer"] for view in ask("GET", "/offers").json()["offers"]] == [shown.json()]
    assert ask("DELETE", path).status == 204
    problem(ask("GET", path), 404, "offer")
    problem(ask("DELETE", path), 404, "offer")


def test_an_etag_guards_against_overwriting_another_persons_change(ask: Ask) -> None:
    first = ask("PUT", "/offers/a.b", OFFER, If_None_Match="*").headers["etag"]
    second = ask("PUT", "/offers/a.b", OFFER | {"titles": ["New"]}, If_Match=first)
    assert second.json()["changes"] == [{"field": "titles", "before": ["Contoso CRM"], "after": ["New"]}]
    problem(ask("PUT", "/offers/a.b", OFFER, If_Match=first), 412, "If-Match")
    problem(ask("PUT", "/offers/a.b", OFFER, If_None_Match="*"), 412, "If-None-Match")
    problem(ask("PUT", "/offers/a.b", OFFER, If_None_Match=first), 400, "If-None-Match")
    problem(ask("DELETE", "/offers/a.b", If_Match=first), 412, "If-Match")
    assert ask("DELETE", "/offers/a.b", If_Match=second.headers["etag"]).status == 204
    problem(ask("PUT", "/offers/a.b", OFFER, If_Match="*"), 412, "If-Match")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        ([], "offer"),
        ({}, "destinations"),
        (OFFER | {"id": "another"}, "id"),
        (OFFER | {"id": 5}, "id"),
        (OFFER | {"title": "x"}, "title"),
        ({"destinations": [{"name": "x", "type": "nope"}]}, "destinations.0.type"),
    ],
)
def test_a_wrong_offer_is_refused_with_the_field_named(ask: Ask, body: object, field: str) -> None:
    problem(ask("PUT", "/offers/a.b", body), 400, field)
    assert ask("GET", "/offers").json() == {"offers": []}


def test_destination_types_come_with_the_schema_of_their_settings(ask: Ask) -> None:
    types = {found["type"]: found for found in ask("GET", "/destination-types").json()["destination_types"]}
    assert types["azure_table"]["settings_schema"]["properties"]["table"]["default"] == "MarketplaceLeads"


def test_leads_are_listed_paged_and_shown_without_personal_data(
    ask: Ask, fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(fresh_storage, monkeypatch)
    ask("PUT", "/offers/contoso.crm", OFFER)
    older = pipeline.post()
    pipeline.advance(1)
    newer = pipeline.post(a_lead("two@example.com"))
    pipeline.run()
    page = ask("GET", "/leads?offer=contoso.crm&state=delivered&since=1h&limit=1&after=&code=KEY").json()
    assert ([lead["lead_id"] for lead in page["leads"]], page["after"]) == ([newer], newer)
    page = ask("GET", f"/leads?limit=1&after={newer}").json()
    assert ([lead["lead_id"] for lead in page["leads"]], page["after"]) == ([older], None)
    shown = ask("GET", f"/leads/{older}")
    assert shown.json()["deliveries"][0]["attempts"][0]["outcome"] == "delivered"
    personal = [*LEAD["UserDetails"].values(), LEAD["Description"], "two@example.com"]
    for answer in (shown, ask("GET", "/leads"), ask("GET", "/status")):
        assert not [text for text in personal if text.encode() in answer.body]
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("after=1", "after"),
        ("stat=x", "stat"),
    ],
)
def test_a_wrong_query_is_refused_with_the_field_named(ask: Ask, query: str, field: str) -> None:
    problem(ask("GET", f"/leads?{query}"), 400, field)


def test_what_is_not_there_and_what_is_not_allowed(ask: Ask) -> None:
    for path in ("/nothing", "/offers/a/b", "/leads/1/2", "/status/x"):
        assert "GET /api/manage lists" in problem(ask("GET", path), 404, "")["detail"]
    problem(ask("GET", "/leads/12"), 404, "lead_id")
    for method, path, allowed in (("PUT", "/leads", "GET"), ("DELETE", "", "GET"), ("DELETE", "/offers", "GET")):
        assert ask(method, path).headers["allow"] == allowed
    assert problem(ask("PUT", "/status"), 405, "")["title"] == "Method not allowed"


def test_storage_that_is_out_of_reach_is_a_503_that_tells_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        endpoints = f"TableEndpoint=http://127.0.0.1:{port}/a;QueueEndpoint=http://127.0.0.1:{port}/a"
        monkeypatch.setenv("LeadsStorage", f"AccountName=a;AccountKey=c2VjcmV0;{endpoints}")
        get_app.cache_clear()
        for method, path in (("GET", "/offers"), ("PUT", "/offers/a.b"), ("GET", "/leads"), ("GET", "/status")):
            answer = ask(method, path, OFFER if method == "PUT" else b"")
            assert str(port) not in problem(answer, 503, "")["detail"]
            assert int(answer.headers["retry-after"]) > 0


def test_a_storage_setting_that_is_wrong_is_a_503_that_does_not_repeat_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LeadsStorage", "AccountKey=c2VjcmV0")
    get_app.cache_clear()
    answer = ask("GET", "/offers")
    problem(answer, 503, "")
    assert b"c2VjcmV0" not in answer.body
