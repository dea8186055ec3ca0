"""Persons in Marketo: their fields, their state, and what a lead sets or changes.

Fields: Adobe Marketo Engage Developer Guide, "Standard Fields", "Field Types".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from leads.destinations.base import Customer, MappingValue, OutgoingLead
from leads.destinations.follow_up import is_hotter
from leads.destinations.mapping import render_mapping
from leads.destinations.text import NOT_PROVIDED

DEFAULT_MAPPING: Final[Mapping[str, MappingValue]] = {
    "firstName": "{first_name}",
    "lastName": "{last_name}",
    "email": "{email}",
    "phone": "{phone}",
    "company": "{company_or_domain}",
    "title": "{title}",
    "country": "{country}",
    "leadSource": "{lead_source}",
}

COMPANY_FIELDS: Final = frozenset(
    {
        *("company", "mainPhone", "website", "site", "industry", "annualRevenue", "numberOfEmployees", "sicCode"),
        *("billingStreet", "billingCity", "billingState", "billingPostalCode", "billingCountry"),
    }
)
"""Fields of a person's company. Marketo creates a company for a new person, with these fields.

Changing them for an existing person is "not supported" (Adobe Marketo Engage Developer Guide, "Leads", section "Create and
Update"), and changes all persons of the company (Experience League, "How Company IDs work within Marketo", KA-28156).
"""

WHOLE_OR_NOT_AT_ALL: Final = frozenset({"phone", "mobilePhone", "mainPhone", "fax", "website"})
"""A shortened number or address would be wrong. Such a field is left out."""

EMAIL_CHARACTERS: Final = 255
FLAG_REASON: Final = "Cross-listed on Microsoft's marketplace, need not be contacted"
"""The reason that the app stores with a do-not-contact flag. A flag with another reason was set by someone else."""


def unfit_email(email: str) -> str:
    """The reason why Marketo can't hold a person with this e-mail address, "" if it can."""
    if not email:
        return "The lead has no e-mail address, by which Marketo identifies persons."
    if not email.isascii():
        return "Marketo accepts only ASCII characters in an e-mail address, and the lead's address has others."
    if len(email) > EMAIL_CHARACTERS:
        return f"The lead's e-mail address is longer than the {EMAIL_CHARACTERS} characters that Marketo accepts."
    return ""


@dataclass(frozen=True, slots=True)
class Person:
    """A person as stored in Marketo."""

    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def email(self) -> str:
        return str(self.row.get("email") or "")

    def is_empty(self, name: str) -> bool:
        return self.row.get(name) in (None, "")

    def flags(self, names: Iterable[str], *, ours: bool) -> list[str]:
        """The do-not-contact flags among these names that the app has set, or with `ours=False` the others' flags."""
        return [
            name
            for name in names
            if self.row.get(name) is True and (self.row.get(f"{name}Reason") == FLAG_REASON) is ours
        ]


def newest(rows: Iterable[Mapping[str, Any]], email: str = "") -> Person | None:
    """The person that was changed last. With an address, only persons with this address count."""
    found = [row for row in rows if row.get("id") and (not email or _same(row.get("email"), email))]
    return Person(max(found, key=lambda row: str(row.get("updatedAt") or ""))) if found else None


def _same(email: Any, other: str) -> bool:
    return isinstance(email, str) and email.strip().casefold() == other.strip().casefold()


def lead_fields(
    mapping: Mapping[str, MappingValue], outgoing: OutgoingLead, customer: Customer
) -> dict[str, str | int | float | bool]:
    """The mapped fields without the e-mail address, which is the key.

    Placeholders are left out, because Marketo requires no field, and its e-mails have defaults for empty fields.
    """
    rendered = render_mapping(mapping, outgoing, customer)
    return {name: value for name, value in rendered.items() if name != "email" and value != NOT_PROVIDED}


def set_flags(names: Iterable[str]) -> dict[str, Any]:
    """The fields that set do-not-contact flags with their reason."""
    return {key: value for name in names for key, value in ((name, True), (f"{name}Reason", FLAG_REASON))}


def cleared_flags(names: Iterable[str]) -> dict[str, Any]:
    return {key: value for name in names for key, value in ((name, False), (f"{name}Reason", None))}


def may_raise(current: str, last: str, rating: str, *, overwrite: bool) -> bool:
    """Whether to raise the rating to `rating`. The present rating must be empty, or the app's `last`, or `overwrite` is set."""
    ours = not current or current.casefold() == last.casefold() or overwrite
    return ours and is_hotter(rating, current.casefold())
