"""Decodes and encodes request addresses as Kestrel and the Azure Functions host do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote

ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")

# PathString.ToUriComponent of ASP.NET Core encodes all other characters. An escape that was not decoded stays.
PATH_CHARACTERS = "/:@!$&'()*+,;=-._~"


def path_of(target: str) -> str:
    """The decoded path of a request target, without its `.` and `..` (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    segments = decode(target).removeprefix("/").split("/")
    for segment in segments:
        if segment == ".." and kept:
            kept.pop()
        elif segment not in (".", ".."):
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def encode(path: str) -> str:
    """A decoded path as the function's `req.url` has it."""
    pieces = re.split("(%[0-9A-Fa-f]{2})", path)
    return "".join(piece if index % 2 else quote(piece, safe=PATH_CHARACTERS) for index, piece in enumerate(pieces))


def decode(text: str) -> str:
    """Percent-decode as Kestrel does: all escapes except %2F. Bytes that are not UTF-8 stay escaped."""
    return ESCAPES.sub(_decode_run, text) if "%" in text else text


def query_of(url: str) -> dict[str, str]:
    """A URL's query. Names ignore case; values of a repeated name are joined with a comma; empty values are dropped."""
    values: dict[str, tuple[str, str]] = {}
    for name, value in parameters(url):
        first, before = values.get(name.lower(), (name, None))
        values[name.lower()] = (first, value if before is None else f"{before},{value}")
    return {name: value for name, value in values.values() if value}


def parameters(url: str) -> Iterator[tuple[str, str]]:
    """Each parameter of a URL's query, in order."""
    query = url.partition("?")[2].partition("#")[0]
    yield from parse_qsl(query, keep_blank_values=True) if query else ()


def _decode_run(match: re.Match[str]) -> str:
    # A slash stays encoded, so that it splits the run of bytes around it.
    return "".join(
        piece if piece.upper() == "%2F" else _decode_bytes(piece) for piece in re.split("(?i)(%2f)", match[0])
    )


def _decode_bytes(escapes: str) -> str:
    data = bytes.fromhex(escapes.replace("%", ""))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    decoded = []
    while data:
        length = next((n for n in (1, 2, 3, 4) if _is_character(data[:n])), 0)
        decoded.append(data[:length].decode("utf-8") if length else f"%{escapes[1:3]}")
        data, escapes = data[length or 1 :], escapes[3 * (length or 1) :]
    return "".join(decoded)


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False
