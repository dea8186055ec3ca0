"""Tokens of a custom service (Adobe Marketo Engage Developer Guide, "Authentication")."""

from typing import Any, Final

from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.base import Context
from leads.destinations.http import Answer, HttpClient, is_transient
from leads.destinations.rest import as_object
from leads.destinations.tokens import NoToken, Token, request_token, token_in
from leads.destinations.vendor_errors import UNREADABLE
from leads.destinations.vendors.marketo.errors import WRONG_ADDRESS, problem_of
from leads.destinations.vendors.marketo.settings import MarketoSettings

_NO_SERVICE: Final = (
    "The instance has no custom service with this client_id: copy it from LaunchPoint > View Details, and check "
    "munchkin_id."
)
_REFUSED: Final = (
    "Marketo refuses the client secret: copy it from LaunchPoint > View Details to where client_secret points."
)


def fetch_token(settings: MarketoSettings, context: Context, http: HttpClient) -> Token:
    """A token of the custom service. Raises `NoToken`, `NoAnswer`, `SettingsError`."""
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": context.secrets.read(settings.client_secret),
    }
    return _token(request_token(http, f"{settings.url}/identity/oauth/token", form))


def _token(answer: Answer) -> Token:
    token = token_in(answer)
    if token is None:
        raise NoToken(_refused(answer, as_object(answer.json())))
    return token


def _refused(answer: Answer, body: dict[str, Any]) -> Misconfigured | Retry:
    status, code = answer.status, str(answer.status)
    if status in {400, 401, 403}:
        # The description repeats the client ID, so only what it is about is taken from it.
        of_the_id = "no client" in str(body.get("error_description", "")).lower()
        return Misconfigured(_NO_SERVICE if of_the_id else _REFUSED, str(body.get("error", ""))[:40] or code)
    if status < 300:
        outcome = (problem_of(answer) or UNREADABLE).outcome()
        return outcome if isinstance(outcome, Misconfigured | Retry) else Retry(UNREADABLE.code)
    if is_transient(status):
        return Retry(code, answer.retry_after)
    return Misconfigured(WRONG_ADDRESS, code)
