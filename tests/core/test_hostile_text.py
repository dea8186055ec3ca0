"""Hostile text takes time in proportion to its length, so that one body can't delay the leads of all other senders.

The tests bound growth (four times the text, far less than sixteen times the time) and the number of calls, not seconds.
"""

from __future__ import annotations

import base64
import gc
import json
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leads.cli.csv_file import read_csv
from leads.core import identity
from leads.core.countries import country_code
from leads.core.dates import orders_shown, read_date
from leads.core.identity import customer_of, fingerprint, is_lead_id
from leads.core.lead import Lead, stage_of
from leads.core.lead_parsing import UnreadableLead, parse_body, parse_record
from leads.core.lenient_json import text_of_body
from leads.core.messages import MessageTooNew, MessageUnreadable, decode
from leads.core.routing import OfferReferences, route
from leads.destinations import text as words
from leads.destinations.http import Answer
from leads.destinations.vendors import salesforce_web_to_lead
from leads.destinations.vendors.azure_table.rows import from_entity
from leads.destinations.vendors.dataverse.errors import problem_of
from leads.destinations.vendors.salesforce.errors import refusal_of
from leads.ledger.incoming import IncomingLeads
from leads.operations.export import safe_cell
from leads.pipeline.http import plain_words
from leads.pipeline.intake import MAX_BODY_BYTES, KeptUnreadable, accept
from leads.platform.table_format import key_part, text_columns
from leads.platform.tracing import begin
from leads.privacy.email_matcher import EmailMatcher

LEAD_ID = "20260131235959999-0123456789ab-c"
SMALL = 16 * 1024
GROWS_AT_MOST = 9
"""Most times as much time for four times the text. Sixteen would be quadratic."""
SHORTEST_SECONDS = 0.0005
"""Shorter times count as this."""
TRIES = 20
CALLS_A_BYTE = 8
"""Calls of Python's and C's functions. A body with this number of calls for each byte takes about a tenth of a second."""

MARKS = [chr(code) for code in range(0x300, 0x3000) if unicodedata.combining(chr(code))]
OUT_OF_ORDER = "".join(sorted(MARKS, key=unicodedata.combining, reverse=True))
UNITS = {
    "marks of two classes": "\u0301\u0316",
    "all marks, out of order": OUT_OF_ORDER,
    "a letter with 32 marks": "a" + "\u0301\u0316" * 16,
    "marks that are two": "\u0344",
    "jamo": "\u1100\u1161\u11a8",
    "letters that fold to three": "\u0390",
    "blanks": " ",
    "letters": "a",
    "numbers": "9",
    "an address": "ada@example.com",
    "half an address": "a@a.",
    "backslashes": "\\",
    "escapes": "\\u0041",
    "base64": "QUJDQUJDQUJDQUJD",
    "percent": "%41",
    "entities": "&amp;<",
    "test marks": "MSFT_TEST_12345678901234567",
    "JSON": '{"a":[',
    "dates": "1/2/",
    "control characters": "\x01a",
    "half a surrogate pair": "\ud800",
    "names": "'a, ",
}


def made_of(unit: str, before: str = "", behind: str = "") -> Callable[[int], str]:
    """A text of about this number of bytes."""
    return lambda size: before + unit * (size // len(unit.encode(errors="surrogatepass")) + 1) + behind


FAMILIES = {name: made_of(unit) for name, unit in UNITS.items()} | {
    "a date and blanks": made_of(" ", "2000-01-01 1:00", "x"),
    "a run of marks for each class": lambda size: "".join(
        mark * (size // len(OUT_OF_ORDER) // 2) for mark in OUT_OF_ORDER
    ),
    "base64 of base64": lambda size: base64.b64encode(base64.b64encode(b"ABC" * (size // 6))).decode(),
}


def quietly(function: Callable[[str], object], *refusals: type[Exception]) -> Callable[[str], object]:
    def call(text: str) -> object:
        try:
            return function(text)
        except refusals:
            return None

    return call


def take_in(body: bytes) -> None:
    """The intake without storage."""
    ledger: Any = SimpleNamespace(keep_body=lambda *_: None, keep_unreadable=lambda *_: None)
    queue: Any = SimpleNamespace(put=lambda _: None)
    try:
        accept(IncomingLeads(lambda: queue, lambda: ledger), body[:MAX_BODY_BYTES])
    except (KeptUnreadable, UnreadableLead):
        return


def raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def tell(text: str) -> None:
    """All properties of a lead with this text in each field."""
    lead = parse_record(dict.fromkeys(("FirstName", "LastName", "Phone", "LeadSource", "Description", "note"), text))
    fingerprint(lead, "")
    customer_of(lead, LEAD_ID)
    stage_of(lead.action)
    route(OfferReferences.of(lead, text), [])
    _ = (lead.is_test, lead.note, lead.country_code, lead.publisher, lead.source, words.company(lead), is_lead_id(text))


def refused(text: str) -> None:
    """The outcome of a vendor's refusal."""
    refusal_of(400, [{"errorCode": "CANNOT_EXECUTE_FLOW_TRIGGER", "message": text}])
    problem_of(Answer(400, {}, json.dumps({"error": {"code": text, "message": text}}).encode()))
    _ = Answer(429, {"retry-after": text}, b"").retry_after


SOUGHT = EmailMatcher.parse("ada@example.com")
FUNCTIONS: dict[str, Callable[[str], object]] = {
    "the intake of a body": lambda text: take_in(raw(text)),
    "the intake of a description": lambda text: take_in(raw(json.dumps({"Description": text}, ensure_ascii=False))),
    "the intake of a customer": lambda text: take_in(raw(json.dumps({"CustomerInfo": text, text: text}))),
    "the intake of Latin-1": lambda text: take_in(b'{"LastName":"\xe4' + text.encode("latin-1", "replace") + b'"}'),
    "what a lead says": tell,
    "dates": lambda text: (read_date(text), orders_shown([text])),
    "keys and columns": lambda text: (key_part(text), text_columns("a", text)),
    "texts for a CRM": lambda text: (
        words.truncate(text, 100),
        words.chunk_html(text, 1000),
        words.truncate_bytes(text, 100),
    ),
    "countries, headers and cells": lambda text: (country_code(text), plain_words(text), begin(text), safe_cell(text)),
    "Web-to-Lead's addresses": salesforce_web_to_lead._EMAIL.fullmatch,
    "a list": quietly(lambda text: read_csv(raw("a,b\n" + text))),
    "a table's row": lambda text: from_entity({"CustomerInfo": text, "CreatedTime": text, "Description": text}),
    "a message": quietly(decode, MessageUnreadable, MessageTooNew),
    "a vendor's refusal": refused,
}


def seconds(function: Callable[[str], object], text: str) -> float:
    """Without the garbage collector, because its time grows with the objects of other tests."""
    gc.disable()
    try:
        began = time.thread_time()
        function(text)
        return max(SHORTEST_SECONDS, time.thread_time() - began)
    finally:
        gc.enable()


def grows_with_its_length(function: Callable[[str], object], family: Callable[[int], str], small: int = SMALL) -> bool:
    """Measures the time of this thread. A disturbed measurement is repeated."""
    return all(_grows(function, family(size), family(4 * size)) for size in (small // 8, small))


def _grows(function: Callable[[str], object], little: str, much: str) -> bool:
    return any(seconds(function, much) <= GROWS_AT_MOST * seconds(function, little) for _ in range(TRIES))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_hostile_text_takes_time_that_grows_with_its_length(name: str) -> None:
    slow = [what for what, family in FAMILIES.items() if not grows_with_its_length(FUNCTIONS[name], family)]
    assert slow == []


def test_an_address_is_looked_for_in_time_that_grows_with_the_text() -> None:
    def look(text: str) -> None:
        SOUGHT.matches_body(raw(text))

    assert [what for what, family in FAMILIES.items() if not grows_with_its_length(look, family, SMALL // 4)] == []


HOSTILE = st.text(
    st.sampled_from(" \t\n.,;:@-/\\|{}[]\"'&<%+=_019aAzZéİß\u0301\u0316\u0344\u1100\u2028\x00\ud800"), max_size=5
)


@settings(max_examples=12, deadline=None)
@given(HOSTILE.filter(bool), HOSTILE, HOSTILE)
def test_so_does_any_other_text_that_repeats_itself(unit: str, before: str, behind: str) -> None:
    family = made_of(unit, before, behind)
    assert [
        name for name, function in FUNCTIONS.items() if not grows_with_its_length(function, family, SMALL // 4)
    ] == []


# --- The worst bodies -------------------------------------------------------------------------------------------------


def members(member: str) -> Callable[[int], str]:
    """An object of about this number of bytes, with different names of members."""
    return lambda size: "{" + ",".join(member % number for number in range(size // (len(member) + 4))) + ',"Email":"a"}'


BODIES: dict[str, Callable[[int], str]] = {
    "many unknown keys": members('"%x":1'),
    "many unknown keys of the customer": lambda size: '{"UserDetails":' + members('"%x":1')(size - 20) + "}",
    "many keys with marks": members('"e\u0301%x":"\u0301"'),
    "many lists": members('"%x":[1]'),
    "a key over and over": lambda size: '{"Email":"a",' + '"a":1,' * (size // 6) + '"b":2}',
    "a list of numbers": lambda size: '{"Email":"a","x":[' + "1," * (size // 2) + "1]}",
    "a list of objects": lambda size: '{"Email":"a","x":[' + '{"a":1},' * (size // 8) + "1]}",
    "lists in lists": lambda size: '{"Email":"a","x":[' + ("[" * 90 + "]" * 90 + ",") * (size // 181) + "1]}",
    "a long text deep inside": lambda size: '{"Email":"a","x":' + "[" * 90 + f'"{"a" * size}"' + "]" * 90 + "}",
    "lists without an end": lambda size: "[" * size,
    "a number": lambda size: '{"Email":' + "9" * size + "}",
    "escaped marks": lambda size: '{"FirstName":"' + "\\u0301\\u0316" * (size // 12) + '"}',
    "JSON in JSON in JSON": lambda size: json.dumps(
        json.dumps({"CustomerInfo": json.dumps({"Email": '"' * (size // 8)})})
    ),
    "a wrapper": lambda size: json.dumps(
        {"headers": members('"%x":1')(size // 3), "body": members('"%x":1')(size // 3)}
    ),
}


def calls_of(function: Callable[[], object]) -> int:
    """The number of function calls."""
    count = 0

    def seen(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", BODIES)
def test_a_large_body_costs_a_few_calls_a_byte_and_time_that_grows_with_it(name: str) -> None:
    large = BODIES[name](4 * SMALL).encode()
    assert calls_of(lambda: take_in(large)) <= CALLS_A_BYTE * len(large)
    assert grows_with_its_length(lambda text: take_in(text.encode()), BODIES[name])


@pytest.mark.parametrize("bad", [b"\xff", b"\xe4a", b"\xed\xa0\x80", b"\xf1\x80"])
def test_bytes_that_are_no_utf_8_cost_no_call_each(bad: bytes) -> None:
    assert calls_of(lambda: text_of_body(bad * 10_000)) < 100
    assert "\ud800" not in text_of_body(bad)[0]


def test_each_byte_that_is_no_utf_8_is_read_as_windows_means_it_and_what_is_utf_8_as_it_is() -> None:
    assert text_of_body("Zoë €".encode("cp1252"))[0] == "Zoë €"
    assert text_of_body("Zoë ".encode() + b"\x80\x81\xff")[0] == "Zoë €\x81ÿ"


def test_a_body_is_nested_too_deeply_wherever_it_is_read() -> None:
    """The depth of the stack does not matter: delivery reads each lead that the intake has accepted."""
    at_most = parse_body(b'{"Email":"a","x":' + b"[" * 100 + b"]" * 100 + b"}")
    assert at_most.extra == {"x": "[" * 100 + "]" * 100}
    for depth in (101, 5_000):
        with pytest.raises(UnreadableLead):
            parse_body(b'{"Email":"a","x":' + b"[" * depth + b"]" * depth + b"}")


# --- The fingerprint --------------------------------------------------------------------------------------------------


def test_every_mark_is_where_long_runs_of_them_are_looked_for() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    assert all(re.fullmatch(r"[^\w\x00-\x7f]", mark) for mark in every if unicodedata.combining(mark))


@given(st.text(st.sampled_from("aé\u0301\u0316 \u0345"), max_size=30))
def test_up_to_30_marks_a_lead_has_the_fingerprint_that_it_always_had(text: str) -> None:
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    assert identity._folded(text) == " ".join(folded.split())


def test_leads_that_differ_behind_a_long_run_of_marks_are_not_the_same() -> None:
    marks = "\u0301\u0316" * 500
    one, other = (fingerprint(Lead(first_name=f"a{marks}{end}"), "") for end in "xy")
    assert one != other
    assert one == fingerprint(Lead(first_name=f"A{marks}X"), "")
