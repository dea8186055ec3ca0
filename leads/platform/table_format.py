"""Keys, conditions and long texts in the format of storage tables. Pure: no I/O."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

CHUNK = 16_000
"""Characters of a text column. A string property holds 32,768 UTF-16 code units (Microsoft Learn, "Understanding the Table
service data model"), and a character can take two."""

KEY_PART = 160
"""Most characters of a key's part. A longer text is cut and ends in its hash."""


def keys_beginning(prefix: str) -> str:
    """An OData condition on row keys that begin with a prefix. The prefix must end in `;`; the next character is `<`."""
    return f"RowKey ge '{prefix}' and RowKey lt '{prefix[:-1]}<'"


def odata_time(moment: datetime) -> str:
    """A time in the syntax of OData conditions, to the second."""
    return f"datetime'{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}'"


def key_part(text: str) -> str:
    """A text as a part of a table key: in lower case, with `=XX` for each byte that would break the key or an OData condition.

    Keys have up to 512 characters, and no `/ \\ # ?` or control characters (Microsoft Learn, "Understanding the Table service
    data model"). A longer text keeps its beginning and ends in its hash.
    """
    lowered = text.lower()
    encoded = lowered[: KEY_PART + 1]
    if not _plain(encoded):
        encoded = quote(encoded, safe=" !$&()*+,:@", errors="surrogatepass").replace("%", "=")
    if len(encoded) <= KEY_PART:
        return encoded
    from hashlib import sha256

    return f"{encoded[:100]}=={sha256(lowered.encode(errors='surrogatepass')).hexdigest()}"


def _plain(text: str) -> bool:
    return text.isascii() and text.replace(".", "").replace("-", "").replace("_", "").isalnum()


def text_columns(name: str, text: str) -> dict[str, str]:
    """A text split into columns of at most `CHUNK` characters: `name`, `name_2`, `name_3` …"""
    pieces = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)] or [""]
    return {name if number == 1 else f"{name}_{number}": piece for number, piece in enumerate(pieces, 1)}


def joined_text(entity: Mapping[str, Any], name: str) -> str:
    """The text that `text_columns` split, or ""."""
    text = str(entity.get(name, ""))
    number = 2
    while (column := f"{name}_{number}") in entity:
        text += str(entity[column])
        number += 1
    return text
