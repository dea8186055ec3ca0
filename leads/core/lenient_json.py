"""Lenient JSON and text: numbers keep their digits, repeated keys and old encodings are accepted. Pure: no I/O."""

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

_DEEPEST: Final = 100
"""Levels of lists and objects in a value."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")


class _Number(str):
    """A JSON number exactly as it was written: a phone number must not become 1.6175555555e+10."""

    __slots__ = ()


class _RepeatedKeyError(Exception):
    """An object holds one key twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedKeyError
    return members


_NUMBERS: Final[Mapping[str, Any]] = {
    "parse_int": _Number,
    "parse_float": _Number,
    "parse_constant": _Number,
}
_DECODER: Final = json.JSONDecoder(strict=False, object_pairs_hook=_members, **_NUMBERS)
_LAST_WINS_DECODER: Final = json.JSONDecoder(strict=False, **_NUMBERS)


def decode(text: str) -> tuple[Any, bool]:
    """The JSON value, and whether no key was repeated. Raises JSONDecodeError, RecursionError."""
    try:
        return _DECODER.decode(text), True
    except _RepeatedKeyError:
        return _LAST_WINS_DECODER.decode(text), False


def decode_if_json(text: str) -> tuple[Any, bool]:
    """As `decode`, but text that is not JSON stays as it is."""
    try:
        return decode(text)
    except (json.JSONDecodeError, RecursionError):
        return text, True


def _scalar_text(value: object) -> str:
    """The text of a value that is not a str: numbers and dates as they are written, lists and objects as JSON."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        parts: list[str] = []
        _add_json(parts, value, 1)
        return "".join(parts)
    return str(value)


_quoted: Final = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps makes an encoder for each call


def _add_json(parts: list[str], value: object, depth: int) -> None:
    """Append a value's JSON in parts, so that deep values are copied once. Numbers keep their digits, unlike in json.dumps.

    Raises RecursionError below `_DEEPEST`, whatever the depth of the stack, so that a value that was read once can be read again.
    """
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, _Number):
        parts.append(value)
    elif isinstance(value, str):
        parts.append(_quoted(value))
    elif isinstance(value, list | tuple):
        before = "["
        for member in value:
            parts.append(before)
            _add_json(parts, member, depth + 1)
            before = ", "
        parts.append("]" if value else "[]")
    elif isinstance(value, Mapping):
        before = "{"
        for key, member in value.items():
            parts += before, _quoted(str(key)), ": "
            _add_json(parts, member, depth + 1)
            before = ", "
        parts.append("}" if value else "{}")
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool | int | float):
        parts.append(_scalar_text(value))
    else:
        parts.append(_quoted(str(value)))


_WINDOWS_1252: Final = {
    0xDC00 + byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0x100)
}
"""The character that "surrogateescape" gives for a byte that is not UTF-8 → the byte in Windows-1252, which old systems send. The
five bytes that Windows-1252 leaves undefined are read as Latin-1. An error handler would be slower: one call for each byte."""


def text_of_body(body: bytes) -> tuple[str, bool]:
    """The text of a body in UTF-8, UTF-16 or UTF-32, and whether every byte of it could be read."""
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding), True
    except UnicodeDecodeError:
        if encoding.startswith("utf-8"):
            return body.decode(encoding, "surrogateescape").translate(_WINDOWS_1252), False
        return body.decode(encoding, "replace"), False


def text_of(value: object) -> str:
    """A JSON value as text, "" for null. Raises RecursionError if it is nested too deeply."""
    if type(value) is str:
        return value
    return "" if value is None else _scalar_text(value)


def without_controls(text: str) -> str:
    """The text without control characters; lone surrogates become U+FFFD."""
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))
