"""The operations: offers, leads and status as a person or a script asks for them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from leads.core.problems import first_problem
from leads.core.states import State
from leads.offers.model import InvalidOffer, Offer
from leads.offers.table import UnreadableOffer
from leads.operations import leads as leads_operations
from leads.operations.connections import (
    ConnectionView,
    Note,
    PauseConnection,
    ResumeConnection,
    ShowConnection,
    list_connections,
    pause_connection,
    resume_connection,
    show_connection,
)
from leads.operations.destination_types import ShowDestinationType, list_destination_types, show_destination_type
from leads.operations.leads import LeadFilter, LeadView, ShowLead, list_leads, show_lead, show_person
from leads.operations.offers import (
    OfferBody,
    RemoveOffer,
    SavedOffer,
    SetOffer,
    ShowOffer,
    check_offer,
    list_offers,
    remove_offer,
    set_offer,
    show_offer,
)
from leads.operations.operation import Nothing
from leads.operations.problems import Changed, Invalid, NotFound
from leads.operations.status import Status, show_status
from leads.operations.wire import read_json
from leads.pipeline.intake import KeptUnreadable
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import DELIVERED, REJECTED, RETRY, Vendor

TABLE = {"name": "table", "type": "azure_table"}


def an_offer(offer_id: str = "contoso.crm", **more: Any) -> Offer:
    return check_offer({"id": offer_id, "destinations": [TABLE], **more})


def put(pipeline: Pipeline, offer: Offer, **versions: Any) -> SavedOffer:
    body = OfferBody.model_validate(offer.model_dump())
    return pipeline.ask(set_offer, SetOffer(offer_id=offer.id, offer=body, **versions))


def delete(pipeline: Pipeline, offer_id: str, if_match: str | None = None) -> None:
    pipeline.ask(remove_offer, RemoveOffer(offer_id=offer_id, if_match=if_match))


def stored(pipeline: Pipeline) -> list[Offer]:
    return [view.offer for view in pipeline.ask(list_offers, Nothing()).offers]


def listed(pipeline: Pipeline, **criteria: Any) -> list[str]:
    return [lead.lead_id for lead in pipeline.ask(list_leads, LeadFilter.model_validate(criteria)).leads]


def shown(pipeline: Pipeline, lead_id: str) -> LeadView:
    return pipeline.ask(show_lead, ShowLead(lead_id=lead_id))


def status(pipeline: Pipeline) -> Status:
    return pipeline.ask(show_status, Nothing())


# Offers


def test_setting_an_offer_tells_what_changed_and_by_name(pipeline: Pipeline) -> None:
    before = {"id": "a.b", "destinations": [TABLE, {"name": "old", "type": "azure_table"}]}
    after = {
        "id": "a.b",
        "titles": ["Title"],
        "destinations": [{"name": "new", "type": "azure_table"}, TABLE | {"settings": {"table": "Other"}}],
    }
    put(pipeline, check_offer(before))
    saved = put(pipeline, check_offer(after))
    assert saved.result == "changed"
    changed = {change.field: (change.before, change.after) for change in saved.changes}
    assert changed["titles"] == ([], ["Title"])
    assert changed["destinations.table.settings.table"] == (None, "Other")
    assert changed["destinations.old.type"] == ("azure_table", None)
    assert changed["destinations.new.type"] == (None, "azure_table")
    assert not any(field.startswith("destinations.table.when") for field in changed)


def test_setting_an_offer_as_it_is_writes_nothing(pipeline: Pipeline) -> None:
    first = put(pipeline, an_offer())
    again = put(pipeline, an_offer(), if_match=first.etag)
    assert (again.result, again.changes, again.etag) == ("unchanged", [], first.etag)


@pytest.mark.storage("memory", "azurite")
def test_an_etag_guards_against_overwriting_another_persons_change(pipeline: Pipeline) -> None:
    first = put(pipeline, an_offer(), if_none_match="*")
    second = put(pipeline, an_offer(titles=["Two"]), if_match=first.etag)
    for stale in (first.etag, "", "nonsense", 'W/"x"'):
        with pytest.raises(Changed, match=r"^If-Match: "):
            put(pipeline, an_offer(titles=["Three"]), if_match=stale)
        with pytest.raises(Changed, match=r"^If-Match: "):
            delete(pipeline, "contoso.crm", if_match=stale)
    with pytest.raises(Changed, match=r"^If-None-Match: "):
        put(pipeline, an_offer(titles=["Three"]), if_none_match="*")
    assert stored(pipeline)[0].titles == ["Two"]
    delete(pipeline, "contoso.crm", if_match=second.etag)
    with pytest.raises(Changed):
        put(pipeline, an_offer(), if_match="*")


def test_who_saves_between_our_look_and_our_write_is_not_overwritten(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(pipeline, an_offer())
    save = pipeline.app.offers.save

    def slower(offer: Offer, etag: str | None = None) -> str:
        save(an_offer(titles=["Theirs"]))
        return save(offer, etag)

    monkeypatch.setattr(pipeline.app.offers, "save", slower)
    with pytest.raises(Changed):
        put(pipeline, an_offer(titles=["Ours"]), if_match=first.etag)
    with pytest.raises(Changed):
        put(pipeline, an_offer("contoso.crm", titles=["Ours"]), if_match="*")
    assert stored(pipeline)[0].titles == ["Theirs"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"titles": ["x" * 20_000] * 11}, "offer: is longer than"),
        ({"destinations": [TABLE | {"settings": {"connection_string": "c2VjcmV0"}}]}, "destinations.0.settings"),
    ],
)
def test_a_wrong_offer_is_refused_in_one_line(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidOffer) as refused:
        check_offer({"id": "a.b", "destinations": [TABLE]} | changes)
    assert str(refused.value).startswith(problem)
    assert len(str(refused.value).splitlines()) == 1
    assert "c2VjcmV0" not in str(refused.value)


@given(offer_id=st.text(min_size=1), titles=st.lists(st.text(), max_size=2))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_offer_of_any_name_comes_back_as_it_was_saved(pipeline: Pipeline, offer_id: str, titles: list[str]) -> None:
    try:
        offer = check_offer({"id": offer_id, "titles": titles, "destinations": [TABLE]})
    except InvalidOffer as error:
        assert len(str(error).splitlines()) == 1
        return
    put(pipeline, offer)
    assert pipeline.ask(show_offer, ShowOffer(offer_id=offer_id)).offer == offer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_json_or_refused_in_one_line(body: bytes) -> None:
    try:
        read_json(body)
    except Invalid as error:
        assert str(error).startswith("body: ")
        assert len(str(error).splitlines()) == 1


def test_json_that_nobody_could_mean_is_refused() -> None:
    for body in (b"[" * 100_000, b"9" * 5_000, b"\xff\xfe{"):
        with pytest.raises(Invalid, match=r"^body: "):
            read_json(body)


def test_a_stored_offer_of_another_release_is_named(pipeline: Pipeline) -> None:
    put(pipeline, an_offer())
    client = pipeline.app.storage.table("LeadOffers").client
    client.update_entity({"PartitionKey": "offer", "RowKey": "contoso.crm", "offer": '{"id":"contoso.crm"}'})
    with pytest.raises(UnreadableOffer, match=r"^stored offer: contoso.crm can't be read by this release"):
        stored(pipeline)
    delete(pipeline, "contoso.crm")
    assert stored(pipeline) == []


# Destination types


def test_a_destination_type_shows_its_settings_as_json_schema(pipeline: Pipeline) -> None:
    types = pipeline.ask(list_destination_types, Nothing()).destination_types
    found = {kind.type: kind for kind in types}["azure_table"]
    properties: Any = found.settings_schema["properties"]
    assert properties["table"]["default"] == "MarketplaceLeads"
    assert "secret-reference" in json.dumps(properties["connection_string"])
    assert found == pipeline.ask(show_destination_type, ShowDestinationType(type="azure_table"))
    with pytest.raises(NotFound, match="use one of azure_table"):
        pipeline.ask(show_destination_type, ShowDestinationType(type="azure-table"))


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


@pytest.mark.storage("memory", "azurite")
def test_leads_are_listed_by_stage_and_by_source(routed: Pipeline) -> None:
    bought = routed.post(a_lead("1@example.com", "Create"))
    tried = routed.post(a_lead("2@example.com", "StartTestDrive", LeadSource="Bob's list"))
    routed.run()
    assert listed(routed, stage="purchase") == [bought]
    assert listed(routed, source="AzureMarketplace") == [bought]
    assert listed(routed, source="Bob's list", stage="trial") == [tried]
    assert listed(routed, source="Bob's list", stage="purchase") == []


def test_leads_are_listed_by_destination_and_by_the_code_of_their_last_attempt(
    pipeline: Pipeline, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.offer(crm(vendor.url), crm(vendor.url, "hub"))
    vendor.answer = lambda call: REJECTED if call.lead["email"].startswith("refused") else DELIVERED
    posted = []
    for email in ("refused1@example.com", "b@example.com", "refused2@example.com"):
        posted.append(pipeline.post(a_lead(email)))
        pipeline.advance(1)
    pipeline.run()
    assert listed(pipeline, destination="hub") == posted[::-1]
    assert listed(pipeline, destination="CRM2") == []
    refused = [posted[2], posted[0]]
    assert listed(pipeline, reason=REJECTED["code"]) == refused
    assert listed(pipeline, reason=REJECTED["code"], destination="crm", state="dead_letter") == refused
    assert listed(pipeline, reason="another") == []
    monkeypatch.setattr(leads_operations, "CODES_LOOKED_AT", 2)
    first = pipeline.ask(list_leads, LeadFilter(reason=REJECTED["code"]))
    assert [lead.lead_id for lead in first.leads] == [posted[2]]
    assert first.after == posted[1], "the page says how far it has looked"
    rest = pipeline.ask(list_leads, LeadFilter(reason=REJECTED["code"], after=first.after))
    assert ([lead.lead_id for lead in rest.leads], rest.after) == ([posted[0]], None)


@pytest.mark.storage("memory", "azurite")
def test_pages_meet_without_a_gap_or_an_overlap(routed: Pipeline) -> None:
    posted = []
    for number in range(7):
        posted.append(routed.post(a_lead(f"{number}@example.com")))
        routed.advance(1)
    pages, after = [], ""
    while True:
        page = routed.ask(list_leads, LeadFilter(after=after, limit=3, offer="contoso.crm"))
        pages.append([lead.lead_id for lead in page.leads])
        if page.after is None:
            break
        after = page.after
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [lead_id for page in pages for lead_id in page] == posted[::-1]


def test_a_page_that_ends_with_the_last_lead_has_no_next_one(routed: Pipeline) -> None:
    routed.post()
    routed.run()
    assert routed.ask(list_leads, LeadFilter(limit=1)).after is None


@pytest.mark.parametrize(
    ("criteria", "problem"),
    [
        ({"stage": "sold"}, "stage: Input should be 'initial_interest', "),
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
        LeadFilter.model_validate(criteria)
    assert first_problem(refused.value).startswith(problem)


@given(st.text(max_size=30) | st.datetimes().map(str) | st.from_regex(r"[0-9]{1,7} ?[mhdwM]", fullmatch=True))
def test_any_text_is_a_time_that_storage_can_be_asked_for_or_is_refused(text: str) -> None:
    try:
        found = LeadFilter.model_validate({"since": text}).since
    except ValidationError as error:
        assert first_problem(error).startswith("since: ")
        return
    assert found is not None
    assert datetime(2000, 1, 1, tzinfo=UTC) <= found <= datetime(9000, 1, 1, tzinfo=UTC)


def test_a_lead_shows_every_attempt_and_no_personal_data_unless_asked(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY, DELIVERED)
    lead_id = routed.post(a_lead(PartnerTier="gold"))
    routed.run()
    waiting = shown(routed, lead_id).deliveries[0]
    assert (waiting.state, waiting.attempts[0].next_at) == (State.RETRY, waiting.next_at)
    routed.advance(15)
    found = shown(routed, lead_id)
    delivery = found.deliveries[0]
    assert [(attempt.outcome, attempt.code) for attempt in delivery.attempts] == [("retry", "503"), ("delivered", "")]
    assert (delivery.record_id, delivery.next_at) == (lead_id, None)
    assert (found.state, found.stage, found.offer) == (State.DELIVERED, "initial_interest", "contoso.crm")
    assert found.named_offer == {"title": "Contoso CRM"}
    for personal in ("ada@example.com", "O'Neil", "Example Works", "16175555555", "Please call", "gold"):
        assert personal not in found.model_dump_json()
        assert personal in routed.ask(show_person, ShowLead(lead_id=lead_id)).model_dump_json()


def test_an_unreadable_lead_shows_its_body_only_when_the_person_is_asked_for(pipeline: Pipeline) -> None:
    with pytest.raises(KeptUnreadable):
        pipeline.post(b'{"UserDetails": {"Email": "ada@example.com"')
    lead_id = listed(pipeline, state="unreadable")[0]
    assert "ada@example.com" not in shown(pipeline, lead_id).model_dump_json()
    assert pipeline.ask(show_person, ShowLead(lead_id=lead_id)).body == '{"UserDetails": {"Email": "ada@example.com"'


def test_a_lead_that_is_not_there_is_not_found(pipeline: Pipeline) -> None:
    for lead_id in ("20260131235959999-0123456789ab-c", "x", "../status"):
        with pytest.raises(NotFound, match=r"^lead_id: "):
            shown(pipeline, lead_id)
        with pytest.raises(NotFound, match=r"^lead_id: "):
            pipeline.ask(show_person, ShowLead(lead_id=lead_id))


# Status


def test_status_of_an_empty_account(pipeline: Pipeline) -> None:
    found = status(pipeline)
    assert (found.offers, found.connections, found.oldest_undelivered) == ([], [], None)
    assert set(found.undelivered.values()) == {0}
    assert (found.queue.leads, found.queue.poison, found.last_24_hours, found.next_retry_at) == (0, 0, {}, None)
    assert found.needs_a_person == ["no offer is configured: the app keeps every lead as unrouted"]


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
        found = status(pipeline)
    assert found.offers == ["contoso.crm", "contoso.other"]
    assert {state: count for state, count in found.undelivered.items() if count} == {
        State.DEAD_LETTER: 1,
        State.PARKED: 1,
        State.UNROUTED: 1,
    }
    assert found.oldest_undelivered is not None
    assert (found.oldest_undelivered.lead_id, found.oldest_undelivered.destination) == (oldest, "crm")
    assert found.last_24_hours == {
        State.DELIVERED: 1,
        State.DEAD_LETTER: 1,
        State.PARKED: 1,
        State.UNROUTED: 1,
    }
    assert (found.queue.leads, found.queue.poison) == (1, 1)
    health = {connection.used_by[0].destination: connection for connection in found.connections}
    assert health["crm"].health == "paused: the secret has expired: make a new one"
    assert [use.offer for use in health["crm"].used_by] == ["contoso.crm", "contoso.other"]
    assert (health["crm"].host, health["crm"].waiting) == ("127.0.0.1", 1)
    assert health["idle"].health == "nothing was sent yet"
    assert found.needs_a_person == [
        f"connection {health['crm'].id} (contoso.crm crm, contoso.other crm; 127.0.0.1) is paused: the secret has expired: make "
        "a new one; waiting leads: 1",
        "dead letters of the last 30 days: 1",
        "unrouted leads of the last 30 days, which no offer takes: 1",
    ]
    assert [(calling.state, calling.offer, calling.destination, calling.count) for calling in found.calling] == [
        (State.DEAD_LETTER, "contoso.crm", "crm", 1),
        (State.UNROUTED, "", "", 1),
    ]


def test_status_says_what_each_alarm_is_about_and_what_it_means(routed: Pipeline, vendor: Vendor) -> None:
    vendor.refuses()
    routed.post()
    routed.run()
    routed.tick()
    paused, *_ = status(routed).alarms
    assert (paused.event, paused.fields["used_by"]) == ("connection_paused", "contoso.crm/crm")
    assert paused.says and paused.since <= routed.clock.now()


def test_status_tells_when_the_next_of_those_that_failed_is_tried_again(routed: Pipeline, vendor: Vendor) -> None:
    vendor.answers(RETRY)
    first = routed.post(a_lead("one@example.com"))
    routed.run()
    routed.advance(5)
    vendor.answers(RETRY)
    second = routed.post(a_lead("two@example.com"))
    routed.run()
    due = [routed.delivery(lead).next_at for lead in (first, second)]
    assert status(routed).next_retry_at == min(moment for moment in due if moment)
    vendor.works()
    routed.advance(60)
    assert status(routed).next_retry_at is None


def test_a_connections_health_names_the_last_lead_and_the_next_probe(routed: Pipeline, vendor: Vendor) -> None:
    def view() -> ConnectionView:
        (found,) = routed.ask(list_connections, Nothing()).connections
        assert found == routed.ask(show_connection, ShowConnection(connection_id=found.id.upper()))
        return found

    assert view().next_check_at == routed.clock.now(), "what was never asked is asked at once"
    lead = routed.post()
    routed.run()
    worked_at = routed.clock.now()
    seen = view()
    assert (seen.last_lead, seen.last_success_at, seen.failures) == (lead, worked_at, 0)
    assert seen.next_check_at is not None
    assert seen.next_check_at > worked_at + timedelta(minutes=45)
    routed.advance(60)
    vendor.refuses()
    routed.post(a_lead("two@example.com"))
    routed.run()
    routed.tick()
    vendor.works()
    routed.tick(2)
    routed.advance(600)
    vendor.refuses()
    routed.post(a_lead("three@example.com"))
    routed.run()
    assert view().next_check_at == routed.clock.now(), "the last probe was before the pause"
    paused_at, last = routed.clock.now(), view().last_lead
    routed.tick()
    seen = view()
    assert seen.health == "paused: the secret has expired: make a new one"
    assert seen.last_lead == last
    assert (seen.since, seen.next_check_at) == (
        paused_at,
        routed.clock.now() + timedelta(minutes=1),
    )
    routed.ask(pause_connection, PauseConnection(connection_id=seen.id, note=Note(note="until six")))
    assert view().next_check_at is None, "nobody asks while a person has paused it"


def test_status_tells_of_connections_that_fail_that_work_and_that_nobody_uses(routed: Pipeline, vendor: Vendor) -> None:
    def health() -> str:
        return status(routed).connections[0].health

    vendor.answers(RETRY)
    routed.post(a_lead("one@example.com"))
    routed.post(a_lead("two@example.com"))
    routed.run()
    assert health() == "failing: 2 in a row"
    vendor.works()
    routed.advance(15)
    assert health() == "working"
    delete(routed, "contoso.crm")
    assert health() == "no offer uses it"


def test_an_alarm_that_is_on_calls_for_a_person(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_SECRET_CRM_STORAGE", pipeline.app.settings.storage_connection_string)
    settings = {"connection_string": "env:LEADS_SECRET_CRM_STORAGE"}
    expires = {"connection_string": f"{pipeline.clock.now() + timedelta(days=3):%Y-%m-%d}"}
    pipeline.offer({"name": "table", "type": "azure_table", "settings": settings, "secret_expires": expires})
    assert status(pipeline).needs_a_person == []
    pipeline.watch()
    told = status(pipeline).needs_a_person
    assert len(told) == 2
    assert told[0].startswith("secret_expiring (offer contoso.crm, destination table, setting connection_string, ")
    assert told[0].endswith(
        ": Days until a secret of a destination expires: 2. Renew it and store it where env:LEADS_SECRET_CRM_STORAGE points."
    )


def test_what_waits_for_a_daily_ceiling_is_shown_while_it_does_and_is_no_connection_to_be_paused(
    pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url), policies={"daily_ceiling": 1})
    for number in range(3):
        pipeline.post(a_lead(f"c{number}@example.com"))
        pipeline.run()
    found = {connection.type: connection for connection in status(pipeline).connections}
    ceiling = found["ceiling"]
    assert ceiling.health.startswith("paused: over the offer's daily ceiling of 1 leads; sending continues at ")
    assert [use.offer for use in ceiling.used_by] == ["contoso.crm"]
    with pytest.raises(Invalid, match=r"^connection_id: these leads wait because of the offer's policy daily_ceiling"):
        pipeline.ask(resume_connection, ResumeConnection(connection_id=ceiling.id))
    pipeline.tick()
    assert any(told.startswith("offer_over_ceiling (offer contoso.crm, ") for told in status(pipeline).needs_a_person)
    pipeline.offer(crm(vendor.url))
    pipeline.advance(61)
    pipeline.tick(2)
    assert [connection.type for connection in status(pipeline).connections] == ["recording"]


def test_a_dead_letter_that_is_left_as_it_is_calls_for_a_person_for_thirty_days(
    routed: Pipeline, vendor: Vendor
) -> None:
    vendor.answers(REJECTED)
    routed.post()
    routed.run()
    routed.advance(29 * 86_400)
    assert status(routed).needs_a_person == ["dead letters of the last 30 days: 1"]
    routed.advance(2 * 86_400)
    found = status(routed)
    assert (found.needs_a_person, found.undelivered[State.DEAD_LETTER]) == ([], 1)
