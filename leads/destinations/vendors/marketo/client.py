"""Requests to an instance's REST API, within the instance's rate limit.

Source: Adobe Marketo Engage Developer Guide, "REST API", "Leads", "Lead Database" (section "Long URIs"), "List Membership".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from leads.destinations.http import MAX_ANSWER_BYTES, Answer, HttpClient
from leads.destinations.limits import Slot
from leads.destinations.tokens import TokenSource
from leads.destinations.vendor_errors import UNREADABLE, VendorError, with_fresh_token
from leads.destinations.vendors.marketo.errors import problem_of, record_problem

SYNC_SECONDS: Final = 95.0
"""Marketo ends a write of its own after 90 seconds."""
DESCRIPTION_BYTES: Final = 8 * 1024 * 1024
"""An instance can have thousands of fields, and takes some hundred bytes to describe each."""
STORED: Final = frozenset({"created", "updated", "added", "memberof"})

_LEADS: Final = "/rest/v1/leads.json"


class Client:
    """An instance, with a token that is renewed once where it is refused.

    Raises `VendorError`, `NoAnswer`, `NoToken`; `RateLimited` where a call's turn does not come in time.
    """

    def __init__(self, base_url: str, http: HttpClient, tokens: TokenSource, slot: Slot) -> None:
        self._base_url = base_url
        self._http = http
        self._tokens = tokens
        self._slot = slot

    def get(self, path: str) -> list[dict[str, Any]]:
        """What a path without anything personal names."""
        return self._results("GET", path, at_most=DESCRIPTION_BYTES)

    def persons(self, by: str, value: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """The persons with this value. The filter travels in a body: an address is written into too many logs."""
        form = {"filterType": by, "filterValues": value, "fields": ",".join(fields)}
        return self._results("POST", f"{_LEADS}?_method=GET", "application/x-www-form-urlencoded", urlencode(form))

    def sync(self, action: str, lookup_field: str, person: Mapping[str, Any], partition: str | None = None) -> str:
        """Create or update one person. Returns its ID; a record that Marketo skips is `VendorError`."""
        body: dict[str, Any] = {"action": action, "lookupField": lookup_field, "input": [person]}
        if partition is not None and action != "updateOnly":
            body["partitionName"] = partition
        return self._write(_LEADS, body)

    def may_write(self) -> None:
        """Ask to write nobody: what is refused for the lack of a right is `VendorError` with code 603."""
        self._results("POST", _LEADS, "application/json", json.dumps({"action": "updateOnly", "input": []}))

    def submit(self, form_id: int, program_id: int | None, fields: Mapping[str, Any]) -> str:
        """Fill out a form for one person. Returns the person's ID."""
        body: dict[str, Any] = {"formId": form_id, "input": [{"leadFormFields": fields}]}
        if program_id is not None:
            body["programId"] = program_id
        return self._write("/rest/v1/leads/submitForm.json", body)

    def add_to_list(self, list_id: str, person_id: str) -> None:
        """Make a person a member of a static list, if it is none yet."""
        # With the content type of JSON and no body, Marketo answers 400 (github.com/Marketo/REST-Sample-Code, issue 5).
        body = json.dumps({"input": [{"id": int(person_id)}]})
        _stored(self._results("POST", f"/rest/v1/lists/{list_id}/leads.json", "application/json", body))

    def _write(self, path: str, body: Mapping[str, Any]) -> str:
        record = _stored(self._results("POST", path, "application/json", json.dumps(body)))
        if not isinstance(record.get("id"), int):
            raise VendorError(UNREADABLE)
        return str(record["id"])

    def _results(
        self, method: str, path: str, content_type: str = "", body: str = "", at_most: int = MAX_ANSWER_BYTES
    ) -> list[dict[str, Any]]:
        answer = with_fresh_token(
            self._tokens,
            lambda token: self._send(method, path, headers_of(content_type, token.value), body, at_most),
        )
        results = answer.json().get("result")
        return [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: str, at_most: int) -> Answer:
        answer = self._slot.call(
            lambda: self._http.request(
                method,
                self._base_url + path,
                headers=headers,
                body=body,
                read_seconds=SYNC_SECONDS,
                at_most=at_most,
            )
        )
        if problem := problem_of(answer):
            raise VendorError(problem)
        return answer


def headers_of(content_type: str, token: str) -> dict[str, str]:
    """The headers of every request; `content_type` is that of its body, "" if it has none."""
    own = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
    return {**own, **({"Content-Type": content_type} if content_type else {})}


def _stored(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The one record of a write. Skipped is not stored, whatever the answer as a whole says."""
    if len(records) != 1:
        raise VendorError(UNREADABLE)
    if problem := record_problem(records[0]):
        raise VendorError(problem)
    if records[0].get("status") not in STORED:
        raise VendorError(UNREADABLE)
    return records[0]
