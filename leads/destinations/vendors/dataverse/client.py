"""Requests to an environment's Web API: single requests, change sets that are stored completely or not at all, and queries.

Sources: Microsoft Learn, "Compose HTTP requests and handle errors", "Execute batch operations using the Web API", "Perform
conditional operations using the Web API".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from leads.destinations.http import Answer
from leads.destinations.rest import ApiRequest, PreviewingClient, RestClient, json_object, json_request
from leads.destinations.vendor_errors import UNREADABLE, Problem, VendorError
from leads.destinations.vendors.dataverse.errors import problem_of

API: Final = "/api/data/v9.2/"
CREATE_ONLY: Final[Mapping[str, str]] = {"If-None-Match": "*"}
_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "OData-Version": "4.0",
    "OData-MaxVersion": "4.0",
}

_NO_ROWS: Final = b'Content-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{"value": []}'


@dataclass(frozen=True, slots=True)
class Write:
    """One PATCH: the entity set, the record's ID, the content, and headers with the condition."""

    entity_set: str
    id: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=lambda: CREATE_ONLY)

    @property
    def path(self) -> str:
        return f"{API}{self.entity_set}({self.id})"


def _query(entity_set: str, options: Mapping[str, str]) -> ApiRequest:
    """A query for rows. The body of a batch holds the query options, because URLs are logged."""
    encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    part = ApiRequest("GET", f"{API}{entity_set}?{encoded}", headers={"Accept": "application/json"})
    return _batch("batch", [_part(part)], (part,))


def _change_set(writes: Sequence[Write]) -> ApiRequest:
    """A request that stores all writes or none."""
    if len(writes) == 1:
        return json_request("PATCH", writes[0].path, writes[0].body, writes[0].headers)
    parts = tuple(
        json_request("PATCH", write.path, write.body, write.headers, "application/json; type=entry") for write in writes
    )
    change_set = _batch("changeset", [_part(part, str(number)) for number, part in enumerate(parts, 1)], parts)
    return _batch("batch", [_headers(change_set.headers) + change_set.body], parts)


def _batch(kind: str, pieces: Sequence[bytes], parts: tuple[ApiRequest, ...]) -> ApiRequest:
    boundary = f"{kind}_{uuid4().hex}"
    headers = {"Content-Type": f'multipart/mixed; boundary="{boundary}"'}
    return ApiRequest("POST", f"{API}$batch", multipart(boundary, pieces), headers, parts)


class Client(RestClient):
    """The client of an environment."""

    headers = _HEADERS

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path without personal data."""
        return self.get_json(API + path)

    def rows(self, path: str, member: str = "value") -> list[dict[str, Any]]:
        """The rows at a path without personal data."""
        return _rows(self.get(path), member)

    def query(self, entity_set: str, options: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rows of a query with these query options."""
        answers = self.request(_query(entity_set, options), self._parts)
        return _rows(json_object(answers[0] if answers else Answer(200, {}, b"")), "value")

    def write(self, writes: Sequence[Write]) -> None:
        """Store all writes or none."""
        answers = self.request(_change_set(writes), self._parts)
        if len(writes) > 1 and len(answers) != len(writes):
            raise VendorError(UNREADABLE)

    def raise_refusal(self, answer: Answer) -> None:
        if not 200 <= answer.status < 300:
            raise VendorError(_problem(answer))

    def _parts(self, answer: Answer) -> list[Answer]:
        parts = _parts_of(answer)
        for part in parts:
            self.raise_refusal(part)
        return parts


def _problem(answer: Answer) -> Problem:
    """The problem of an answer. For a batch, the problem of its only part."""
    parts = _parts_of(answer)
    problem = problem_of(parts[0] if parts else answer)
    return replace(problem, retry_after=problem.retry_after or answer.retry_after)


def _rows(body: Mapping[str, Any], member: str) -> list[dict[str, Any]]:
    rows = body.get(member)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise VendorError(UNREADABLE)
    return rows


def _headers(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"


def _part(call: ApiRequest, content_id: str = "") -> bytes:
    outer = {"Content-Type": "application/http", "Content-Transfer-Encoding": "binary"}
    if content_id:
        outer["Content-ID"] = content_id
    inner = call.headers if not call.body else {**call.headers, "Content-Length": str(len(call.body))}
    return _headers(outer) + f"{call.method} {call.path} HTTP/1.1\r\n".encode() + _headers(inner) + call.body


def multipart(boundary: str, parts: Sequence[bytes]) -> bytes:
    """The multipart body with these parts."""
    pieces = [f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


def _parts_of(answer: Answer) -> list[Answer]:
    """The answers inside a batch's answer, with change sets flattened. Empty for any other answer."""
    content_type = answer.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/"):
        return []
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + answer.body)
    parts = [part for part in message.walk() if part.get_content_type() == "application/http"]
    return [found for part in parts if (found := _inner_answer(part)) is not None]


def _inner_answer(part: Message) -> Answer | None:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return None
    head, _, body = payload.replace(b"\r\n", b"\n").partition(b"\n\n")
    status_line, *lines = head.decode("latin-1").splitlines()
    words = status_line.split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(words[1]), headers, body)


class PreviewClient(PreviewingClient, Client):
    """Answers as an environment does that has no record of the customer."""

    def note(self, request: ApiRequest) -> str:
        if any(part.method == "GET" for part in request.parts):
            return "Looks for an existing record. The next request is sent if no record is found."
        return ""

    def answer(self, request: ApiRequest) -> Answer:
        headers = {"content-type": "multipart/mixed; boundary=preview"}
        return Answer(200, headers, multipart("preview", [_NO_ROWS for _ in request.parts]))
