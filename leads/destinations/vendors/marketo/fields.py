"""The fields of an instance and of a form, which the app reads once a day.

Source: Adobe Marketo Engage Developer Guide, "Leads" (section "Describe"), "Field Types", "Forms" (section "Field List"). A form
names its fields as the old SOAP interface does (`FirstName`), and takes them by their REST names (`firstName`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from leads.destinations.http import Failure, NoAnswer
from leads.destinations.rest import as_object
from leads.destinations.text import truncate, truncate_bytes
from leads.destinations.vendors.marketo.client import Client
from leads.platform.cached_value import CachedValue, fresh_for

_A_DAY: Final = fresh_for(timedelta(days=1).total_seconds())
STRING_CHARACTERS: Final = 255
TEXT_AREA_BYTES: Final = 30_000
_TEXT_AREA: Final = frozenset({"text", "textarea"})
_TEXTS: Final = frozenset({*_TEXT_AREA, "string", "phone", "url"})


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a person, by its REST name. `length` is in characters, None if unknown. It does not apply to a Text Area."""

    name: str
    type: str
    length: int | None = None
    read_only: bool = False

    @property
    def is_text(self) -> bool:
        return self.type in _TEXTS

    def fit(self, text: str) -> str:
        """The text as the field can hold it."""
        if self.type in _TEXT_AREA:
            return truncate_bytes(text, TEXT_AREA_BYTES)
        return truncate(text, self.length or STRING_CHARACTERS)


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form: the person's field that it fills, and whether the form requires it."""

    field: Field
    required: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The fields of an instance: by REST name, and by the name that forms use."""

    by_name: Mapping[str, Field]
    by_form_name: Mapping[str, Field]


def catalogue(client: Client) -> Catalogue:
    """Read the instance's fields."""
    by_name: dict[str, Field] = {}
    by_form_name: dict[str, Field] = {}
    for item in client.get("/rest/v1/leads/describe.json"):
        rest, form_name = as_object(item.get("rest")), as_object(item.get("soap")).get("name")
        if not isinstance(rest.get("name"), str):
            continue
        length = item.get("length")
        field = Field(
            rest["name"],
            str(item.get("dataType", "")),
            length if isinstance(length, int) and length > 0 else None,
            bool(rest.get("readOnly")),
        )
        by_name[field.name] = field
        if isinstance(form_name, str):
            by_form_name[form_name] = field
    return Catalogue(by_name, by_form_name)


def form_fields(client: Client, form_id: int, known: Catalogue) -> dict[str, FormField]:
    """Read a form's fields. Returns REST name → field."""
    found: dict[str, FormField] = {}
    for item in client.get(f"/rest/asset/v1/form/{form_id}/fields.json"):
        name = item.get("id")
        if isinstance(name, str) and (field := _field_of_form(name, item, known)):
            found[field.name] = FormField(field, bool(item.get("required")))
    return found


def _field_of_form(name: str, item: Mapping[str, Any], known: Catalogue) -> Field | None:
    field = known.by_form_name.get(name) or known.by_name.get(name)
    if field is None:
        return None  # a button, a text, or a field of program members
    length = item.get("maxLength")
    if not isinstance(length, int) or length <= 0 or field.type in _TEXT_AREA:
        return field
    return Field(field.name, field.type, min(length, field.length or STRING_CHARACTERS), field.read_only)


class FieldCache:
    """The fields that this instance of the app knows, shared by all destinations of a connection."""

    def __init__(self) -> None:
        self._catalogue = CachedValue[Catalogue](_A_DAY, _too_late)
        self._forms: dict[int, CachedValue[dict[str, FormField]]] = {}

    def fields(self, client: Client) -> Catalogue:
        return self._catalogue.get(lambda: catalogue(client))

    def form(self, client: Client, form_id: int) -> dict[str, FormField]:
        kept = self._forms.setdefault(form_id, CachedValue(_A_DAY, _too_late))
        return kept.get(lambda: form_fields(client, form_id, self.fields(client)))

    def forget_form(self, form_id: int) -> None:
        self._forms.pop(form_id, None)

    def forget(self) -> None:
        self._catalogue.forget()
        self._forms.clear()


class AssumedFields(FieldCache):
    """Assumes Marketo's default fields, also on the form, for a preview. Sends no request."""

    def __init__(self, names: Iterable[str], text_areas: Iterable[str]) -> None:
        super().__init__()
        self._fields = {name: Field(name, "string") for name in names} | {
            name: Field(name, "text") for name in text_areas
        }

    def fields(self, client: Client) -> Catalogue:  # noqa: ARG002
        return Catalogue(self._fields, {})

    def form(self, client: Client, form_id: int) -> dict[str, FormField]:  # noqa: ARG002
        return {name: FormField(field, required=False) for name, field in self._fields.items()}


def _too_late() -> NoAnswer:
    return NoAnswer(Failure.TIMEOUT)
