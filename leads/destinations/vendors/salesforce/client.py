"""Requests to an organisation: queries, single records, and transactions that are stored completely or not at all.

Sources: "REST API Developer Guide", "Send Multiple Requests Using Composite", "Composite Request Body", "sObject Basic
Information", "sObject Describe", "Duplicate Rule Header", "Assignment Rule Header", "Conditional Request Headers"; "SOQL and SOSL
Reference", "Quoted String Escape Sequences"; "User Interface API Developer Guide", "Create or Clone a Record", "Prevent Record
Duplication with Idempotent Record Writes".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from leads.destinations.http import Answer, HttpClient
from leads.destinations.rest import ApiRequest, PreviewingClient, RestClient, as_object, json_object, json_request
from leads.destinations.vendor_errors import UNREADABLE
from leads.destinations.vendors.salesforce.errors import ROLLED_BACK, Refusal, refusal_of

API: Final = "/services/data/v64.0/"
"""The version of summer 2025. It has idempotent writes, and every organisation has it."""

DESCRIPTION_BYTES: Final = 16 * 1024 * 1024
"""The limit for the description of an object, which may have hundreds of fields and picklists."""

ROWS: Final = "rows"
"""The name of the part that is a query."""

NEW_RECORD: Final = "00Q000000000000AAA"
"""The placeholder for the record's ID in a preview."""

_ESCAPED: Final = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def quoted(text: str) -> str:
    """The text as a SOQL string literal."""
    return f"'{text.translate(_ESCAPED)}'"


def equals(name: str, value: str) -> str:
    """The condition of a query that a field has this value."""
    return f"{name} = {quoted(value)}"


def select(table: str, columns: Iterable[str], *clauses: str) -> str:
    """A query. `clauses` are its conditions, joined by AND."""
    query = " ".join(("SELECT", ", ".join(columns), "FROM", table))
    return f"{query} WHERE {' AND '.join(clauses)}" if clauses else query


@dataclass(frozen=True, slots=True)
class Write:
    """One part of a transaction: its name, method, path below `API`, content, and headers."""

    name: str
    method: str
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class Client(RestClient):
    """The client of an organisation. A refused request raises `Refusal`."""

    def raise_refusal(self, answer: Answer) -> None:
        if not 200 <= answer.status < 300:
            raise refusal_of(answer.status, answer.json(), answer.retry_after)

    def describe(self, name: str) -> dict[str, Any]:
        """An object's rights and fields that the app's user may see."""
        return self.request(ApiRequest("GET", f"{API}sobjects/{name}/describe"), json_object, DESCRIPTION_BYTES)

    def query(self, soql: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """The rows of a query. The body of a batch holds the query, because URLs are logged."""
        resource = "queryAll" if deleted else "query"
        (found,) = self._composite([_part(ROWS, "GET", f"{resource}?q={quote(soql, safe='')}")])
        rows = as_object(found).get("records")
        if not isinstance(rows, list):
            raise Refusal(UNREADABLE)
        return rows

    def write(self, writes: Sequence[Write]) -> None:
        """Store all writes or none."""
        parts = ((write, _inert_fields(write.body)) for write in writes)
        self._composite([_part(write.name, write.method, write.path, body, write.headers) for write, body in parts])

    def create(self, name: str, fields: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        """Create a record. Returns its ID. Without a unique field, a second call creates a second record."""
        return _id(self.send_json("POST", f"{API}sobjects/{name}", fields, headers).get("id"))

    def create_once(
        self, name: str, fields: Mapping[str, Any], options: Mapping[str, Any], key: str
    ) -> tuple[str, dict[str, Any]]:
        """Create a record under an idempotency key, a UUID of version 4. Returns its ID and fields.

        For 30 days, another call with the key returns the same record, or raises the same refusal.
        """
        body = {"apiName": name, "fields": fields, **options}
        try:
            answer = self.send_json("POST", f"{API}ui-api/records", body, {"Idempotency-Key": key})
        except Refusal as refusal:
            refusal.of_key = refusal.is_of_the_write
            raise
        stored = as_object(answer.get("fields"))
        return _id(answer.get("id")), {name: as_object(cell).get("value") for name, cell in stored.items()}

    def _composite(self, parts: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The bodies of the parts' answers."""
        body = {"allOrNone": True, "compositeRequest": parts}
        return self.request(json_request("POST", f"{API}composite", body), lambda answer: _bodies(answer, len(parts)))


def inert(text: str) -> str:
    """The text with an invisible space in each `@{`, which would refer to another part of the transaction: `@{task1.id}`."""
    return text.replace("@{", "@\u200b{")


def _inert_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: inert(value) if isinstance(value, str) else value for name, value in fields.items()}


def _part(
    name: str,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    part: dict[str, Any] = {"method": method, "url": API + path, "referenceId": name}
    if body is not None:
        part["body"] = body
    if headers:
        part["httpHeaders"] = headers
    return part


def _bodies(answer: Answer, expected: int) -> list[Any]:
    """The bodies of a composite answer's parts. Raises the `Refusal` of the part that failed, so that nothing was stored."""
    parts = json_object(answer).get("compositeResponse")
    if not isinstance(parts, list) or len(parts) != expected:
        raise Refusal(UNREADABLE)
    refused = [part for part in parts if not isinstance(part, dict) or not 200 <= _status(part) < 300]
    if refused:
        raise _reason([part for part in refused if isinstance(part, dict)])
    return [part.get("body") for part in parts]


def _reason(refused: Sequence[Mapping[str, Any]]) -> Refusal:
    found = [refusal_of(_status(part), part.get("body"), part=str(part.get("referenceId", ""))) for part in refused]
    return next((one for one in found if one.problem.code != ROLLED_BACK), Refusal(UNREADABLE))


def _status(part: Mapping[str, Any]) -> int:
    status = part.get("httpStatusCode")
    return status if isinstance(status, int) else 0


def _id(value: Any) -> str:
    if not isinstance(value, str) or not value.isalnum():
        raise Refusal(UNREADABLE)
    return value


class PreviewClient(PreviewingClient, Client):
    """Answers as Salesforce does if all requests succeed."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        super().__init__(base_url, http)
        self._made: list[dict[str, Any]] = []

    def note(self, request: ApiRequest) -> str:
        if not request.path.endswith("/composite"):
            return f"The new record's id is written as {NEW_RECORD} here."
        return "" if self.requests else "Looks for an existing record. The next request is sent if no record is found."

    def answer(self, request: ApiRequest) -> Answer:
        sent = json.loads(request.body)
        if (parts := sent.get("compositeRequest")) is not None:
            done = {"httpStatusCode": 200, "body": {"records": self._made}}
            return Answer(200, {}, json.dumps({"compositeResponse": [done for _ in parts]}).encode())
        fields = sent.get("fields", sent)
        self._made = [{**fields, "Id": NEW_RECORD}]
        shown = {name: {"value": value} for name, value in fields.items()}
        return Answer(201, {}, json.dumps({"id": NEW_RECORD, "fields": shown}).encode())
