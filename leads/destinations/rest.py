"""The REST client of all vendors: sends the credential's token, decodes answers, and raises refusals.

A vendor's client builds the requests and decides which answers are refusals.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import parse_qsl

from leads.destinations.base import MASK, PreviewedRequest
from leads.destinations.http import MAX_ANSWER_BYTES, READ_SECONDS, Answer, HttpClient
from leads.destinations.tokens import Token, TokenSource
from leads.destinations.vendor_errors import UNREADABLE, ErrorKind, VendorError

T = TypeVar("T")

FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to a path of the vendor's API. `parts` are the requests of a batch, which the body holds too."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple["ApiRequest", ...] = ()


def json_request(
    method: str,
    path: str,
    body: Any,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json; charset=utf-8",
) -> ApiRequest:
    """A request with a JSON body."""
    return ApiRequest(method, path, json.dumps(body).encode(), {"Content-Type": content_type, **(headers or {})})


def json_object(answer: Answer) -> dict[str, Any]:
    """The JSON object in an answer. Raises `VendorError` if the answer is not a JSON object."""
    body = answer.json()
    if not isinstance(body, dict):
        raise VendorError(UNREADABLE)
    return body


def as_object(member: Any) -> dict[str, Any]:
    """The value itself if it is a JSON object, else an empty object."""
    return member if isinstance(member, dict) else {}


def json_objects(listed: Any) -> list[dict[str, Any]]:
    """The JSON objects in a list. Empty if the value is not a list."""
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def json_texts(listed: Any) -> list[str]:
    """The texts in a list. Empty if the value is not a list."""
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []


class RestClient(ABC):
    """Client of one API address. Requests raise `VendorError`, `NoAnswer`, `NoToken`, `SettingsError`."""

    headers: ClassVar[Mapping[str, str]] = {"Accept": "application/json"}
    """Headers of every request, besides the token."""

    read_seconds: ClassVar[float] = READ_SECONDS

    def __init__(self, base_url: str, http: HttpClient, tokens: TokenSource) -> None:
        self._base_url = base_url
        self._http = http
        self._tokens = tokens

    @abstractmethod
    def raise_refusal(self, answer: Answer) -> None:
        """Raises `VendorError` if the vendor refuses the request."""

    def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at a path."""
        return self.request(ApiRequest("GET", path), json_object)

    def send_json(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object in the answer to a request with a JSON body."""
        return self.request(json_request(method, path, body, headers), json_object)

    def request(self, request: ApiRequest, read: Callable[[Answer], T], at_most: int = MAX_ANSWER_BYTES) -> T:
        """The result of `read` for the answer. An answer of more than `at_most` bytes raises `NoAnswer`.

        If the vendor or `read` refuses the token, the request is sent a second time, with a new token.
        """

        def send(token: Token) -> T:
            answer = self._exchange(request, token.value, at_most)
            self.raise_refusal(answer)
            return read(answer)

        token = self._tokens.get()
        try:
            return send(token)
        except VendorError as refused:
            if refused.problem.kind is not ErrorKind.SIGN_IN_AGAIN:
                raise
        return send(self._tokens.renewed(token))

    def _exchange(self, request: ApiRequest, token: str, at_most: int) -> Answer:
        return self._http.request(
            request.method,
            self._base_url + request.path,
            headers=self._headers(request, token),
            body=request.body or None,
            read_seconds=self.read_seconds,
            at_most=at_most,
        )

    def _headers(self, request: ApiRequest, token: str) -> dict[str, str]:
        return {**self.headers, "Authorization": f"Bearer {token}", **request.headers}


class PreviewingClient(RestClient):
    """Base of the clients for previews. A preview's client records requests and sends none."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        super().__init__(base_url, http, TokenSource(lambda: Token(MASK, datetime.max.replace(tzinfo=UTC))))
        self.requests: list[PreviewedRequest] = []

    @abstractmethod
    def note(self, request: ApiRequest) -> str:
        """The explanation of a request, "" if the request needs none."""

    @abstractmethod
    def answer(self, request: ApiRequest) -> Answer:
        """The vendor's answer if the request succeeds and the vendor has no record of the customer."""

    def _exchange(self, request: ApiRequest, token: str, at_most: int) -> Answer:  # noqa: ARG002 - as it is asked for
        shown = PreviewedRequest(
            request.method,
            self._base_url + request.path,
            self._headers(request, token),
            None if request.parts else _decoded(request),
            tuple(PreviewedRequest(part.method, part.path, part.headers, _decoded(part)) for part in request.parts),
            self.note(request),
        )
        self.requests.append(shown)
        return self.answer(request)


def _decoded(request: ApiRequest) -> Any:
    if request.headers.get("Content-Type") == FORM:
        return dict(parse_qsl(request.body.decode()))
    return json.loads(request.body) if request.body else None
