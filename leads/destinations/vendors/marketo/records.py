"""What stands in Marketo: a person's fields, its state as read, and what a lead sets or changes.

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
"""Fields of a person's company. A new person has a company of its own, which takes them.

To change them of a person who is there is "not supported" (Adobe Marketo Engage Developer Guide, "Leads", section "Create and
Update"), and applies to all persons of the company (Experience League, "How Company IDs work within Marketo", KA-28156).
"""

WHOLE_OR_NOT_AT_ALL: Final = frozenset({"phone", "mobilePhone", "mainPhone", "fax", "website"})
"""A shortened number or address would be a wrong one."""

EMAIL_CHARACTERS: Final = 255
FLAG_REASON: Final = "Cross-listed on Microsoft's marketplace, need not be contacted"
"""Stands beside a flag that a cross-listed lead has set. Where it does no more, somebody else has set the flag."""


def unfit_email(email: str) -> str:
    """Why Marketo can't hold a person with this e-mail address; "" if it can."""
    if not email:
        return "The lead has no e-mail address, by which Marketo tells persons apart."
    if not email.isascii():
        return "Marketo takes only ASCII characters in an e-mail address, and this lead's has others."
    if len(email) > EMAIL_CHARACTERS:
        return f"The lead's e-mail address is longer than the {EMAIL_CHARACTERS} characters that Marketo takes."
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
        """The do-not-contact flags among these that are set by us, or else by others."""
        return [
            name
            for name in names
            if self.row.get(name) is True and (self.row.get(f"{name}Reason") == FLAG_REASON) is ours
        ]


def newest(rows: Iterable[Mapping[str, Any]], email: str = "") -> Person | None:
    """The person among the rows that was changed last; with an address, among those that have it."""
    found = [row for row in rows if row.get("id") and (not email or _same(row.get("email"), email))]
    return Person(max(found, key=lambda row: str(row.get("updatedAt") or ""))) if found else None


def _same(email: Any, other: str) -> bool:
    return isinstance(email, str) and email.strip().casefold() == other.strip().casefold()


def lead_fields(
    mapping: Mapping[str, MappingValue], outgoing: OutgoingLead, customer: Customer
) -> dict[str, str | int | float | bool]:
    """What the mapping makes of a lead, its key left out.

    A placeholder is left out, too: Marketo insists on no field, and its e-mails have words of their own for an empty one.
    """
    rendered = render_mapping(mapping, outgoing, customer)
    return {name: value for name, value in rendered.items() if name != "email" and value != NOT_PROVIDED}


def set_flags(names: Iterable[str]) -> dict[str, Any]:
    """What says not to contact a person, and why."""
    return {key: value for name in names for key, value in ((name, True), (f"{name}Reason", FLAG_REASON))}


def cleared_flags(names: Iterable[str]) -> dict[str, Any]:
    return {key: value for name in names for key, value in ((name, False), (f"{name}Reason", None))}


def may_raise(current: str, last: str, rating: str, *, overwrite: bool) -> bool:
    """Whether a rating is set: it rises from none, or from what we have set; from any with the policy `overwrite`."""
    ours = not current or current.casefold() == last.casefold() or overwrite
    return ours and is_hotter(rating, current.casefold())
