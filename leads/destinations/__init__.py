"""The destination types. A type's module is imported when an offer first needs it, for the sake of the cold start."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from leads.destinations.base import Context, Destination, DestinationSettings, connection_id
from leads.problems import first_problem

MODULES: dict[str, str] = {
    "azure_table": "leads.destinations.azure_table",
    "webhook": "leads.destinations.webhook",
}
"""Type → the module whose attribute `destination` is its class. Adding a destination is one line here and one file."""


def destination_class(type_name: str) -> type[Destination]:
    """The class of a type. Raises ValueError that lists the types there are."""
    if type_name not in MODULES:
        raise ValueError(f"type: there is no destination type of that name; use one of {', '.join(sorted(MODULES))}")
    found: type[Destination] = import_module(MODULES[type_name]).destination
    return found


def read_settings(type_name: str, settings: Mapping[str, Any]) -> DestinationSettings:
    """Check a destination's settings. Raises ValueError that names the field."""
    try:
        return destination_class(type_name).Settings.model_validate(settings)
    except ValidationError as error:
        raise ValueError(first_problem(error, "settings")) from None


def connection_of(type_name: str, settings: Mapping[str, Any]) -> str:
    """The id of the connection behind a destination's settings."""
    checked = read_settings(type_name, settings)
    return connection_id(type_name, destination_class(type_name).address(checked))


def make(type_name: str, settings: Mapping[str, Any], context: Context) -> Destination:
    """A destination ready to send. Nothing is read over the network yet."""
    build: Any = destination_class(type_name)
    made: Destination = build(read_settings(type_name, settings), context)
    made.connection = connection_of(type_name, settings)
    return made
