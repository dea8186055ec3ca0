"""The check of a HubSpot connection: scopes, contact properties, and the targets of follow-ups."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from leads.core.lead import Stage
from leads.destinations.base import MappingValue
from leads.destinations.crm import Checks
from leads.destinations.follow_up import FollowUp
from leads.destinations.mapping import is_template
from leads.destinations.rest import as_object, json_objects
from leads.destinations.vendor_errors import unless_gone
from leads.destinations.vendors.hubspot.client import LISTS, VERSION, Client

_SCOPES: Final = ("crm.objects.contacts.read", "crm.objects.contacts.write")


class Checking(Checks):
    """Checks what leads need of an account, and the targets of follow-ups."""

    _client: Client

    @property
    def needed(self) -> list[Callable[[], str]]:
        return [self._missing_scopes, self._wrong_property]

    @property
    def extras(self) -> list[Callable[[], str]]:
        return [partial(self._wrong_target, stage, wanted) for stage, wanted in self._follow_up.items()]

    def _missing_scopes(self) -> str:
        self._client.get_json(f"/account-info/{VERSION}/details")  # every token may read it
        granted = unless_gone(self._client.scopes)  # this address has no version, and HubSpot may remove it
        missing = [scope for scope in _SCOPES if granted is not None and scope not in granted]
        return f"The service key lacks a scope: add {', '.join(missing)} to it." if missing else ""

    def _wrong_property(self) -> str:
        known = self._client.properties(self._mapping)
        problems = ((name, _property(value, known.get(name))) for name, value in self._mapping.items())
        return next((f"mapping.{name}: {problem}" for name, problem in problems if problem), "")

    def _wrong_target(self, stage: Stage, wanted: FollowUp) -> str:
        get = self._client.get_json
        if wanted.owner and unless_gone(lambda: get(f"/crm/owners/{VERSION}/{wanted.owner}")) is None:
            return f"follow_up.{stage}.owner: HubSpot has no owner with this ID."
        found = unless_gone(lambda: get(f"{LISTS}/{wanted.list}")) if wanted.list else {}
        if found is None:
            return f"follow_up.{stage}.list: HubSpot has no list with this ID."
        if (as_object(found.get("list")) or found).get("processingType") == "DYNAMIC":
            return f"follow_up.{stage}.list: the list is dynamic: name a static list."
        return ""


def _property(value: MappingValue, known: Mapping[str, Any] | None) -> str:
    """The problem with one property of the mapping, "" if there is none."""
    if known is None:
        return "HubSpot has no contact property with this name; remove it from the mapping, or create the property."
    if as_object(known.get("modificationMetadata")).get("readOnlyValue"):
        return "HubSpot sets this property itself; remove it from the mapping."
    options = [str(option.get("value")) for option in json_objects(known.get("options"))]
    if options and not is_template(value) and str(value) not in options:
        return f"is not one of the property's options: {', '.join(options[:20])}."
    return ""
