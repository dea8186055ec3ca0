"""Who may see what: each operation at each level, and what the answers below the level personal hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from devhost.functions import HttpResult
from devhost.runtime import LoadedApp
from leads.core.identity import new_lead_id
from leads.core.lead_parsing import parse_body
from leads.core.states import UNDELIVERED, State
from leads.ledger.rows import Delivery, LeadRecord, body_entity, lead_entity, listing_entity
from leads.ledger.todo_rows import todo_entity
from leads.operations.access import LEVEL_OF_KEY, AccessLevel
from leads.operations.operation import Operation
from leads.operations.table import OPERATIONS
from tests.support.pipeline import Pipeline, a_lead
from tests.support.process_app import forget_app
from tests.worker.conftest import ask_function

pytestmark = pytest.mark.storage("memory")
Ask = Callable[..., HttpResult]
OFFER = {"titles": ["Contoso CRM"], "destinations": [{"name": "table", "type": "azure_table"}]}
CUSTOMER = {
    "FirstName": "Zebulonia",
    "LastName": "Quackenbushova",
    "Email": "zebulonia@people.example.com",
    "Phone": "16175550199",
    "Country": "USA",
    "Company": "Quagmire Holdings",
    "Title": "Chief Wibbler",
}
MESSAGE = "Wollemi pines for the foyer"
PERSONAL = [*(text for name, text in CUSTOMER.items() if name != "Country"), MESSAGE]


@pytest.fixture
def ask(function_app: LoadedApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks a function for a path below its base, where personal data may go out over HTTP."""
    monkeypatch.setenv("LEADS_PERSONAL_DATA_OVER_HTTP", "true")
    forget_app()
    yield partial(ask_function, function_app)


def path_of_operation(operation: Operation[Any, Any], lead_id: str = "a.b") -> str:
    path = operation.path.replace("{lead_id}", lead_id).replace("{offer_id}", "contoso.crm")
    return re.sub(r"\{\w+\}", "a.b", path)


@pytest.mark.parametrize("function", LEVEL_OF_KEY)
def test_each_level_is_a_function_under_keys_of_its_own(indexed_app: LoadedApp, function: str) -> None:
    found = indexed_app.functions[function]
    assert (found.route, found.auth_level) == (f"{function}/{{*path}}", "function")
    assert set(found.methods) == {"GET", "PUT", "POST", "DELETE"}


def test_a_level_holds_those_before_it() -> None:
    report, operate, personal = AccessLevel
    assert [level.reaches(needed) for level in AccessLevel for needed in (report, operate, personal)] == [
        *(True, False, False),
        *(True, True, False),
        *(True, True, True),
    ]


@pytest.mark.parametrize("function", LEVEL_OF_KEY)
def test_a_key_opens_what_its_level_reaches_and_nothing_else(ask: Ask, function: str) -> None:
    level = LEVEL_OF_KEY[function]
    for operation in OPERATIONS:
        answer = ask(function, operation.method, path_of_operation(operation), b"{}")
        if level.reaches(operation.level):
            assert answer.status not in {401, 403, 500}, operation.name
        else:
            told = answer.json()
            assert (answer.status, told["level"]) == (403, operation.level), operation.name
            assert f"needs the level {operation.level}" in told["detail"]
            assert answer.headers["content-type"].startswith("application/problem+json")


def test_what_is_refused_is_neither_read_nor_done(ask: Ask) -> None:
    assert ask("report", "PUT", "/offers/a.b", OFFER).status == 403
    assert ask("report", "PUT", "/offers/a.b", b"{").status == 403
    assert ask("manage", "GET", "/offers").json() == {"offers": []}


def test_numbers_alone_are_the_level_report() -> None:
    reached = {operation.name for operation in OPERATIONS if operation.level is AccessLevel.REPORT}
    assert {"list_operations", "show_openapi", "whoami"} <= reached
    assert reached.isdisjoint({"list_leads", "show_lead", "show_status", "list_offers", "list_connections"})


def test_what_answers_personal_data_needs_the_level_personal_or_can_leave_it_out() -> None:
    for operation in OPERATIONS:
        if operation.personal:
            assert operation.level is AccessLevel.PERSONAL or operation.for_caller, operation.name


@pytest.mark.parametrize("function", LEVEL_OF_KEY)
def test_a_page_finds_out_what_a_key_may_do(ask: Ask, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ask(function, "GET", "/whoami").json()
    level = LEVEL_OF_KEY[function]
    assert (told["level"], told["by"], told["personal_data"]) == (level, "key", level is AccessLevel.PERSONAL)
    assert told["name_of_level"] == level.in_words
    monkeypatch.setenv("LEADS_PERSONAL_DATA_OVER_HTTP", "false")
    forget_app()
    assert ask(function, "GET", "/whoami").json()["personal_data"] is False


@pytest.mark.parametrize("function", LEVEL_OF_KEY)
def test_addresses_begin_where_they_were_asked_for(ask: Ask, function: str) -> None:
    listed = ask(function, "GET", "").json()["operations"]
    assert [each["path"] for each in listed] == [f"/api/{function}{operation.path}" for operation in OPERATIONS]
    assert [each["level"] for each in listed] == [operation.level for operation in OPERATIONS]
    document = ask(function, "GET", "/openapi.json").json()
    assert document["servers"] == [{"url": f"/api/{function}"}]
    assert f"`{function}`" in document["components"]["securitySchemes"]["key"]["description"]
    assert f"GET /api/{function} lists" in ask(function, "GET", "/nothing").json()["detail"]


# --- What the level operate sees ----------------------------------------------------------------------------------------


def a_lead_in_each_state(pipeline: Pipeline) -> list[str]:
    """A lead of the same customer in each state, those that can't be read and that were emptied, too."""
    lead = parse_body(json.dumps(a_lead(UserDetails=CUSTOMER, Description=MESSAGE)).encode())
    now, ledger, ids = pipeline.clock.now(), pipeline.app.ledger, []
    for state in State:
        lead_id = new_lead_id(now, lead)
        delivery = Delivery("table", state, connection="", reason="The vendor said no", record_id="r1", updated_at=now)
        record = LeadRecord(lead_id, now, lead, offer="contoso.crm", deliveries={"table": delivery})
        rows = []
        if state is State.UNREADABLE:
            record.lead, record.has_body = None, True
            rows.append(body_entity(lead_id, json.dumps({"": [CUSTOMER, MESSAGE]}).encode()))
        if state is State.ERASED:
            record = record.emptied(now, "erased")
        if state in UNDELIVERED:
            rows.append(todo_entity(record, delivery))
        for row in (lead_entity(record, whole=True), listing_entity(record), *rows):
            ledger.table.write([("create", row, {})])
        ids.append(lead_id)
    return ids


BODIES: dict[str, list[Any]] = {
    "export_leads": [{}, {"dry_run": True}],
    "replay_leads": [{"offer": "contoso.crm", "state": state} for state in ("dead_letter", "held", "crashed", "retry")],
    "replay_lead": [{"dry_run": True}, {"force": True}, {"fields": {"country": "Norway"}}],
    "import_rows": [{"rows": [{"number": 1, "record": {"Email": CUSTOMER["Email"]}}]}],
    "reconcile_rows": [{"rows": [{"number": 1, "record": {"Email": CUSTOMER["Email"]}}]}],
    "import_table": [{"source": {"table": "Other"}}],
    "validate_destination": [{"name": "table", "type": "azure_table"}],
    "pause_connection": [{"note": "maintenance"}],
    "set_offer": [OFFER],
    "dismiss_lead": [{"note": "nobody will repair it", "dry_run": True}],
    "dismiss_leads": [{"note": "nobody will repair it", "offer": "contoso.crm"}],
}
"""What operations are asked that need a body, or that answer more with one."""


@pytest.mark.parametrize("function", ["report", "operate"])
def test_no_answer_below_the_level_personal_holds_what_a_customer_said(
    ask: Ask, function: str, pipeline: Pipeline
) -> None:
    ask("manage", "PUT", "/offers/contoso.crm", OFFER)
    ids = a_lead_in_each_state(pipeline)
    told = 0
    # The offer is removed last, for the others need it.
    for operation in sorted(OPERATIONS, key=lambda one: one.method == "DELETE"):
        for lead_id in ids if "{lead_id}" in operation.path else ids[:1]:
            for body in BODIES.get(operation.name, [{}]):
                answer = ask(function, operation.method, path_of_operation(operation, lead_id), body)
                text = json.dumps(answer.headers) + answer.body.decode()
                assert [said for said in PERSONAL if said in text] == [], (operation.name, text)
                told += answer.status < 300
    assert told > (len(ids) if function == "operate" else 0)


def test_an_export_says_that_it_leaves_personal_data_out(ask: Ask, pipeline: Pipeline) -> None:
    a_lead_in_each_state(pipeline)
    whole = ask("manage", "POST", "/export", {}).json()
    assert whole["personal_data"] is True
    assert CUSTOMER["Email"] in json.dumps(whole)
    less = ask("operate", "POST", "/export", {}).json()
    assert (less["personal_data"], less["count"]) == (False, whole["count"])
    for lead in less["leads"]:
        (same,) = [one for one in whole["leads"] if one["lead_id"] == lead["lead_id"]]
        assert lead.items() <= same.items()
        assert {"state", "offer", "deliveries"} <= lead.keys()
