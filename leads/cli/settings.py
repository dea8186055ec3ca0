"""The settings of a destination type, from its JSON Schema. No code here knows a type."""

import json
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from leads.operations.destination_types import DestinationType


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting. `kind`: the values in a word or two, such as `string`."""

    name: str
    title: str
    description: str
    kind: str
    required: bool
    default: JsonValue
    names_secrets: bool

    @property
    def is_plain(self) -> bool:
        """Whether a person writes the value as it is. Numbers, lists and objects are written as JSON."""
        return " | " in self.kind or not _PLAIN.isdisjoint(self.kind.split(" or "))


_SECRET: Final = "secret reference"  # noqa: S105
_FORMAT: Final = "secret-reference"
_PLAIN: Final = frozenset({"string", _SECRET})


def settings_of(found: DestinationType) -> list[Setting]:
    """The settings, in the order of the questions."""
    schema: dict[str, Any] = found.settings_schema
    required = schema.get("required", [])
    return [
        Setting(
            name=name,
            title=str(setting.get("title", name)),
            description=str(setting.get("description", "")),
            kind=_kind(setting),
            required=name in required,
            default=setting.get("default"),
            names_secrets=_FORMAT in json.dumps(setting),
        )
        for name, setting in schema.get("properties", {}).items()
    ]


def _kind(setting: dict[str, Any]) -> str:
    if "anyOf" in setting:
        return " or ".join(_kind(choice) for choice in setting["anyOf"] if choice.get("type") != "null")
    if "enum" in setting:
        return " | ".join(map(str, setting["enum"]))
    if setting.get("format") == _FORMAT:
        return _SECRET
    return str(setting.get("type") or setting.get("$ref", "any").rpartition("/")[2])
