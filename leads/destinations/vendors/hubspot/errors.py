"""HubSpot's refusals as problems. HubSpot's messages repeat personal data, so that only codes and property names are used.

Sources (developers.hubspot.com): "Error handling", "API usage guidelines", "Using object APIs" (missing scopes), and of the
changelog "CRM API write validation enforcement" (required properties, from version 2026-09 on).
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from leads.destinations.http import Answer
from leads.destinations.rest import as_object, json_objects, json_texts
from leads.destinations.vendor_errors import ErrorKind, Problem

OWNER: Final = "hubspot_owner_id"
FORGOTTEN: Final = "gdpr_deleted"
WRONG_ADDRESS: Final = "The address is not that of HubSpot's API: check url."
_SIGN_IN: Final = (
    "HubSpot refuses the token: enter the token of a service key (pat-…), or the new token if the key was rotated."
)
_LEAD: Final = "HubSpot does not accept this lead."
_REQUIRED: Final = "The account requires this property in new contacts: add it to the mapping, or make it optional"
_ACCOUNTS_FAULT: Final[Mapping[str, str]] = {
    "PROPERTY_DOESNT_EXIST": "HubSpot has no contact property with this name: remove it from the mapping, or create it",
    "READ_ONLY_VALUE": "HubSpot sets this property itself: remove it from the mapping",
    "MISSING_REQUIRED_PROPERTY": _REQUIRED,
    "MISSING_CONDITIONAL_REQUIRED_PROPERTY": _REQUIRED,
}
_STATUSES: Final[Mapping[int, tuple[ErrorKind, str]]] = {
    401: (ErrorKind.SIGN_IN_AGAIN, _SIGN_IN),
    404: (ErrorKind.GONE, WRONG_ADDRESS),
    409: (ErrorKind.ALREADY_THERE, ""),
    **dict.fromkeys((408, 423, 429, 477), (ErrorKind.TRANSIENT, "")),
}
_SECONDS: Final[Mapping[str, float]] = {"SECONDLY": 1, "TEN_SECONDLY_ROLLING": 10, "DAILY": 3600}
"""Policy of an answer 429 → seconds to wait. HubSpot sends no time."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def problem_of(answer: Answer) -> Problem:
    """The problem of a refused request."""
    body = as_object(answer.json())
    code = _name(body.get("policyName")) or _name(body.get("category")) or str(answer.status)
    if answer.status == 400 and body:
        return _refused_values(body, code)
    if answer.status == 403 and body:
        return Problem(ErrorKind.SETTINGS, code, _missing_rights(body))
    kind, words = _STATUSES.get(answer.status) or _of_class(answer.status, is_hubspots=bool(body))
    return Problem(kind, code, words, answer.retry_after or _SECONDS.get(code))


def _of_class(status: int, *, is_hubspots: bool) -> tuple[ErrorKind, str]:
    """The kind of any other status. An answer without JSON, such as "error code: 1015", comes from a proxy before HubSpot."""
    if status < 400:
        return ErrorKind.SETTINGS, WRONG_ADDRESS
    return (ErrorKind.LEAD, _LEAD) if status < 500 and is_hubspots else (ErrorKind.TRANSIENT, "")


def _refused_values(body: Mapping[str, Any], category: str) -> Problem:
    refused = list(_wrong_values(body))
    codes = [code for code, _ in refused if code]
    names = tuple(dict.fromkeys(name for _, name in refused if name))
    ours = next((code for code in codes if code in _ACCOUNTS_FAULT), "")
    if ours:
        wrong = ", ".join(dict.fromkeys(name for code, name in refused if code == ours))
        return Problem(ErrorKind.SETTINGS, ours, f"{_ACCOUNTS_FAULT[ours]}: {wrong}.", fields=names)
    if "INVALID_EMAIL" in codes:
        return Problem(ErrorKind.LEAD, "INVALID_EMAIL", "HubSpot does not accept the e-mail address.")
    if "GDPR" in str(body.get("message")):
        return Problem(ErrorKind.LEAD, FORGOTTEN, "HubSpot has deleted the customer's data for good.")
    return Problem(ErrorKind.FIELD if names else ErrorKind.LEAD, next(iter(codes), category), _LEAD, fields=names)


def _wrong_values(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Code and property of each refused value. Some addresses send both as JSON inside the message."""
    for error in json_objects(body.get("errors")):
        for name in _texts(error, "propertyName") or [""]:
            yield _name(error.get("code")), _name(name)
    _, bracket, listed = str(body.get("message")).partition("[")
    try:
        embedded = json_objects(json.loads(bracket + listed)) if bracket else []
    except ValueError:
        return
    yield from ((_name(wrong.get("error")), _name(wrong.get("name"))) for wrong in embedded)


def _missing_rights(body: Mapping[str, Any]) -> str:
    kinds = ("requiredGranularScopes", "requiredScopes")
    scopes = [scope for error in json_objects(body.get("errors")) for kind in kinds for scope in _texts(error, kind)]
    names = ", ".join(dict.fromkeys(filter(None, map(_name, scopes))))
    return f"HubSpot does not allow this: {f'add the scope {names} to' if names else 'check the rights of'} the service key."


def _texts(error: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a list in an error's context."""
    return json_texts(as_object(error.get("context")).get(name))


def _name(text: Any) -> str:
    """The text if it is a code or a property's name, else "". No other text of an answer is repeated."""
    return text if isinstance(text, str) and _NAME.fullmatch(text) else ""
