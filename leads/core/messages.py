"""Messages of the queue `leads`: JSON with a version, small enough for a storage queue's 64 KiB.

Intake's message (seq 0) carries the lead itself. A later message only names the lead and the destination, so that personal data
is kept in one place.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from leads.core.identity import is_lead_id, storable
from leads.core.lead import Lead

VERSION = 1
DESTINATION_NAME: Final = "[a-z][a-z0-9_]{0,30}"
_NAME: Final = re.compile(DESTINATION_NAME)
_HIGHEST_NUMBER = 2**31 - 1
"""The largest 32-bit integer, which is what a column of the ledger holds."""
_LONGEST_TEXT = 16_000
"""Characters that a column of the ledger holds of any text."""
MAX_ENVELOPE_BYTES = 48 * 1024
"""64 KiB on the wire after base64 (Microsoft Learn, "Scalability and performance targets for Queue Storage")."""
_to_json = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":")
).encode  # json.dumps makes an encoder for each call


class Imported(StrEnum):
    """Whether a lead was imported, and whether it is sent or only recorded."""

    NO = ""
    SEND = "send"
    RECORD = "record"


class MessageTooNew(Exception):
    """A newer release wrote this message. The message waits for that release."""


class MessageUnreadable(Exception):
    """The app did not write this message. The text says what is wrong, and quotes nothing of the message."""


@dataclass(frozen=True, slots=True)
class Reception:
    """One reception of a queue message: the message's id, and how often the queue has given it out, from 1.

    The queue gives a message out again if its worker failed or died, or after 10 minutes. By then the claim has ended.
    """

    message_id: str
    dequeue_count: int


@dataclass(frozen=True, slots=True)
class Message:
    """One queue message, which asks for one step of a delivery.

    `destination`: "" until the lead is routed. `seq`: counts the messages of one lead and destination. `lead`: only in intake's
    message. `has_body`: the ledger keeps the body, because the envelope was too large. `probe`: the lead is sent although its
    connection is paused. `ahead`: how often the message came before the ledger knew the lead. `imported`, `corrects`, `only`: as
    in the lead's record. `reception`: how the queue gave the message out; not part of the wire format.
    """

    lead_id: str
    destination: str = ""
    seq: int = 0
    probe: bool = False
    received_at: datetime | None = None
    offer: str = ""
    traceparent: str = ""
    lead: Lead | None = None
    has_body: bool = False
    ahead: int = 0
    imported: Imported = Imported.NO
    corrects: str = ""
    only: tuple[str, ...] = ()
    reception: "Reception | None" = None


def encode(message: Message) -> str:
    """The queue's text for a message."""
    wire: dict[str, Any] = {"v": VERSION, "lead_id": message.lead_id, "seq": message.seq}
    if message.received_at is not None:
        wire["received_at"] = message.received_at.isoformat()
    for name in ("destination", "offer", "traceparent", "probe", "has_body", "ahead", "imported", "corrects", "only"):
        if value := getattr(message, name):
            wire[name] = value
    if message.lead is not None:
        wire["lead"] = message.lead.to_wire()
    return _to_json(wire)


def bytes_of(stored: str) -> bytes:
    """The content of a message that was read without decoding: its base64 decoded, or its text if it is not base64."""
    try:
        return base64.b64decode(stored, validate=True)
    except (binascii.Error, ValueError):
        return stored.encode(errors="surrogatepass")


def decode(text: str | bytes) -> Message:
    """Read a queue message. Raises `MessageTooNew` or `MessageUnreadable`."""
    try:
        wire = json.loads(text)
    except (ValueError, RecursionError):
        raise MessageUnreadable("the message is not JSON") from None
    if not isinstance(wire, dict):
        raise MessageUnreadable("the message is not a JSON object")
    version = wire.get("v")
    if type(version) is int and version > VERSION:
        raise MessageTooNew(f"the message has version {version}, this release reads up to {VERSION}")
    try:
        return _from_wire(wire)
    except Exception:  # noqa: BLE001 - whatever the fault is: the message is kept for a person
        raise MessageUnreadable("a field of the message is missing or has the wrong type") from None


def _from_wire(wire: dict[str, Any]) -> Message:
    if not is_lead_id(wire["lead_id"]):
        raise ValueError("lead_id")
    return Message(
        lead_id=wire["lead_id"],
        destination=_destination(wire.get("destination", "")),
        seq=_number(wire["seq"]),
        probe=bool(wire.get("probe")),
        received_at=storable(datetime.fromisoformat(wire["received_at"])) if "received_at" in wire else None,
        offer=_text(wire.get("offer", "")),
        traceparent=_text(wire.get("traceparent", "")),
        lead=Lead.from_wire(wire["lead"]) if "lead" in wire else None,
        has_body=bool(wire.get("has_body")),
        ahead=_number(wire.get("ahead", 0)),
        imported=Imported(wire.get("imported", "")),
        corrects=_lead_id(wire.get("corrects", "")),
        only=_destinations(wire.get("only", [])),
    )


def _number(number: object) -> int:
    if type(number) is not int or not 0 <= number <= _HIGHEST_NUMBER:
        raise ValueError("no number")
    return number


def _text(text: object) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise ValueError("no text")
    text.encode()  # a lone surrogate could not be stored: UnicodeEncodeError is a ValueError
    return text


def _lead_id(text: object) -> str:
    """A lead's id, or ""."""
    if not isinstance(text, str) or (text and not is_lead_id(text)):
        raise ValueError("no lead id")
    return text


def _destination(text: object) -> str:
    """A destination's name, or "": it becomes part of a row's key and a column's name."""
    if not isinstance(text, str) or (text and not _NAME.fullmatch(text)):
        raise ValueError("no destination")
    return text


def _destinations(names: object) -> tuple[str, ...]:
    if not isinstance(names, list):
        raise TypeError("no list")
    return tuple(map(_destination, names))


def encode_notice(lead_id: str, destination: str) -> str:
    """The note that a lead was delivered."""
    return json.dumps({"v": 1, "lead_id": lead_id, "destination": destination})
