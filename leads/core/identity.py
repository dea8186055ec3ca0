"""Ids of leads, fingerprints, and the hash that identifies a customer. Pure: no I/O."""

import re
import secrets
import unicodedata
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from leads.core.actions import spellings_of
from leads.core.lead import Lead, Source

NO_PART_OF_AN_ID: Final = frozenset({"", ".", ".."})
"""Parts between slashes that an offer's id can't have: a URL path loses them."""

# YYYYMMDDHHMMSSmmm-<12 hex digits>, and then "-" and the bucket.
_LEAD_ID: Final = re.compile(r"[0-9]{17}-[0-9a-f]{12}-[0-9a-f]")
_UNBUCKETED_LENGTH: Final = 17 + 1 + 12

EARLIEST: Final = datetime(1601, 1, 1, tzinfo=UTC)
"""A table holds no earlier time (Microsoft Learn, "Understanding the Table service data model")."""
_LATEST: Final = datetime.max.replace(tzinfo=UTC)

_COMPLEMENT: Final = str.maketrans("0123456789abcdef", "fedcba9876543210")


def fingerprint(lead: Lead, offer: str) -> str:
    """32 hex digits that are the same if a lead is sent again, whatever its bytes or time.

    `offer` is the id of the offer that takes the lead; for the default offer, the offer that the address names. The names of the
    offer in the lead count too, because the default offer takes leads of many offers.
    """
    parts = Source.parse(lead.lead_source)
    phone = "".join(filter(str.isdigit, lead.phone))
    texts = [
        offer,
        lead.first_name,
        lead.last_name,
        lead.email,
        phone or lead.phone,
        lead.country_code or lead.country,
        lead.company,
        lead.title,
        lead.source,
        lead.action,
        parts.offer_part,
        lead.product_id,
        lead.offer_title,
        lead.description,
    ]
    for prefix, extra in (("record", lead.extra), ("customer", lead.customer_extra)):
        for key in sorted(extra):
            texts += (prefix, key, extra[key])
    # No text holds the separator: folding makes it a space.
    return sha256("\x1f".join(map(_folded, texts)).encode()).hexdigest()[:32]


def action_fingerprint(lead: Lead, offer: str) -> str:
    """16 hex digits that are the same for each lead with this action and offer; `offer` as in `fingerprint`."""
    return _action_fingerprint(offer, lead.action)


def similar_action_fingerprints(lead: Lead, offer: str) -> frozenset[str]:
    """The action fingerprints of leads that may have the same action: lists have words instead of codes, or nothing."""
    return frozenset(_action_fingerprint(offer, spelling) for spelling in spellings_of(lead.action))


def _action_fingerprint(offer: str, action: str) -> str:
    return sha256("\x1f".join(map(_folded, (offer, action))).encode()).hexdigest()[:16]


_MARKS_AT_MOST: Final = 30
"""Combining marks behind one letter. No language needs more (Unicode Standard Annex #15, section 13, "Stream-Safe Text
Format")."""
_NOT_LETTERS: Final = re.compile(rf"(?<![^\w\x00-\x7f])[^\w\x00-\x7f]{{{_MARKS_AT_MOST + 1},}}")
"""A run of characters that may be combining marks, longer than the limit."""
_JOINER: Final = "\u034f"


def _stream_safe(text: str) -> str:
    """The text with joiners in long runs of marks. `normalize` sorts a run in quadratic time and holds the GIL for that time."""
    return _NOT_LETTERS.sub(lambda run: _interrupted(run[0]), text)


def _interrupted(text: str) -> str:
    parts, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MARKS_AT_MOST:
            parts.append(_JOINER)
            marks = 1
        parts.append(character)
    return "".join(parts)


def _folded(text: str) -> str:
    if text.isascii():
        return " ".join(text.lower().split())
    text = _stream_safe(text)
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def customer_identity(lead: Lead, lead_id: str) -> str:
    """The customer's identity: `email:…`; without an e-mail `print:…` if the lead has a name or phone; else `lead:…`.

    The text is personal data: store and log only its `customer_hash`. Text without an "@" ("n/a") does not count as an e-mail,
    because strangers would become one customer.
    """
    email = lead.email.lower()
    if "@" in email.strip("@"):
        return f"email:{email}"
    if lead.first_name or lead.last_name or lead.phone:
        return f"print:{fingerprint(lead, '')}"
    # The bucket is left out, because it is derived from this identity.
    return f"lead:{lead_id[:_UNBUCKETED_LENGTH]}"


def customer_hash(identity: str) -> str:
    """32 hex digits that identify the customer in keys. The first digit is the bucket."""
    return sha256(identity.encode()).hexdigest()[:32]


def customer_of(lead: Lead, lead_id: str) -> str:
    """The hash that identifies a lead's customer."""
    return customer_hash(customer_identity(lead, lead_id))


def new_lead_id(now: datetime, lead: Lead, known_as: str = "") -> str:
    """`YYYYMMDDHHMMSSmmm-<12 random hex digits>-<bucket>`, in UTC. `now` must be aware (ValueError).

    `known_as`: 12 hex digits to use instead of random ones, for a lead that must get the same id each time.
    """
    if now.tzinfo is None:
        raise ValueError("now must be an aware datetime")
    lead_id = f"{id_time(now)}-{known_as or secrets.token_hex(6)}"
    return f"{lead_id}-{customer_of(lead, lead_id)[0]}"


def id_time(moment: datetime) -> str:
    """The first 17 digits of a lead id: a time in UTC, to the millisecond."""
    return f"{moment.astimezone(UTC):%Y%m%d%H%M%S%f}"[:17]


def is_lead_id(text: str) -> bool:
    """Whether `text` has the form of a lead's id, with a time that exists."""
    if not _LEAD_ID.fullmatch(text):
        return False
    try:
        received_at_of(text)
    except ValueError:
        return False
    return True


def partition_of(lead_id: str) -> str:
    """The bucket of the lead's customer, one hex digit: `customer_hash(customer_identity(…))[0]`."""
    return lead_id[-1]


def complement(lead_id: str) -> str:
    """The id with its hex digits complemented, so that the newest sorts first. Applied twice, it gives the id back."""
    return lead_id.translate(_COMPLEMENT)


def received_at_of(lead_id: str) -> datetime:
    """When the lead was received: aware, in UTC, to the millisecond. Raises ValueError for a malformed id."""
    if not _LEAD_ID.fullmatch(lead_id):
        raise ValueError("not a lead's id: it looks like 20260131235959999-0123456789ab-c")
    return storable(datetime.strptime(lead_id[:17] + "000Z", "%Y%m%d%H%M%S%f%z"))


def storable(moment: datetime) -> datetime:
    """The time in UTC. Raises ValueError if the time has no zone, or a table can't hold it."""
    if moment.tzinfo is None or not EARLIEST <= moment <= _LATEST:
        raise ValueError("not a time that a table holds")
    return moment.astimezone(UTC)
