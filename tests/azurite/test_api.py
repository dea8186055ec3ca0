"""The operations: offers, leads and status as a person or a script asks for them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from leads import api
from leads.intake import KeptUnreadable
from leads.offers import InvalidOffer, OfferChanged
from leads.problems import first_problem
from leads.rows import State
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import DELIVERED, REJECTED, RETRY, Vendor

TABLE = {"name": "table", "type": "azure_table"}
ODD_IDS = ["*", "a/b.c\\d", "what?#50%25.x", "o'neil.crm", "Ünï.cödé 🎈", "a;b.c|d", "..", "tab\there"]


def an_offer(offer_id: str = "contoso.crm", **more: Any) -> Any:
    return api.check_offer({"id": offer_id, "destinations": [TABLE], **more})


def listed(pipeline: Pipeline, **criteria: Any) -> list[str]:
    return [lead.lead_id for lead in api.list_leads(pipeline.app, api.LeadFilter.model_validate(criteria)).leads]


# Offers


@pytest.mark.parametrize("offer_id", ODD_IDS)
def test_an_offer_is_set_shown_listed_and_removed_whatever_its_id(pipeline: Pipeline, offer_id: str) -> None:
    offer = an_offer(offer_id, titles=["One", "'Two' 🎈"])
    saved = api.set_offer(pipeline.app, offer)
    assert saved.result == "created"
    shown = api.show_offer(pipeline.app, offer_id.upper())
    assert (shown.offer, shown.etag) == (offer, saved.etag)
    assert [view.offer for view in api.list_offers(pipeline.app)] == [offer]
    api.remove_offer(pipeline.app, offer_id)
    assert api.list_offers(pipeline.app) == []
    with pytest.raises(api.NotFound, match=r"^offer: "):
        api.show_offer(pipeline.app, offer_id)
    with pytest.raises(api.NotFound):
        api.remove_offer(pipeline.app, offer_id)


def test_setting_an_offer_tells_what_changed_and_by_name(pipeline: Pipeline) -> None:
    before = {"id": "a.b", "destinations": [TABLE, {"name": "old", "type": "azure_table"}]}
    after = {
        "id": "a.b",
        "titles": ["Title"],
        "destinations": [{"name": "new", "type": "azure_table"}, TABLE | {"settings": {"table": "Other"}}],
    }
    api.set_offer(pipeline.app, api.check_offer(before))
    saved = api.set_offer(pipeline.app, api.check_offer(after))
    assert saved.result == "changed"
    changed = {change.field: (change.before, change.after) for change in saved.changes}
    assert changed["titles"] == ([], ["Title"])
    assert changed["destinations.table.settings.table"] == (None, "Other")
    assert changed["destinations.old.type"] == ("azure_table", None)
    assert changed["destinations.new.type"] == (None, "azure_table")
    assert not any(field.startswith("destinations.table.when") for field in changed)


def test_setting_an_offer_as_it_is_writes_nothing(pipeline: Pipeline) -> None:
    first = api.set_offer(pipeline.app, an_offer())
    again = api.set_offer(pipeline.app, an_offer(), etag=first.etag)
    assert (again.result, again.changes, again.etag) == ("unchanged", [], first.etag)


def test_an_etag_guards_against_overwriting_another_persons_change(pipeline: Pipeline) -> None:
    first = api.set_offer(pipeline.app, an_offer(), etag="")
    second = api.set_offer(pipeline.app, an_offer(titles=["Two"]), etag=first.etag)
    for stale in (first.etag, "", "nonsense", 'W/"x"'):
        with pytest.raises(OfferChanged):
            api.set_offer(pipeline.app, an_offer(titles=["Three"]), etag=stale)
        with pytest.raises(OfferChanged):
            api.remove_offer(pipeline.app, "contoso.crm", etag=stale)
    assert api.show_offer(pipeline.app, "contoso.crm").offer.titles == ["Two"]
    api.remove_offer(pipeline.app, "contoso.crm", etag=second.etag)
    with pytest.raises(OfferChanged):
        api.set_offer(pipeline.app, an_offer(), etag="*")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": " "}, "id: must not be blank"),
        ({"title": ["x"]}, "title: there is no such field"),
        ({"destinations": []}, "destinations: "),
        ({"destinations": [{"type": "azure_table"}]}, "destinations.0.name: is missing"),
        (
            {"destinations": [TABLE | {"type": "crm"}]},
            "destinations.0.type: there is no destination type of that name; use",
        ),
        (
            {"destinations": [TABLE | {"settings": {"tabel": "x"}}]},
            "destinations.0.settings.tabel: there is no such field",
        ),
        (
            {"destinations": [TABLE | {"settings": {"connection_string": "AccountKey=c2VjcmV0"}}]},
            "destinations.0.settings.connection_string: must be a reference: env:NAME",
        ),
        (
            {"destinations": [TABLE | {"settings": {"connection_string": "env:A", "table_service_uri": "https://a"}}]},
            "destinations.0.settings.connection_string: leave it out, or",
        ),
        ({"destinations": [TABLE, TABLE]}, "destinations: two of them have the same name"),
        ({"destinations": [TABLE | {"when": {"stage": ["hot"]}}]}, "destinations.0.when.stage.0: "),
        ({"policies": {"dnc": "call"}}, "policies.dnc: Input should be 'flag', 'note' or 'skip'"),
        ({"titles": ["x" * 20_000] * 11}, "offer: is longer than"),
    ],
)
def test_a_wrong_offer_is_refused_in_one_line_that_names_the_field(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidOffer) as refused:
        api.check_offer({"id": "a.b", "destinations": [TABLE]} | changes)
    assert str(refused.value).startswith(problem)
    assert "\n" not in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
OFFER_LIKE = st.fixed_dictionaries(
    {"id": JSON | st.text(min_size=1), "destinations": JSON | st.just([TABLE])},
    optional={"titles": JSON | st.lists(st.text()), "policies": JSON, "stages": JSON},
)


@given(JSON | OFFER_LIKE)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_an_offer_that_comes_back_the_same_or_is_refused_in_one_line(
    pipeline: Pipeline, data: object
) -> None:
    try:
        offer = api.check_offer(data)
    except InvalidOffer as error:
        assert len(str(error).splitlines()) == 1
        return
    api.set_offer(pipeline.app, offer)
    assert api.show_offer(pipeline.app, offer.id).offer == offer


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_json_or_refused_in_one_line(body: bytes) -> None:
    try:
        api.read_json(body)
    except InvalidOffer as error:
        assert str(error).startswith("body: ")
        assert len(str(error).splitlines()) == 1


def test_json_that_nobody_could_mean_is_refused() -> None:
    for body in (b"[" * 100_000, b"9" * 5_000, b"\xff\xfe{"):
        with pytest.raises(InvalidOffer, match=r"^body: "):
            api.read_json(body)


def test_a_stored_offer_of_another_release_is_named(pipeline: Pipeline) -> None:
    api.set_offer(pipeline.app, an_offer())
    client = pipeline.app.storage.table("LeadOffers").client
    client.update_entity({"PartitionKey": "offer", "RowKey": "contoso.crm", "offer": '{"id":"contoso.crm"}'})
    with pytest.raises(InvalidOffer, match=r"^stored offer: contoso.crm is not one that this release reads"):
        api.list_offers(pipeline.app)
    api.remove_offer(pipeline.app, "contoso.crm")
    assert api.list_offers(pipeline.app) == []


# Destination types


def test_a_destination_type_shows_its_settings_as_json_schema() -> None:
    found = {kind.type: kind for kind in api.list_destination_types()}["azure_table"]
    properties: Any = found.settings_schema["properties"]
    assert properties["table"]["default"] == "MarketplaceLeads"
    assert "secret-reference" in json.dumps(properties["connection_string"])
    assert found == api.show_destination_type("azure_table")
    with pytest.raises(api.NotFound, match="use one of azure_table"):
        api.show_destination_type("azure-table")


# Leads


def test_leads_are_listed_newest_first_by_offer_state_and_time(pipeline: Pipeline, vendor: Vendor) -> None:
    pipeline.offer(crm(vendor.url))
    pipeline.offer(crm(vendor.url), offer_id="contoso.o'neil", titles=[])
    started = pipeline.clock.now()
    first = pipeline.post(a_lead("one@example.com"))
    pipeline.advance(3600)
    second = pipeline.post(a_lead("two@example.com"), offer="contoso.o'neil")
    pipeline.advance(3600)
    third = pipeline.post(a_lead("three@example.com", OfferTitle="Another"))
    pipeline.advance(1)
    assert listed(pipeline) == [third, second, first]
    assert listed(pipeline, offer="Contoso.CRM") == [first]
    assert listed(pipeline, offer="contoso.o'neil") == [second]
    assert listed(pipeline, offer="-") == listed(pipeline, state="unrouted") == [third]
    assert listed(pipeline, state="delivered") == [second, first]
    assert listed(pipeline, since="90m") == [third, second]
    assert listed(pipeline, until=(started + timedelta(minutes=30)).isoformat()) == [first]
    assert listed(pipeline, since=(started + timedelta(minutes=30)).isoformat(), until="30m") == [second]
    assert listed(pipeline, since="0001-01-01", until="9999-12-31T23:59:59-12:00") == [third, second, first]


def test_pages_meet_without_a_gap_or_an_overlap(routed: Pipeline) -> None:
    posted = []
    for number in range(7):
        posted.append(routed.post(a_lead(f"{number}@example.com")))
        routed.advance(1)
    pages, after = [], ""
    while True:
        page = api.list_leads(routed.app, api.LeadFilter(after=after, limit=3, offer="contoso.crm"))
        pages.append([lead.lead_id for lead in page.leads])
        if page.after is None:
            break
        after = page.after
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [lead_id for page in pages for lead_id in page] == posted[::-1]


def test_a_page_that_ends_with_the_last_lead_has_no_next_one(routed: Pipeline) -> None:
    routed.post()
    routed.run()
    assert api.list_leads(routed.app, api.LeadFilter(limit=1)).after is None


@pytest.mark.parametrize(
    ("criteria", "problem"),
    [
        ({"state": "done"}, "state: Input should be 'waiting', "),
        ({"since": "yesterday"}, "since: write a time as"),
        ({"until": "2026-13-01"}, "until: write a time as"),
        ({"since": "1h", "until": "2h"}, "since: is later than until"),
        ({"after": "20260131"}, "after: must be a lead's id"),
        ({"limit": "0"}, "limit: "),
        ({"limit": "many"}, "limit: "),
        ({"stat": "x"}, "stat: there is no such field"),
    ],
)
def test_a_wrong_filter_is_refused_in_one_line_that_names_the_field(criteria: dict[str, str], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        api.LeadFilter.model_validate(criteria)
    assert first_problem(refused.value).startswith(problem)


@given(st.text(max_size=30) | st.datetimes().map(str) | st.from_regex(r"[0-9]{1,7} ?[mhdwM]", fullmatch=True))
def test_any_text_is_a_time_that_storage_can_be_asked_for_or_is_refused(text: str) -> None:
    try:
        found = api.LeadFilter.model_validate({"since": text}).since
    except ValidationError as error:
        assert first_problem(error).startswith("since: ")
        return
    assert found is not None
    assert datetime(2000, 1, 1, tzinfo=UTC) <= found <= datetime(9000, 1, 1, tzinfo=UTC)


def test_a_lead_shows_every_attempt_and_no_personal_data_unless_asked(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead_id = routed.post(a_lead(PartnerTier="gold"))
    routed.run()
    waiting = api.show_lead(routed.app, lead_id).deliveries[0]
    assert (waiting.state, waiting.attempts[0].next_at) == (State.RETRY, waiting.next_at)
    routed.advance(15)
    shown = api.show_lead(routed.app, lead_id)
    delivery = shown.deliveries[0]
    assert [(attempt.outcome, attempt.code) for attempt in delivery.attempts] == [("retry", "503"), ("delivered", "")]
    assert (delivery.record_id, delivery.next_at) == (lead_id, None)
    assert (shown.state, shown.stage, shown.offer) == (State.DELIVERED, "initial_interest", "contoso.crm")
    assert shown.named_offer == {"title": "Contoso CRM"}
    for personal in ("ada@example.com", "O'Neil", "Example Works", "16175555555", "Please call", "gold"):
        assert personal not in shown.model_dump_json()
        assert personal in api.show_lead(routed.app, lead_id, with_person=True).model_dump_json()


def test_an_unreadable_lead_shows_its_body_only_when_the_person_is_asked_for(pipeline: Pipeline) -> None:
    with pytest.raises(KeptUnreadable):
        pipeline.post(b'{"UserDetails": {"Email": "ada@example.com"')
    lead_id = listed(pipeline, state="unreadable")[0]
    assert "ada@example.com" not in api.show_lead(pipeline.app, lead_id).model_dump_json()
    person = api.show_lead(pipeline.app, lead_id, with_person=True).person
    assert person is not None
    assert person.body == '{"UserDetails": {"Email": "ada@example.com"'


def test_a_lead_that_is_not_there_is_not_found(pipeline: Pipeline) -> None:
    for lead_id in ("20260131235959999-0123456789ab-c", "x", "", "../status"):
        with pytest.raises(api.NotFound, match=r"^lead_id: "):
            api.show_lead(pipeline.app, lead_id)


# Status


def test_status_of_an_empty_account(pipeline: Pipeline) -> None:
    found = api.status(pipeline.app)
    assert (found.offers, found.connections, found.oldest_undelivered) == ([], [], None)
    assert set(found.undelivered.values()) == {0}
    assert (found.queue.leads, found.queue.poison, found.delivered_of_last_24_hours) == (0, 0, 0)


def test_status_tells_what_waits_what_is_paused_and_what_was_delivered(pipeline: Pipeline, vendor: Vendor) -> None:
    with Vendor() as other:
        pipeline.offer(crm(vendor.url), crm(other.url, "idle", when={"stage": ["purchase"]}))
        pipeline.offer(crm(vendor.url), offer_id="contoso.other", titles=[])
        pipeline.post(a_lead("old@example.com"))
        pipeline.run()
        pipeline.advance(86_401)
        pipeline.post(a_lead("new@example.com"))
        pipeline.run()
        vendor.answers(REJECTED)
        pipeline.post(a_lead("rejected@example.com"))
        pipeline.run()
        vendor.refuses()
        oldest = pipeline.post(a_lead("parked@example.com"))
        pipeline.run()
        pipeline.advance(1)
        pipeline.post(a_lead("unrouted@example.com", OfferTitle="Another"))
        pipeline.run()
        pipeline.app.poison.put("not ours")
        pipeline.post(a_lead("queued@example.com"))
        found = api.status(pipeline.app)
    assert found.offers == ["contoso.crm", "contoso.other"]
    assert {state: count for state, count in found.undelivered.items() if count} == {
        State.DEAD_LETTER: 1,
        State.PARKED: 1,
        State.UNROUTED: 1,
    }
    assert found.oldest_undelivered is not None
    assert (found.oldest_undelivered.lead_id, found.oldest_undelivered.destination) == (oldest, "crm")
    assert found.delivered_of_last_24_hours == 1
    assert (found.queue.leads, found.queue.poison) == (1, 1)
    health = {connection.used_by[0].destination: connection for connection in found.connections}
    assert health["crm"].health == "paused: the secret has expired: make a new one"
    assert [use.offer for use in health["crm"].used_by] == ["contoso.crm", "contoso.other"]
    assert health["idle"].health == "nothing was sent yet"


def test_status_tells_of_connections_that_fail_that_work_and_that_nobody_uses(routed: Pipeline, vendor: Vendor) -> None:
    def health() -> str:
        return api.status(routed.app).connections[0].health

    vendor.answers(RETRY)
    routed.post(a_lead("one@example.com"))
    routed.post(a_lead("two@example.com"))
    routed.run()
    assert health() == "failing: 2 in a row"
    vendor.works()
    routed.advance(15)
    assert health() == "working"
    api.remove_offer(routed.app, "contoso.crm")
    assert health() == "no offer uses it any more"
