"""An e-mail address that is looked for in what is kept: as it is, in JSON's escapes, in a form's, and inside of base64."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import unquote_plus

from leads.core.identity import customer_of
from leads.core.lead import Lead
from leads.core.lenient_json import text_of_body

ERASED: Final = "(erased)"
_ESCAPED: Final = re.compile(r"(?<!\\)\\+(?:u([0-9a-fA-F]{4})|([nrt/]))")
"""Any number of backslashes: JSON inside of JSON escapes them again. A long run of them is tried once, from its beginning:
tried from each of them, a body of backslashes alone would take an hour."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_NESTED_AT_MOST: Final = 2


@dataclass(frozen=True)
class EmailMatcher:
    """The address, trimmed and in lower case, as leads are told apart by it."""

    email: str

    @classmethod
    def of(cls, text: str) -> "EmailMatcher":
        """Raises ValueError for what is no address."""
        email = text.strip().lower()
        if not 3 <= len(email) <= 320 or "@" not in email.strip("@") or not email.isprintable():
            raise ValueError("must be an e-mail address")
        return cls(email)

    @cached_property
    def customer(self) -> str:
        """The hash of the customer whose address it is."""
        return customer_of(Lead(email=self.email), "")

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Nobody else's address that ends or begins the same."""
        return re.compile(
            rf"(?<![\w.+%-]){re.escape(self.email)}(?![\w-]|\.\w)",
            re.IGNORECASE,
        )

    def is_in(self, text: str) -> bool:
        return any(self._pattern.search(reading) for reading in _readings(text))

    def is_in_body(self, body: bytes) -> bool:
        return self.is_in(text_of_body(body)[0])

    def is_in_lead(self, lead: Lead) -> bool:
        """Whether a lead says it anywhere."""
        return any(self.is_in(text) for text in _texts(lead))

    def is_of(self, lead: Lead, lead_id: str) -> bool:
        """Whether a lead is this person's own: it is their customer, or its field for the address holds it among other text."""
        return customer_of(lead, lead_id) == self.customer or self.is_in(lead.email)

    def redact(self, lead: Lead) -> Lead:
        """Another person's lead without this address."""
        changed = {
            name: {self._without(key): self._without(text) for key, text in value.items()}
            if isinstance(value, dict)
            else self._without(value)
            for name, value in lead.to_wire().items()
            if name != "original"
        }
        kept = {} if self.is_in(lead.original) else {"original": lead.original}
        return Lead.from_wire(changed | kept)

    def _without(self, text: str) -> str:
        left = self._pattern.sub(ERASED, text)
        return ERASED if self.is_in(left) else left


def _texts(lead: Lead) -> Iterator[str]:
    for value in lead.to_wire().values():
        if isinstance(value, dict):
            yield from value
            yield from value.values()
        else:
            yield value


def _readings(text: str, depth: int = 0) -> Iterator[str]:
    """The text, and what it says where it is escaped or encoded."""
    yield text
    if "\\" in text:
        yield _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", text)
    if "%" in text or "+" in text:
        yield unquote_plus(text, errors="replace")
    if depth < _NESTED_AT_MOST:
        for found in _BASE64.finditer(text):
            for inner in _decoded(found[0]):
                yield from _readings(inner, depth + 1)


def _decoded(run: str) -> Iterator[str]:
    """What a run of base64 holds, if it is any: it may begin with other letters that stand before it."""
    plain = run.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    for start in range(min(4, len(plain) - 3)):
        whole = plain[start:]
        whole = whole[: len(whole) - 1] if len(whole) % 4 == 1 else whole
        try:
            raw = base64.b64decode(whole + "=" * (-len(whole) % 4))
        except (binascii.Error, ValueError):
            continue
        yield text_of_body(raw)[0]
