"""Destination types and their settings."""

import sys
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from leads import destinations
from leads.operations.operation import PATH, Nothing, Request
from leads.operations.problems import NotFound


class DestinationType(BaseModel):
    """A kind of destination, and the JSON Schema of a destination's `settings` of that kind."""

    type: str
    description: str
    settings_schema: dict[str, JsonValue]


class DestinationTypeList(BaseModel):
    """All destination types, by name."""

    destination_types: list[DestinationType]


class ShowDestinationType(Request):
    """Which type."""

    type: Annotated[str, PATH, Field(min_length=1, description="The type's name, such as azure_table.")]


def list_destination_types(request: Nothing) -> DestinationTypeList:
    """List the destination types with the JSON Schema of their settings."""
    return DestinationTypeList(destination_types=[describe(name) for name in sorted(destinations.MODULES)])


def show_destination_type(request: ShowDestinationType) -> DestinationType:
    """Show a destination type with the JSON Schema of its settings."""
    if request.type not in destinations.MODULES:
        raise NotFound(f"type: there is no such destination type; use one of {', '.join(sorted(destinations.MODULES))}")
    return describe(request.type)


def describe(name: str) -> DestinationType:
    """The type of a known name."""
    found = destinations.destination_class(name)
    description = (sys.modules[found.__module__].__doc__ or "").partition("\n")[0]
    return DestinationType(type=name, description=description, settings_schema=found.Settings.model_json_schema())
