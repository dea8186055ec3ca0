"""A vendor's REST API: requests carry the credential's token, answers are decoded, and refusals are raised.

A vendor's client says what its requests hold and which answers are refusals. The rest is the same for all vendors.
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
    """A request below the vendor's address. `parts` are what a batch holds: its body says the same."""

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
    """The JSON object of an answer. Raises `VendorError` where it holds none."""
    body = answer.json()
    if not isinstance(body, dict):
        raise VendorError(UNREADABLE)
    return body


def as_object(member: Any) -> dict[str, Any]:
    """The object that a member of an answer is; an empty one where it is something else."""
    return member if isinstance(member, dict) else {}


def json_objects(listed: Any) -> list[dict[str, Any]]:
    """The objects of a list in an answer; none where it is no list."""
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


class RestClient(ABC):
    """One address of a vendor. Requests raise `VendorError`, `NoAnswer`, `NoToken`, `SettingsError`."""

    headers: ClassVar[Mapping[str, str]] = {"Accept": "application/json"}
    """What every request holds besides its token."""

    read_seconds: ClassVar[float] = READ_SECONDS

    def __init__(self, base_url: str, http: HttpClient, tokens: TokenSource) -> None:
        self._base_url = base_url
        self._http = http
        self._tokens = tokens

    @abstractmethod
    def raise_refusal(self, answer: Answer) -> None:
        """Raises `VendorError` if the vendor refuses the request."""

    def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at an address."""
        return self.request(ApiRequest("GET", path), json_object)

    def send_json(self, method: str, path: str, body: Any) -> dict[str, Any]:
        """The JSON object that answers a request with JSON."""
        return self.request(json_request(method, path, body), json_object)

    def request(self, request: ApiRequest, read: Callable[[Answer], T], at_most: int = MAX_ANSWER_BYTES) -> T:
        """The result of `read` for the answer, which is cut at the given number of bytes.

        If the vendor or `read` finds the token refused, the request is sent once more with a new token.
        """
        return self.request_with_token(lambda _: request, read, at_most)

    def request_with_token(
        self, build: Callable[[str], ApiRequest], read: Callable[[Answer], T], at_most: int = MAX_ANSWER_BYTES
    ) -> T:
        """The same for a request that holds its token in the body, too."""

        def send(token: Token) -> T:
            answer = self._exchange(build(token.value), token.value, at_most)
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
    """Base of the clients for previews: they record requests and send none."""

    def __init__(self, base_url: str, http: HttpClient) -> None:
        super().__init__(base_url, http, TokenSource(lambda: Token(MASK, datetime.max.replace(tzinfo=UTC))))
        self.requests: list[PreviewedRequest] = []

    @abstractmethod
    def note(self, request: ApiRequest) -> str:
        """What to say of a request, "" if it speaks for itself."""

    @abstractmethod
    def answer(self, request: ApiRequest) -> Answer:
        """What the vendor answers where it knows nothing of the customer and all goes well."""

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
