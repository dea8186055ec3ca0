"""The check of a Marketo connection: permission, fields, form and lists."""

from collections.abc import Callable
from functools import partial
from typing import Any

from leads.destinations.crm import Checks
from leads.destinations.vendor_errors import ErrorKind, VendorError, unless_gone
from leads.destinations.vendors.marketo.client import Client
from leads.destinations.vendors.marketo.fields import FieldCache
from leads.destinations.vendors.marketo.records import DEFAULT_MAPPING
from leads.destinations.vendors.marketo.settings import MarketoSettings


class Checking(Checks):
    """Checks what leads need of an instance, without cached answers, and the optional lists."""

    _settings: MarketoSettings
    _client: Client

    def __init__(self, destination: Any, client: Client) -> None:
        super().__init__(destination, client)
        self._known: FieldCache = destination.known

    @property
    def needed(self) -> list[Callable[[], str]]:
        return [self._missing_right, self._missing_fields, self._missing_form]

    @property
    def extras(self) -> list[Callable[[], str]]:
        wanted = {"static_list": str(self._settings.static_list or "")}
        wanted |= {f"follow_up.{stage}.list": follow_up.list for stage, follow_up in self._follow_up.items()}
        return [partial(self._missing_list, setting, list_id) for setting, list_id in wanted.items() if list_id]

    def _missing_right(self) -> str:
        self._known.forget()
        try:
            self._client.may_write()
        except VendorError as refused:
            # Any other answer to an empty request comes after Marketo's check of the permission.
            if refused.problem.kind in {ErrorKind.SETTINGS, ErrorKind.SIGN_IN_AGAIN, ErrorKind.TRANSIENT}:
                raise
        return ""

    def _missing_fields(self) -> str:
        fields = self._known.fields(self._client).by_name
        for setting, name in self._named_fields().items():
            if setting != "rating_field" and not self._was_asked_for(setting, name):
                continue  # the app leaves the field out if the instance does not have it
            if name not in fields:
                return f"{setting}: Marketo has no field of this name; enter its API name (Admin > Field Management)."
            if fields[name].read_only:
                return f"{setting}: Marketo sets this field itself; remove it."
        journey = self._settings.journey_field
        if journey and not fields[journey].is_text:
            return "journey_field: is not a text field; create a field of type Text Area for the journey."
        return ""

    def _named_fields(self) -> dict[str, str]:
        """Setting → field, for every setting that names a field."""
        named = {f"mapping.{name}": name for name in self._mapping}
        for setting in ("journey_field", "rating_field"):
            if name := getattr(self._settings, setting):
                named[setting] = name
        return named

    def _missing_form(self) -> str:
        form_id = self._settings.form_id
        if form_id is None:
            return ""
        found = self._found(f"/rest/asset/v1/form/{form_id}.json")
        if not found:
            return "form_id: Marketo has no form with this ID."
        if str(found[0].get("status", "")).lower() == "draft":
            return "form_id: the form is not approved: approve it in Marketo."
        on_form = self._known.form(self._client, form_id)
        if "email" not in on_form:
            return "form_id: the form has no field for the e-mail address, which identifies persons: add it."
        for setting, name in self._named_fields().items():
            if self._was_asked_for(setting, name) and name not in on_form:
                return (
                    f"{setting}: the form has no such field; add it to the form, e.g. as a hidden field, or remove it."
                )
        return ""

    def _was_asked_for(self, setting: str, name: str) -> bool:
        """Whether a person has entered the field. A field of the defaults may be missing on a form."""
        if setting == "rating_field":
            return name != "rating"
        return setting == "journey_field" or self._mapping[name] != DEFAULT_MAPPING.get(name)

    def _missing_list(self, setting: str, list_id: str) -> str:
        found = self._found(f"/rest/v1/lists/{list_id}.json")
        return "" if found else f"{setting}: Marketo has no static list with this ID."

    def _found(self, path: str) -> list[dict[str, Any]]:
        return unless_gone(partial(self._client.get, path)) or []
