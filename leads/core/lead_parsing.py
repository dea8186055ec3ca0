"""The wire shapes that parse into a `Lead`. Pure: no I/O.

Four shapes are read, all with the same keys in any spelling ("FirstName", "first name", "FIRST_NAME"):

* the HTTPS body that Partner Center posts: `UserDetails`, `LeadSource`, `ActionCode`, `OfferTitle`,
  `Description` (Microsoft, "Use an HTTPS endpoint to manage commercial marketplace leads");
* the record of the original connector: `LeadSource` = `Source-Action|Offer`, and `CustomerInfo` as an
  object or as a JSON string (Microsoft, "Customer leads from your commercial marketplace offer");
* a row of the table `MarketplaceLeads` (Microsoft, "Use Azure Table storage to manage … leads");
* a row of a list with everyday names of these fields. The names in Partner Center's lists are in `leads.core.columns`.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from leads.core.lead import TEXT_FIELDS, Lead
from leads.core.lead_fields import customer_field_of, field_of, is_tables_own
from leads.core.lenient_json import decode, decode_if_json, text_of, text_of_body, without_controls


class UnreadableLead(ValueError):
    """A body that holds no lead. The text says what is wrong and how to fix it, and quotes nothing of the body.

    `status` is 400 (not JSON) or 422 (JSON, but not a lead).
    """

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


def parse_body(body: bytes) -> Lead:
    """The lead in an HTTP body of any Content-Type. Raises UnreadableLead, nothing else.

    One wrapper without a lead's fields is removed, and so are the columns that a table adds to a row.
    """
    value, distinct = _value_of(body)
    lead = _lead_or_none(body, value, distinct)
    if lead is None and (inside := _inside(value)) is not None:
        lead = _lead_or_none(body, inside[0], distinct and inside[1])
    if lead is None:
        raise _not_a_lead("The body holds none of a lead's fields") if isinstance(value, dict) else _not_an_object()
    return _without_tables_own(lead)


def parse_kept(body: bytes) -> Lead:
    """The lead in a body that the app kept: no wrapper is removed. Raises UnreadableLead, nothing else."""
    value, distinct = _value_of(body)
    if not isinstance(value, dict):
        raise _not_an_object()
    return _lead_of(body, value, distinct)


def holds_a_field(lead: Lead) -> bool:
    """Whether the lead has any of a lead's fields, or anything about the customer."""
    return (
        any(getattr(lead, name) for name in TEXT_FIELDS) or bool(lead.customer_extra) or any(map(field_of, lead.extra))
    )


def parse_record(record: Mapping[str, object]) -> Lead:
    """The lead in a table row, a CSV row, or any mapping of the four shapes. Raises UnreadableLead.

    Columns that a table adds to a row (`PartitionKey`, `RowKey`, `Timestamp`, `odata.…`) are left out.
    """
    reading = _Reading()
    try:
        reading.record({key: value for key, value in record.items() if not is_tables_own(key)})
    except RecursionError:
        raise _too_deep() from None
    return reading.lead()


# --- Bodies and their wrappers ----------------------------------------------------------------------


def _value_of(body: bytes) -> tuple[Any, bool]:
    """A body's JSON value, and whether nothing was lost. JSON in a JSON string is read, too. Raises UnreadableLead."""
    text, exact = text_of_body(body)
    if not text or text.isspace():
        raise UnreadableLead(400, "The body is empty", "The body is empty: send the lead as a JSON object.")
    try:
        value, distinct = decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    inner, inner_distinct = decode_if_json(value) if isinstance(value, str) else (value, True)
    return inner, exact and distinct and inner_distinct


def _lead_of(body: bytes, value: Mapping[str, object], distinct: bool) -> Lead:
    reading = _Reading(altered=not distinct)
    try:
        reading.record(value)
    except RecursionError:
        raise _too_deep() from None
    return reading.lead(base64.b64encode(body).decode() if reading.altered else "")


def _lead_or_none(body: bytes, value: object, distinct: bool) -> Lead | None:
    """The lead in an object. None if the value is not an object, or has none of a lead's fields."""
    lead = _lead_of(body, value, distinct) if isinstance(value, dict) else None
    return lead if lead is not None and holds_a_field(lead) else None


def _inside(value: object) -> tuple[Any, bool] | None:
    """The value in a wrapper, and whether nothing of it was lost. None if the value is not a wrapper.

    A workflow passes a body of an unknown type on as `$content` (Microsoft Learn, "Handle content types in Azure Logic Apps"). It
    passes a whole request on as `headers` and `body`. An event has its content in `data` (Microsoft Learn, "Event Grid event
    schema").
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
    return decode_if_json(inner) if isinstance(inner, str) else (inner, True)


def _in_base64(content: str) -> tuple[Any, bool] | None:
    try:
        return _value_of(base64.b64decode(content))
    except (ValueError, UnreadableLead):
        return None


def _without_tables_own(lead: Lead) -> Lead:
    """The lead without the columns that a table adds to a row."""
    if not any(key.casefold() == "partitionkey" for key in lead.extra):
        return lead
    extra = {key: value for key, value in lead.extra.items() if not is_tables_own(key)}
    return lead.model_copy(update={"extra": extra})


class _Reading:
    """Collects the fields of one lead, and whether reading changed or dropped anything."""

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
            field = field_of(key)
            if field == "customer":
                self._customer(key, value)
            elif field:
                self._keep(self.fields, field, value)
            else:
                self._keep(self.extra, self._text(key), value)

    def _customer(self, key: str, value: object) -> None:
        customer = value
        if isinstance(value, str):
            customer, distinct = decode_if_json(value)
            self.altered |= not distinct
        if isinstance(customer, list) and len(customer) == 1:
            customer = customer[0]
        if isinstance(customer, Mapping):
            for inner, part in customer.items():
                field = customer_field_of(inner)
                if field:
                    self._keep(self.fields, field, part)
                else:
                    self._keep(self.customer_extra, self._text(inner), part)
        elif customer is not None:
            # It can't be parsed, but a person may still recognise the customer in it.
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
        text = value if type(value) is str else text_of(value)
        # Nearly all text is printable, and printable text needs no cleaning.
        if text.isprintable():
            return text.strip()
        cleaned = without_controls(text)
        if cleaned != text:
            self.altered = True
        return cleaned.strip()


# --- What is wrong with a body ---

_JSON_FAULTS: Final = {
    "Expecting ',' delimiter": "a comma is missing",
    "Expecting ':' delimiter": "a colon is missing after a name",
    "Expecting property name enclosed in double quotes": "a name in double quotes is missing",
    "Illegal trailing comma before end of object": "there is a comma before the closing brace",
    "Illegal trailing comma before end of array": "there is a comma before the closing bracket",
    "Expecting value": "a value is missing",
    "Extra data": "something follows the end of the object",
    "Unterminated string starting at": "a string is not closed",
}


def _not_json(error: json.JSONDecodeError) -> UnreadableLead:
    # The decoder's messages are replaced, because some of them quote the text.
    fault = _JSON_FAULTS.get(error.msg, "the text can't be read")
    return UnreadableLead(
        400,
        "The body is not JSON",
        f"The body is not JSON: {fault} at line {error.lineno}, column {error.colno}.",
    )


def _not_a_lead(what: str) -> UnreadableLead:
    example = '{"UserDetails": {…}, "LeadSource": …}'
    return UnreadableLead(422, "The body is not a lead", f"{what}: send one lead as an object such as {example}.")


def _not_an_object() -> UnreadableLead:
    return _not_a_lead("The body is JSON but not an object")


def _too_deep() -> UnreadableLead:
    return UnreadableLead(
        422,
        "The body is nested too deeply",
        "The body is nested too deeply: a lead is an object with one object, UserDetails, in it.",
    )
