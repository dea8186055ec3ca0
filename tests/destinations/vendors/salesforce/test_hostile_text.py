"""Whatever a customer writes is text to Salesforce: in queries, in transactions, and in records."""

from __future__ import annotations

import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.outcomes import Delivered
from leads.destinations.vendors.salesforce.client import quoted
from tests.fakes.salesforce import CAMPAIGN, QUEUE, Salesforce
from tests.fakes.soql import MalformedQuery, parse, string_value
from tests.support.destination import Alone
from tests.support.salesforce import KEY, Make, one


@pytest.mark.parametrize("email", ["o'neil@example.com", "o\\neil@example.com", 'o"neil@example.com'])
def test_an_address_finds_its_own_record_and_no_other(org: Salesforce, make: Make, email: str) -> None:
    alone = make(external_id_field=KEY)
    org.add_lead(Email="x@example.com")
    theirs = org.add_lead(Email=email)
    alone.send(email=email)
    assert len(org.tasks(theirs)) == 1
    alone.send(email="x' OR Rating = 'Hot' OR Email = 'x@example.com")
    assert len(org.leads) == 3


@given(st.text(max_size=60))
def test_any_text_is_one_string_of_a_query(text: str) -> None:
    assert string_value(quoted(text)) == text
    query = parse(f"SELECT Id FROM Lead WHERE Email = {quoted(text)} AND Phone = '1' LIMIT 5")
    assert query.choose([{"Email": text, "Phone": "1"}, {"Email": text + "x", "Phone": "1"}]) == [
        {"Email": text, "Phone": "1"}
    ]
    assert query.fields == {"Email", "Phone"}


@pytest.mark.parametrize("text", ["'a", "a' OR 'b", "\\", "a\\", "\\x", "'a' OR Id != '"])
def test_the_fake_refuses_a_query_without_escapes(text: str) -> None:
    with pytest.raises(MalformedQuery):
        parse(f"SELECT Id FROM Lead WHERE Email = '{text}'")


HOSTILE = [
    "x\r\nSforce-Auto-Assign: 1",
    'x","OwnerId":"005000000000002AAA',
    "{company} {{email}}",
    "@{task1.id} @{rows.records[0].Id}",
    "x' OR Id != '",
    "\\' OR Id != '' OR Name = \\'",
    "=cmd|' /C calc'!A1",
    "</Description><script>",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_looks_like_syntax_is_text(org: Salesforce, alone: Alone, hostile: str) -> None:
    details = dict.fromkeys(("FirstName", "LastName", "Phone", "Country", "Company", "Title"), hostile)
    for action in ("INS", "PLT"):
        assert isinstance(alone.send(action, UserDetails=details | {"Email": hostile}, Description=hostile), Delivered)
    row = one(org.leads)
    kept = hostile.replace("\r\n", "\n")
    for text in (row["LastName"], row["Company"], row["FirstName"]):
        assert " ".join(text.split()) == " ".join(kept.split())
    assert kept in one(org.tasks())["Description"].replace("\r", "").replace("\u200b", "")
    assert row["OwnerId"] == QUEUE
    assert not [request for request in org.journal if request.headers.get("sforce-auto-assign") == "1"]


def test_queries_say_what_they_ask_for(org: Salesforce, make: Make) -> None:
    make(follow_up={"purchase": {"campaign": CAMPAIGN}}).send("Create")
    (part,) = json.loads(org.api_journal[0].body)["compositeRequest"]
    query = parse(unquote(part["url"].partition("?q=")[2]))
    assert (query.table, query.limit, query.fields) == ("Lead", 10, {"Email", "IsConverted", "LastModifiedDate"})
    assert [subquery.table for subquery in query.subqueries] == ["Tasks", "CampaignMembers"]
