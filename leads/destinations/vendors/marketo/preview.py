"""What would be sent to an instance that knows nothing of the customer yet."""

import json
from collections.abc import Iterable
from typing import Final

from leads.destinations.http import Answer
from leads.destinations.rest import ApiRequest, PreviewingClient
from leads.destinations.vendors.marketo.client import Client
from leads.destinations.vendors.marketo.fields import Catalogue, Field, FormField, Known

NEW_PERSON: Final = 0
"""Stands for the ID that Marketo gives the person."""


_NOTES: Final = {
    "_method=GET": "Looks for the customer's person. The next request is sent if no person is found.",
    "submitForm": "As if the form had every field of the mapping: what is not on it is left out.",
    "/lists/": f"The new person's ID is written as {NEW_PERSON} here.",
}
"""What to say of a request, by a part of its path."""


class PreviewClient(PreviewingClient, Client):
    """Answers as Marketo does where all goes well."""

    def note(self, request: ApiRequest) -> str:
        return next((note for part, note in _NOTES.items() if part in request.path), "")

    def answer(self, request: ApiRequest) -> Answer:
        is_search = "_method=GET" in request.path
        made = [] if is_search else [{"id": NEW_PERSON, "status": "created"}]
        return Answer(200, {}, json.dumps({"success": True, "result": made}).encode())


class AssumedFields(Known):
    """The fields as Marketo ships them, also on the form; no request is sent."""

    def __init__(self, names: Iterable[str], text_areas: Iterable[str]) -> None:
        super().__init__()
        self._fields = {name: Field(name, "string") for name in names} | {
            name: Field(name, "text") for name in text_areas
        }

    def fields(self, client: Client) -> Catalogue:  # noqa: ARG002
        return Catalogue(self._fields, {})

    def form(self, client: Client, form_id: int) -> dict[str, FormField]:  # noqa: ARG002
        return {name: FormField(field, required=False) for name, field in self._fields.items()}
