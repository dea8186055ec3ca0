"""The Table service's errors as outcomes (Microsoft Learn, "Common REST API error codes" and "Table service error codes")."""

import re
from typing import Any, Final

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from leads.core import clock
from leads.core.outcomes import Misconfigured, Rejected, Retry
from leads.platform.address_guard import HandshakeFailed, causes
from leads.platform.azure_transport import NotAllowed
from leads.platform.secrets import signed_until

_CODE: Final = re.compile(r'(?:"code" *: *"|<(?:\w+:)?code>)(\w{1,64})', re.IGNORECASE)

_FORBIDDEN_HINTS: Final = {
    "AuthorizationFailure": "the account's network rules or shared-key setting refuse this app",
    "AuthorizationPermissionMismatch": "give the app's identity the role Storage Table Data Contributor on the account",
    "InsufficientAccountPermissions": "the credential may not write to tables",
    "AccountIsDisabled": "the storage account is disabled",
    "KeyBasedAuthenticationNotPermitted": "the account does not allow keys: use table_service_uri and the app's identity",
}
"""Codes with which no lead can be written → what to do. `_not_authenticated` has the words for `AuthenticationFailed`."""

_LEAD_ERRORS: Final = {
    "PropertyValueTooLarge",
    "EntityTooLarge",
    "TooManyProperties",
    "InvalidInput",
    "OutOfRangeInput",
    "RequestBodyTooLarge",
}


def classify(error: AzureError, connection_string: str) -> Misconfigured | Retry | Rejected:
    """The outcome of a failed request. `connection_string` is that of the request, "" if the app's identity was used."""
    if not isinstance(error, HttpResponseError) or not error.status_code:
        return _unanswered(error)
    code = error_code(error)
    status = error.status_code
    if status in {401, 403}:
        hint = _FORBIDDEN_HINTS.get(code, "check the credential and its rights on the account")
        hint = _not_authenticated(connection_string) if code == "AuthenticationFailed" else hint
        return Misconfigured(f"The storage account refused the app ({code or status}): {hint}.", code or str(status))
    if code in _LEAD_ERRORS or status in {400, 413}:
        return Rejected(f"The Table service refused the row ({code or status}).", code or str(status))
    if status == 404:
        return Retry(code or "404")
    return Retry(code or str(status), _retry_after(error))


def _unanswered(error: AzureError) -> Misconfigured | Retry:
    """The outcome of a request without an answer."""
    if isinstance(error, NotAllowed):
        return Misconfigured(
            "The account's address is not public, or its connection string says http: use https, and allow a private "
            "network in LEADS_ALLOWED_NETWORKS.",
            "address_refused",
        )
    if any(isinstance(cause, HandshakeFailed) for cause in causes(error)):
        return Misconfigured("The certificate of the account's host is not trusted: check the address.", "tls")
    if type(error).__name__ == "AzureSigningError":  # the SDK does not export it
        return Misconfigured("The account key in the connection string is incomplete: copy it again.", "key")
    if isinstance(error, ClientAuthenticationError):
        return Misconfigured(
            "The app's identity got no token for the storage account: check its client id and role.", "token"
        )
    return Retry(type(error).__name__)


def _not_authenticated(connection_string: str) -> str:
    """What to repair after `AuthenticationFailed`. The service sends this code for a SAS that has ended and for a wrong key."""
    if not connection_string:
        return "it does not accept the token of the app's identity: check table_service_uri"
    if "sharedaccesssignature=" not in connection_string.lower():
        return "the account key in the connection string is wrong or was rotated"
    until = signed_until(connection_string)
    if until is not None and until <= clock.now():
        return f"the SAS in the connection string ended on {until:%Y-%m-%d %H:%M} UTC: make a new SAS"
    return "the SAS in the connection string is not valid, or the key that signed it was rotated: make a new SAS"


def error_code(error: HttpResponseError) -> str:
    """The service's code, "" if there is none. Also reads errors whose code the SDK has not decoded."""
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    response: Any = error.response
    found = _CODE.search(response.text()) if response is not None else None
    return found[1] if found else ""


def _retry_after(error: HttpResponseError) -> float | None:
    response: Any = error.response
    header = response.headers.get("Retry-After") if response is not None else None
    return float(header) if header and header.isdecimal() else None
