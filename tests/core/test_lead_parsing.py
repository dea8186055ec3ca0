"""Bodies and records that become leads, and the answers to bodies that are not leads."""

from __future__ import annotations

import base64
import codecs
import csv
import io
import itertools
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from leads.core.lead import Lead
from leads.core.lead_parsing import UnreadableLead, holds_a_field, parse_body, parse_kept, parse_record
from tests.support.strategies import json_values, scalars, wild_text

SAMPLES = Path(__file__).parents[2] / "samples"
EXPECTED: dict[str, dict[str, Any]] = json.loads((SAMPLES / "expected.json").read_text("utf-8"))

CUSTOMER = {
    "FirstName": "Some",
    "LastName": "One",
    "Email": "some.one@example.com",
    "Phone": "16175555555",
    "Country": "USA",
    "Company": "Contoso",
    "Title": "Esquire",
}
BODY = {
    "UserDetails": CUSTOMER,
    "LeadSource": "AzureMarketplace",
    "ActionCode": "INS",
    "OfferTitle": "Contoso CRM",
    "Description": "Please call.",
}
LEAD = Lead(
    first_name="Some",
    last_name="One",
    email="some.one@example.com",
    phone="16175555555",
    country="USA",
    company="Contoso",
    title="Esquire",
    lead_source="AzureMarketplace",
    action_code="INS",
    offer_title="Contoso CRM",
    description="Please call.",
)

known_keys = st.sampled_from([*BODY, *CUSTOMER, "CustomerInfo", "ProductId", "CreatedTime", "email ", "E-Mail"])
customers = st.dictionaries(known_keys | st.text(max_size=8), scalars, max_size=4)
lead_like = st.dictionaries(
    known_keys | wild_text,
    scalars | json_values | customers | customers.map(json.dumps),
    max_size=6,
)


def body(value: object) -> bytes:
    return json.dumps(value).encode()


def unreadable(data: bytes) -> UnreadableLead:
    with pytest.raises(UnreadableLead) as caught:
        parse_body(data)
    return caught.value


# --- The four shapes --------------------------------------------------------------------------------


def test_https_body() -> None:
    assert parse_body(body(BODY)) == LEAD


@pytest.mark.parametrize(
    "customer",
    [CUSTOMER, json.dumps(CUSTOMER), [CUSTOMER], json.dumps([CUSTOMER])],
    ids=["object", "JSON string", "list of one", "JSON string of a list of one"],
)
def test_record_of_the_original_connector(customer: object) -> None:
    record = {"LeadSource": "AzureMarketplace-INS|contoso.crm", "CustomerInfo": customer}
    expected = LEAD.model_copy(
        update={
            "lead_source": "AzureMarketplace-INS|contoso.crm",
            "action_code": "",
            "offer_title": "",
            "description": "",
        }
    )
    assert parse_body(body(record)) == expected
    assert parse_record(record) == expected


def test_table_row() -> None:
    row = {
        "PartitionKey": "20251115",
        "RowKey": "0001",
        "Timestamp": datetime(2025, 11, 15, tzinfo=UTC),
        "odata.etag": 'W/"1"',
        "CreatedTime@odata.type": "Edm.String",
        "CreatedTime": "11/15/2025 20:02:52",
        "LeadSource": "AzureMarketplace",
        "ActionCode": "INS",
        "ProductId": "contoso.crm",
        "OfferDisplayName": "Contoso CRM",
        "PublisherDisplayName": "Contoso",
        "CustomerInfo": json.dumps(CUSTOMER),
        "Description": "Please call.",
    }
    assert parse_record(row) == LEAD.model_copy(
        update={
            "created_time": "11/15/2025 20:02:52",
            "product_id": "contoso.crm",
            "publisher_name": "Contoso",
        }
    )


@pytest.mark.parametrize(
    "header",
    [
        "First name,Last name,Email,Phone,Country,Company,Title",
        "First Name,Last Name,Email address,Phone number,Country/Region,Company name,Job title",
        "First_name,Surname,Contact email,Telephone,Country or region,Company name,Title",
    ],
)
def test_csv_row(header: str) -> None:
    rows = f"{header},Offer name,Action code,Lead source,Description,Lead ID\n" + (
        "Some,One,some.one@example.com,16175555555,USA,Contoso,Esquire,"
        "Contoso CRM,INS,AzureMarketplace,Please call.,L-1\n"
    )
    (row,) = csv.DictReader(io.StringIO(rows))
    assert parse_record(row) == LEAD.model_copy(update={"extra": {"Lead ID": "L-1"}})


def test_csv_row_with_more_cells_than_columns_keeps_them() -> None:
    (row,) = csv.DictReader(io.StringIO("Email\na@example.com,surplus\n"))
    assert parse_record(row) == Lead(email="a@example.com", extra={"": '["surplus"]'})


# --- Keys -------------------------------------------------------------------------------------------


@given(st.integers())
def test_keys_count_in_any_case_and_spelling(seed: int) -> None:
    rng = random.Random(seed)

    def respelled(key: str) -> str:
        return "".join(rng.choice(["", "", "_", " ", "-"]) + rng.choice([c.lower(), c.upper()]) for c in key)

    customer = {respelled(key): value for key, value in CUSTOMER.items()}
    record = {respelled(key): customer if key == "UserDetails" else BODY[key] for key in BODY}
    assert parse_body(body(record)) == LEAD


@given(st.permutations(list(BODY)), st.permutations(list(CUSTOMER)))
def test_order_of_keys_does_not_matter(root: list[str], inner: list[str]) -> None:
    customer = {key: CUSTOMER[key] for key in inner}
    assert parse_body(body({key: customer if key == "UserDetails" else BODY[key] for key in root})) == LEAD


def test_unknown_keys_are_kept_where_they_stood() -> None:
    record = {**BODY, "UserDetails": {**CUSTOMER, "Fax": "1"}, "EventId": 7, "Tags": ["a", {"b": 1.50}]}
    assert parse_body(body(record)) == LEAD.model_copy(
        update={"customer_extra": {"Fax": "1"}, "extra": {"EventId": "7", "Tags": '["a", {"b": 1.5}]'}}
    )


TWICE = '{"Email": "old@example.com", "Email": "new@example.com"}'


@pytest.mark.parametrize(
    "sent",
    [
        f'{{"UserDetails": {TWICE}}}'.encode(),
        body({"CustomerInfo": TWICE}),
        body({"UserDetails": {"Email": "old@example.com", "email": "new@example.com"}}),
        f'{{"data": {TWICE}}}'.encode(),
    ],
    ids=["equal keys", "in a JSON string", "two spellings", "in a wrapper"],
)
def test_last_of_two_values_wins_and_the_original_is_kept(sent: bytes) -> None:
    lead = parse_body(sent)
    assert lead.email == "new@example.com"
    assert base64.b64decode(lead.original) == sent


def test_key_longer_than_any_spelling_is_unknown() -> None:
    assert parse_record({"-" * 60 + "Email": "x"}) == Lead(extra={"-" * 60 + "Email": "x"})


def test_missing_value_does_not_hide_another_spelling_of_it() -> None:
    lead = parse_record({"Phone": "12025550123", "Phone number": ""})
    assert lead == Lead(phone="12025550123")


# --- Values -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [None, "", " ", "\r\n\t", "\u00a0"])
def test_null_and_blank_are_missing(missing: object) -> None:
    record = {"UserDetails": {"Email": missing}, "ActionCode": missing, "Other": missing, "Title": "x"}
    assert parse_body(body(record)) == Lead(title="x")


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("16175555555", "16175555555"),
        ("1.0", "1.0"),
        ("1E400", "1E400"),
        ("-0", "-0"),
        ("9" * 5_000, "9" * 5_000),
        ("true", "true"),
        ("false", "false"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ('["a", 1.0, null, {"b": false}]', '["a", 1.0, null, {"b": false}]'),
        ('{ "a":"é" }', '{"a": "é"}'),
    ],
)
def test_what_is_not_text_becomes_its_text(sent: str, text: str) -> None:
    lead = parse_body(f'{{"UserDetails": {{"Phone": {sent}}}, "Other": {sent}}}'.encode())
    assert (lead.phone, lead.extra, lead.original) == (text, {"Other": text}, "")


def test_python_values_of_a_table_row_become_text() -> None:
    row = {"Phone": 16175555555, "Score": 1.5, "Hot": True, "Day": datetime(2026, 1, 2, tzinfo=UTC)}
    assert parse_record(row) == Lead(
        phone="16175555555", extra={"Score": "1.5", "Hot": "true", "Day": "2026-01-02T00:00:00+00:00"}
    )


@pytest.mark.parametrize(
    "text",
    [
        'O\'Neil & Sons "Fish" <Ltd>',
        "siobhan.oneil+azure@example.com",
        "👩🏽\u200d💻",
        "\u200fنورا",
        "两 行\r\nand a\ttab",
        "=cmd()",
        "{{first_name}}",
    ],
)
def test_text_is_kept_as_sent(text: str) -> None:
    lead = parse_body(body({"UserDetails": {"FirstName": f"  {text} "}}))
    assert (lead.first_name, lead.original) == (text, "")


@pytest.mark.parametrize(
    ("sent", "cleaned"),
    [
        ("a\x00b", "ab"),
        ("a\x1b[31mb", "a[31mb"),
        ("a\x7f\x9fb", "ab"),
        ("a\ufffe\uffffb", "ab"),
        ("a\ud800b", "a\ufffdb"),
        ("\x00", ""),
    ],
)
def test_what_no_crm_can_store_is_cleaned_and_the_original_kept(sent: str, cleaned: str) -> None:
    data = body({"UserDetails": {"FirstName": sent, "LastName": "x"}})
    lead = parse_body(data)
    assert lead.first_name == cleaned
    assert base64.b64decode(lead.original) == data


def test_control_characters_may_stand_raw_in_the_json() -> None:
    assert parse_body(b'{"Description": "one\ntwo\x07"}').description == "one\ntwo"


def test_customer_that_cannot_be_taken_apart_is_kept_as_text() -> None:
    data = body({"CustomerInfo": "Some One, some.one@example.com"})
    lead = parse_body(data)
    assert lead.extra == {"CustomerInfo": "Some One, some.one@example.com"}
    assert base64.b64decode(lead.original) == data


@pytest.mark.parametrize("customer", [None, "", "null", {}, "{}"])
def test_lead_without_a_customer_is_a_lead(customer: object) -> None:
    assert parse_body(body({"CustomerInfo": customer, "ActionCode": "INS"})) == Lead(action_code="INS")


@pytest.mark.parametrize(
    "lead",
    [
        {"Description": "x"},
        {"email": "a@example.com", "other": 1},
        {"UserDetails": {"Shoe size": 42}},
        {"CustomerInfo": "Some One, 16175555555"},
    ],
    ids=str,
)
def test_one_known_field_makes_a_lead(lead: object) -> None:
    assert parse_body(body(lead)).to_wire()


# --- What leads are wrapped in ----------------------------------------------------------------------


def in_base64(lead: bytes) -> bytes:
    return body({"$content-type": "application/octet-stream", "$content": base64.b64encode(lead).decode()})


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "content": in_base64,
    "request": lambda lead: b'{"headers": {"Host": "x", "Content-Type": "application/json"}, "body": ' + lead + b"}",
    "request as text": lambda lead: body({"headers": {}, "body": lead.decode()}),
    "event": lambda lead: b'{"id": "1", "eventType": "Lead", "data": ' + lead + b"}",
    "Data": lambda lead: b'{"Data": ' + lead + b"}",
    "list": lambda lead: b"[" + lead + b"]",
    "list as text": lambda lead: body((b"[" + lead + b"]").decode()),
}


@given(lead_like)
@example(BODY)
@example(BODY | {"data": {"Email": "other@example.com"}, "body": "x", "Tiers": [1, 2.50]})
def test_a_wrapped_lead_is_the_lead(record: dict[str, Any]) -> None:
    sent = body(record)
    lead = reads_or_refuses(sent)
    if lead is None or not holds_a_field(parse_kept(sent)):
        return
    for name, wrap in WRAPPERS.items():
        read = parse_body(wrap(sent))
        assert read.model_copy(update={"original": ""}) == lead.model_copy(update={"original": ""}), name
        assert bool(read.original) is bool(lead.original), name


def test_a_lead_in_another_encoding_is_unwrapped_from_base64() -> None:
    assert parse_body(in_base64(json.dumps(BODY).encode("utf-16"))) == LEAD


def test_a_lead_with_fields_of_its_own_is_no_wrapper() -> None:
    lead = parse_body(body(BODY | {"data": CUSTOMER, "body": "x"}))
    assert lead == LEAD.model_copy(update={"extra": {"data": json.dumps(CUSTOMER), "body": "x"}})


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"nothing": None},
        {"Email": "", "UserDetails": {"Email": None}},
        {"hello": "world", "n": [1]},
        {"data": {"hello": "world"}},
        {"headers": {}, "body": "no lead"},
        {"data": {"data": BODY}},
        {"$content": "%%%"},
        {"$content": "\u00fc"},
        {"$content": ""},
        {"$content": base64.b64encode(b"no lead").decode()},
    ],
    ids=str,
)
def test_what_holds_no_field_of_a_lead_is_none(value: object) -> None:
    error = unreadable(body(value))
    assert error.status == 422
    assert "holds none of a lead's fields" in error.detail


def test_a_list_of_several_leads_is_refused() -> None:
    assert "send one lead as an object" in unreadable(body([BODY, BODY])).detail


@given(json_values | lead_like)
@example({"data": "[" * 100_000})
@example({"body": {"$content": 1}, "headers": 2})
@example([{"$content": "e30="}])
def test_any_json_within_a_wrapper_is_a_lead_or_refused(value: object) -> None:
    for wrap in WRAPPERS.values():
        reads_or_refuses(wrap(body(value)))


ROW = {
    "odata.metadata": "https://x.table.core.windows.net/$metadata#MarketplaceLeads/@Element",
    "odata.etag": 'W/"1"',
    "PartitionKey": "1",
    "RowKey": "2",
    "Timestamp@odata.type": "Edm.DateTime",
    "Timestamp": "2021-02-16T00:00:00Z",
    "ProductId": "contoso.crm",
    "CustomerInfo": json.dumps(CUSTOMER),
    "ActionCode": "Create",
    "LeadSource": "AzurePortal",
    "Tier": "gold",
}


def test_a_tables_row_is_the_same_lead_over_http() -> None:
    assert parse_body(body(ROW)) == parse_body(body({"data": ROW})) == parse_record(ROW)
    assert parse_body(body(ROW)).extra == {"Tier": "gold"}


def test_a_lead_that_is_no_tables_row_keeps_a_time_of_its_own() -> None:
    assert parse_body(body(BODY | {"Timestamp": "noon"})).extra == {"Timestamp": "noon"}


def test_what_was_taken_in_before_stays_the_lead_that_it_was() -> None:
    assert parse_kept(body({"data": BODY})).extra == {"data": json.dumps(BODY)}
    assert parse_kept(body(ROW)).extra["PartitionKey"] == "1"
    assert parse_kept(b"{}") == Lead()


# --- Encodings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("marked", [True, False], ids=["with mark", "without"])
def test_unicode_encodings_are_told_apart(mark: bytes, encoding: str, marked: bool) -> None:
    text = json.dumps({**BODY, "Description": "Žukas 👋"}, ensure_ascii=False)
    lead = parse_body((mark if marked else b"") + text.encode(encoding))
    assert lead == LEAD.model_copy(update={"description": "Žukas 👋"})


def test_bytes_that_are_not_utf8_are_read_as_windows_1252_and_the_original_kept() -> None:
    data = '{"Description": "Café “Zürich” '.encode("cp1252") + '— é"}'.encode()
    lead = parse_body(data)
    assert lead.description == "Café “Zürich” — é"
    assert base64.b64decode(lead.original) == data


@given(st.binary(max_size=12))
@example(b"\x81\x8d\x8f\x90\x9d")
@example(b"\xed\xa0\x80")
def test_any_bytes_in_a_value_lose_no_lead(wrong: bytes) -> None:
    wrong = wrong.translate(None, b'"\\')
    assert parse_body(b'{"Email": "a@example.com", "Description": "x' + wrong + b'"}').email == "a@example.com"


# --- What can't be read -----------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b" \r\n\t", codecs.BOM_UTF8])
def test_empty_body(data: bytes) -> None:
    error = unreadable(data)
    assert error.status == 400
    assert str(error) == error.detail == "The body is empty: send the lead as a JSON object."


def test_fault_in_the_json_is_named_with_its_place() -> None:
    error = unreadable((SAMPLES / "03-test-lead-as-printed.json").read_bytes())
    assert error.status == 400
    assert error.detail == "The body is not JSON: a comma is missing at line 14, column 3."


@pytest.mark.parametrize("data", [b"FirstName=Some", b"<lead/>", b"{", b"{}{}", b'{"a": 1,}', b"{'a': 1}", b"\x00\x00"])
def test_what_is_not_json(data: bytes) -> None:
    assert unreadable(data).status == 400


@pytest.mark.parametrize("data", [b"[]", b"[{}]", b"null", b"1", b'"text"', b'"[]"', b'"\\"{}\\""'])
def test_json_that_is_not_an_object(data: bytes) -> None:
    error = unreadable(data)
    assert error.status == 422
    assert "send one lead as an object" in error.detail


def test_object_in_a_json_string_is_read() -> None:
    assert parse_body(body(json.dumps(BODY))) == LEAD


@pytest.mark.parametrize("depth", [2_000, 30_000, 120_000])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"UserDetails": {"Email": "a@example.com"}, "Other": ', "}"),
        ('{"UserDetails": {"Email": ', "}}"),
        ("", ""),
    ],
)
def test_deep_nesting_is_refused_in_words(depth: int, before: str, after: str) -> None:
    error = unreadable((before + "[" * depth + "]" * depth + after).encode())
    assert error.status == 422


@pytest.mark.parametrize("depth", [900, 2_000, 30_000])
def test_deep_nesting_within_a_text_loses_no_lead(depth: int) -> None:
    deep = '{"a": ' + "[" * depth + "]" * depth + "}"
    lead = parse_body(body({"Description": deep, "UserDetails": {"Email": "a@example.com"}}))
    assert (lead.email, lead.description) == ("a@example.com", deep)
    assert set(lead.campaign) <= {"a"}


SECRET = "zq7Xv3"


@pytest.mark.parametrize(
    "data",
    [
        f"{{{SECRET}: 1}}",
        f'{{"a": "\\{SECRET}"}}',
        f'{{"a": "\\u{SECRET}"}}',
        f'{{"{SECRET}": 1 2}}',
        f'{{"{SECRET}',
        f'["{SECRET}"]',
        f'"{SECRET}"',
        f'{{"{SECRET}": ' + "[" * 50_000 + "]" * 50_000 + "}",
        SECRET,
    ],
)
def test_refusal_never_repeats_what_was_sent(data: str) -> None:
    error = unreadable(data.encode())
    told = [str(error), repr(error), error.title, error.detail]
    assert not any(SECRET in text for text in told)
    # A logged traceback must not show the body either: the decoder's own error has the whole document.
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


# --- Properties -------------------------------------------------------------------------------------


def reads_or_refuses(data: bytes) -> Lead | None:
    try:
        return parse_body(data)
    except UnreadableLead as error:
        assert error.status in (400, 422)
        assert error.title
        assert error.detail
        return None


def assert_survives_the_wire(lead: Lead) -> None:
    wire = json.dumps(lead.to_wire(), ensure_ascii=False).encode()
    assert Lead.from_wire(json.loads(wire)) == lead


@given(st.binary())
@example(b"\xff\xfe")
@example(b"\x00{}")
@example(codecs.BOM_UTF8 * 2 + b"{}")
def test_any_bytes_are_a_lead_or_refused(data: bytes) -> None:
    reads_or_refuses(data)


@given(lead_like, st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_every_object_is_a_lead_that_survives_message_and_ledger(record: dict[str, Any], encoding: str) -> None:
    assert_survives_the_wire(parse_kept(json.dumps(record).encode(encoding)))


@given(lead_like)
def test_every_record_is_a_lead_that_survives_message_and_ledger(record: dict[str, Any]) -> None:
    assert_survives_the_wire(parse_record(record))


@given(lead_like)
def test_a_lead_is_written_as_a_body_that_reads_the_same(record: dict[str, Any]) -> None:
    read = parse_record(record)
    lead, again = (
        one.model_copy(update={"original": ""}) for one in (read, parse_kept(json.dumps(read.to_body()).encode()))
    )
    # A customer that is not an object is kept under the key of the customer object, where `to_body` writes it.
    assert again == lead or "UserDetails" in lead.extra


@given(lead_like)
def test_nothing_is_lost_without_keeping_the_original(record: dict[str, Any]) -> None:
    lead = parse_kept(body(record))
    kept = [*lead.to_wire().values(), *lead.extra.values()]
    for text in (value for value in record.values() if isinstance(value, str) and value.isalnum()):
        assert lead.original or text in kept


@given(lead_like)
def test_cleaned_text_is_clean(record: dict[str, Any]) -> None:
    lead = parse_record(record)
    again = parse_record({"Description": lead.description, "Email": lead.email})
    assert (again.description, again.email) == (lead.description, lead.email)
    for text in itertools.chain(lead.extra, lead.extra.values(), [lead.email, lead.description]):
        text.encode()
        assert not {"\x00", "\x1b", "\ufffe", "\uffff"} & set(text)


def test_wire_holds_only_what_is_there() -> None:
    assert Lead(email="a@example.com").to_wire() == {"email": "a@example.com"}


def test_broken_wire_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValidationError) as caught:
        Lead.from_wire({"email": [SECRET]})
    assert "email" in str(caught.value)
    assert SECRET not in str(caught.value)


# --- The samples ------------------------------------------------------------------------------------


def test_every_sample_is_expected_and_described() -> None:
    files = {path.name for path in SAMPLES.glob("[0-9]*.json")}
    assert files == set(EXPECTED)
    readme = (SAMPLES / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in readme for name in files)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_sample_is_read_as_expected(name: str) -> None:
    expected = EXPECTED[name]
    data = (SAMPLES / name).read_bytes()
    if expected["status"] == 202:
        lead = parse_body(data)
        assert lead.to_wire()
        assert_survives_the_wire(lead)
    else:
        assert unreadable(data).status == expected["status"]
        assert expected["state"] == "unreadable"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("05-connector-json-string", {"first_name": "Casey", "company": "Fabrikam"}),
        ("07-csv-row", {"email": "emerson.silva@example.com", "title": "Buyer", "country": "Brazil"}),
        ("24-apostrophe-and-plus", {"last_name": "O'Neil", "email": "siobhan.oneil+azure@example.com"}),
        ("26-byte-order-mark", {"first_name": "Umber"}),
        ("27-control-characters", {"first_name": "Val", "description": "first line\r\nsecond\tline"}),
        ("28-windows-1252", {"last_name": "Müller", "company": "Café “Zürich”"}),
        ("29-utf-16", {"last_name": "Žukas"}),
        ("30-numbers-and-nulls", {"phone": "16175555555", "company": "", "title": "true"}),
        (
            "31-keys-in-any-case",
            {"first_name": "Zuri", "email": "zuri.abara@example.com", "action_code": "plt"},
        ),
        ("32-body-as-json-string", {"first_name": "Alex"}),
    ],
)
def test_what_samples_hold(name: str, fields: dict[str, str]) -> None:
    lead = parse_body((SAMPLES / f"{name}.json").read_bytes())
    assert {field: getattr(lead, field) for field in fields} == fields
