"""Queue messages: they lose nothing, malformed ones do no harm, and old messages stay readable."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.core.identity import EARLIEST
from leads.core.lead import Lead
from leads.core.messages import MAX_ENVELOPE_BYTES, VERSION, Message, MessageTooNew, MessageUnreadable, decode, encode
from tests.support.strategies import destination_names, json_values, lead_ids, leads, moments, text

LEAD_ID = "20260131235959999-0123456789ab-c"
RECEIVED_AT = datetime(2026, 1, 31, 23, 59, 59, 999000, tzinfo=UTC)

# Version 1 as first released, letter by letter. Never change these: such messages can be on a queue for days.
V1_INTAKE = (
    '{"v":1,"lead_id":"20260131235959999-0123456789ab-c","seq":0,"received_at":"2026-01-31T23:59:59.999000+00:00",'
    '"offer":"contoso.crm","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",'
    '"lead":{"first_name":"Zoë","last_name":"O\'Neil","email":"zoe@example.com","phone":"16175555555",'
    '"country":"USA","company":"Example Works","title":"Engineer",'
    '"lead_source":"AzureMarketplace-INS|contoso.crm","action_code":"INS","product_id":"contoso.crm",'
    '"offer_title":"Contoso CRM","publisher_name":"Contoso","description":"Please call",'
    '"created_time":"01/31/2026 23:59:59","extra":{"PartnerTier":"gold"},"customer_extra":{"Fax":"1"},"original":"e30="}}'
)
V1_LARGE_BODY = (
    '{"v":1,"lead_id":"20260131235959999-0123456789ab-c","seq":0,"received_at":"2026-01-31T23:59:59.999000+00:00",'
    '"has_body":true}'
)
V1_FOLLOW_UP = '{"v":1,"lead_id":"20260131235959999-0123456789ab-c","seq":3,"destination":"crm"}'
V1_PROBE = '{"v":1,"lead_id":"20260131235959999-0123456789ab-c","seq":4,"destination":"crm","probe":true}'

wire_fields = (
    *("v", "lead_id", "seq", "destination", "probe", "received_at", "offer", "traceparent", "lead", "has_body"),
    *("ahead", "imported", "corrects", "only"),
)
message_like = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(wire_fields, json_values)
    | {
        "v": st.just(VERSION) | json_values,
        "lead_id": st.just(LEAD_ID) | lead_ids | json_values,
        "seq": st.integers(0, 3) | json_values,
        "received_at": st.datetimes().map(datetime.isoformat) | moments.map(datetime.isoformat) | json_values,
        "lead": leads.map(Lead.to_wire) | json_values,
    },
)


@given(
    st.builds(
        Message,
        lead_id=lead_ids,
        destination=st.just("") | destination_names,
        seq=st.integers(0, 2**31 - 1),
        probe=st.booleans(),
        received_at=st.none() | moments,
        offer=text,
        traceparent=text,
        lead=st.none() | leads,
        has_body=st.booleans(),
    )
)
def test_any_message_is_read_as_it_was_written(message: Message) -> None:
    written = encode(message)
    assert decode(written) == message
    assert decode(written.encode()) == message, "the queue holds bytes"


def understood(data: str | bytes) -> Message | None:
    """The message, or None if it is refused with one of the two exceptions."""
    try:
        return decode(data)
    except (MessageTooNew, MessageUnreadable) as refusal:
        assert "\n" not in str(refusal)
        return None


@given(st.binary() | st.text())
@example(b"")
@example(b"\xff\xfe{}")
@example("9" * 5000)
@example("[" * 100_000)
@example('{"v":' * 50_000)
def test_any_bytes_are_a_message_or_refused(data: str | bytes) -> None:
    assert understood(data) is None


@given(message_like)
@example({"v": 1, "lead_id": LEAD_ID, "seq": True})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 2**31})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": None})
@example({"v": float("inf"), "lead_id": LEAD_ID, "seq": 0})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "ahead": float("inf")})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "ahead": float("nan")})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "ahead": 2**31})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": "0001-01-01T00:00:00+00:00"})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": "1600-12-31T23:59:59+00:00"})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": "0001-01-01T00:00:00+14:00"})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": "9999-12-31T23:59:59-14:00"})
@example({"v": 1, "lead_id": "00010101000000000-0123456789ab-c", "seq": 0})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "destination": "a/b"})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "destination": "a" * 32})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "offer": "o" * 40_000})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "only": "crm"})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "only": ["a/b"]})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "corrects": "../x"})
@example({"v": 1, "lead_id": LEAD_ID, "seq": 0, "imported": ["send"]})
def test_any_json_is_a_message_whose_fields_have_their_types_or_is_refused(wire: dict[str, Any]) -> None:
    message = understood(json.dumps(wire))
    if message is None:
        return
    assert message.lead_id == wire["lead_id"]
    assert type(message.seq) is int
    assert 0 <= message.seq < 2**31
    assert 0 <= message.ahead < 2**31
    assert message.received_at is None or message.received_at >= EARLIEST
    for name in (message.destination, *message.only):
        assert name == "" or re.fullmatch("[a-z][a-z0-9_]*", name), "it becomes part of a row's key"
    for name in ("destination", "offer", "traceparent"):
        value = getattr(message, name)
        assert value == wire.get(name, "")
        assert isinstance(value, str)
        value.encode()
    assert understood(encode(message)) == message, "what was understood can be put back"


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"v": 1},
        {"v": 1, "lead_id": LEAD_ID},
        {"v": 1, "seq": 0},
        {"v": 1, "lead_id": "../x", "seq": 0},
        {"v": 1, "lead_id": LEAD_ID, "seq": "0"},
        {"v": 1, "lead_id": LEAD_ID, "seq": -1},
        {"v": 1, "lead_id": LEAD_ID, "seq": 0, "destination": None},
        {"v": 1, "lead_id": LEAD_ID, "seq": 0, "offer": "\ud800"},
        {"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": "yesterday"},
        {"v": 1, "lead_id": LEAD_ID, "seq": 0, "received_at": "2026-01-31T23:59:59"},
        {"v": 1, "lead_id": LEAD_ID, "seq": 0, "lead": "ada@example.com"},
        {"v": 1, "lead_id": LEAD_ID, "seq": 0, "lead": {"email": ["ada@example.com"]}},
    ],
    ids=str,
)
def test_what_is_no_message_of_ours_is_refused_without_repeating_it(wire: dict[str, Any]) -> None:
    with pytest.raises(MessageUnreadable) as caught:
        decode(json.dumps(wire))
    assert "example.com" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "the cause quotes the data"


@given(st.integers(min_value=VERSION + 1, max_value=10**9), json_values)
def test_a_newer_version_is_told_from_what_is_unreadable_whatever_else_it_holds(version: int, rest: Any) -> None:
    with pytest.raises(MessageTooNew, match=f"version {version}, this release reads up to {VERSION}"):
        decode(json.dumps({"v": version, "lead_id": rest}))


# --- Version 1, as it may still be on a queue -------------------------------------------------------------------------


def test_version_1_intakes_message() -> None:
    assert decode(V1_INTAKE) == Message(
        LEAD_ID,
        received_at=RECEIVED_AT,
        offer="contoso.crm",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        lead=Lead(
            first_name="Zoë",
            last_name="O'Neil",
            email="zoe@example.com",
            phone="16175555555",
            country="USA",
            company="Example Works",
            title="Engineer",
            lead_source="AzureMarketplace-INS|contoso.crm",
            action_code="INS",
            product_id="contoso.crm",
            offer_title="Contoso CRM",
            publisher_name="Contoso",
            description="Please call",
            created_time="01/31/2026 23:59:59",
            extra={"PartnerTier": "gold"},
            customer_extra={"Fax": "1"},
            original="e30=",
        ),
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (V1_LARGE_BODY, Message(LEAD_ID, received_at=RECEIVED_AT, has_body=True)),
        (V1_FOLLOW_UP, Message(LEAD_ID, "crm", 3)),
        (V1_PROBE, Message(LEAD_ID, "crm", 4, probe=True)),
    ],
    ids=["large body", "follow-up", "probe"],
)
def test_version_1_references(written: str, meant: Message) -> None:
    assert decode(written) == meant


@pytest.mark.parametrize("written", [V1_INTAKE, V1_LARGE_BODY, V1_FOLLOW_UP, V1_PROBE])
def test_this_release_writes_what_a_release_of_version_1_reads(written: str) -> None:
    assert json.loads(encode(decode(written))) == json.loads(written)


@pytest.mark.parametrize("written", [V1_INTAKE, V1_FOLLOW_UP])
def test_a_field_that_a_later_release_adds_is_passed_over(written: str) -> None:
    wire = json.loads(written)
    wire |= {"later": {"a": 1}}
    if "lead" in wire:
        wire["lead"] |= {"later": ["x"]}
    assert decode(json.dumps(wire)) == decode(written)


# --- Where personal data rests ----------------------------------------------------------------------------------------


def test_a_reference_says_only_which_lead_and_which_destination() -> None:
    assert json.loads(encode(Message(LEAD_ID, "crm", 2, probe=True))) == {
        "v": VERSION,
        "lead_id": LEAD_ID,
        "seq": 2,
        "destination": "crm",
        "probe": True,
    }


@given(lead_ids, moments, leads)
def test_the_message_of_a_large_body_holds_nothing_of_the_lead(lead_id: str, received_at: datetime, lead: Lead) -> None:
    wire = json.loads(encode(Message(lead_id, received_at=received_at, offer="contoso.crm", has_body=True)))
    assert set(wire) == {"v", "lead_id", "seq", "received_at", "offer", "has_body"}


def test_a_reference_is_far_below_the_queues_limit_whatever_its_names() -> None:
    longest = Message(LEAD_ID, "a" * 31, 2**31 - 1, True, RECEIVED_AT, "€" * 8_000, "0" * 55, has_body=True)
    assert len(encode(longest).encode()) < MAX_ENVELOPE_BYTES
