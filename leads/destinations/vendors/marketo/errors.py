"""Marketo's refusals as problems, by a table of Adobe's error codes.

Source: Adobe Marketo Engage Developer Guide, "Error Codes" (response level 500 to 799, record level 1001 and above) and
"Marketo Integration Best Practices". Nearly every error has the HTTP status 200, so the code counts.
"""

from collections.abc import Mapping
from typing import Any, Final

from leads.destinations.http import Answer, is_transient
from leads.destinations.rest import json_objects
from leads.destinations.vendor_errors import UNREADABLE, ErrorKind, Problem

COMPANY_REFUSED: Final = "1021"
UNKNOWN_FIELD: Final = "1006"
PERSON_GONE: Final = "1004"
SKIPPED: Final = "skipped"
"""The code of a record that was skipped without a reason."""

WRONG_ADDRESS: Final = (
    "The address is not that of a Marketo instance (https://MUNCHKIN_ID.mktorest.com): check munchkin_id and endpoint."
)
_LEAD: Final = "Marketo does not accept this lead."
_BUSY: Final = (ErrorKind.TRANSIENT, "")
_SIGN_IN: Final = (
    ErrorKind.SIGN_IN_AGAIN,
    "Marketo refuses the access token: check the custom service in LaunchPoint.",
)
_NO_LEADS_FAULT: Final = (
    ErrorKind.SETTINGS,
    "Marketo can't read any of the app's requests: check endpoint, and whether a proxy between the app and Marketo changes "
    "requests.",
)
_OF_A_REQUEST: Final = (ErrorKind.LEAD, "Marketo can't read the request for this lead.")
_PARTITION: Final = (
    ErrorKind.SETTINGS,
    "The API user may not write in the person's partition: give its role access to the workspace, or check partition.",
)
_NO_SUCH_ID: Final = (
    ErrorKind.GONE,
    "Marketo has nothing with one of the IDs: check form_id, program_id, static_list and the lists of the follow-up.",
)
_THERE: Final = (ErrorKind.ALREADY_THERE, "")

CODES: Final[Mapping[str, tuple[ErrorKind, str]]] = {
    # Response level: nothing was done.
    "500": _BUSY,  # Internal server error
    "502": _BUSY,  # Bad gateway
    "601": _SIGN_IN,  # Access token invalid
    "602": _SIGN_IN,  # Access token expired
    "603": (
        ErrorKind.SETTINGS,
        "The API user lacks a permission: give its role Read-Write Lead (with a form also Read-Only Assets). With an allowlist "
        "for API access by IP address, add the app's addresses.",
    ),
    "604": _BUSY,  # Request time-out
    "605": _NO_LEADS_FAULT,  # HTTP method not supported
    "606": _BUSY,  # Calls in 20 seconds
    "607": (
        ErrorKind.SETTINGS,
        "The instance's daily quota of API calls is used up. Leads continue after the quota's reset at midnight, US Central "
        "Standard Time. Adobe's account manager can raise the quota.",
    ),
    "608": _BUSY,  # API temporarily unavailable
    "609": _NO_LEADS_FAULT,  # Invalid JSON
    "610": (ErrorKind.SETTINGS, WRONG_ADDRESS),  # Requested resource not found
    "611": _BUSY,  # System error
    "612": (ErrorKind.SETTINGS, WRONG_ADDRESS),  # Invalid content type
    "614": _BUSY,  # Invalid subscription: "usually indicates temporary inaccessibility"
    "615": _BUSY,  # Calls at once
    "616": (ErrorKind.SETTINGS, "The Marketo subscription does not include this: ask Adobe."),
    "701": _OF_A_REQUEST,  # A field can't be blank
    "702": _NO_SUCH_ID,  # No data found
    "703": (ErrorKind.SETTINGS, "The Marketo subscription has not enabled this: ask Adobe."),
    "704": _OF_A_REQUEST,  # Invalid date format
    "709": (ErrorKind.LEAD, "A business rule in Marketo refuses this lead."),
    "712": _OF_A_REQUEST,
    "713": _BUSY,  # Transient error
    "714": _OF_A_REQUEST,
    "718": _OF_A_REQUEST,
    "719": _BUSY,  # Lock wait time-out
    # Record level: this record was skipped.
    "1001": (ErrorKind.LEAD, "A field takes another type of value: check the mapping."),
    "1002": (ErrorKind.LEAD, "A value that Marketo or the form requires is missing."),
    "1003": (ErrorKind.LEAD, "Marketo considers a value invalid, perhaps the e-mail address."),
    "1004": (ErrorKind.GONE, "The person no longer exists in Marketo."),
    "1005": _THERE,  # Lead already exists
    "1006": (ErrorKind.SETTINGS, "A field of the mapping does not exist: validate the connection to see which."),
    "1007": _THERE,  # Several leads match
    "1008": _PARTITION,
    "1009": (ErrorKind.SETTINGS, "The instance has several partitions: enter one in partition."),
    "1010": _PARTITION,
    "1011": (ErrorKind.SETTINGS, "Marketo does not support one of the mapped fields: remove it from the mapping."),
    "1013": _NO_SUCH_ID,  # Object not found
    "1016": _BUSY,
    "1017": _THERE,  # Object already exists
    "1018": (ErrorKind.SETTINGS, "The instance's native CRM sync does not allow this."),
    "1019": _BUSY,  # The list is being imported to
    "1020": _BUSY,
    "1021": (ErrorKind.FIELD, "Marketo does not allow changes to the company."),
    "1022": _BUSY,  # Object in use
    "1029": _BUSY,
}
"""Code → kind and words for a person. Codes that do not concern persons, forms or lists are left out."""

WAITS: Final[Mapping[str, float]] = {"606": 20.0, "615": 2.0}
"""Code → seconds until the limit has passed. Marketo sends no `Retry-After`."""

MAYBE_DONE: Final = frozenset({"500", "502", "503", "504", "604", UNREADABLE.code})
"""Codes after which the app can't know whether Marketo has carried out the request."""


def problem_of(answer: Answer) -> Problem | None:
    """The problem of a whole answer, by its first error's code, else by its HTTP status. None for a successful answer."""
    body = answer.json()
    if isinstance(body, dict) and (codes := _codes(body.get("errors"))):
        return _by_code(codes[0])
    if 200 <= answer.status < 300:
        return None if isinstance(body, dict) and body.get("success") is True else UNREADABLE
    return _by_status(answer)


def record_problem(record: Mapping[str, Any]) -> Problem | None:
    """The problem of one record in a successful answer. None if the record was stored."""
    codes = _codes(record.get("reasons")) or _codes(record.get("errors"))
    if codes:
        return _by_code(codes[0])
    if record.get("status") == "skipped":
        return Problem(ErrorKind.LEAD, SKIPPED, "Marketo skipped the lead and does not say why.")
    return None


def _by_code(code: str) -> Problem:
    kind, words = CODES.get(code, (ErrorKind.LEAD, _LEAD))
    return Problem(kind, code, words, WAITS.get(code))


def _by_status(answer: Answer) -> Problem:
    status, code = answer.status, str(answer.status)
    if is_transient(status):
        return Problem(ErrorKind.TRANSIENT, code, retry_after=answer.retry_after)
    if status == 401:
        kind, words = _SIGN_IN
        return Problem(kind, code, words)
    if status == 400:
        kind, words = _NO_LEADS_FAULT
        return Problem(kind, code, words)
    if status in {413, 414}:
        return Problem(ErrorKind.LEAD, code, "The lead is larger than Marketo accepts.")
    return Problem(ErrorKind.SETTINGS, code, WRONG_ADDRESS)


def _codes(errors: Any) -> list[str]:
    found = [error.get("code") for error in json_objects(errors)]
    return [str(code).strip()[:20] for code in found if isinstance(code, str | int) and str(code).strip()]
