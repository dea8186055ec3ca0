"""Finds an e-mail address in kept text: as it is, escaped as JSON or a form does it, or encoded as base64."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final
from urllib.parse import unquote_plus

from leads.core.identity import customer_of
from leads.core.lead import Lead
from leads.core.lenient_json import text_of_body

_ESCAPED: Final = re.compile(r"(?<!\\)\\+(?:u([0-9a-fA-F]{4})|([nrt/]))")
"""A JSON escape. JSON inside of JSON repeats the backslashes, so any number of them counts.

A run of backslashes is tried from its beginning alone: tried from each backslash, a body of backslashes would take an hour.
"""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")


@dataclass(frozen=True)
class EmailMatcher:
    """Finds one address. `email` is trimmed and in lower case, as in the customer's identity."""

    email: str

    @classmethod
    def parse(cls, text: str) -> "EmailMatcher":
        """Raises ValueError for a text that is no address."""
        email = text.strip().lower()
        if not 3 <= len(email) <= 320 or "@" not in email.strip("@") or not email.isprintable():
            raise ValueError("must be an e-mail address")
        return cls(email)

    @cached_property
    def customer(self) -> str:
        """The hash of the customer with this address."""
        return customer_of(Lead(email=self.email), "")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Matches no longer address that begins or ends with this one."""
        return re.compile(rf"(?<![\w.+%-]){re.escape(self.email)}(?![\w-]|\.\w)", re.IGNORECASE)

    def matches(self, text: str) -> bool:
        """Whether the text contains the address, itself or in a run of base64."""
        return any(map(self._pattern.search, (*_readings(text), *chain.from_iterable(map(_readings, _decoded(text))))))

    def matches_body(self, body: bytes) -> bool:
        return self.matches(text_of_body(body)[0])

    def matches_lead(self, lead: Lead) -> bool:
        """Whether any field of the lead contains the address."""
        return any(map(self.matches, _texts(lead)))

    def owns(self, lead: Lead, lead_id: str) -> bool:
        """Whether the lead is this person's own: it is their customer's, or its e-mail field contains the address."""
        return customer_of(lead, lead_id) == self.customer or self.matches(lead.email)


def _texts(lead: Lead) -> Iterator[str]:
    for value in lead.to_wire().values():
        if isinstance(value, dict):
            yield from value
            yield from value.values()
        else:
            yield value


def _readings(text: str) -> Iterator[str]:
    """The text, and what it says if it is escaped."""
    yield text
    if "\\" in text:
        yield _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", text)
    if "%" in text or "+" in text:
        yield unquote_plus(text, errors="replace")


def _decoded(text: str) -> Iterator[str]:
    """What each run of base64 in the text says. Up to three letters of other text may stand directly before it."""
    for found in _BASE64.finditer(text):
        run = found[0].rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        for start in range(4):
            whole = run[start:]
            whole = whole[:-1] if len(whole) % 4 == 1 else whole
            yield text_of_body(base64.b64decode(whole + "=" * (-len(whole) % 4)))[0]
