"""Route templates of HTTP triggers, matched the way ASP.NET Core does it for the Azure Functions host.

https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-templates
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from devhost.errors import StartError

PARAMETER = re.compile(r"\{(\*{0,2})([A-Za-z_][A-Za-z0-9_]*)(\??)\}")
ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")

# Precedence of a segment: the lower, the earlier it is tried.
LITERAL, REQUIRED, OPTIONAL, CATCH_ALL = range(4)


@dataclass(frozen=True)
class Segment:
    kind: int
    text: str
    """The lower-cased literal, or the parameter's name."""


@dataclass(frozen=True)
class Route:
    """A parsed template such as `api/leads/{*offer}`; the lower `order` is the more specific."""

    template: str
    segments: tuple[Segment, ...]

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(segment.kind for segment in self.segments)

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters in a request's raw (percent-encoded) path, or None if the route does not match.

        A parameter without a value is absent, as in the host's own route data.
        """
        parts = path.removeprefix("/").split("/")
        if parts[-1] == "":
            parts.pop()
        values: dict[str, str] = {}
        for index, segment in enumerate(self.segments):
            if segment.kind == CATCH_ALL:
                if rest := path.removeprefix("/").split("/", index)[index:]:
                    values[segment.text] = decode(rest[0])
                return {name: value for name, value in values.items() if value}
            if index >= len(parts):
                if segment.kind == OPTIONAL:
                    continue
                return None
            value = decode(parts[index])
            if segment.kind == LITERAL:
                if value.lower() != segment.text:
                    return None
            elif not value:
                return None
            else:
                values[segment.text] = value
        return values if len(parts) <= len(self.segments) else None


def parse_route(template: str) -> Route:
    """Parse a template; raises StartError where it uses what the devhost does not know."""
    segments = [_segment(part, template) for part in template.strip("/").split("/") if part]
    for segment in segments[:-1]:
        if segment.kind in (OPTIONAL, CATCH_ALL):
            raise StartError(f"route {template!r}: {{{segment.text}}} must be the last segment")
    return Route(template, tuple(segments))


def decode(text: str) -> str:
    """Percent-decode as Kestrel does: everything but %2F; what is not UTF-8 stays as it was sent."""
    return ESCAPES.sub(_decode_run, text) if "%" in text else text


def _segment(part: str, template: str) -> Segment:
    if "{" not in part and "}" not in part:
        return Segment(LITERAL, part.lower())
    match = PARAMETER.fullmatch(part)
    if match is None:
        raise StartError(
            f"route {template!r}: devhost knows {{name}}, {{name?}} and {{*name}}, not {part!r}; "
            "constraints and mixed segments need Azure Functions Core Tools"
        )
    stars, name, optional = match.groups()
    return Segment(CATCH_ALL if stars else OPTIONAL if optional else REQUIRED, name)


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
