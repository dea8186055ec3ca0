"""What would be sent to an organisation that knows nothing of the customer yet."""

import json
from typing import Any, Final

from leads.destinations.http import Answer, HttpClient
from leads.destinations.rest import ApiRequest, PreviewingClient
from leads.destinations.vendors.salesforce.client import Client

NEW_RECORD: Final = "00Q000000000000AAA"
"""Stands for the id that Salesforce gives the record."""


class PreviewClient(PreviewingClient, Client):
    """Answers as Salesforce does where all goes well."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        super().__init__(base_url, http)
        self._made: list[dict[str, Any]] = []

    def note(self, request: ApiRequest) -> str:
        if not request.path.endswith("/composite"):
            return f"The new record's id is written as {NEW_RECORD} here."
        return "" if self.requests else "Looks for a record of the customer's. What follows is sent if there is none."

    def answer(self, request: ApiRequest) -> Answer:
        sent = json.loads(request.body)
        if (parts := sent.get("compositeRequest")) is not None:
            done = {"httpStatusCode": 200, "body": {"records": self._made}}
            return Answer(200, {}, json.dumps({"compositeResponse": [done for _ in parts]}).encode())
        fields = sent.get("fields", sent)
        self._made = [{**fields, "Id": NEW_RECORD}]
        shown = {name: {"value": value} for name, value in fields.items()}
        return Answer(201, {}, json.dumps({"id": NEW_RECORD, "fields": shown}).encode())
