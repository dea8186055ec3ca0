"""What would be sent to an instance that knows nothing of the customer yet: the requests are written down instead."""

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

from leads.destinations.base import MASK, PreviewedRequest
from leads.destinations.http import MAX_ANSWER_BYTES
from leads.destinations.vendors.marketo.client import Client, headers_of
from leads.destinations.vendors.marketo.fields import Catalogue, Field, FormField
from leads.destinations.vendors.marketo.sending import Known

NEW_PERSON: Final = 0
"""Stands for the ID that Marketo gives the person."""


_NOTES: Final = {
    "_method=GET": "Looks for the customer's person. What follows is sent if there is none.",
    "submitForm": "As if the form had every field of the mapping: what is not on it is left out.",
    "/lists/": f"The new person's ID is written as {NEW_PERSON} here.",
}
"""What to say of a request, by a part of its path."""


class PreviewClient(Client):
    """A client that sends nothing. It answers as Marketo does where all goes well."""

    def __init__(self, base_url: str) -> None:
        self.requests: list[PreviewedRequest] = []
        self._url = base_url

    def _results(
        self,
        method: str,
        path: str,
        content_type: str = "",
        body: str = "",
        at_most: int = MAX_ANSWER_BYTES,  # noqa: ARG002 - as it is asked for
    ) -> list[dict[str, Any]]:
        is_search = "_method=GET" in path
        shown = dict(parse_qsl(body)) if is_search else json.loads(body or "null")
        note = next((note for part, note in _NOTES.items() if part in path), "")
        headers = headers_of(content_type, MASK)
        self.requests.append(PreviewedRequest(method, self._url + path, headers, shown, note=note))
        return [] if is_search else [{"id": NEW_PERSON, "status": "created"}]


class AssumedFields(Known):
    """The fields as Marketo ships them, on the form as well: nobody is asked."""

    def __init__(self, names: Iterable[str], text_areas: Iterable[str]) -> None:
        super().__init__()
        self._fields = {name: Field(name, "string") for name in names} | {
            name: Field(name, "text") for name in text_areas
        }

    def fields(self, client: Client) -> Catalogue:  # noqa: ARG002
        return Catalogue(self._fields, {})

    def form(self, client: Client, form_id: int) -> dict[str, FormField]:  # noqa: ARG002
        return {name: FormField(field, required=False) for name, field in self._fields.items()}
