"""Searches a whole storage account for values of a person, in every encoding."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator

from tests.support.memory import account_at


def leftovers(connection_string: str, values: Iterable[str]) -> list[str]:
    """The places of the values: as they are, escaped as in JSON, or in base64 after any text."""
    wanted = [needle for value in values for needle in _encoded(value)]
    return sorted(
        {f"{where}: {needle}" for where, text in _everything(connection_string) for needle in wanted if needle in text}
    )


def _encoded(value: str) -> Iterator[str]:
    escaped = json.dumps(value)[1:-1]
    yield value.casefold()
    yield escaped.casefold()
    yield json.dumps(escaped)[1:-1].casefold()
    yield "".join(
        f"\\u{ord(character):04x}" if not character.isalnum() else character for character in value
    ).casefold()
    for offset in range(3):  # the base64 of a value depends on its position in the text
        whole = base64.b64encode(b" " * offset + value.encode()).decode().rstrip("=")
        yield whole[(0, 2, 3)[offset] : len(whole) - 1]


def _everything(connection_string: str) -> Iterator[tuple[str, str]]:
    account = account_at(connection_string)
    for table, row in account.rows():
        for column, value in row.items():
            for text in _readings(value):
                yield f"{table} {row['RowKey']} {column}", text
    for queue, content in account.messages():
        for text in _readings(content):
            yield f"queue {queue}", text


def _readings(value: object) -> Iterator[str]:
    """The forms of a value: in any case, and in base64."""
    text = str(value)
    yield text
    yield text.casefold()
    if isinstance(value, str):
        try:
            inner = base64.b64decode(value, validate=True).decode(errors="replace")
        except ValueError:
            return
        yield inner
        yield inner.casefold()
