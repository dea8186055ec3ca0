"""An organisation's lead fields. Salesforce's defaults apply until a refusal makes the app ask the organisation.

Sources: "Object Reference for the Salesforce Platform", "Lead" (lengths); "REST API Developer Guide", "sObject Describe".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from leads.destinations.base import MappingValue
from leads.destinations.rest import json_objects
from leads.destinations.vendors.salesforce.client import Client

DEFAULT_LENGTHS: Final[Mapping[str, int]] = {
    "FirstName": 40,
    "LastName": 80,
    "Company": 255,
    "Title": 128,
    "Email": 80,
    "Phone": 40,
    "MobilePhone": 40,
    "Fax": 40,
    "Street": 255,
    "City": 40,
    "State": 80,
    "PostalCode": 20,
    "Country": 80,
    "Website": 255,
    "Description": 32_000,
}
REQUIRED: Final = frozenset({"LastName", "Company"})
EXTERNAL_ID_CHARACTERS: Final = 32

_NUMBERS: Final = frozenset({"int", "double", "currency", "percent"})


@dataclass(frozen=True, slots=True)
class LeadField:
    """A field in the organisation's description for the app's user. `must_be_given`: a lead without the field is refused."""

    type: str
    length: int
    writable: bool
    must_be_given: bool
    is_key: bool
    filterable: bool


class LeadFields:
    """The fields of a connection's leads, shared by its destinations on an instance."""

    def __init__(self) -> None:
        self._known: Mapping[str, LeadField] | None = None

    @property
    def are_known(self) -> bool:
        """Whether the app has asked the organisation."""
        return self._known is not None

    def read(self, client: Client) -> None:
        """Read the fields from the organisation."""
        self.learn(client.describe("Lead"))

    def learn(self, description: Mapping[str, Any]) -> None:
        """Take the fields from the organisation's description of leads."""
        fields = json_objects(description.get("fields"))
        self._known = {field["name"]: _field(field) for field in fields if isinstance(field.get("name"), str)}

    @property
    def lengths(self) -> Mapping[str, int]:
        if self._known is None:
            return DEFAULT_LENGTHS
        return {**DEFAULT_LENGTHS, **{name: field.length for name, field in self._known.items() if field.length}}

    @property
    def references(self) -> frozenset[str]:
        """The known fields that refer to another record."""
        return frozenset(name for name, field in (self._known or {}).items() if field.type == "reference")

    def can_be_read(self, name: str) -> bool:
        return self._known is None or name in self._known

    def can_be_written(self, name: str) -> bool:
        return self._known is None or (name in self._known and self._known[name].writable)

    @property
    def has_country_codes(self) -> bool:
        """Whether state and country picklists are enabled, so that a country is a code."""
        return self._known is not None and "CountryCode" in self._known

    def problem_with(self, mapping: Mapping[str, MappingValue], default: Mapping[str, MappingValue]) -> str:
        """The problem with a mapping, "" if there is none. A field of the default mapping may be hidden unless required."""
        assert self._known is not None  # noqa: S101
        optional = {name for name, value in mapping.items() if default.get(name) == value} - REQUIRED
        problems = (self._problem_with_one(name, value, name in optional) for name, value in mapping.items())
        return next((problem for problem in problems if problem), "") or self._unfilled(mapping)

    def problem_with_key(self, name: str) -> str:
        """The problem with the external ID field, "" if there is none."""
        field = (self._known or {}).get(name)
        if field is None:
            return f"external_id_field: leads have no field {name}, or the app's user may not see it."
        if not field.is_key or field.type != "string" or field.length < EXTERNAL_ID_CHARACTERS:
            wanted = f"a text of at least {EXTERNAL_ID_CHARACTERS} characters, unique and external ID"
            return f"external_id_field: {name} must be {wanted}."
        if not field.writable:
            return f"external_id_field: the app's user may not write {name}: give it the field's permission."
        return ""

    def problem_with_search(self) -> str:
        """The problem with a search for leads by e-mail address, "" if there is none."""
        email = (self._known or {}).get("Email")
        if email is not None and email.filterable:
            return ""
        return (
            "match_existing: leads can't be searched by Email (it is hidden or encrypted): set match_existing to off."
        )

    def _problem_with_one(self, name: str, value: MappingValue, optional: bool) -> str:
        assert self._known is not None  # noqa: S101
        field = self._known.get(name)
        if field is None:
            hidden = "leads have no such field, or the app's user may not see it (field-level security)."
            return "" if optional else f"mapping.{name}: {hidden}"
        if not field.writable:
            return "" if optional else f"mapping.{name}: the app's user may not write this field."
        if field.type == "boolean" and not isinstance(value, bool):
            return f"mapping.{name}: takes true or false."
        if field.type in _NUMBERS and not (isinstance(value, int | float) and not isinstance(value, bool)):
            return f"mapping.{name}: takes a number."
        return ""

    def _unfilled(self, mapping: Mapping[str, MappingValue]) -> str:
        needed = list(self._needed(mapping))
        return f"mapping: Salesforce requires {', '.join(needed)} in every lead: add it." if needed else ""

    def _needed(self, mapping: Mapping[str, MappingValue]) -> Iterator[str]:
        for name, field in (self._known or {}).items():
            if field.must_be_given and name not in mapping:
                yield name


def _field(described: Mapping[str, Any]) -> LeadField:
    createable, length = bool(described.get("createable")), described.get("length")
    return LeadField(
        type=str(described.get("type", "")),
        length=length if isinstance(length, int) else 0,
        writable=createable and bool(described.get("updateable")),
        must_be_given=createable
        and not described.get("nillable", True)
        and not described.get("defaultedOnCreate", False)
        and described.get("type") != "boolean",
        is_key=bool(described.get("externalId")) and bool(described.get("unique")),
        filterable=bool(described.get("filterable", True)),
    )
