"""Carries out operations for the command line: on the storage directly, or over HTTP by the deployed app."""

import os
import re
from collections.abc import Callable
from functools import cached_property
from ipaddress import ip_address
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError

from leads.app import App, examined_app
from leads.cli.credentials import where_keys_are
from leads.cli.environment import KEY_VARIABLE, TOKEN_VARIABLE, OutOfReach
from leads.cli.profiles import NAME, Profile, read_profiles
from leads.operations.access import LEVEL_OF_KEY, SHELL, SIGNED_IN, base_of
from leads.operations.audit import carry_out
from leads.operations.openapi import KEY_HEADER
from leads.operations.operation import Operation, Parts, Request
from leads.operations.problems import PROBLEMS, Problem
from leads.operations.sign_in import REQUESTED_WITH, REQUESTED_WITH_HEADER
from leads.operations.table import BY_FUNCTION
from leads.operations.wire import read_answer, write_request
from leads.platform.settings import SettingsError, read_settings
from leads.platform.storage import CLI_TIMEOUTS

_STORAGE: Final = "LEADSSTORAGE"
CONNECT_SECONDS: Final = 10
ANSWER_SECONDS: Final = 150
"""Longer than any operation with a cold start before it."""
HURRIED_SECONDS: Final = 3
"""For completion, because a person waits after the Tab key."""
_HEADER_VALUE: Final = re.compile(r"[!-~]+")
_BASE: Final = re.compile(f"/api/({'|'.join((*LEVEL_OF_KEY, SIGNED_IN))})$")
"""The suffix of an address: the function of the key, or `signed-in` for a token without a key."""
_PROBLEMS: Final = {problem.status: problem for problem in PROBLEMS}

RequestT = TypeVar("RequestT", bound=Request)
AnswerT = TypeVar("AnswerT", bound=BaseModel | None)


class Transport(Protocol):
    """Carries out operations."""

    @property
    def target(self) -> str:
        """What the operations change, in words."""

    @property
    def is_at_hand(self) -> bool:
        """Whether an operation can run without asking a person or another program for credentials."""

    def ask(self, run: Callable[[*Parts, RequestT], AnswerT], request: RequestT) -> AnswerT:
        """The answer of the operation `run`. Raises the errors of `leads.operations.problems.FAILURES`, or `OutOfReach`."""


class StorageTransport:
    """Uses the storage account, with the person's Azure login or a connection string."""

    target = "the storage that LeadsStorage names"
    is_at_hand = True

    def __init__(self, *, hurried: bool = False) -> None:
        self._timeouts = {
            name: min(limit, HURRIED_SECONDS) if hurried else limit for name, limit in CLI_TIMEOUTS.items()
        }

    @cached_property
    def app(self) -> App:
        return App(read_settings(), self._timeouts)

    def ask(self, run: Callable[[*Parts, RequestT], AnswerT], request: RequestT) -> AnswerT:
        operation: Operation[RequestT, AnswerT] = BY_FUNCTION[run]
        return carry_out(operation, examined_app() if operation.examines else self.app, request, SHELL)


class HttpTransport:
    """Uses the management API of a deployed app, with a function's key, a token of Entra ID, or both."""

    def __init__(self, profile: Profile, *, hurried: bool = False) -> None:
        self._profile = profile
        self._timeouts = (HURRIED_SECONDS, HURRIED_SECONDS) if hurried else (CONNECT_SECONDS, ANSWER_SECONDS)
        self.url, named = read_address(profile.url)
        self._function = named or (SIGNED_IN if profile.has_only_a_token else "manage")
        self._session = requests.Session()
        self._session.auth = lambda request: request  # otherwise requests reads credentials from a .netrc file

    def ask(self, run: Callable[[*Parts, RequestT], AnswerT], request: RequestT) -> AnswerT:
        operation: Operation[RequestT, AnswerT] = BY_FUNCTION[run]
        sent = write_request(operation, request)
        answer = self._send(operation.method, sent.path, {**sent.headers, **self._credentials}, sent.body)
        if answer.status_code not in operation.statuses:
            raise _refused(answer, self.url, self._function)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        try:
            found: AnswerT = read_answer(operation, headers, answer.content)
        except ValidationError:
            raise OutOfReach(
                f"{self.url} answers in an unknown format; check the address, and that both have the same release"
            ) from None
        return found

    @property
    def target(self) -> str:
        return self.url

    @property
    def is_at_hand(self) -> bool:
        return self._profile.is_at_hand

    @cached_property
    def _credentials(self) -> dict[str, str]:
        """The headers with key and token, which are read or asked for once."""
        token = self._profile.token()
        key = "" if self._function == SIGNED_IN else self._profile.key_of(self._function)
        if not key and not token:
            raise SettingsError(f"{TOKEN_VARIABLE}: set it to an access token for the app ({_WHERE_TOKENS_ARE})")
        found = {KEY_HEADER: key} if key else {REQUESTED_WITH_HEADER: REQUESTED_WITH}
        found |= {"Authorization": f"Bearer {token}"} if token else {}
        names = (KEY_VARIABLE, TOKEN_VARIABLE) if self._profile.uses_environment else ("key", "token")
        for name, value in zip(names, (key, token), strict=True):
            if value and not _HEADER_VALUE.fullmatch(value):
                raise SettingsError(f"{name}: has a character that no key has; copy the value again")
        return found

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> requests.Response:
        try:
            return self._session.request(
                method,
                f"{self.url}{base_of(self._function)}{path}",
                headers=headers,
                data=body or None,
                timeout=self._timeouts,
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            why = type(error).__name__
        raise OutOfReach(f"{self.url} does not answer ({why}); check the address and the network")


def read_address(text: str) -> tuple[str, str]:
    """The app's address, and the function that its suffix names, "" if there is no suffix. Raises `SettingsError`."""
    url = text.strip().rstrip("/")
    named = _BASE.search(url)
    return read_url(url.removesuffix(named[0]) if named else url), named[1] if named else ""


def reach(app: str, *, hurried: bool = False) -> Transport:
    """The app of a profile's name or address. Without one: the storage in the environment, or else the current profile.

    `hurried`: an answer may take a few seconds only. Raises `SettingsError`.
    """
    if not app and any(name.upper().startswith(_STORAGE) for name in os.environ):
        return StorageTransport(hurried=hurried)
    if app and not NAME.fullmatch(app):
        return HttpTransport(Profile(url=app), hurried=hurried)
    profiles = read_profiles()
    if not app and not profiles.current:
        return StorageTransport(hurried=hurried)
    return HttpTransport(profiles.named(app or profiles.current), hurried=hurried)


def read_url(text: str) -> str:
    """The app's address. Raises `SettingsError`."""
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"https", "http"} or any(character.isspace() for character in url):
        raise SettingsError("address: must be the app's, such as https://NAME.azurewebsites.net")
    if parts.query or parts.fragment or parts.username is not None:
        raise SettingsError(f"address: must hold no key; leads login asks for the key, or set {KEY_VARIABLE}")
    if parts.scheme == "http" and not _is_this_machine(host):
        raise SettingsError("address: must begin with https://, because others could read the key on its way")
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


_WHERE_TOKENS_ARE: Final = "az account get-access-token --resource api://CLIENT_ID --query accessToken -o tsv"


def _refused(answer: requests.Response, url: str, function: str) -> Problem | OutOfReach:
    """The problem of the operation, or why the request did not reach the operation."""
    told = _problem_details(answer)
    status = answer.status_code
    if told and status in _PROBLEMS and (told.get("field") or status != 404):
        field, detail = told.get("field"), str(told.get("detail", ""))
        return _PROBLEMS[status](f"{field}: {detail}" if field else detail)
    if told and status in {404, 405}:
        return OutOfReach(
            f"{url} has no such operation: app and command line have different releases; use the same release"
        )
    match status:
        case 401 if function == SIGNED_IN:
            why = f"refuses the login (401); get a new token, for a user with an app role ({_WHERE_TOKENS_ARE})"
        case 401:
            why = f"refuses the key (401); use the key of the function {function}: {where_keys_are(function)}"
        case 403:
            why = f"refuses this machine or login (403); check its access restrictions, and {TOKEN_VARIABLE}"
        case 404 | 405:
            why = f"has no management API ({status}); check the address, and that the app is deployed there"
        case _ if 300 <= status < 400:
            why = (
                f"redirects ({status}); give the final address, or set {TOKEN_VARIABLE} if it redirects to a login page"
            )
        case _:
            why = f"answers {status}; try again, then look at the app's log"
    return OutOfReach(f"{url} {why}")


def _problem_details(answer: requests.Response) -> dict[str, Any]:
    """The problem details that the app answers, {} if something else answers."""
    if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
