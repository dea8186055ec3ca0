"""Requests to an environment's Web API: single ones, change sets that are stored whole or not at all, and queries.

Sources: Microsoft Learn, "Compose HTTP requests and handle errors", "Execute batch operations using the Web API", "Perform
conditional operations using the Web API".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

from leads.destinations.base import MASK, PreviewedRequest
from leads.destinations.http import Answer, HttpClient
from leads.destinations.tokens import TokenSource
from leads.destinations.vendor_errors import UNREADABLE, Problem, VendorError, with_fresh_token
from leads.destinations.vendors.dataverse.errors import problem_of

API: Final = "/api/data/v9.2/"
CREATE_ONLY: Final[Mapping[str, str]] = {"If-None-Match": "*"}
_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "OData-Version": "4.0",
    "OData-MaxVersion": "4.0",
}
_JSON: Final = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Write:
    """One PATCH: the entity set, the record's id, what to store, and under which condition."""

    entity_set: str
    id: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=lambda: CREATE_ONLY)

    @property
    def path(self) -> str:
        return f"{API}{self.entity_set}({self.id})"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the Web API. `parts` are what a batch holds: its body says the same."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    parts: tuple["Call", ...] = ()


def query_call(entity_set: str, options: Mapping[str, str]) -> Call:
    """Asks for the rows that query options choose. They travel in a body: an address is written into too many logs."""
    encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    part = Call("GET", f"{API}{entity_set}?{encoded}", {"Accept": "application/json"}, b"")
    return _batch("batch", [_part(part)], (part,))


def write_call(writes: Sequence[Write]) -> Call:
    """Stores all or nothing."""
    if len(writes) == 1:
        return _patch(writes[0], _JSON)
    parts = tuple(_patch(write, "application/json; type=entry") for write in writes)
    change_set = _batch("changeset", [_part(part, str(number)) for number, part in enumerate(parts, 1)], parts)
    return _batch("batch", [_headers(change_set.headers) + change_set.body], parts)


def _patch(write: Write, content_type: str) -> Call:
    return Call("PATCH", write.path, {"Content-Type": content_type, **write.headers}, json.dumps(write.body).encode())


def _batch(kind: str, pieces: Sequence[bytes], parts: tuple[Call, ...]) -> Call:
    boundary = f"{kind}_{uuid4().hex}"
    headers = {"Content-Type": f'multipart/mixed; boundary="{boundary}"'}
    return Call("POST", f"{API}$batch", headers, _multipart(boundary, pieces), parts)


class Client:
    """An environment, with a token that is renewed once where it is refused. Raises `VendorError`, `NoAnswer`, `NoToken`."""

    def __init__(self, base_url: str, http: HttpClient, tokens: TokenSource) -> None:
        self._base_url = base_url
        self._http = http
        self._tokens = tokens

    def get(self, path: str) -> dict[str, Any]:
        """Read what a path without anything personal names."""
        return _decoded(self._request("GET", API + path))

    def rows(self, path: str, member: str = "value") -> list[dict[str, Any]]:
        """Read the rows that a path without anything personal names."""
        return _rows(self.get(path), member)

    def query(self, entity_set: str, options: Mapping[str, str]) -> list[dict[str, Any]]:
        """The rows that query options choose."""
        answers = self._answers(query_call(entity_set, options))
        return _rows(_decoded(answers[0] if answers else Answer(200, {}, b"")), "value")

    def write(self, writes: Sequence[Write]) -> None:
        """Store all or nothing."""
        call = write_call(writes)
        if not call.parts:
            self._request(call.method, call.path, call.headers, call.body)
        elif len(self._answers(call)) != len(writes):
            raise VendorError(UNREADABLE)

    def previewed(self, call: Call, note: str = "") -> PreviewedRequest:
        """The request as a person may read it."""
        return PreviewedRequest(
            call.method,
            self._base_url + call.path,
            {**_HEADERS, "Authorization": f"Bearer {MASK}", **call.headers},
            None if call.parts else json.loads(call.body),
            tuple(_previewed_part(part) for part in call.parts),
            note,
        )

    def _answers(self, batch: Call) -> list[Answer]:
        answers = _parts_of(self._request(batch.method, batch.path, batch.headers, batch.body))
        for part in answers:
            _raise_if_refused(part)
        return answers

    def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        return with_fresh_token(self._tokens, lambda token: self._send(method, path, token.value, headers, body))

    def _send(
        self, method: str, path: str, token: str, headers: Mapping[str, str] | None, body: bytes | None
    ) -> Answer:
        answer = self._http.request(
            method,
            self._base_url + path,
            headers={**_HEADERS, "Authorization": f"Bearer {token}", **(headers or {})},
            body=body,
        )
        _raise_if_refused(answer)
        return answer


def _raise_if_refused(answer: Answer) -> None:
    if not 200 <= answer.status < 300:
        raise VendorError(_problem(answer))


def _problem(answer: Answer) -> Problem:
    """The problem of an answer; that of a batch stands in its one part."""
    parts = _parts_of(answer)
    problem = problem_of(parts[0] if parts else answer)
    return replace(problem, retry_after=problem.retry_after or answer.retry_after)


def _decoded(answer: Answer) -> dict[str, Any]:
    body = answer.json()
    if not isinstance(body, dict):
        raise VendorError(UNREADABLE)
    return body


def _rows(body: Mapping[str, Any], member: str) -> list[dict[str, Any]]:
    rows = body.get(member)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise VendorError(UNREADABLE)
    return rows


def _headers(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"


def _part(call: Call, content_id: str = "") -> bytes:
    outer = {"Content-Type": "application/http", "Content-Transfer-Encoding": "binary"}
    if content_id:
        outer["Content-ID"] = content_id
    inner = call.headers if not call.body else {**call.headers, "Content-Length": str(len(call.body))}
    return _headers(outer) + f"{call.method} {call.path} HTTP/1.1\r\n".encode() + _headers(inner) + call.body


def _previewed_part(call: Call) -> PreviewedRequest:
    return PreviewedRequest(call.method, call.path, call.headers, json.loads(call.body) if call.body else None)


def _multipart(boundary: str, parts: Sequence[bytes]) -> bytes:
    pieces = [f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


def _parts_of(answer: Answer) -> list[Answer]:
    """The answers inside a batch's answer, change sets flattened; none if it is no such answer."""
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
