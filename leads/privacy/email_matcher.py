"""Finds an e-mail address in stored text: as it is, escaped as in JSON or a form, or encoded as base64."""

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
"""A JSON escape. JSON within JSON repeats the backslashes, so any number of backslashes matches.

A match begins only at the start of a run of backslashes. Otherwise a body full of backslashes would take an hour.
"""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")


@dataclass(frozen=True)
class EmailMatcher:
    """Finds one address. `email` is trimmed and in lower case, as in the customer's identity."""

    email: str

    @classmethod
    def parse(cls, text: str) -> "EmailMatcher":
        """The matcher of an address as a person writes it. Raises ValueError if the text is not an e-mail address."""
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
        """The pattern of the address. It does not match within a longer address."""
        return re.compile(rf"(?<![\w.+%-]){re.escape(self.email)}(?![\w-]|\.\w)", re.IGNORECASE)

    def matches(self, text: str) -> bool:
        """Whether the text contains the address, as it is or in a run of base64."""
        return any(map(self._pattern.search, (*_readings(text), *chain.from_iterable(map(_readings, _decoded(text))))))

    def matches_body(self, body: bytes) -> bool:
        return self.matches(text_of_body(body)[0])

    def matches_lead(self, lead: Lead) -> bool:
        """Whether any field of the lead contains the address."""
        return any(map(self.matches, _texts(lead)))

    def owns(self, lead: Lead, lead_id: str) -> bool:
        """Whether the lead is the person's own: it has the person's customer hash, or its e-mail field has the address."""
        return customer_of(lead, lead_id) == self.customer or self.matches(lead.email)


def _texts(lead: Lead) -> Iterator[str]:
    for value in lead.to_wire().values():
        if isinstance(value, dict):
            yield from value
            yield from value.values()
        else:
            yield value


def _readings(text: str) -> Iterator[str]:
    """The text, and the text without its JSON or form escapes."""
    yield text
    if "\\" in text:
        yield _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", text)
    if "%" in text or "+" in text:
        yield unquote_plus(text, errors="replace")


def _decoded(text: str) -> Iterator[str]:
    """The decoded runs of base64 in the text. Each run is decoded from four positions, because other letters may precede it."""
    for found in _BASE64.finditer(text):
        run = found[0].rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
        for start in range(4):
            whole = run[start:]
            whole = whole[:-1] if len(whole) % 4 == 1 else whole
            yield text_of_body(base64.b64decode(whole + "=" * (-len(whole) % 4)))[0]
