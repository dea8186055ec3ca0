"""Route templates of HTTP triggers, matched as ASP.NET Core does for the Azure Functions host.

https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-templates
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from devhost.errors import StartError

PARAMETER = re.compile(r"\{(\*{0,2})([A-Za-z_][A-Za-z0-9_]*)(\??)\}")

# Precedence of a segment: a lower kind is tried earlier.
LITERAL, REQUIRED, OPTIONAL, CATCH_ALL = range(4)


@dataclass(frozen=True)
class Segment:
    kind: int
    text: str
    """The lower-cased literal, or the parameter's name."""


@dataclass(frozen=True)
class Route:
    """A parsed template such as `api/leads/{*offer}`. A more specific route has a lower `order`."""

    template: str
    segments: tuple[Segment, ...]

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(segment.kind for segment in self.segments)

    def match(self, path: str) -> dict[str, str] | None:
        """The parameters in a decoded path, or None if the route does not match.

        A parameter without a value is absent, as in the host's route data.
        """
        parts = path.removeprefix("/").split("/")
        if parts[-1] == "":
            parts.pop()
        values: dict[str, str] = {}
        for index, segment in enumerate(self.segments):
            if index >= len(parts):
                if segment.kind in (LITERAL, REQUIRED):
                    return None
                continue
            value = parts[index]
            if not value or (segment.kind == LITERAL and value.lower() != segment.text):
                return None
            if segment.kind == CATCH_ALL:
                # The parameter takes the rest of the path, with its slashes.
                return values | {segment.text: path.removeprefix("/").split("/", index)[index]}
            if segment.kind != LITERAL:
                values[segment.text] = value
        return values if len(parts) <= len(self.segments) else None


def is_reserved(route: str) -> bool:
    """Whether the host reserves a trigger's route (ScriptHost.ValidateHttpFunction)."""
    return route.strip("/").lower().startswith(("admin", "runtime"))


def parse_route(template: str) -> Route:
    """Parse a template. Raises StartError if devhost does not support it."""
    segments = [_segment(part, template) for part in template.strip("/").split("/") if part]
    for segment in segments[:-1]:
        if segment.kind in (OPTIONAL, CATCH_ALL):
            raise StartError(f"route {template!r}: {{{segment.text}}} must be the last segment")
    return Route(template, tuple(segments))


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
