"""The management API over real HTTP: keys, encoded paths, an offer that counts for the next lead, a walk through connecting."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote

from leads.operations.access import BASE, LEVEL_OF_KEY, base_of
from leads.operations.table import OPERATIONS
from tests.e2e.conftest import app_on
from tests.support.pipeline import a_lead
from tests.support.running_app import RunningApp, running_app

OFFER = json.dumps({"destinations": [{"name": "table", "type": "azure_table"}]}).encode()


def test_an_offer_that_is_put_takes_the_leads_of_its_address(shared_demo: RunningApp) -> None:
    offer_id = "a/b.c\\d #?50% o'neil 🎈"
    path = quote(offer_id, safe="")
    assert shared_demo.call("GET", "/api/manage/status", key="").status == 401
    assert shared_demo.call("PUT", f"/api/manage/offers/{path}", OFFER).status == 201
    lead = shared_demo.post(a_lead(), f"/api/leads/{path}").json()["lead_id"]
    shared_demo.wait_for(lead, "delivered")
    shown = shared_demo.call("GET", f"/api/manage/leads/{lead}").json()
    assert (shown["offer"], shown["state"]) == (offer_id, "delivered")
    listed = shared_demo.call("GET", f"/api/manage/leads?offer={path}").json()
    assert [line["lead_id"] for line in listed["leads"]] == [lead]
    assert shared_demo.call("DELETE", f"/api/manage/offers/{path}").status == 204
    assert shared_demo.call("GET", f"/api/manage/offers/{path}").status == 404


def test_each_key_opens_its_own_function_and_nothing_else(shared_demo: RunningApp) -> None:
    keys = shared_demo.host.function_keys
    lead = shared_demo.post(a_lead()).json()["lead_id"]
    guarded = [(operation.method, BASE + operation.path, "manage") for operation in OPERATIONS]
    guarded += [("GET", f"{base_of(function)}/whoami", function) for function in LEVEL_OF_KEY]
    guarded += [("GET", f"/api/status/{lead}", "lead_status"), ("POST", "/api/leads", "accept_lead")]
    for method, path, function in guarded:
        for other in {"accept_lead", "lead_status", *LEVEL_OF_KEY} - {function}:
            assert shared_demo.call(method, path, b"{}", key=keys[other]).status == 401, (method, path, other)
            assert shared_demo.call(method, f"{path}?code={keys[other]}", b"{}", key="").status == 401, (
                method,
                path,
                other,
            )
        assert shared_demo.call(method, path, b"{}", key="").status == 401, (method, path)
        assert shared_demo.call(method, path, b"{}", key=keys[function]).status != 401, (method, path)


def test_nobody_is_let_in_without_a_key_where_the_platform_signs_nobody_in(shared_demo: RunningApp) -> None:
    claims = [{"typ": "oid", "val": "11111111-2222-3333-4444-555555555555"}, {"typ": "roles", "val": "Leads.Personal"}]
    forged = b64encode(json.dumps({"auth_typ": "aad", "claims": claims}).encode()).decode()
    for key in ("", shared_demo.host.function_keys["manage"]):
        answer = shared_demo.call("GET", "/api/signed-in/whoami", key=key, X_MS_CLIENT_PRINCIPAL=forged)
        assert (answer.status, answer.json()["title"]) == (401, "Not signed in")


def test_a_publisher_connects_tries_pauses_and_resumes(fresh_storage: str) -> None:
    with running_app(fresh_storage) as app:

        def ask(method: str, path: str, body: object = None, status: int = 200) -> Any:
            raw = None if body is None else json.dumps(body).encode()
            answer = app.call(method, f"/api/manage{path}", raw, key=app.host.function_keys["manage"])
            assert answer.status == status, answer.body
            return answer.json() if answer.body else None

        destination = {
            "name": "table",
            "type": "azure_table",
            "settings": {"connection_string": "env:LEADS_SECRET_NOT_THERE"},
        }
        refused = ask("POST", "/validate", destination)
        assert refused["destinations"][0]["problem"].startswith(
            "The app setting LEADS_SECRET_NOT_THERE is missing or empty"
        )
        offer = {"destinations": [destination | {"settings": {"table": "CrmLeads"}}]}
        ask("PUT", "/offers/contoso.crm", offer, 201)
        assert ask("POST", "/offers/contoso.crm/validate")["ok"]
        shown = ask("POST", "/preview", {"offer_id": "contoso.crm", "action": "PLT"})
        assert shown["destinations"][0]["requests"][0]["body"]["Stage"] == "contact_requested"
        tried = ask("POST", "/offers/contoso.crm/test-leads", {"action": "Create"}, 202)
        app.wait_for(tried["lead_id"], "delivered")
        (connection,) = ask("GET", "/connections")["connections"]
        assert connection["used_by"] == [{"offer": "contoso.crm", "destination": "table"}]
        ask("POST", f"/connections/{connection['id']}/pause", {"note": "maintenance"})
        parked = ask("POST", "/offers/contoso.crm/test-leads", status=202)
        app.wait_for(parked["lead_id"], "parked")
        assert ask("GET", "/status")["needs_a_person"] == [
            f"connection {connection['id']} (contoso.crm table) is paused by a person: maintenance; waiting leads: 1"
        ]
        assert not ask("POST", f"/connections/{connection['id']}/resume")["paused"]
        next_one = ask("POST", "/offers/contoso.crm/test-leads", status=202)
        app.wait_for(next_one["lead_id"], "delivered")
        rows = app_on(fresh_storage).storage.table("CrmLeads").query("PartitionKey ge ''")
        assert {row["RowKey"] for row in rows} == {tried["lead_id"], next_one["lead_id"]}
