"""Requests to an instance's REST API, within the instance's rate limit.

Source: Adobe Marketo Engage Developer Guide, "REST API", "Leads", "Lead Database" (section "Long URIs"), "List Membership".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from leads.destinations.http import Answer, HttpClient
from leads.destinations.rate_limiter import Slot
from leads.destinations.rest import (
    FORM,
    ApiRequest,
    PreviewingClient,
    RestClient,
    json_object,
    json_objects,
    json_request,
)
from leads.destinations.tokens import TokenSource
from leads.destinations.vendor_errors import UNREADABLE, VendorError
from leads.destinations.vendors.marketo.errors import problem_of, record_problem

SYNC_SECONDS: Final = 95.0
"""The time-out for reading an answer. Marketo ends a write after 90 seconds."""
DESCRIPTION_BYTES: Final = 8 * 1024 * 1024
"""The limit for a list of fields. An instance can have thousands of fields, with some hundred bytes each."""
STORED: Final = frozenset({"created", "updated", "added", "memberof"})

NEW_PERSON: Final = 0
"""The placeholder for the person's ID in a preview."""

_NOTES: Final = {
    "_method=GET": "Looks for the customer's person. The next request is sent if no person is found.",
    "submitForm": "Assumes that the form has every field of the mapping. The app leaves out fields that are not on the form.",
    "/lists/": f"The new person's ID is written as {NEW_PERSON} here.",
}
"""Part of a request's path → the explanation of the request."""
_LEADS: Final = "/rest/v1/leads.json"


class Client(RestClient):
    """The client of an instance."""

    read_seconds = SYNC_SECONDS

    def raise_refusal(self, answer: Answer) -> None:
        if problem := problem_of(answer):
            raise VendorError(problem)

    def get(self, path: str) -> list[dict[str, Any]]:
        """The result at a path without personal data."""
        return self.request(ApiRequest("GET", path), _results, DESCRIPTION_BYTES)

    def persons(self, by: str, value: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """The persons with this value. The body holds the filter, because URLs are logged."""
        form = {"filterType": by, "filterValues": value, "fields": ",".join(fields)}
        search = ApiRequest("POST", f"{_LEADS}?_method=GET", urlencode(form).encode(), {"Content-Type": FORM})
        return self.request(search, _results)

    def sync(self, action: str, lookup_field: str, person: Mapping[str, Any], partition: str | None = None) -> str:
        """Create or update one person. Returns its ID. Raises `VendorError` also for a record that Marketo skips."""
        body: dict[str, Any] = {"action": action, "lookupField": lookup_field, "input": [person]}
        if partition is not None and action != "updateOnly":
            body["partitionName"] = partition
        return self._write(_LEADS, body)

    def may_write(self) -> None:
        """Send an empty write. A missing permission raises `VendorError` with code 603."""
        self._post(_LEADS, {"action": "updateOnly", "input": []})

    def submit(self, form_id: int, program_id: int | None, fields: Mapping[str, Any]) -> str:
        """Fill out a form for one person. Returns the person's ID."""
        body: dict[str, Any] = {"formId": form_id, "input": [{"leadFormFields": fields}]}
        if program_id is not None:
            body["programId"] = program_id
        return self._write("/rest/v1/leads/submitForm.json", body)

    def add_to_list(self, list_id: str, person_id: str) -> None:
        """Make a person a member of a static list. A present member stays one."""
        # To the content type of JSON without a body, Marketo answers 400 (github.com/Marketo/REST-Sample-Code, issue 5).
        _stored(self._post(f"/rest/v1/lists/{list_id}/leads.json", {"input": [{"id": int(person_id)}]}))

    def _write(self, path: str, body: Mapping[str, Any]) -> str:
        record = _stored(self._post(path, body))
        if not isinstance(record.get("id"), int):
            raise VendorError(UNREADABLE)
        return str(record["id"])

    def _post(self, path: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.request(json_request("POST", path, body, content_type="application/json"), _results)


class LimitedClient(Client):
    """A client that keeps the instance's rate limit. Requests raise `RateLimited` if no call is allowed in time."""

    def __init__(self, base_url: str, http: HttpClient, tokens: TokenSource, slot: Slot) -> None:
        super().__init__(base_url, http, tokens)
        self._slot = slot

    def _exchange(self, request: ApiRequest, token: str, at_most: int) -> Answer:
        # A refusal is raised outside the slot's call, because it is an answer and the call's end is known.
        return self._slot.call(lambda: super(LimitedClient, self)._exchange(request, token, at_most))


def _results(answer: Answer) -> list[dict[str, Any]]:
    return json_objects(json_object(answer).get("result"))


def _stored(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of a write. Raises `VendorError` if Marketo skipped the record, also in a successful answer."""
    if len(records) != 1:
        raise VendorError(UNREADABLE)
    if problem := record_problem(records[0]):
        raise VendorError(problem)
    if records[0].get("status") not in STORED:
        raise VendorError(UNREADABLE)
    return records[0]


class PreviewClient(PreviewingClient, Client):
    """Answers as an instance does that has no person for the customer."""

    def note(self, request: ApiRequest) -> str:
        return next((note for part, note in _NOTES.items() if part in request.path), "")

    def answer(self, request: ApiRequest) -> Answer:
        is_search = "_method=GET" in request.path
        made = [] if is_search else [{"id": NEW_PERSON, "status": "created"}]
        return Answer(200, {}, json.dumps({"success": True, "result": made}).encode())
