"""The lead: one model, the wire shapes that parse into it, and what can be told from it. Pure: no I/O.

Four shapes are read, all with the same keys in any spelling ("FirstName", "first name", "FIRST_NAME"):

* the HTTPS body that Partner Center posts: `UserDetails`, `LeadSource`, `ActionCode`, `OfferTitle`,
  `Description` (Microsoft, "Use an HTTPS endpoint to manage commercial marketplace leads");
* the record of the original connector: `LeadSource` = `Source-Action|Offer`, and `CustomerInfo` as an
  object or as a JSON string (Microsoft, "Customer leads from your commercial marketplace offer");
* a row of the table `MarketplaceLeads` (Microsoft, "Use Azure Table storage to manage … leads");
* a row of a list with the names that people use for these fields; what Partner Center's lists call them
  is in `leads.core.columns`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from leads.core.actions import codes_of
from leads.core.countries import country_code

# --- The lead ---------------------------------------------------------------------------------------


class Lead(BaseModel):
    """One lead. Every field is text as it was sent, cleaned and stripped; "" means missing."""

    # A field of a newer release is ignored, so that its messages can be read after a rollback. An error
    # never quotes the value that is wrong: it is personal data.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    country: str = ""
    company: str = ""
    title: str = ""

    lead_source: str = ""
    action_code: str = ""
    product_id: str = ""
    offer_title: str = ""
    publisher_name: str = ""
    description: str = ""
    created_time: str = ""

    extra: dict[str, str] = {}
    """Unknown keys of the record: scalars as text, lists and objects as JSON text."""
    customer_extra: dict[str, str] = {}
    """Unknown keys of the customer object, likewise."""
    original: str = ""
    """The body as received, in base64, only where reading it changed or dropped something."""

    def to_wire(self) -> dict[str, Any]:
        """The fields that are not empty, as a dict that JSON can hold, for a message or a row."""
        return {name: value for name, value in self.__dict__.items() if value}

    def to_body(self) -> dict[str, Any]:
        """The lead as Partner Center posts one: `parse_body` reads the same lead from its JSON, but for `original`."""
        fields = {name: value for name, value in self.to_wire().items() if isinstance(value, str)}
        customer = {_WIRE_NAMES[name]: fields[name] for name in _CUSTOMER_FIELDS if name in fields}
        record = {_WIRE_NAMES[name]: value for name, value in fields.items() if name in _RECORD_FIELDS}
        return {"UserDetails": customer | self.customer_extra, **record, **self.extra}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        """The lead of `to_wire`. Raises pydantic.ValidationError if a field has another type."""
        return cls.model_validate(wire)

    @property
    def source(self) -> str:
        """Where the customer was: `AzureMarketplace`, `AzurePortal`, `TestDrive`, `SPZA`, or as sent."""
        source = Source.parse(self.lead_source).source
        return _SOURCES.get(source.casefold(), source)

    @property
    def action(self) -> str:
        """What the customer did, as sent: `ActionCode`, or else the action in `LeadSource`."""
        return self.action_code or Source.parse(self.lead_source).action

    @property
    def offer_part(self) -> str:
        """The offer as `LeadSource` names it: `publisher.offer`, or a display name, or ""."""
        return Source.parse(self.lead_source).offer_part

    @property
    def publisher(self) -> str:
        """The publisher's id in `LeadSource`, or else in `ProductId`; "" where neither holds one."""
        return Source.parse(self.lead_source).publisher or _split_offer(self.product_id)[0]

    @property
    def is_test(self) -> bool:
        """Whether Microsoft sent this lead to try the connection (Validate, or publishing an offer)."""
        return any(
            _TEST_MARK.search(text)
            for text in (
                self.first_name,
                self.last_name,
                self.email,
                self.company,
                self.description,
                self.lead_source,
            )
        )

    @property
    def campaign(self) -> dict[str, str]:
        """The listing URL's campaign parameters (`mktcmpid`, …), where `Description` is a JSON object."""
        if not self.description.startswith("{"):
            return {}
        parameters, _ = _decode_if_json(self.description)
        try:
            return _Reading().texts(parameters) if isinstance(parameters, dict) else {}
        except RecursionError:
            return {}

    @property
    def note(self) -> str:
        """What the customer wrote: `Description`, unless it is a placeholder, parameters or a test mark."""
        is_note = not (
            self.description.rstrip(" :").casefold() == "campaigns"
            or _TEST_MARK.fullmatch(self.description)
            or self.campaign
        )
        return self.description if is_note else ""

    @property
    def country_code(self) -> str:
        """ISO 3166 alpha-2 of `country`, or "" where it names no country."""
        return country_code(self.country)


TEXT_FIELDS: Final = tuple(name for name in Lead.model_fields if name not in {"extra", "customer_extra", "original"})
"""What a lead can say under names of its own."""


class UnreadableLead(ValueError):
    """A body that holds no lead. Its text says what is wrong and how to mend it, never what was sent.

    `status` is 400 (not JSON) or 422 (JSON, but not a lead); `field` names the part that is wrong.
    """

    def __init__(self, status: int, title: str, detail: str, field: str = "body") -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field


# --- Source, action, stage --------------------------------------------------------------------------

_SOURCES: Final = {
    "azuremarketplace": "AzureMarketplace",
    "azureportal": "AzurePortal",
    # Partner Center's lists have these names in words.
    "azure marketplace": "AzureMarketplace",
    "azure portal": "AzurePortal",
    "testdrive": "TestDrive",
    # Microsoft's pages print "AppSource (SPZA)" since 2018; SPZA is AppSource's older name.
    "spza": "SPZA",
    "appsource": "SPZA",
    "appsource (spza)": "SPZA",
}


def known_action(lead: Lead) -> str:
    """The lead's action if it looks like a code, else "": what it is otherwise, its sender wrote."""
    return lead.action if _ACTION_CODE.fullmatch(lead.action) else ""


def known_source(lead: Lead) -> str:
    """The lead's source if it is one that Microsoft documents, else "": what it is otherwise, its sender wrote."""
    return lead.source if lead.source in _SOURCES.values() else ""


_ACTION_CODE: Final = re.compile(r"[A-Za-z]{2,20}")

# The number is the .NET ticks of the moment at which the test lead was made.
_TEST_MARK: Final = re.compile(r"MSFT_TEST_[0-9]{18}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Source:
    """The parts of `LeadSource` = `Source-Action|Offer`; each is stripped, and "" where it is absent."""

    source: str = ""
    action: str = ""
    offer_part: str = ""
    """The offer as sent: `publisher.offer`, or a display name."""
    publisher: str = ""
    """The publisher's id; "" where the offer is a display name."""
    offer: str = ""
    """The offer's id without its publisher, or the display name."""

    @classmethod
    def parse(cls, text: str) -> Source:
        """Splits on the first `|`, then the first `-`, then the offer on the first `.`; any text will do."""
        left, _, offer_part = text.partition("|")
        source, _, action = left.partition("-")
        offer_part = offer_part.strip()
        publisher, offer = _split_offer(offer_part)
        return cls(source.strip(), action.strip(), offer_part, publisher, offer)


def _split_offer(text: str) -> tuple[str, str]:
    publisher, dot, offer = (part.strip() for part in text.partition("."))
    # A publisher's id holds no white space: "Contoso CRM 2.0" is a display name.
    if not (dot and publisher and offer) or len(publisher.split(maxsplit=1)) > 1:
        return "", text.strip()
    return publisher, offer


class Stage(StrEnum):
    """How far the customer has come, by the action that made the lead."""

    INITIAL_INTEREST = "initial_interest"
    CONTACT_REQUESTED = "contact_requested"
    PURCHASE = "purchase"
    TRIAL = "trial"
    CROSS_LISTED = "cross_listed"
    UNKNOWN = "unknown"


_STAGES: Final = {
    "ins": Stage.INITIAL_INTEREST,
    "plt": Stage.CONTACT_REQUESTED,
    "create": Stage.PURCHASE,
    "starttestdrive": Stage.TRIAL,
    # "Do not contact": a partner listed beside this offer was asked, this publisher need not act.
    "dnc": Stage.CROSS_LISTED,
}


def stage_of(action: str, overrides: Mapping[str, str] = {}) -> Stage:
    """The stage of an action's code, in any case, or of the words for it. `overrides` maps action codes to stages, and wins.

    Raises ValueError if an override names a stage that there is not.
    """
    codes = [code.casefold() for code in codes_of(action)]
    for known, stage in overrides.items():
        if known.casefold() in codes:
            return Stage(stage)
    return next((_STAGES[code] for code in codes if code in _STAGES), Stage.UNKNOWN)


# --- Reading ----------------------------------------------------------------------------------------

# Exact spellings come first because nearly every lead is sent with them; any other spelling is looked
# up by its letters and digits alone.
_CUSTOMER_KEYS: Final = {
    alias: field
    for field, aliases in {
        "first_name": ("FirstName", "firstname", "givenname", "contactfirstname", "customerfirstname"),
        "last_name": ("LastName", "lastname", "surname", "familyname", "contactlastname", "customerlastname"),
        "email": ("Email", "email", "emailaddress", "contactemail", "contactemailaddress", "customeremail"),
        "phone": ("Phone", "phone", "phonenumber", "telephone", "contactphone", "contactphonenumber"),
        "country": ("Country", "country", "countryregion", "countryorregion", "countrycode"),
        "company": ("Company", "company", "companyname", "organization", "organisation", "customercompany"),
        "title": ("Title", "title", "jobtitle", "contacttitle"),
    }.items()
    for alias in aliases
}
_RECORD_KEYS: Final = _CUSTOMER_KEYS | {
    alias: field
    for field, aliases in {
        "customer": ("UserDetails", "CustomerInfo", "userdetails", "customerinfo"),
        "lead_source": ("LeadSource", "leadsource"),
        "action_code": ("ActionCode", "actioncode"),
        "product_id": ("ProductId", "productid", "productids", "offerid"),
        "offer_title": ("OfferTitle", "OfferDisplayName", "offertitle", "offerdisplayname", "offername"),
        "publisher_name": ("PublisherDisplayName", "publisherdisplayname", "publishername"),
        "description": ("Description", "description"),
        "created_time": ("CreatedTime", "createdtime", "createddatetime", "createddate", "createdon"),
    }.items()
    for alias in aliases
}

_WIRE_NAMES: Final = {field: name for name, field in reversed(_RECORD_KEYS.items())}
"""Each field's name as Partner Center writes it: the first of its spellings."""
_CUSTOMER_FIELDS: Final = tuple(dict.fromkeys(_CUSTOMER_KEYS.values()))
_RECORD_FIELDS: Final = tuple(
    field for field in dict.fromkeys(_RECORD_KEYS.values()) if field not in {"customer", *_CUSTOMER_FIELDS}
)

# What a table adds to each row by itself.
_TABLE_KEYS: Final = frozenset({"partitionkey", "rowkey", "timestamp", "etag"})

_LONGEST_KEY: Final = 64
_DEEPEST: Final = 100
"""Levels of lists and objects in a value."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


def parse_body(body: bytes) -> Lead:
    """The lead in an HTTP body, whatever its Content-Type said. Raises UnreadableLead, nothing else.

    A wrapper that holds none of a lead's fields itself is taken off, once; so is what a table adds to a row.
    """
    value, distinct = _value_of(body)
    lead = _lead_or_none(body, value, distinct)
    if lead is None and (inside := _inside(value)) is not None:
        lead = _lead_or_none(body, inside[0], distinct and inside[1])
    if lead is None:
        raise _without_fields() if isinstance(value, dict) else _not_an_object()
    return _without_tables_own(lead)


def parse_kept(body: bytes) -> Lead:
    """The lead in a body that was taken in before: all of it as it stands there. Raises UnreadableLead, nothing else."""
    value, distinct = _value_of(body)
    if not isinstance(value, dict):
        raise _not_an_object()
    return _lead_of(body, value, distinct)


def holds_a_field(lead: Lead) -> bool:
    """Whether anything is known of it: without that it would be delivered as nobody's."""
    return (
        any(getattr(lead, name) for name in TEXT_FIELDS) or bool(lead.customer_extra) or any(map(field_of, lead.extra))
    )


def parse_record(record: Mapping[str, object]) -> Lead:
    """The lead in a table row, a CSV row, or any mapping of the four shapes. Raises UnreadableLead.

    What a table adds to a row (`PartitionKey`, `RowKey`, `Timestamp`, `odata.…`) is left out.
    """
    reading = _Reading()
    try:
        reading.record({key: value for key, value in record.items() if not is_tables_own(key)})
    except RecursionError:
        raise _too_deep() from None
    return reading.lead()


def field_of(name: str) -> str:
    """The field that a column or key of this name holds (`customer` = the whole customer), "" if none is known by it."""
    return _field(_RECORD_KEYS, name) or ""


def is_tables_own(key: str) -> bool:
    """Whether a column is one that the table adds to each row by itself."""
    folded = str(key).casefold()
    return folded in _TABLE_KEYS or folded.startswith("odata.") or "@odata." in folded


# --- Bodies and their wrappers ----------------------------------------------------------------------


def _value_of(body: bytes) -> tuple[Any, bool]:
    """A body's JSON, also within a JSON string, and whether nothing was lost. Raises UnreadableLead."""
    text, exact = text_of_body(body)
    if not text or text.isspace():
        raise UnreadableLead(400, "The body is empty", "The body is empty: send the lead as a JSON object.")
    try:
        value, distinct = _decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    inner, inner_distinct = _decode_if_json(value) if isinstance(value, str) else (value, True)
    return inner, exact and distinct and inner_distinct


def _lead_of(body: bytes, value: Mapping[str, object], distinct: bool) -> Lead:
    reading = _Reading(altered=not distinct)
    try:
        reading.record(value)
    except RecursionError:
        raise _too_deep() from None
    return reading.lead(base64.b64encode(body).decode() if reading.altered else "")


def _lead_or_none(body: bytes, value: object, distinct: bool) -> Lead | None:
    """The lead in an object; None: it is no object, or holds none of a lead's fields."""
    lead = _lead_of(body, value, distinct) if isinstance(value, dict) else None
    return lead if lead is not None and holds_a_field(lead) else None


def _inside(value: object) -> tuple[Any, bool] | None:
    """What is wrapped in a value, and whether nothing of it was lost; None: it is no wrapper.

    A workflow hands a body of an unknown type on as `$content` (Microsoft Learn, "Handle content types in Azure Logic Apps") and
    the whole request as `headers` and `body`; an event carries its own as `data` (Microsoft Learn, "Event Grid event schema").
    """
    if isinstance(value, list) and len(value) == 1:
        inner = value[0]
    elif isinstance(value, dict):
        parts = {key.casefold(): part for key, part in value.items()}
        if isinstance(content := parts.get("$content"), str):
            return _in_base64(content)
        inner = parts.get("body", parts.get("data"))
    else:
        return None
    return _decode_if_json(inner) if isinstance(inner, str) else (inner, True)


def _in_base64(content: str) -> tuple[Any, bool] | None:
    try:
        return _value_of(base64.b64decode(content))
    except (ValueError, UnreadableLead):
        return None


def _without_tables_own(lead: Lead) -> Lead:
    """The lead of a table's row without the columns that the table has added."""
    if not any(key.casefold() == "partitionkey" for key in lead.extra):
        return lead
    extra = {key: value for key, value in lead.extra.items() if not is_tables_own(key)}
    return lead.model_copy(update={"extra": extra})


class _Reading:
    """Gathers the fields of one lead, and whether anything was changed or dropped on the way."""

    __slots__ = ("altered", "customer_extra", "extra", "fields")

    def __init__(self, altered: bool = False) -> None:
        self.altered = altered
        self.fields: dict[str, Any] = {}
        self.extra: dict[str, str] = {}
        self.customer_extra: dict[str, str] = {}

    def lead(self, original: str = "") -> Lead:
        fields = self.fields
        if self.extra:
            fields["extra"] = self.extra
        if self.customer_extra:
            fields["customer_extra"] = self.customer_extra
        if original:
            fields["original"] = original
        return Lead.model_validate(fields)

    def record(self, record: Mapping[str, object]) -> None:
        for key, value in record.items():
            field = _field(_RECORD_KEYS, key)
            if field == "customer":
                self._customer(key, value)
            elif field:
                self._keep(self.fields, field, value)
            else:
                self._keep(self.extra, self._text(key), value)

    def texts(self, record: Mapping[str, object]) -> dict[str, str]:
        """The members of a JSON object that are not blank, as text."""
        kept: dict[str, str] = {}
        for key, value in record.items():
            self._keep(kept, self._text(key), value)
        return kept

    def _customer(self, key: str, value: object) -> None:
        customer = value
        if isinstance(value, str):
            customer, distinct = _decode_if_json(value)
            self.altered |= not distinct
        if isinstance(customer, Mapping):
            for inner, part in customer.items():
                field = _field(_CUSTOMER_KEYS, inner)
                if field:
                    self._keep(self.fields, field, part)
                else:
                    self._keep(self.customer_extra, self._text(inner), part)
        elif customer is not None:
            # It can't be taken apart, but a person may still see in it who the customer is.
            self.altered |= self._keep(self.extra, self._text(key), value)

    def _keep(self, kept: dict[str, str], name: str, value: object) -> bool:
        text = self._text(value)
        if not text:
            return False
        if kept.setdefault(name, text) != text:
            self.altered = True
            kept[name] = text
        return True

    def _text(self, value: object) -> str:
        if type(value) is str:
            text: str = value
        elif value is None:
            return ""
        else:
            text = _scalar_text(value)
        # Nearly all text is printable, and what is printable holds nothing to clean.
        if text.isprintable():
            return text.strip()
        cleaned = _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))
        if cleaned != text:
            self.altered = True
        return cleaned.strip()


def _field(known: Mapping[str, str], key: str) -> str | None:
    field = known.get(key)
    if field is None and isinstance(key, str) and len(key) <= _LONGEST_KEY:
        field = known.get(_letters(key))
    return field


@lru_cache(maxsize=1024)
def _letters(key: str) -> str:
    folded = key.casefold()
    return folded if folded.isalnum() else "".join(filter(str.isalnum, folded))


# --- Text and JSON ----------------------------------------------------------------------------------


class _Number(str):
    """A JSON number exactly as it was written: a phone number must not become 1.6175555555e+10."""

    __slots__ = ()


class _RepeatedKeyError(Exception):
    """An object holds one key twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedKeyError
    return members


_NUMBERS: Final[Mapping[str, Any]] = {
    "parse_int": _Number,
    "parse_float": _Number,
    "parse_constant": _Number,
}
_DECODER: Final = json.JSONDecoder(strict=False, object_pairs_hook=_members, **_NUMBERS)
_LAST_WINS_DECODER: Final = json.JSONDecoder(strict=False, **_NUMBERS)


def _decode(text: str) -> tuple[Any, bool]:
    """The JSON value, and whether every key stood once. Raises JSONDecodeError, RecursionError."""
    try:
        return _DECODER.decode(text), True
    except _RepeatedKeyError:
        return _LAST_WINS_DECODER.decode(text), False


def _decode_if_json(text: str) -> tuple[Any, bool]:
    """As `_decode`, but text that is not JSON stays as it is."""
    try:
        return _decode(text)
    except (json.JSONDecodeError, RecursionError):
        return text, True


def _scalar_text(value: object) -> str:
    """Text of what is no str: numbers and dates as they are written, lists and objects as JSON."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        parts: list[str] = []
        _add_json(parts, value, 1)
        return "".join(parts)
    return str(value)


_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make one each time


def _add_json(parts: list[str], value: object, depth: int) -> None:
    """JSON with the numbers as they were written, which json.dumps can't do. In parts: what stands deep inside is copied once.

    Raises RecursionError below `_DEEPEST`, wherever on the stack it is: what was taken in once can be read again.
    """
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, _Number):
        parts.append(value)
    elif isinstance(value, str):
        parts.append(_quoted(value))
    elif isinstance(value, list | tuple):
        before = "["
        for member in value:
            parts.append(before)
            _add_json(parts, member, depth + 1)
            before = ", "
        parts.append("]" if value else "[]")
    elif isinstance(value, Mapping):
        before = "{"
        for key, member in value.items():
            parts += before, _quoted(str(key)), ": "
            _add_json(parts, member, depth + 1)
            before = ", "
        parts.append("}" if value else "{}")
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool | int | float):
        parts.append(_scalar_text(value))
    else:
        parts.append(_quoted(str(value)))


_WINDOWS_1252: Final = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0x100)
}
"""What "surrogateescape" makes of a byte that is not UTF-8, and what Windows-1252, which old systems send, means by it; the five
that it does not know are Latin-1. An error handler of our own would be called for each such byte."""


def text_of_body(body: bytes) -> tuple[str, bool]:
    """The text of a body in UTF-8, UTF-16 or UTF-32, and whether every byte of it could be read."""
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding), True
    except UnicodeDecodeError:
        if encoding.startswith("utf-8"):
            return body.decode(encoding, "surrogateescape").translate(_WINDOWS_1252), False
        return body.decode(encoding, "replace"), False


_JSON_FAULTS: Final = {
    "Expecting ',' delimiter": "a comma is missing",
    "Expecting ':' delimiter": "a colon is missing after a name",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing",
    "Illegal trailing comma before end of object": "a comma stands before the closing brace",
    "Illegal trailing comma before end of array": "a comma stands before the closing bracket",
    "Expecting value": "a value is missing",
    "Extra data": "something follows the end of the object",
    "Unterminated string starting at": "a string is not closed",
}


def _not_json(error: json.JSONDecodeError) -> UnreadableLead:
    # The decoder's own words are replaced, because some of them quote the text.
    fault = _JSON_FAULTS.get(error.msg, "the text can't be read")
    return UnreadableLead(
        400,
        "The body is not JSON",
        f"The body is not JSON: {fault} at line {error.lineno}, column {error.colno}.",
    )


def _not_an_object() -> UnreadableLead:
    return UnreadableLead(
        422,
        "The body is not a lead",
        'The body is JSON but not an object: send one lead as an object such as {"UserDetails": {…}, "LeadSource": …}.',
    )


def _without_fields() -> UnreadableLead:
    return UnreadableLead(
        422,
        "The body is not a lead",
        "The body holds none of a lead's fields: send one lead as an object such as "
        '{"UserDetails": {…}, "LeadSource": …}.',
    )


def _too_deep() -> UnreadableLead:
    return UnreadableLead(
        422,
        "The body is nested too deeply",
        "The body is nested too deeply: a lead is an object with one object, UserDetails, in it.",
    )
