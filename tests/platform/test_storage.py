"""The queue and table wrappers: they create missing queues and tables, distinguish conflicts, and cut nothing.

Each test runs on Azurite and on the tests' storage in memory, so that both behave alike.
"""

from __future__ import annotations

import json
import os
import re
import time
from base64 import b64decode
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.storage.queue import QueueClient
from hypothesis import HealthCheck, example, given, settings
from pytest_httpserver import HTTPServer

from leads.app import App
from leads.core.lead import Lead
from leads.core.messages import MAX_ENVELOPE_BYTES, Message, decode, encode
from leads.core.states import State
from leads.pipeline.intake import accept
from leads.platform.azure_transport import BoundedTransport
from leads.platform.settings import Settings
from leads.platform.storage import (
    TABLE_TIMEOUTS,
    AnswerTime,
    Conflict,
    Operation,
    Queue,
    Storage,
    StorageError,
    Table,
    if_unchanged,
    is_invalid_request,
    replacing,
)
from leads.platform.table_format import CHUNK, joined_text, key_part, keys_beginning, odata_time, text_columns
from tests.fakes.tls import make_authority
from tests.fakes.webhook import Receiver
from tests.support.account import named_parts
from tests.support.memory import account_at
from tests.support.memory.account import MemoryAccount
from tests.support.pipeline import text_of
from tests.support.proxy import Proxy
from tests.support.strategies import wild_text

pytestmark = pytest.mark.storage("memory", "azurite")

MOMENT = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
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


def test_a_queue_is_made_by_the_first_message_put(storage: Storage) -> None:
    assert [storage.queue(name).count() for name in ("leads", "others")] == [None, None]
    storage.queue("leads").put("hello")
    assert [storage.queue(name).count() for name in ("leads", "others")] == [1, None]


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


def after(seconds: int, connection_string: str) -> None:
    """Let storage's time pass. In memory, its clock is moved."""
    account = account_at(connection_string)
    if isinstance(account, MemoryAccount):
        then = account.now() + timedelta(seconds=seconds)
        account.now = lambda: then
    else:
        time.sleep(seconds + 0.1)


def received(queue: Queue) -> list[str]:
    return [text_of(message) for message in queue.receive(32, 30)]


def test_a_delayed_message_becomes_visible_when_its_time_has_come(storage: Storage, fresh_storage: str) -> None:
    queue = storage.queue("leads")
    queue.put("later", 1)
    assert received(queue) == []
    after(1, fresh_storage)
    assert received(queue) == ["later"]


def test_a_received_message_is_hidden_until_it_is_deleted(storage: Storage) -> None:
    queue = storage.queue("leads")
    queue.put("hello")
    (first,) = queue.receive(32, 30)
    assert (text_of(first), first.dequeue_count) == ("hello", 1)
    assert received(queue) == []
    queue.delete(first)
    assert queue.depth() == 0
    queue.delete(first)  # another thread may have been first
    queue.show_again(first)


def test_who_has_held_a_message_too_long_neither_deletes_it_nor_shows_it_again(
    storage: Storage, fresh_storage: str
) -> None:
    queue = storage.queue("leads")
    queue.put("hello")
    (late,) = queue.receive(1, 1)
    after(1, fresh_storage)
    (taken,) = queue.receive(1, 30)
    assert taken.dequeue_count == 2
    queue.show_again(late)
    queue.delete(late)
    assert (queue.depth(), received(queue)) == (1, [])
    queue.show_again(taken)
    assert received(queue) == ["hello"]


def test_messages_come_in_order_and_no_more_than_asked_for(storage: Storage) -> None:
    queue = storage.queue("leads")
    for number in range(5):
        queue.put(str(number))
    found = [[text_of(message) for message in queue.receive(2, 30)] for _ in range(4)]
    assert found == [["0", "1"], ["2", "3"], ["4"], []]


def test_no_more_than_32_messages_are_given_at_once(storage: Storage) -> None:
    queue = storage.queue("leads")
    queue.put("hello")
    with pytest.raises(HttpResponseError) as caught:
        queue.receive(33, 30)
    assert caught.value.status_code == 400


def test_no_message_is_delayed_for_more_than_seven_days(storage: Storage) -> None:
    with pytest.raises(HttpResponseError) as caught:
        storage.queue("leads").put("hello", 7 * 24 * 3600 + 1)
    assert caught.value.status_code == 400


def test_trying_to_change_changes_nothing(storage: Storage, table: Table) -> None:
    queue = storage.queue("leads")
    queue.try_to_change()
    table.try_to_change()
    assert (queue.count(), table.exists()) == (None, False)
    queue.put("hello")
    table.write([("create", row("1"), {})])
    queue.try_to_change()
    table.try_to_change()
    assert (queue.count(), len(table.query(""))) == (1, 1)


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
    lead_id = accept(app.incoming, body).lead_id
    message = decode(text_of(app.queue.receive(1, 30)[0]))
    assert message.lead_id == lead_id
    if message.has_body:
        assert message.lead is None
        assert app.ledger.body(lead_id) == body
    else:
        assert message.lead == Lead(description="é" * (size // 2))


# --- The table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["create", "upsert"])
def test_a_table_is_made_by_the_first_row_written(table: Table, verb: Any, storage: Storage) -> None:
    assert not table.exists()
    table.write([(verb, row("1", a=1), {})])
    assert (table.exists(), storage.table("Others").exists()) == (True, False)
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


def test_a_row_that_is_gone_is_deleted_without_a_word(table: Table) -> None:
    table.write([("create", row("1"), {})])
    assert table.write([("delete", row("gone"), {})]) == [""]


def test_an_update_or_upsert_keeps_other_columns_unless_it_replaces(table: Table) -> None:
    table.write([("create", row("1", a=1, b=1), {})])
    for verb in ("update", "upsert"):
        table.write([(verb, row("1", a=2, c=None), {})])
        assert table.get("p", "1") == row("1", a=2, b=1)
    table.write([("upsert", row("1", c=3), replacing())])
    assert table.get("p", "1") == row("1", c=3)


def test_values_come_back_with_their_types(table: Table) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    values = {"text": "a\n'\"🙂", "yes": True, "no": False, "number": -(2**31), "part": 0.1, "bytes": b"\x00\xff"}
    table.write([("create", row("1", at=moment, state=State.DELIVERED, **values), {})])
    found = table.get("p", "1")
    assert found == row("1", at=moment, state="delivered", **values)
    assert {name: type(found[name]) for name in values} == {name: type(value) for name, value in values.items()}
    assert type(found["state"]) is str


def is_refused(table: Table, *operations: Operation) -> bool:
    """Whether storage refuses the texts for their content."""
    try:
        table.write(list(operations))
    except HttpResponseError as error:
        assert is_invalid_request(error)
        return True
    return False


class Text(str):
    """A text that only Python accepts."""


@pytest.mark.parametrize(
    "value", [2**31, [1], {"a": 1}, date(2026, 1, 2), Text("a")], ids=lambda value: type(value).__name__
)
def test_a_value_of_a_type_that_a_table_has_not_is_refused(table: Table, value: object) -> None:
    for keys in ("1", "12"):
        with pytest.raises(TypeError):
            table.write([("create", row(key, a=value), {}) for key in keys])


@pytest.mark.parametrize(
    ("columns", "fits"),
    [
        ({"a": "x" * 32_768}, True),
        ({"a": "x" * 32_769}, False),
        ({"a": "🙂" * 16_384}, True),
        ({"a": "🙂" * 16_385}, False),
        ({"a": b"x" * 65_536}, True),
        ({"a": b"x" * 65_537}, False),
        ({f"c{number}": "x" * 32_000 for number in range(14)}, True),
        ({f"c{number}": "x" * 32_000 for number in range(34)}, False),
    ],
    ids=lambda value: "" if isinstance(value, dict) else "fits" if value else "too large",
)
def test_a_row_holds_so_much_and_no_more(table: Table, columns: dict[str, Any], fits: bool) -> None:
    # Azurite allows a larger entity if it is created.
    assert is_refused(table, ("upsert", row("1", **columns), {})) is not fits


@pytest.mark.parametrize("key", [*"/\\#?\x00\x1f\x7f", "k" * 513], ids=ascii)
def test_keys_that_a_table_does_not_take(table: Table, key: str) -> None:
    assert is_refused(table, ("create", row(key), {}))


@pytest.mark.parametrize("key", [*"';=<>%+&\"$ é🙂", "", "k" * 512], ids=ascii)
def test_keys_that_a_table_takes(table: Table, key: str) -> None:
    table.write([("create", row(key, a=1), {})])
    assert table.get("p", key) == row(key, a=1)
    table.write([("upsert", row(key, a=2), {})])
    assert table.query("") == [row(key, a=2)]
    table.write([("delete", row(key), {})])
    assert table.query("") == []


def test_a_transaction_holds_100_rows_of_one_partition(table: Table) -> None:
    table.write([("create", row(f"{number:03}"), {}) for number in range(100)])
    with pytest.raises(Exception):  # noqa: B017 - Azurite's answer to 101 can't be read
        table.write([("create", row(f"1{number:03}"), {}) for number in range(101)])
    with pytest.raises(ValueError, match="Partition Keys"):
        table.write([("create", row("2"), {}), ("create", row("3") | {"PartitionKey": "q"}, {})])
    assert is_refused(table, ("upsert", row("2"), {}), ("upsert", row("2"), {}))
    assert len(table.query("")) == 100


@pytest.mark.parametrize(("rows", "fits"), [(9, True), (11, False)])
def test_a_transaction_holds_4_mib(table: Table, rows: int, fits: bool) -> None:
    columns = {f"c{number}": "x" * 16_000 for number in range(25)}
    assert is_refused(table, *(("create", row(str(number), **columns), {}) for number in range(rows))) is not fits
    assert len(table.query("")) == (rows if fits else 0)


def test_nothing_is_done_of_a_transaction_with_a_row_that_is_refused(table: Table) -> None:
    assert is_refused(table, ("create", row("1"), {}), ("create", row("a", a="x" * 32_769), {}))
    assert table.query("") == []


@pytest.mark.parametrize(
    ("condition", "keys"),
    [
        ("", ["p a;1", "p a;2", "p b;1", "q a;1"]),
        ("PartitionKey eq 'p'", ["p a;1", "p a;2", "p b;1"]),
        ("PartitionKey eq 'x'", []),
        ("RowKey eq 'a;1'", ["p a;1", "q a;1"]),
        (f"PartitionKey eq 'p' and {keys_beginning('a;')}", ["p a;1", "p a;2"]),
        (f"PartitionKey eq 'p' and {keys_beginning('a;')} and RowKey gt 'a;1'", ["p a;2"]),
        ("PartitionKey eq 'p' and RowKey gt 'a;1~'", ["p a;2", "p b;1"]),
        ("PartitionKey eq 'p' and RowKey le 'a;2'", ["p a;1", "p a;2"]),
        ("text ge ''", ["p a;1", "p a;2"]),
        ("text eq 'it''s'", ["p a;2"]),
        ("yes eq true", ["p a;2"]),
        ("yes eq false", ["p b;1"]),
        ("PartitionKey eq 'p' and (text eq 'x' or yes eq false)", ["p a;1", "p b;1"]),
        ("number ge 2", ["p a;2"]),
        ("number eq '2'", []),
        ("PartitionKey eq 'p' or PartitionKey eq 'q'", ["p a;1", "p a;2", "p b;1", "q a;1"]),
        (f"at ge {odata_time(MOMENT)}", ["p a;1", "q a;1"]),
        (f"at gt {odata_time(MOMENT)}", ["q a;1"]),
        (f"PartitionKey eq 'q' and Timestamp ge {odata_time(MOMENT)}", ["q a;1"]),
        (f"Timestamp lt {odata_time(MOMENT)}", []),
    ],
)
def test_a_condition_finds_what_meets_it_in_key_order(table: Table, condition: str, keys: list[str]) -> None:
    rows: list[dict[str, Any]] = [
        row("b;1", yes=False),
        row("a;2", text="it's", yes=True, number=2),
        row("a;1", text="x", number=1, at=MOMENT),
        row("a;1", at=MOMENT + timedelta(seconds=1)) | {"PartitionKey": "q"},
    ]
    for each in rows:
        table.write([("create", each, {})])
    assert [f"{found['PartitionKey']} {found['RowKey']}" for found in table.query(condition)] == keys


def test_selected_columns_alone_are_read_and_the_etag_with_them(table: Table) -> None:
    (etag,) = table.write([("create", row("1", a=1, b=2), {})])
    (found,) = table.query("PartitionKey eq 'p'", select=["RowKey", "a", "unknown"])
    assert (found, found.metadata["etag"]) == ({"RowKey": "1", "a": 1}, etag)  # type: ignore[attr-defined]
    assert table.get("p", "1", select=["b"]) == {"b": 2}


@pytest.mark.parametrize("count", range(1, 6))
def test_a_page_holds_so_many_rows_and_the_last_one_the_rest(table: Table, count: int) -> None:
    table.write([("create", row(str(number)), {}) for number in range(count)])
    pages = [[found["RowKey"] for found in page] for page in table.pages("PartitionKey eq 'p'", page_size=2)]
    assert [len(page) for page in pages] == [2] * (count // 2) + [1] * (count % 2)
    assert [key for page in pages for key in page] == [*"01234"[:count]]


def test_a_page_shows_what_is_there_when_it_is_read(table: Table) -> None:
    table.write([("create", row(key), {}) for key in "123"])
    pages = table.pages("PartitionKey eq 'p'", page_size=2)
    assert [found["RowKey"] for found in next(pages)] == ["1", "2"]
    table.write([("delete", row("3"), {}), ("create", row("11"), {}), ("create", row("4"), {})])
    assert [[found["RowKey"] for found in page] for page in pages] == [["4"]]


def test_answers_tell_storages_time_whatever_they_hold(table: Table) -> None:
    answered = AnswerTime()
    table.write([("create", row("1"), {})])
    found = table.get("p", "1")
    assert found is not None
    for ask in (
        lambda: table.get("p", "1", raw_response_hook=answered),
        lambda: table.get("p", "gone", raw_response_hook=answered),
        lambda: table.query("PartitionKey eq 'x'", raw_response_hook=answered),
    ):
        answered.at = MOMENT
        ask()
        since = answered.at - found.metadata["timestamp"]  # type: ignore[attr-defined]
        assert timedelta(seconds=-1) < since < timedelta(minutes=1)


@pytest.mark.storage("azurite")
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
@pytest.mark.parametrize("length", [0, CHUNK, 2 * CHUNK + 1])
def test_a_long_text_comes_back_whole(table: Table, letter: str, length: int) -> None:
    text = (letter * length)[:-1] + "." if length else ""
    table.write([("create", row("1", **text_columns("Note", text)), {})])
    found = table.get("p", "1")
    assert found is not None
    assert joined_text(found, "Note") == text


# --- Credentials that are none ----------------------------------------------------------------------------------------


@pytest.mark.storage("azurite")
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
    """These proxies and certificates, and no others."""
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
