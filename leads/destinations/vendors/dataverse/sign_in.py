"""Tokens of Entra ID for an environment: by client secret, or by the app's managed identity.

Source: Microsoft Learn, "Microsoft identity platform and the OAuth 2.0 client credentials flow".
"""

from datetime import UTC, datetime
from typing import Final

from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.base import OWN_OUTAGE_SECONDS, Context
from leads.destinations.http import Answer, HttpClient, NoAnswer, is_transient
from leads.destinations.rest import as_object
from leads.destinations.tokens import NoToken, Token, request_token, token_in
from leads.destinations.vendor_errors import unanswered
from leads.destinations.vendors.dataverse.errors import ENTRA_CODES, NO_TENANT, WRONG_AUTHORITY
from leads.destinations.vendors.dataverse.settings import DataverseSettings
from leads.platform.libraries import is_unanswered

_OF_THE_APPLICATION: Final = frozenset(
    {
        *("invalid_client", "invalid_grant", "invalid_request", "invalid_resource", "invalid_scope"),
        *("unauthorized_client", "unsupported_grant_type"),
    }
)
"""Errors of a token request that stay until a person acts: RFC 6749, section 5.2, and Entra ID's `invalid_resource`."""


def fetch_token(settings: DataverseSettings, context: Context, http: HttpClient) -> Token:
    """A token for the environment. Raises `NoToken`, `SettingsError`."""
    return _by_identity(settings, context) if settings.client_secret is None else _by_secret(settings, context, http)


def _by_secret(settings: DataverseSettings, context: Context, http: HttpClient) -> Token:
    assert settings.client_id is not None and settings.client_secret is not None  # noqa: S101
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": context.secrets.read(settings.client_secret),
        "scope": f"{settings.url}/.default",
    }
    url = f"{settings.authority}/{settings.tenant_id}/oauth2/v2.0/token"
    try:
        answer = request_token(http, url, form)
    except NoAnswer as error:
        raise NoToken(unanswered(error, WRONG_AUTHORITY)) from None
    token = token_in(answer)
    if token is None:
        raise NoToken(_refused(answer))
    return token


def _by_identity(settings: DataverseSettings, context: Context) -> Token:
    from azure.core.exceptions import AzureError, ClientAuthenticationError

    try:
        token = context.settings.credential.get_token(f"{settings.url}/.default")
    except ClientAuthenticationError:
        words = "The app's managed identity gets no token for the environment: add it as an application user, and check url."
        raise NoToken(Misconfigured(words, "managed_identity")) from None
    except (AzureError, ValueError) as error:  # ValueError: an answer that is not JSON
        if is_unanswered(error):
            raise NoToken(Retry(type(error).__name__, OWN_OUTAGE_SECONDS, ours=True)) from None
        raise NoToken(Retry(type(error).__name__)) from None
    return Token(token.token, datetime.fromtimestamp(token.expires_on, UTC))


def _refused(answer: Answer) -> Misconfigured | Retry:
    """The outcome of a refused token request, by the first known code in `error_codes`. The description repeats IDs."""
    if is_transient(answer.status):
        return Retry(str(answer.status), answer.retry_after)
    body = as_object(answer.json())
    given = body.get("error_codes")
    numbers = [number for number in given if isinstance(number, int)] if isinstance(given, list) else []
    known = next((number for number in numbers if number in ENTRA_CODES), None)
    if known is not None:
        return Misconfigured(ENTRA_CODES[known], f"AADSTS{known}")
    error = str(body.get("error", ""))[:40]
    code = f"AADSTS{numbers[0]}" if numbers else error
    if error in _OF_THE_APPLICATION:
        return Misconfigured("Entra ID refuses the application: check tenant_id, client_id and client_secret.", code)
    if not code and answer.status >= 300:
        return Misconfigured(NO_TENANT, "tenant")
    return Retry(code or "no_token")
