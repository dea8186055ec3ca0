"""What would be sent to an organisation that knows nothing of the customer yet: the requests are written down instead."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from leads.destinations.base import MASK, PreviewedRequest
from leads.destinations.http import MAX_ANSWER_BYTES, Answer
from leads.destinations.vendors.salesforce.client import API, Client, headers_of

NEW_RECORD: Final = "00Q000000000000AAA"
"""Stands for the id that Salesforce gives the record."""


class PreviewClient(Client):
    """A client that sends nothing. It answers as Salesforce does where all goes well."""

    def __init__(self, base_url: str) -> None:
        self.requests: list[PreviewedRequest] = []
        self._url = base_url
        self._made: dict[str, Any] = {}

    def _composite(self, parts: Sequence[Mapping[str, Any]]) -> list[Any]:
        note = "" if self.requests else "Looks for a record of the customer's. What follows is sent if there is none."
        self._write_down("POST", "composite", {"allOrNone": True, "compositeRequest": parts}, note=note)
        return [{"records": [self._made] if self._made else []} for _ in parts]

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        at_most: int = MAX_ANSWER_BYTES,  # noqa: ARG002 - as it is asked for
    ) -> Answer:
        sent = json.loads(body or b"{}")
        self._write_down(method, path, sent, headers, note=f"The new record's id is written as {NEW_RECORD} here.")
        fields = sent.get("fields", sent)
        self._made = {**fields, "Id": NEW_RECORD}
        shown = {name: {"value": value} for name, value in fields.items()}
        return Answer(201, {}, json.dumps({"id": NEW_RECORD, "fields": shown}).encode())

    def _write_down(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None, *, note: str
    ) -> None:
        shown = headers_of(MASK, headers, has_body=True)
        self.requests.append(PreviewedRequest(method, self._url + API + path, shown, body, note=note))
