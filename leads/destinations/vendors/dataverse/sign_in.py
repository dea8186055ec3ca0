"""Tokens of Entra ID for an environment: by client secret (msal), or by the app's managed identity."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from leads.core import clock
from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.base import OWN_OUTAGE_SECONDS, Context
from leads.destinations.http import Answer, HttpClient, NoAnswer
from leads.destinations.tokens import NoToken, Token, TokenSource
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
"""Errors of a token request that stay until a person changes something: RFC 6749, section 5.2, and one of Entra ID's own."""


def token_source(settings: DataverseSettings, context: Context, http: HttpClient) -> TokenSource:
    """The token source of a credential, one for all destinations that use it."""
    credential = (settings.base_url, settings.authority, settings.tenant_id or "", settings.client_id or "")
    if settings.client_secret is None:
        return context.shared(("token", *credential), lambda: TokenSource(lambda: _by_identity(settings, context)))
    key = ("token", *credential, settings.client_secret)
    return context.shared(key, lambda: TokenSource(_BySecret(settings, context, http).fetch))


class _BySecret:
    """Keeps msal's application for as long as the secret stays the same: making one costs a request."""

    def __init__(self, settings: DataverseSettings, context: Context, http: HttpClient) -> None:
        self._settings = settings
        self._context = context
        self._http = _MsalHttp(http)
        self._made: tuple[str, Any] | None = None

    def fetch(self) -> Token:
        assert self._settings.client_secret is not None  # noqa: S101
        secret = self._context.secrets.read(self._settings.client_secret)
        try:
            return self._fetched(self._application(secret))
        except NoAnswer as error:
            raise NoToken(unanswered(error, WRONG_AUTHORITY)) from None
        except NoToken:
            raise
        except Exception:  # noqa: BLE001 - msal raises whatever its reading of an odd answer stumbles over
            raise NoToken(Retry("unreadable_answer")) from None

    def _fetched(self, application: Any) -> Token:
        # msal would answer from its own cache, in which a revoked token still stands.
        application.remove_tokens_for_client()
        answer = application.acquire_token_for_client([f"{self._settings.base_url}/.default"])
        if "access_token" not in answer:
            raise NoToken(_refused(answer))
        return Token(str(answer["access_token"]), clock.now() + timedelta(seconds=int(answer.get("expires_in", 0))))

    def _application(self, secret: str) -> Any:
        if self._made is None or self._made[0] != secret:
            from msal import ConfidentialClientApplication  # type: ignore[import-untyped]

            try:
                application = ConfidentialClientApplication(
                    self._settings.client_id,
                    client_credential=secret,
                    authority=f"{self._settings.authority.rstrip('/')}/{self._settings.tenant_id}",
                    http_client=self._http,
                    instance_discovery=False,
                )
            except (NoAnswer, NoToken):
                raise
            except Exception:  # noqa: BLE001 - the tenant has no configuration that could be read
                raise NoToken(Misconfigured(NO_TENANT, "tenant")) from None
            self._made = (secret, application)
        return self._made[1]


def _by_identity(settings: DataverseSettings, context: Context) -> Token:
    from azure.core.exceptions import AzureError, ClientAuthenticationError

    try:
        token = context.settings.credential.get_token(f"{settings.base_url}/.default")
    except ClientAuthenticationError:
        words = (
            "The app's managed identity gets no token for the environment: is it an application user there? Check url."
        )
        raise NoToken(Misconfigured(words, "managed_identity")) from None
    except (AzureError, ValueError) as error:  # ValueError: an answer that is no JSON
        if is_unanswered(error):
            raise NoToken(Retry(type(error).__name__, OWN_OUTAGE_SECONDS, ours=True)) from None
        raise NoToken(Retry(type(error).__name__)) from None
    return Token(token.token, datetime.fromtimestamp(token.expires_on, UTC))


def _refused(answer: Mapping[str, Any]) -> Misconfigured | Retry:
    """A token error by the first of its codes that is known (the description repeats ids, so it is left out)."""
    given = answer.get("error_codes")
    numbers = [number for number in given if isinstance(number, int)] if isinstance(given, list) else []
    known = next((number for number in numbers if number in ENTRA_CODES), None)
    if known is not None:
        return Misconfigured(ENTRA_CODES[known], f"AADSTS{known}")
    error = str(answer.get("error", ""))[:40]
    code = f"AADSTS{numbers[0]}" if numbers else error
    if error in _OF_THE_APPLICATION:
        return Misconfigured("Entra ID refuses the application: check tenant_id, client_id and client_secret.", code)
    return Retry(code or "no_token")


class _MsalHttp:
    """Lets msal's requests go the guarded way of all others.

    An outage or throttling is told before msal sees it: it would keep such an answer for its own time, and hide `Retry-After`.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> "_MsalAnswer":
        return _MsalAnswer(_in_order(self._http.request("GET", _with_query(url, params), headers=headers)))

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> "_MsalAnswer":
        form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        body = urlencode(data or {})
        return _MsalAnswer(_in_order(self._http.request("POST", _with_query(url, params), headers=form, body=body)))

    def close(self) -> None:
        """The connection's client stays open for others."""


def _in_order(answer: Answer) -> Answer:
    if answer.status >= 500 or answer.status in {408, 429}:
        raise NoToken(Retry(str(answer.status), answer.retry_after))
    return answer


def _with_query(url: str, params: Any) -> str:
    return f"{url}?{urlencode(params)}" if params else url


class _MsalAnswer:
    """An answer in the shape that msal reads."""

    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self.headers = dict(answer.headers)
        self.text = answer.body.decode("utf-8", "replace")
