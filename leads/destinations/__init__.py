"""The destination types. To keep the cold start short, a type's module is imported when an offer first needs the type."""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from leads.core.lead import Stage
from leads.core.problems import all_problems
from leads.destinations.base import Context, Destination, DestinationSettings, MappingValue, connection_id
from leads.destinations.follow_up import FollowUp
from leads.destinations.mapping import check_template, merge_mapping

MODULES: dict[str, str] = {
    "azure_table": "leads.destinations.vendors.azure_table",
    "dataverse": "leads.destinations.vendors.dataverse",
    "hubspot": "leads.destinations.vendors.hubspot",
    "marketo": "leads.destinations.vendors.marketo",
    "salesforce": "leads.destinations.vendors.salesforce",
    "salesforce_web_to_lead": "leads.destinations.vendors.salesforce_web_to_lead",
    "webhook": "leads.destinations.vendors.webhook",
}
"""Type → module. The module's attribute `destination` is the type's class."""

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@]{0,199}")


def destination_class(type_name: str) -> type[Destination]:
    """The class of a type. Raises `ValueError`, which lists the known types."""
    if type_name not in MODULES:
        raise ValueError(f"type: is not a destination type; use one of {', '.join(sorted(MODULES))}")
    found: type[Destination] = import_module(MODULES[type_name]).destination
    return found


def read_settings(type_name: str, settings: Mapping[str, Any]) -> DestinationSettings:
    """The validated settings of a destination. Raises `ValueError` with a line for each wrong field."""
    model = destination_class(type_name).Settings
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ValueError("\n".join(all_problems(error, "settings", model=model))) from None


def check_mapping(type_name: str, mapping: Mapping[str, MappingValue]) -> None:
    """Check a destination's field mapping. Raises `ValueError` with a line for each wrong field."""
    found = destination_class(type_name)
    if mapping and found.default_mapping is None:
        raise ValueError("mapping: this destination type has no field mapping; leave mapping out")
    problems = []
    for name, value in mapping.items():
        if not _FIELD_NAME.fullmatch(name):
            problems.append(f"mapping: {name[:50]!r} is not a field name")
            continue
        try:
            if isinstance(value, str):
                check_template(value)
            found.check_mapping(name, value)
        except ValueError as error:
            problems.append(f"mapping.{name}: {error}")
    if problems:
        raise ValueError("\n".join(problems))


def check_follow_ups(type_name: str, follow_up: Mapping[Stage, FollowUp]) -> None:
    """Check the follow-ups by stage. Raises `ValueError`, which names the field."""
    for stage, wanted in follow_up.items():
        try:
            destination_class(type_name).check_follow_up(wanted)
        except ValueError as error:
            raise ValueError(f"follow_up.{stage}.{error}") from None


def connection_of(type_name: str, settings: Mapping[str, Any]) -> str:
    """The ID of the connection that a destination with these settings uses."""
    checked = read_settings(type_name, settings)
    return connection_id(type_name, destination_class(type_name).connection_key(checked))


def host_of(type_name: str, settings: Mapping[str, Any]) -> str:
    """The host that a destination's settings name. "" if only a secret names the host."""
    key = destination_class(type_name).connection_key(read_settings(type_name, settings))
    return next((host for part in key if (host := urlsplit(part).hostname)), "")


def make(
    type_name: str,
    settings: Mapping[str, Any],
    context: Context,
    mapping: Mapping[str, MappingValue] | None = None,
    follow_up: Mapping[Stage, FollowUp] | None = None,
) -> Destination:
    """A destination that is ready to send. Makes no network request."""
    build: Any = destination_class(type_name)
    checked = read_settings(type_name, settings)
    made: Destination = build(checked, context)
    made.connection = connection_id(type_name, build.connection_key(checked))
    made.mapping = merge_mapping(made.default_mapping or {}, mapping or {})
    made.follow_up = follow_up or {}
    return made
