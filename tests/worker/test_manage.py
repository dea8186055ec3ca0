"""The management API, called as a host calls it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from devhost.functions import HttpResult
from devhost.runtime import LoadedApp
from leads.app import examined_app
from leads.operations.doctor import Diagnosis, examine_deployment
from leads.operations.operation import Nothing, Operation
from leads.operations.table import OPERATIONS
from tests.support.pipeline import LEAD, Pipeline, a_lead
from tests.support.process_app import forget_app
from tests.worker.conftest import ask_function

pytestmark = pytest.mark.storage("memory")
OFFER = {"titles": ["Contoso CRM"], "destinations": [{"name": "table", "type": "azure_table"}]}
Ask = Callable[..., HttpResult]


@pytest.fixture
def ask(function_app: LoadedApp) -> Ask:
    """Asks for a path under /api/manage."""

    return partial(ask_function, function_app, "manage")


def problem(answer: HttpResult, status: int, field: str) -> Any:
    """The problem+json of an answer."""
    body = answer.json()
    assert (answer.status, body["status"], body.get("field", "")) == (status, status, field)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert body["detail"]
    return body


def test_the_root_lists_the_operations_and_each_of_them_answers(ask: Ask) -> None:
    listed = ask("GET", "").json()["operations"]
    assert {"method": "GET", "path": "/api/manage/status", "name": "show_status"}.items() <= listed[3].items()
    for operation in listed:
        if operation["method"] == "GET" and "{" not in operation["path"]:
            assert ask("GET", operation["path"].removeprefix("/api/manage")).status == 200


@pytest.mark.storage("azurite")
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


@pytest.mark.storage("azurite")
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
        ([], "body"),
        ({}, "destinations"),
        (OFFER | {"id": "another"}, "id"),
        (OFFER | {"id": 5}, "id"),
        (OFFER | {"id": ".."}, "id"),
        (OFFER | {"title": "x"}, "title"),
        ({"destinations": [{"name": "x", "type": "nope"}]}, "destinations.0.type"),
    ],
)
def test_a_wrong_offer_is_refused_with_the_field_named(ask: Ask, body: object, field: str) -> None:
    problem(ask("PUT", "/offers/a.b", body), 400, field)
    assert ask("GET", "/offers").json() == {"offers": []}


def test_leads_are_listed_paged_and_shown_without_personal_data(ask: Ask, pipeline: Pipeline) -> None:
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
    "path",
    [
        *("/leads?state=done", "/leads?since=yesterday", "/leads?limit=0", "/leads?after=1", "/leads?stat=x"),
        *("/status?x=1", "/offers/a.b?force=1", "/connections?limit=5"),
    ],
)
def test_a_wrong_or_unknown_parameter_is_refused_by_name(ask: Ask, path: str) -> None:
    ask("PUT", "/offers/a.b", OFFER)
    problem(ask("GET", path), 400, path.partition("?")[2].partition("=")[0])


def test_an_offer_is_validated_previewed_and_tried(ask: Ask, pipeline: Pipeline) -> None:
    ask("PUT", "/offers/contoso.crm", OFFER)
    found = ask("POST", "/offers/contoso.crm/validate?destination=table")
    assert (found.status, found.json()["ok"], found.json()["destinations"][0]["type"]) == (200, True, "azure_table")
    unsaved = {"name": "x", "type": "azure_table", "settings": {"connection_string": "env:LEADS_SECRET_NOT_THERE"}}
    (answer,) = ask("POST", "/validate", unsaved).json()["destinations"]
    assert (answer["ok"], answer["code"]) == (False, "settings")
    shown = ask("POST", "/preview", {"lead": a_lead()})
    assert shown.json()["destinations"][0]["requests"][0]["body"]["Email"] == "ada@example.com"
    assert shown.headers["cache-control"] == "no-store"
    problem(ask("POST", "/preview", {"laed": a_lead()}), 400, "laed")
    problem(ask("POST", "/offers/contoso.crm/test-leads", {"action": "a b"}), 400, "action")
    sent = ask("POST", "/offers/contoso.crm/test-leads", {"action": "PLT"})
    assert sent.status == 202
    assert ask("POST", "/offers/contoso.crm/test-leads").status == 202, "the action may be left out"
    pipeline.run()
    found = ask("GET", f"/leads/{sent.json()['lead_id']}")
    assert (found.json()["state"], found.json()["stage"]) == ("delivered", "contact_requested")


def test_no_answer_holds_a_secret(ask: Ask, fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "LEADS_SECRET_HOOK": "whsec_" + "c2VjcmV0" * 4,
        "LEADS_SECRET_HOOK_TOKEN": "s3cret-token",
        "LEADS_SECRET_CRM_STORAGE": fresh_storage,
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    hook = {
        "url": "https://127.0.0.1:1/",
        "secret": "env:LEADS_SECRET_HOOK",
        "headers": {"Authorization": "env:LEADS_SECRET_HOOK_TOKEN"},
    }
    destinations = [
        {"name": "hook", "type": "webhook", "settings": hook},
        {"name": "table", "type": "azure_table", "settings": {"connection_string": "env:LEADS_SECRET_CRM_STORAGE"}},
    ]
    answers = [
        ask("PUT", "/offers/a.b", {"destinations": destinations}),
        ask("POST", "/validate", destinations[0]),
        ask("POST", "/offers/a.b/validate"),
        ask("POST", "/preview", {"offer_id": "a.b"}),
        *(
            ask("GET", path)
            for path in ("", "/openapi.json", "/status", "/offers", "/offers/a.b", "/connections", "/leads")
        ),
    ]
    key = fresh_storage.partition("AccountKey=")[2].partition(";")[0]
    for answer in answers:
        assert answer.status < 300
        assert not [value for value in (*secrets.values(), "c2VjcmV0", key) if value.encode() in answer.body]


def test_a_connection_is_paused_with_a_note_and_resumed(ask: Ask) -> None:
    ask("PUT", "/offers/contoso.crm", OFFER)
    (connection,) = ask("GET", "/connections").json()["connections"]
    path = f"/connections/{connection['id']}"
    problem(ask("POST", f"{path}/pause"), 400, "body")
    problem(ask("POST", f"{path}/pause", {"note": " "}), 400, "note")
    paused = ask("POST", f"{path}/pause", {"note": "maintenance"}).json()
    assert (paused["paused"], paused["health"]) == (True, "paused by a person: maintenance")
    assert ask("GET", "/status").json()["connections"] == [paused]
    resumed = ask("POST", f"{path}/resume").json()
    assert resumed.keys() == connection.keys()
    assert {name for name in resumed if resumed[name] != connection[name]} == {"next_check_at"}
    assert ask("GET", path).json()["health"] == "nothing was sent yet"
    problem(ask("POST", "/connections/nope/resume"), 404, "connection_id")


def test_a_stored_offer_that_this_release_can_not_read_is_a_conflict(ask: Ask, pipeline: Pipeline) -> None:
    ask("PUT", "/offers/a.b", OFFER)
    table = pipeline.app.storage.table("LeadOffers").client
    table.update_entity({"PartitionKey": "offer", "RowKey": "a.b", "offer": '{"id":"a.b"}'})
    for path in ("/offers", "/offers/a.b"):
        assert "a.b can't be read by this release" in problem(ask("GET", path), 409, "stored offer")["detail"]
    assert ask("GET", "/connections").status == 200
    (told,) = ask("GET", "/status").json()["needs_a_person"]
    assert told.startswith(
        "stored offer: a.b can't be read by this release (destinations: is missing: add it), so its leads, "
    )
    assert ask("DELETE", "/offers/a.b").status == 204


def test_a_body_that_nobody_could_mean_is_too_large(ask: Ask) -> None:
    problem(ask("PUT", "/offers/a.b", b" " * (1024 * 1024 + 1)), 413, "body")


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if op.takes_body], ids=lambda op: op.name)
def test_a_body_that_came_without_its_length_is_asked_for_once_more_with_it(
    ask: Ask, operation: Operation[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_PERSONAL_DATA_OVER_HTTP", "true")
    forget_app()
    path = re.sub(r"\{\w+\}", "a.b", operation.path)
    told = problem(ask(operation.method, path, b"", Transfer_Encoding="chunked"), 411, "Content-Length")
    assert "send it with its length" in told["detail"]


def test_an_operation_without_a_body_needs_no_length(ask: Ask) -> None:
    assert ask("GET", "/offers", b"", Transfer_Encoding="chunked").status == 200


def test_what_is_not_there_and_what_is_not_allowed(ask: Ask) -> None:
    for path in ("/nothing", "/offers/a/b", "/leads/1/2", "/status/x"):
        assert "GET /api/manage lists" in problem(ask("GET", path), 404, "")["detail"]
    problem(ask("GET", "/leads/12"), 404, "lead_id")
    for method, path, allowed in (
        ("PUT", "/leads", "GET"),
        ("DELETE", "", "GET"),
        ("DELETE", "/offers", "GET"),
        ("POST", "/offers/a.b", "GET, PUT, DELETE"),
        ("GET", "/preview", "POST"),
    ):
        assert ask(method, path).headers["allow"] == allowed
    assert problem(ask("PUT", "/status"), 405, "")["title"] == "Method not allowed"


def test_storage_that_is_out_of_reach_is_a_503_that_tells_nothing(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        endpoints = f"TableEndpoint=http://127.0.0.1:{port}/a;QueueEndpoint=http://127.0.0.1:{port}/a"
        monkeypatch.setenv("LeadsStorage", f"AccountName=a;AccountKey=c2VjcmV0;{endpoints}")
        forget_app()
        for method, path in (("GET", "/offers"), ("PUT", "/offers/a.b"), ("GET", "/leads"), ("GET", "/status")):
            answer = ask(method, path, OFFER if method == "PUT" else b"")
            assert str(port) not in problem(answer, 503, "")["detail"]
            assert int(answer.headers["retry-after"]) > 0


def test_a_storage_setting_that_is_wrong_is_a_503_that_does_not_repeat_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LeadsStorage", "AccountKey=c2VjcmV0")
    forget_app()
    answer = ask("GET", "/offers")
    problem(answer, 503, "")
    assert b"c2VjcmV0" not in answer.body


def test_the_doctor_answers_when_nothing_else_can(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_KEY_VAULT_URI", "s3cret")
    monkeypatch.delenv("LeadsStorage")
    forget_app()
    assert ask("GET", "/status").status == 503
    answer = ask("GET", "/doctor")
    assert (answer.status, answer.json()["needs_a_person"]) == (200, True)
    wrong = {finding["about"]: finding for finding in answer.json()["findings"] if finding["level"] == "wrong"}
    assert wrong.keys() == {"LEADS_KEY_VAULT_URI", "LeadsStorage"}
    assert all(finding["remedy"] for finding in wrong.values())
    assert b"s3cret" not in answer.body


def test_the_doctor_says_over_http_what_it_says_at_a_shell(ask: Ask) -> None:
    ask("PUT", "/offers/contoso.crm", OFFER | {"announce": {"webhook": "env:LEADS_SECRET_CHAT"}})
    told = Diagnosis.model_validate_json(ask("GET", "/doctor").body)
    assert told == examine_deployment(examined_app(), Nothing())
    assert told.needs_a_person


def test_checks_that_are_not_done_in_time_are_a_503_that_says_so(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    ask("PUT", "/offers/contoso.crm", OFFER)
    end = threading.Event()
    monkeypatch.setattr("leads.operations.validation.check_connection", lambda _: end.wait(60))
    monkeypatch.setattr("leads.operations.validation.VALIDATION_SECONDS", 0)
    answer = ask("POST", "/offers/contoso.crm/validate")
    end.set()
    assert problem(answer, 503, "")["detail"] == "1 of 1 were not done in time. Ask again."
    assert int(answer.headers["retry-after"]) > 0
