"""The management API over real HTTP: keys, encoded paths, and an offer that counts for the next lead."""

from __future__ import annotations

import json
from urllib.parse import quote

from tests.support.pipeline import a_lead
from tests.support.running_app import running_app

OFFER = json.dumps({"destinations": [{"name": "table", "type": "azure_table"}]}).encode()


def test_an_offer_that_is_put_takes_the_leads_of_its_address(fresh_storage: str) -> None:
    offer_id = "a/b.c\\d #?50% o'neil 🎈"
    path = quote(offer_id, safe="")
    with running_app(fresh_storage) as app:
        assert app.call("GET", "/api/manage/status", key="").status == 401
        assert app.call("PUT", f"/api/manage/offers/{path}", OFFER).status == 201
        lead = app.post(a_lead(), f"/api/leads/{path}").json()["lead_id"]
        app.wait_for(lead, "delivered")
        shown = app.call("GET", f"/api/manage/leads/{lead}").json()
        assert (shown["offer"], shown["state"]) == (offer_id, "delivered")
        listed = app.call("GET", f"/api/manage/leads?offer={path}").json()
        assert [line["lead_id"] for line in listed["leads"]] == [lead]
        assert app.call("DELETE", f"/api/manage/offers/{path}").status == 204
        assert app.call("GET", f"/api/manage/offers/{path}").status == 404
