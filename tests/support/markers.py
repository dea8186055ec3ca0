"""What must never be in a log: values that the tests use for people and secrets, searched for in everything that is captured."""

from __future__ import annotations

from typing import Final

PERSONAL: Final = (
    "ada@example.com",
    "O'Neil",
    "Example Works",
    "16175555555",
    "Oberfragerin",
    "marker+tag@example.com",
)
SECRETS: Final = ("s3cret", "whsec_", "czNjcmV0", "eyJ0eXAi", "-----BEGIN")
MARKERS: Final = (*PERSONAL, *SECRETS)


def found_in(text: str) -> list[str]:
    """The markers that stand in a text, also where it is a Python or JSON literal."""
    return [marker for marker in MARKERS if marker in text or marker.replace("'", "\\'") in text]
