"""Templates for a lead and its customer, such as `"{first_name} {last_name}"`, and field mappings that consist of templates.

A template holds text, and names in braces. `{{` and `}}` produce braces. A customer's words are inserted as text and never
read as a template.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from string import Formatter
from typing import TYPE_CHECKING, Final

from leads.destinations.text import STAGE_NAMES, company, country_name, headline, last_name, summary

if TYPE_CHECKING:
    from leads.destinations.base import Customer, MappingValue, OutgoingLead

FIELDS: Final[Mapping[str, Callable[["OutgoingLead"], str]]] = {
    "lead_id": lambda outgoing: outgoing.lead_id,
    "received_at": lambda outgoing: outgoing.received_at.isoformat(),
    "offer": lambda outgoing: outgoing.offer,
    "offer_title": lambda outgoing: outgoing.lead.offer_title,
    "product_id": lambda outgoing: outgoing.lead.product_id,
    "publisher": lambda outgoing: outgoing.lead.publisher_name or outgoing.lead.publisher,
    "stage": lambda outgoing: outgoing.stage.value,
    "stage_name": lambda outgoing: STAGE_NAMES[outgoing.stage],
    "source": lambda outgoing: outgoing.lead.source,
    "action": lambda outgoing: outgoing.lead.action,
    "lead_source": lambda outgoing: outgoing.lead.lead_source,
    "first_name": lambda outgoing: outgoing.lead.first_name,
    "last_name": lambda outgoing: outgoing.lead.last_name,
    "last_name_or_placeholder": lambda outgoing: last_name(outgoing.lead),
    "email": lambda outgoing: outgoing.lead.email,
    "phone": lambda outgoing: outgoing.lead.phone,
    "company": lambda outgoing: outgoing.lead.company,
    "company_or_domain": lambda outgoing: company(outgoing.lead),
    "title": lambda outgoing: outgoing.lead.title,
    "country": lambda outgoing: outgoing.lead.country,
    "country_code": lambda outgoing: outgoing.lead.country_code,
    "country_name": lambda outgoing: country_name(outgoing.lead),
    "description": lambda outgoing: outgoing.lead.description,
    "note": lambda outgoing: outgoing.lead.note,
    "rating": lambda outgoing: outgoing.follow_up.rating or "",
    "rating_name": lambda outgoing: (outgoing.follow_up.rating or "").capitalize(),
    "headline": headline,
    "story": summary,
}
"""The names in templates. Further names are `customer.key`, `customer.record_id`, `campaign.NAME` (a parameter of the listing's
address) and `extra.NAME` (a key that the app does not know)."""

_CUSTOMER: Final[Mapping[str, Callable[["Customer"], str]]] = {
    "customer.key": lambda customer: customer.key,
    "customer.record_id": lambda customer: customer.record_id,
}
_OPEN: Final[Mapping[str, Callable[["OutgoingLead"], Mapping[str, str]]]] = {
    "campaign": lambda outgoing: outgoing.lead.campaign,
    "extra": lambda outgoing: outgoing.lead.extra | outgoing.lead.customer_extra,
}


def check_template(template: str) -> str:
    """The template itself. Raises `ValueError` for an unknown name or a brace without its pair."""
    for name in names_in(template):
        group, dot, member = name.partition(".")
        if name not in FIELDS and name not in _CUSTOMER and not (dot and member and group in _OPEN):
            known = ", ".join([*sorted({*FIELDS, *_CUSTOMER}), "campaign.NAME", "extra.NAME"])
            raise ValueError(f"{{{name}}} is not a field of a lead; use one of {known}")
    return template


def is_template(value: "MappingValue") -> bool:
    """Whether the value depends on the lead. False for a constant."""
    return isinstance(value, str) and bool(names_in(value))


def names_in(template: str) -> list[str]:
    """The names in braces. Raises `ValueError` for a brace without its pair."""
    return [name for _, name in _parts(template) if name is not None]


def render(template: str, outgoing: "OutgoingLead", customer: "Customer") -> str:
    """The text of a checked template for a lead. A name for which the lead has no value becomes ""."""
    return "".join(
        text + (_value(name, outgoing, customer) if name is not None else "") for text, name in _parts(template)
    )


def merge_mapping(
    default: Mapping[str, "MappingValue"], configured: Mapping[str, "MappingValue"]
) -> dict[str, "MappingValue"]:
    """The default mapping with the configured fields added or replaced. A configured None removes the field."""
    return {name: value for name, value in {**default, **configured}.items() if value is not None}


def render_mapping(
    mapping: Mapping[str, "MappingValue"], outgoing: "OutgoingLead", customer: "Customer"
) -> dict[str, str | int | float | bool]:
    """Vendor's field → its value for this lead. Empty texts are left out. Constants keep their type."""
    rendered = {
        name: render(value, outgoing, customer).strip() if isinstance(value, str) else value
        for name, value in mapping.items()
    }
    return {name: value for name, value in rendered.items() if value is not None and value != ""}


def _value(name: str, outgoing: "OutgoingLead", customer: "Customer") -> str:
    if name in FIELDS:
        return FIELDS[name](outgoing)
    if name in _CUSTOMER:
        return _CUSTOMER[name](customer)
    group, _, member = name.partition(".")
    return _OPEN[group](outgoing).get(member, "")


@lru_cache(1024)  # the same few templates are rendered for every lead
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"is not a template ({error}); write a single brace as {{{{ or }}}}") from None
    for _, name, form, conversion in parsed:
        if form or conversion:
            raise ValueError(f"{{{name}}}: leave out what follows the name")
    return tuple((text, name) for text, name, _, _ in parsed)
