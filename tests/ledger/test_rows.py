"""The ledger's rows: legal keys for any text, their order, and lossless conversion between record and row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leads.core.identity import new_lead_id, partition_of
from leads.core.lead import Lead, Stage
from leads.core.states import FINAL, UNDELIVERED, State
from leads.ledger.customer_rows import CustomerRow, RecentLead, customer_key, read_customer
from leads.ledger.rows import (
    MAX_ATTEMPTS_KEPT,
    AttemptLog,
    Delivery,
    LeadRecord,
    body_entity,
    body_key,
    lead_entity,
    lead_key,
    listing_entity,
    listing_key,
    read_body,
    read_lead,
)
from leads.ledger.todo_rows import read_todo, todo_entity, todo_key, todo_prefix
from leads.platform.table_format import CHUNK, joined_text, key_part, text_columns
from tests.support.strategies import destination_names, hashes, lead_ids, leads, moments, text, wild_text

FORBIDDEN = set("/\\#?") | {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]}
"""Characters that keys can't have (Microsoft Learn, "Understanding the Table service data model")."""
LONGEST_KEY = 512

few = settings(max_examples=25, deadline=None)
"""Fewer examples, because each is slow."""

any_text = wild_text | st.text(st.characters(), max_size=700)
connections = st.just("") | hashes.map(lambda text: text[:16])
states = st.sampled_from(State)

attempts = st.builds(
    AttemptLog,
    id=text,
    at=moments,
    outcome=st.sampled_from(["delivered", "retry", "rejected"]),
    code=text,
    next_at=st.none() | moments,
    milliseconds=st.integers(0, 150_000),
)
deliveries = st.builds(
    Delivery,
    destination=destination_names,
    state=states,
    seq=st.integers(0, 2**31 - 1),
    connection=connections,
    updated_at=st.none() | moments,
    next_at=st.none() | moments,
    step=st.integers(0, 20),
    spent=st.floats(0, 10**6),
    first_failed_at=st.none() | moments,
    crashes=st.integers(0, 5),
    record_id=text,
    duplicate_of=text,
    repeat_of=text,
    possibly_twice=st.booleans(),
    unconfirmed=st.booleans(),
    reason=text,
    attempts=st.lists(attempts, max_size=3).map(tuple),
)
records = st.builds(
    lambda found, **fields: LeadRecord(deliveries={one.destination: one for one in found}, **fields),
    st.lists(deliveries, max_size=3, unique_by=lambda one: one.destination),
    lead_id=lead_ids,
    received_at=moments,
    lead=leads,
    url_offer=text,
    offer=text,
    stage=st.sampled_from(Stage),
    traceparent=text,
)


# --- Keys -------------------------------------------------------------------------------------------------------------


@given(any_text)
@example("a/b\\c#d?e%f;g'h=i")
@example("\ud800")
@example("🙂" * 200)
@example("İ" * 300)
def test_any_text_becomes_a_legal_part_of_a_key(part: str) -> None:
    key = key_part(part)
    assert not set(key) & (FORBIDDEN | set(";'%"))
    assert len(key) <= LONGEST_KEY // 2, "there is room for what stands beside it"
    assert key == key_part(part.lower()), "a name means the same in any case"


@given(any_text, any_text)
@example("a=2Fb", "a/b")
@example("a;b", "a=3Bb")
@example("x" * 160, "x" * 161)
@example("x" * 300, "x" * 301)
@example("x" * 160 + "a", "x" * 160 + "b")
@example("", " ")
def test_different_texts_become_different_parts(one: str, other: str) -> None:
    assert (key_part(one) == key_part(other)) is (one.lower() == other.lower())


@pytest.mark.parametrize("name", ["contoso.crm", "contoso.crm-2_b", "*", "Contoso.CRM"])
def test_a_usual_offer_id_can_be_read_in_its_key(name: str) -> None:
    assert key_part(name) == name.lower()


@given(lead_ids, any_text, hashes, any_text, deliveries)
def test_every_key_is_legal_whatever_an_offer_is_called(
    lead_id: str, offer: str, customer: str, scope: str, delivery: Delivery
) -> None:
    for partition, row in (
        lead_key(lead_id),
        listing_key(lead_id, offer),
        todo_key(lead_id, delivery),
        body_key(lead_id),
        customer_key(customer, f"{offer}|{scope}"),
    ):
        assert len(partition) == 1
        assert not set(row) & FORBIDDEN
        assert len(row) <= LONGEST_KEY


@given(lead_ids, text, deliveries)
def test_everything_of_a_lead_stands_in_its_customers_partition(lead_id: str, offer: str, delivery: Delivery) -> None:
    rows = [lead_key(lead_id), listing_key(lead_id, offer), todo_key(lead_id, delivery), body_key(lead_id)]
    assert {partition for partition, _ in rows} == {partition_of(lead_id)}


@given(moments, moments, text)
def test_leads_stand_newest_first_and_what_is_to_do_oldest_first(one: datetime, other: datetime, offer: str) -> None:
    early, late = sorted((one, other))
    late = max(late, early + timedelta(milliseconds=1))
    older, newer = new_lead_id(early, Lead()), new_lead_id(late, Lead())
    assert lead_key(newer)[1] < lead_key(older)[1]
    assert listing_key(newer, offer)[1] < listing_key(older, offer)[1]
    delivery = Delivery("crm", State.PARKED, connection="0123456789abcdef")
    assert todo_key(older, delivery)[1] < todo_key(newer, delivery)[1]


@given(lead_ids, deliveries)
def test_what_is_to_do_is_found_by_its_state_and_by_its_connection(lead_id: str, delivery: Delivery) -> None:
    row = todo_key(lead_id, delivery)[1]
    assert row.startswith(todo_prefix(delivery.state))
    assert row.startswith(todo_prefix(delivery.state, delivery.connection))


# --- What is still to do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_which_message_is_still_to_be_handled(state: State) -> None:
    delivery = Delivery("crm", state, seq=4)
    handled = {seq: delivery.still_to_do(seq) for seq in (3, 4, 5)}
    if state in {State.DELIVERED, State.DUPLICATE, State.SKIPPED, State.ERASED}:
        assert handled == {3: False, 4: False, 5: False}, "it is final"
    elif state in {State.WAITING, State.RETRY}:
        assert handled == {3: False, 4: True, 5: True}, "message 4 is on the queue"
    else:
        assert handled == {3: False, 4: False, 5: True}, "message 4 has been dealt with; only a newer one goes on"


def test_every_state_is_final_on_the_queue_or_to_be_seen_by_watch_or_a_person() -> None:
    assert set(State) == FINAL | UNDELIVERED | {State.WAITING}
    assert not FINAL & UNDELIVERED


@given(st.dictionaries(destination_names, states, max_size=4))
def test_a_lead_shows_the_state_that_a_person_should_know_of_first(by_name: dict[str, State]) -> None:
    record = LeadRecord("", datetime.now(UTC), None, deliveries={n: Delivery(n, s) for n, s in by_name.items()})
    found = set(by_name.values())
    assert record.state in (found or {State.WAITING})
    if found - FINAL:
        assert record.state not in FINAL, "one open destination keeps the lead open"


@given(st.lists(st.integers(0, 60), max_size=80))
def test_each_attempt_is_logged_once_and_the_newest_are_kept(ids: list[int]) -> None:
    delivery = Delivery("crm")
    for number in ids:
        delivery.log(AttemptLog(str(number), datetime.now(UTC), "retry"))
    logged = [attempt.id for attempt in delivery.attempts]
    assert len(logged) <= MAX_ATTEMPTS_KEPT
    assert len(set(logged)) == len(logged)
    if ids:
        assert str(ids[-1]) in logged


# --- Record and row ---------------------------------------------------------------------------------------------------


def as_read(entity: dict[str, Any]) -> LeadRecord:
    return read_lead(entity, "7")


def compared(record: LeadRecord) -> dict[str, Any]:
    """The fields of a record that its row keeps."""
    names = ("lead_id", "received_at", "lead", "url_offer", "offer", "stage", "has_body", "traceparent", "deliveries")
    return {name: getattr(record, name) for name in names}


@few
@given(records)
def test_a_record_is_read_as_it_was_written(record: LeadRecord) -> None:
    read = as_read(lead_entity(record, whole=True))
    assert compared(read) == compared(record)
    assert read.etag == "7"
    assert read.state is record.state
    assert read.references == record.references


@few
@given(records)
def test_the_columns_of_a_row_fit_the_table(record: LeadRecord) -> None:
    for column, value in lead_entity(record, whole=True).items():
        assert len(column) <= 255
        assert isinstance(value, str | int | bool | datetime)
        if isinstance(value, str):
            assert len(value.encode("utf-16-le")) <= 64 * 1024


@few
@given(records, st.data())
def test_a_later_write_holds_only_what_changed_and_with_the_first_gives_the_record(
    record: LeadRecord, data: st.DataObject
) -> None:
    first = lead_entity(record, whole=True)
    changed = as_read(first)
    for delivery in changed.deliveries.values():
        if data.draw(st.booleans()):
            delivery.state = data.draw(states)
            delivery.log(data.draw(attempts))
    second = lead_entity(changed, whole=False)
    assert not [column for column in second if column.startswith("lead")], "the lead itself is written once"
    untouched = {f"to_{name}" for name, one in changed.deliveries.items() if one == record.deliveries[name]}
    assert not untouched & set(second)
    assert compared(as_read(first | second)) == compared(changed)


def test_a_delivery_that_is_no_longer_there_is_blanked_because_a_merge_takes_no_column_away() -> None:
    waiting = LeadRecord("20260131235959999-0123456789ab-c", datetime.now(UTC), Lead(), deliveries={"": Delivery("")})
    stored = as_read(lead_entity(waiting, whole=True))
    stored.deliveries = {"crm": Delivery("crm")}
    merged = lead_entity(waiting, whole=True) | lead_entity(stored, whole=False)
    assert list(as_read(merged).deliveries) == ["crm"]


@few
@given(records)
def test_a_row_with_columns_and_fields_of_a_newer_release_is_read(record: LeadRecord) -> None:
    entity = lead_entity(record, whole=True) | {"later": "x", "later_at": datetime.now(UTC), "later_count": 3}
    for column in [name for name in entity if name.startswith("to_")]:
        entity[column] = json.dumps(json.loads(entity[column]) | {"later": {"a": 1}})
    assert compared(as_read(entity)) == compared(record)


def test_a_row_of_the_first_release_is_read() -> None:
    entity = {
        "PartitionKey": "c",
        "RowKey": "lead;dfd9fecedca6a6666-fedcba987654-3",
        "offer": "contoso.crm",
        "stage": "contact_requested",
        "received_at": datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC),
        "state": "retry",
        "states": "crm=retry",
        "source": "AzureMarketplace",
        "is_test": False,
        "listed": "contoso.crm",
        "url_offer": "",
        "traceparent": "",
        "lead": '{"email": "ada@example.com", "action_code": "PLT"}',
        "to_crm": (
            '{"destination":"crm","state":"retry","seq":2,"connection":"0123456789abcdef",'
            '"updated_at":"2026-02-01T00:00:00Z","next_at":"2026-02-01T00:01:00Z","step":1,"spent":60.0,'
            '"first_failed_at":"2026-02-01T00:00:00Z","attempts":[{"id":"a1","at":"2026-02-01T00:00:00Z",'
            '"outcome":"retry","code":"503","next_at":"2026-02-01T00:01:00Z","milliseconds":120}]}'
        ),
    }
    record = read_lead(entity, "1")
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    assert record.lead_id == "20260131235959999-0123456789ab-c"
    assert record.lead == Lead(email="ada@example.com", action_code="PLT")
    assert record.stage is Stage.CONTACT_REQUESTED
    assert record.deliveries == {
        "crm": Delivery(
            "crm",
            State.RETRY,
            seq=2,
            connection="0123456789abcdef",
            updated_at=midnight,
            next_at=midnight + timedelta(minutes=1),
            step=1,
            spent=60,
            first_failed_at=midnight,
            attempts=(AttemptLog("a1", midnight, "retry", "503", midnight + timedelta(minutes=1), 120),),
        )
    }


@few
@given(records)
def test_what_lists_are_read_from_holds_nothing_of_who_the_customer_is(record: LeadRecord) -> None:
    allowed = {"PartitionKey", "RowKey", "offer", "stage", "received_at", "state", "states", "source", "is_test"}
    assert set(listing_entity(record)) <= allowed | {"unconfirmed"}


@few
@given(records, deliveries)
def test_what_is_to_do_is_read_as_it_was_written(record: LeadRecord, delivery: Delivery) -> None:
    entity = todo_entity(record, delivery)
    todo = read_todo(entity)
    assert (todo.lead_id, todo.state, todo.connection) == (record.lead_id, delivery.state, delivery.connection)
    assert (todo.destination, todo.seq, todo.next_at) == (delivery.destination, delivery.seq, delivery.next_at)
    assert (todo.offer, todo.updated_at) == (record.offer, delivery.updated_at or record.received_at)
    if delivery.state is State.UNROUTED:
        assert todo.references == record.references, "an unrouted lead can be routed by its row alone"
        assert todo.partly_done == record.partly_done
    else:
        assert not [column for column in entity if column.startswith("ref_")]


@few
@given(
    hashes,
    text,
    st.lists(st.builds(RecentLead, fingerprint=hashes, lead_id=lead_ids, at=moments), max_size=8).map(tuple),
    text,
    st.booleans(),
    st.dictionaries(text, text, max_size=3),
)
def test_a_customers_row_is_read_as_it_was_written(
    customer_hash: str, record_id: str, recent: tuple[RecentLead, ...], claim: str, held: bool, memory: dict[str, str]
) -> None:
    partition, row_key = customer_key(customer_hash, "contoso.crm|crm")
    row = CustomerRow(partition, row_key, claim, record_id, "uuid", memory, recent, "3", held)
    assert read_customer(row.entity() | {"later": 1}, etag="3", held=held) == row


def test_what_a_customers_row_names_its_recent_leads_by_is_a_contract() -> None:
    """The previous and the next release read the row."""
    seen = {
        "fingerprint": "f" * 32,
        "lead_id": "20260131235959999-0123456789ab-c",
        "at": "2026-01-31T23:59:59.999000Z",
        "claim": "1/abc",
        "journey": "a" * 16,
        "imported": True,
        "stored_by": "crm",
    }
    row = read_customer({"PartitionKey": "c", "RowKey": "cust;c;s", "recent": json.dumps([seen])}, etag="", held=False)
    assert row.recent[0].action_fingerprint == "a" * 16
    assert json.loads(row.entity()["recent"]) == [seen]


@given(lead_ids, st.binary(max_size=300) | st.integers(0, 5).map(lambda n: bytes(range(256)) * 234 * n))
@example("20260131235959999-0123456789ab-c", b"x" * 60_000)
@example("20260131235959999-0123456789ab-c", b"x" * 60_001)
@example("20260131235959999-0123456789ab-c", b"x" * 256 * 1024)
def test_a_body_is_kept_byte_for_byte_in_columns_of_at_most_64_kib(lead_id: str, body: bytes) -> None:
    entity = body_entity(lead_id, body)
    assert read_body(entity) == body
    assert all(len(value) <= 64 * 1024 for value in entity.values() if isinstance(value, bytes))


# --- Long texts -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 4), st.integers(-2, 2), st.sampled_from("a🙂é"))
def test_a_long_text_is_split_and_joined_at_the_border(chunks: int, more: int, letter: str) -> None:
    long = letter * max(0, chunks * CHUNK + more)
    columns = text_columns("Description", long)
    assert joined_text(columns | {"Other": "x", "Other_2": "y"}, "Description") == long
    assert list(columns) == ["Description", *(f"Description_{n}" for n in range(2, len(columns) + 1))]
    assert len(columns) == max(1, -(-len(long) // CHUNK))
    for value in columns.values():
        assert len(value.encode("utf-16-le")) <= 64 * 1024


def test_a_text_that_is_not_there_is_blank() -> None:
    assert joined_text({}, "Description") == ""
    assert text_columns("Description", "") == {"Description": ""}
