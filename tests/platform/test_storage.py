"""The queue and table wrappers on a real account: what is missing is made, conflicts are told apart, nothing is cut."""

from __future__ import annotations

import json
import os
import re
import time
from base64 import b64decode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueClient, QueueServiceClient
from hypothesis import HealthCheck, example, given, settings
from pytest_httpserver import HTTPServer

from leads.app import App
from leads.core.lead import Lead
from leads.core.messages import MAX_ENVELOPE_BYTES, Message, decode, encode
from leads.pipeline.intake import accept
from leads.platform.azure_transport import BoundedTransport
from leads.platform.settings import Settings
from leads.platform.storage import (
    CHUNK,
    TABLE_TIMEOUTS,
    Conflict,
    Operation,
    Storage,
    StorageError,
    Table,
    if_unchanged,
    joined_text,
    key_part,
    replacing,
    text_columns,
)
from tests.fakes.tls import make_authority
from tests.fakes.webhook import Receiver
from tests.support.account import named_parts
from tests.support.pipeline import text_of
from tests.support.proxy import Proxy
from tests.support.strategies import wild_text

LEAD_ID = "20260131235959999-0123456789ab-c"


@pytest.fixture
def storage(fresh_storage: str) -> Storage:
    return Storage(Settings.model_validate({"LeadsStorage": fresh_storage}))


@pytest.fixture
def table(storage: Storage) -> Table:
    return storage.table("Things")


def row(key: str, **columns: Any) -> dict[str, Any]:
    return {"PartitionKey": "p", "RowKey": key, **columns}


# --- The queue --------------------------------------------------------------------------------------------------------


def test_a_queue_is_made_by_the_first_message_put(storage: Storage, fresh_storage: str) -> None:
    storage.queue("leads").put("hello")
    with QueueServiceClient.from_connection_string(fresh_storage) as service:
        assert [queue.name for queue in service.list_queues()] == ["leads"]


def test_a_queue_that_is_not_there_is_empty(storage: Storage) -> None:
    queue = storage.queue("leads")
    assert queue.receive(32, 30) == []
    assert queue.depth() == 0


def test_a_message_is_stored_as_base64_as_the_functions_host_reads_it(storage: Storage, fresh_storage: str) -> None:
    storage.queue("leads").put('{"name":"Zoë 🙂"}')
    with QueueClient.from_connection_string(fresh_storage, "leads") as plain:
        stored = next(iter(plain.receive_messages())).content
    assert b64decode(stored, validate=True).decode() == '{"name":"Zoë 🙂"}'


def test_what_is_read_without_decoding_is_what_is_stored(storage: Storage, fresh_storage: str) -> None:
    with QueueClient.from_connection_string(fresh_storage, "leads-poison") as plain:
        plain.create_queue()
        plain.send_message("no base64 at all!")
    received = storage.queue("leads-poison", encoded=False).receive(32, 30)
    assert [message.content for message in received] == ["no base64 at all!"]


@pytest.mark.parametrize("delay", [0, 600])
def test_a_message_never_expires(delay: int, storage: Storage, fresh_storage: str) -> None:
    queue = storage.queue("leads")
    queue.put("hello", delay)
    with QueueClient.from_connection_string(fresh_storage, "leads") as plain:
        if delay:
            assert list(plain.peek_messages()) == []
            assert queue.depth() == 1, "a delayed message counts too"
            return
        message = plain.peek_messages()[0]
    assert message.expires_on == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_a_delayed_message_becomes_visible_when_its_time_has_come(storage: Storage) -> None:
    queue = storage.queue("leads")
    queue.put("later", 1)
    assert queue.receive(1, 30) == []
    deadline = time.monotonic() + 10
    while not (received := queue.receive(1, 30)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert text_of(received[0]) == "later"


def test_a_received_message_is_hidden_until_it_is_deleted(storage: Storage) -> None:
    queue = storage.queue("leads")
    queue.put("hello")
    first = queue.receive(32, 30)
    assert [text_of(message) for message in first] == ["hello"]
    assert queue.receive(32, 30) == []
    queue.delete(first[0])
    assert queue.depth() == 0
    queue.delete(first[0])  # somebody else may have been first


@pytest.mark.parametrize("letter", ["a", "é", "€", "🙂"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
def test_the_largest_envelope_fits_on_the_queue_and_one_byte_more_would_not(storage: Storage, letter: str) -> None:
    empty = len(encode(Message(LEAD_ID, lead=Lead(email="@", description="x"))).encode()) - 1
    room = MAX_ENVELOPE_BYTES - empty
    text = letter * (room // len(letter.encode())) + "." * (room % len(letter.encode()))
    message = Message(LEAD_ID, lead=Lead(email="@", description=text))
    envelope = encode(message)
    assert len(envelope.encode()) == MAX_ENVELOPE_BYTES
    queue = storage.queue("leads")
    queue.put(envelope)
    assert decode(text_of(queue.receive(1, 30)[0])) == message
    with pytest.raises(HttpResponseError) as caught:
        queue.put(envelope + " ")
    assert caught.value.status_code == 413


@pytest.mark.parametrize("size", [47_000, 48_000, 49_000, 50_000, 100_000])
def test_a_lead_about_as_large_as_an_envelope_is_accepted(fresh_storage: str, size: int) -> None:
    app = App(Settings.model_validate({"LeadsStorage": fresh_storage}))
    body = json.dumps({"Description": "é" * (size // 2)}, ensure_ascii=False).encode()
    lead_id = accept(app, body).lead_id
    message = decode(text_of(app.queue.receive(1, 30)[0]))
    assert message.lead_id == lead_id
    if message.has_body:
        assert message.lead is None
        assert app.ledger.body(lead_id) == body
    else:
        assert message.lead == Lead(description="é" * (size // 2))


# --- The table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["create", "upsert"])
def test_a_table_is_made_by_the_first_row_written(table: Table, verb: Any, fresh_storage: str) -> None:
    table.write([(verb, row("1", a=1), {})])
    with TableServiceClient.from_connection_string(fresh_storage) as service:
        assert [item.name for item in service.list_tables()] == ["Things"]
    found = table.get("p", "1")
    assert found is not None
    assert found["a"] == 1


def test_a_table_is_made_by_the_first_transaction(table: Table) -> None:
    table.write([("create", row("1"), {}), ("create", row("2"), {})])
    assert [found["RowKey"] for found in table.query("PartitionKey eq 'p'")] == ["1", "2"]


def test_a_table_that_is_not_there_is_empty(table: Table) -> None:
    assert table.get("p", "1") is None
    assert table.query("PartitionKey eq 'p'") == []


def test_writes_return_the_etags_under_which_the_rows_now_stand(table: Table) -> None:
    created = table.write([("create", row("1"), {}), ("create", row("2"), {})])
    stored = [table.get("p", key) for key in ("1", "2")]
    assert created == [found.metadata["etag"] for found in stored]  # type: ignore[union-attr]
    updated = table.write([("update", row("1", a=1), replacing(created[0]))])
    assert updated != created[:1]
    assert table.write([("delete", row("2"), {}), ("upsert", row("1", a=2), {})])[0] == ""


def conflict_of(table: Table, *operations: Operation) -> tuple[int, bool]:
    with pytest.raises(Conflict) as caught:
        table.write(list(operations))
    return caught.value.index, caught.value.missing


def test_a_conflict_says_which_row_and_whether_it_is_missing(table: Table) -> None:
    old = table.write([("create", row("1"), {})])[0]
    table.write([("upsert", row("1", a=1), {})])
    table.write([("create", row("2"), {})])
    assert conflict_of(table, ("create", row("1"), {})) == (0, False)
    assert conflict_of(table, ("update", row("1"), replacing(old))) == (0, False)
    assert conflict_of(table, ("update", row("gone"), replacing(old))) == (0, True)
    assert conflict_of(table, ("delete", row("1"), if_unchanged(old))) == (0, False)
    assert conflict_of(table, ("delete", row("gone"), if_unchanged(old))) == (0, True)
    assert conflict_of(table, ("upsert", row("3"), {}), ("create", row("2"), {})) == (1, False)
    assert conflict_of(table, ("upsert", row("3"), {}), ("update", row("1"), replacing(old))) == (1, False)
    assert conflict_of(table, ("upsert", row("3"), {}), ("update", row("gone"), replacing(old))) == (1, True)
    assert conflict_of(table, ("upsert", row("3"), {}), ("upsert", row("4"), {}), ("delete", row("gone"), {})) == (
        2,
        True,
    )
    assert table.get("p", "3") is None, "all or none"


def test_updating_a_row_of_a_table_that_is_not_there_is_a_conflict_and_not_an_outage(table: Table) -> None:
    assert conflict_of(table, ("update", row("1"), {})) == (0, True)


def test_pages_are_read_one_request_each_and_only_as_far_as_they_are_used(fresh_storage: str) -> None:
    with Proxy(fresh_storage) as proxy:
        table = Storage(Settings.model_validate({"LeadsStorage": proxy.connection_string})).table("Things")
        table.write([("create", row(f"{number:02}"), {}) for number in range(25)])
        proxy.forget()
        pages = table.pages("PartitionKey eq 'p'", page_size=10, select=["RowKey"])
        assert [found["RowKey"] for found in next(pages)] == [f"{number:02}" for number in range(10)]
        assert proxy.counts().total() == 1
        assert [len(page) for page in pages] == [10, 5]
        assert proxy.counts().total() == 3


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=wild_text)
@example(name="a/b\\c#d?e%f;g'h")
@example(name="")
@example(name="..")
@example(name=" . ")
@example(name="+&$= ")
@example(name="🙂" * 100)
@example(name="\ud800\x00\x7f")
def test_a_row_is_found_again_under_any_name(table: Table, name: str) -> None:
    table.write([("upsert", row(f"x;{key_part(name)}", mark=1), {})])
    assert table.get("p", f"x;{key_part(name)}") is not None
    found = table.query(f"PartitionKey eq 'p' and RowKey eq 'x;{key_part(name)}'")
    assert [entity["mark"] for entity in found] == [1]


@pytest.mark.parametrize("letter", ["a", "🙂"], ids=["ascii", "emoji"])
@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_a_long_text_comes_back_whole(table: Table, letter: str, length: int) -> None:
    text = (letter * length)[:-1] + "." if length else ""
    table.write([("create", row("1", **text_columns("Note", text)), {})])
    found = table.get("p", "1")
    assert found is not None
    assert joined_text(found, "Note") == text


# --- Credentials that are none ----------------------------------------------------------------------------------------


def test_a_key_that_is_no_key_is_a_storage_error_for_queue_and_table(fresh_storage: str) -> None:
    fields = named_parts(fresh_storage)
    broken = ";".join(f"{name}={value}" for name, value in (fields | {"AccountKey": "abcde"}).items())
    storage = Storage(Settings.model_validate({"LeadsStorage": broken}))
    with pytest.raises(StorageError):
        storage.queue("leads").put("hello")
    table = storage.table("Things")
    one: list[Operation] = [("create", row("1"), {})]
    for operations in (one, [*one, ("create", row("2"), {})]):
        with pytest.raises(StorageError):
            table.write(operations)
    with pytest.raises(StorageError):
        table.get("p", "1")
    with pytest.raises(StorageError):
        table.query("PartitionKey eq 'p'")


# --- What the environment says of the network -------------------------------------------------------------------------


def environment_names(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """These settings and no other proxies and certificates."""
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def test_storage_is_reached_through_the_proxy_that_is_named(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment_names(monkeypatch, http_proxy=httpserver.url_for("/"), no_proxy="127.0.0.1")
    endpoints = ";".join(f"{kind}Endpoint=http://{kind.lower()}.example.com/lead" for kind in ("Queue", "Table"))
    storage = Storage(Settings.model_validate({"LeadsStorage": f"AccountName=lead;AccountKey=a2V5;{endpoints}"}))
    httpserver.expect_request(re.compile(".*")).respond_with_data(status=404)
    for call in (storage.queue("leads").count, storage.table("LeadLedger").exists):
        with suppress(StorageError):
            call()
    assert [request.host for request, _ in httpserver.log] == ["queue.example.com", "table.example.com"]


def test_certificates_that_are_named_are_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    with Receiver(authority, []) as server:
        for settings, reached in (({}, 0), ({"REQUESTS_CA_BUNDLE": authority.bundle}, 1)):
            environment_names(monkeypatch, **settings)
            transport = BoundedTransport(1, TABLE_TIMEOUTS)
            transport.trust(server.url)
            with suppress(StorageError):
                transport.send(HttpRequest("GET", server.url))
            assert len(server.journal) == reached
