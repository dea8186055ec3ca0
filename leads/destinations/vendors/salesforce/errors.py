"""Salesforce's refusals as problems, by a table of Salesforce's error codes.

Sources: "REST API Developer Guide", "Status Codes and Error Responses"; "SOAP API Developer Guide", "Core Data Types Used in API
Calls" (ExceptionCode, StatusCode), whose codes REST uses too; "User Interface API Developer Guide", "Error with Output", "Record
Exception Error" and "Match Result"; for tokens, Salesforce Help, "OAuth 2.0 Authorization Errors".

An error's `message` is in the language of the app's user, and may repeat personal data. The app reads only names of fields, codes
and limits in a message.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.http import Answer, is_transient
from leads.destinations.rest import as_object, json_objects, json_texts
from leads.destinations.vendor_errors import UNREADABLE, ErrorKind, Problem, VendorError

_SIGN_IN: Final = (
    "Salesforce refuses the session: the external client app needs the scope api, and its user the right API Enabled."
)
_LEAD: Final = "Salesforce does not accept this lead."
_BUSY: Final = (ErrorKind.TRANSIENT, "")
_RIGHTS: Final = (
    ErrorKind.SETTINGS,
    "The app's user lacks a right: give it the permission set of the set-up guide.",
)
_FIELD: Final = (ErrorKind.FIELD, "Salesforce does not accept the value of a field that the lead needs.")
_TARGET_GONE: Final = (
    ErrorKind.GONE,
    "A record that the offer names does not exist: check owner and campaign of the follow-up, and IDs in the mapping.",
)
_TARGET_CLOSED: Final = (
    ErrorKind.GONE,
    "A record that the offer names is closed to the app's user: check owner and campaign of the follow-up, and IDs in the "
    "mapping.",
)
_API_OFF: Final = (ErrorKind.SETTINGS, "The organisation's edition or its settings allow no API: enable it.")

CODES: Final[Mapping[str, tuple[ErrorKind, str]]] = {
    # The record exists, or another user has changed the record.
    "DUPLICATE_VALUE": (ErrorKind.ALREADY_THERE, ""),
    "CANNOT_UPDATE_CONVERTED_LEAD": (ErrorKind.CHANGED_MEANWHILE, ""),
    "ENTITY_IS_DELETED": _TARGET_GONE,
    "INVALID_CROSS_REFERENCE_KEY": _TARGET_GONE,
    "MALFORMED_ID": _TARGET_GONE,
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": _TARGET_CLOSED,
    # Duplicate rules.
    "DUPLICATES_DETECTED": (
        ErrorKind.DUPLICATE_RULE,
        "A duplicate rule blocks this lead, and names no record to which the lead can be added.",
    ),
    # A field.
    "STRING_TOO_LONG": (ErrorKind.TOO_LONG, "A text is longer than its field allows."),
    "INVALID_FIELD": _FIELD,
    "INVALID_FIELD_FOR_INSERT_UPDATE": _FIELD,
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": _FIELD,
    "INVALID_EMAIL_ADDRESS": _FIELD,
    "INVALID_TYPE_ON_FIELD_IN_RECORD": _FIELD,
    "FIELD_INTEGRITY_EXCEPTION": _FIELD,
    "FIELD_FILTER_VALIDATION_EXCEPTION": _FIELD,
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": (ErrorKind.FIELD, "A validation rule of the organisation refuses this lead."),
    "NUMBER_OUTSIDE_VALID_RANGE": _FIELD,
    "INACTIVE_OWNER_OR_USER": _FIELD,
    "OP_WITH_INVALID_USER_TYPE_EXCEPTION": _FIELD,
    "TRANSFER_REQUIRES_READ": _FIELD,
    # Load. `_kind_and_words` decides whether REQUEST_LIMIT_EXCEEDED is one.
    "UNABLE_TO_LOCK_ROW": _BUSY,
    "SERVER_UNAVAILABLE": _BUSY,
    "QUERY_TIMEOUT": _BUSY,
    "REQUEST_RUNNING_TOO_LONG": _BUSY,
    "TOO_MANY_APEX_REQUESTS": _BUSY,
    "UNKNOWN_EXCEPTION": _BUSY,
    # Sign-in.
    "INVALID_SESSION_ID": (ErrorKind.SIGN_IN_AGAIN, _SIGN_IN),
    "INVALID_AUTH_HEADER": (ErrorKind.SIGN_IN_AGAIN, _SIGN_IN),
    "INVALID_OPERATION_WITH_EXPIRED_PASSWORD": (
        ErrorKind.SETTINGS,
        "The password of the app's user has expired: set a new one in Salesforce, and give the user the right Password Never "
        "Expires.",
    ),
    # Settings of the connection, or in Salesforce.
    "REQUEST_LIMIT_EXCEEDED": (
        ErrorKind.SETTINGS,
        "The organisation has used up its API requests of 24 hours. Leads wait until requests are available again. Setup > "
        "Company Information shows the number. Reduce what other integrations use, or buy more.",
    ),
    "API_DISABLED_FOR_ORG": _API_OFF,
    "API_CURRENTLY_DISABLED": _API_OFF,
    "FUNCTIONALITY_NOT_ENABLED": _API_OFF,
    "INSUFFICIENT_ACCESS": _RIGHTS,
    "INSUFFICIENT_ACCESS_OR_READONLY": _RIGHTS,
    "INVALID_TYPE": (
        ErrorKind.SETTINGS,
        "The app's user may not see leads or tasks: give it the permission set of the set-up guide.",
    ),
    "NOT_FOUND": (
        ErrorKind.SETTINGS,
        "The organisation has no leads for this user: give it the permission set of the set-up guide.",
    ),
    "TXN_SECURITY_METERING_ERROR": (
        ErrorKind.SETTINGS,
        "A transaction security policy of the organisation blocks the app's user: exempt the user.",
    ),
    "STORAGE_LIMIT_EXCEEDED": (ErrorKind.SETTINGS, "The organisation's data storage is full: make room, or buy more."),
    "JSON_PARSER_ERROR": (
        ErrorKind.SETTINGS,
        "A field of the mapping takes another type of value: validate the connection to see which.",
    ),
    "MALFORMED_QUERY": (
        ErrorKind.SETTINGS,
        "Salesforce can't read the search for the lead: check the names in the mapping.",
    ),
    # Only this lead.
    "REQUIRED_FIELD_MISSING": (
        ErrorKind.LEAD,
        "Salesforce requires a field for which this lead has no value: map the field to a constant, or give it a default.",
    ),
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": (
        ErrorKind.LEAD,
        "A trigger or flow of the organisation refuses this lead.",
    ),
    "CANNOT_EXECUTE_FLOW_TRIGGER": (ErrorKind.LEAD, "A flow of the organisation refuses this lead."),
    "ENTITY_IS_LOCKED": (ErrorKind.LEAD, "The record is locked by an approval process."),
}

CHANGED_MEANWHILE: Final = "changed_meanwhile"
"""The code if other users changed the record at every try."""

_OF_THE_ORGANISATION: Final = frozenset(
    {"CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "CANNOT_EXECUTE_FLOW_TRIGGER", "FIELD_CUSTOM_VALIDATION_EXCEPTION"}
)
"""Codes of the organisation's triggers, flows and rules. Only the message says what failed."""
_LOCK: Final = re.compile(r"\b(UNABLE_TO_LOCK_ROW|TOO_MANY_APEX_REQUESTS|SERVER_UNAVAILABLE)\b")
_LIMIT: Final = re.compile(
    r"\b(System\.LimitException|APEX_CPU_TIME_LIMIT_EXCEEDED|QUERY_TIMEOUT|REQUEST_RUNNING_TOO_LONG)\b"
)
"""Names of limits in such a message, the same in every language. The next try may succeed, or meet the limit again."""
_TOO_MANY_AT_ONCE: Final = re.compile(r"\bConcurrent[A-Z]")
"""The beginning of the names of limits on concurrent requests: ConcurrentRequests, ConcurrentPerOrgLongTxn."""

BEFORE_THE_WRITE: Final = frozenset(
    {
        "INVALID_SESSION_ID",
        "INVALID_AUTH_HEADER",
        "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
        "REQUEST_LIMIT_EXCEEDED",
        "API_DISABLED_FOR_ORG",
        "API_CURRENTLY_DISABLED",
        "TXN_SECURITY_METERING_ERROR",
        "SERVER_UNAVAILABLE",
    }
)
"""Codes of refusals before Salesforce reads the request and its idempotency key."""

ROLLED_BACK: Final = "PROCESSING_HALTED"
"""The code of a transaction's part that was undone or not begun, because another part was refused."""

TARGET_REFUSED: Final = frozenset(code for code, (kind, _) in CODES.items() if kind is ErrorKind.GONE)
"""A referenced record is gone, or closed to the app's user. Often the answer does not name it. Most likely it is the owner."""

HIDDEN_FIELD: Final = frozenset({"INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE"})
"""The organisation has no such field, or hides it from the app's user. This concerns every lead."""

OWNER_REFUSED: Final = frozenset(
    {"INACTIVE_OWNER_OR_USER", "OP_WITH_INVALID_USER_TYPE_EXCEPTION", "TRANSFER_REQUIRES_READ"}
)
"""Refusals of the owner, which name no field."""

_WRONG_APP: Final = (
    "Salesforce refuses the external client app: check client_id (the consumer key) and client_secret. A new app takes "
    "some minutes until it is known."
)
TOKEN_ERRORS: Final[Mapping[str, str]] = {
    "invalid_client_id": "Salesforce knows no external client app with this client_id: copy the consumer key.",
    "invalid_client": "The consumer secret is wrong: store the app's present one where client_secret points.",
    "invalid_grant": "Salesforce refuses the sign-in: check the app's policies, its user, and username where one is set.",
    "invalid_app_access": "The user may not use the external client app: assign it the permission set that the app names.",
    "unsupported_grant_type": "The external client app does not allow this sign-in: enable the flow in its settings.",
    "unauthorized_client": _WRONG_APP,
    "invalid_request": _WRONG_APP,
    "inactive_user": "The app's user is not active in Salesforce: activate it.",
    "inactive_org": "The organisation is not active: check url.",
}
"""`error` of a token request → what to change."""

_GRANT_WORDS: Final = (
    (
        "no client credentials user enabled",
        "The external client app has no run-as user: set one in its policies, under Client Credentials Flow.",
    ),
    ("client credentials flow not enabled", TOKEN_ERRORS["unsupported_grant_type"]),
    (
        "request not supported on this domain",
        "Salesforce accepts client credentials only at the My Domain address: enter https://NAME.my.salesforce.com as url.",
    ),
    (
        "approved",  # "user hasn't approved this consumer", "user is not admin approved to access this app"
        "The user is not approved for the app: set its policy to 'Admin approved users are pre-authorized', and assign "
        "the permission set that the policy names.",
    ),
    (
        "audience",
        "The audience is wrong: enter https://login.salesforce.com, for a sandbox https://test.salesforce.com.",
    ),
    (
        "invalid assertion",
        "Salesforce does not accept the signature: the app needs the certificate of private_key, and username must be a user.",
    ),
)
"""Phrase in the `error_description` of a token request, in lower case → what to change."""

_COMES_RIGHT: Final = frozenset({"rate_limit_exceeded", "server_error", "temporarily_unavailable", "unknown_error"})

WRONG_ADDRESS: Final = (
    "The address is not that of a Salesforce organisation: enter its My Domain (https://NAME.my.salesforce.com) as url."
)


class Refusal(VendorError):
    """A refused request to Salesforce. `part` is a transaction's refused part, `duplicates` the IDs that a duplicate rule found.

    `of_key`: the request had an idempotency key, and Salesforce has stored the refusal under the key. `met_limit`: a trigger or
    flow has used up a limit.
    """

    def __init__(
        self, problem: Problem, part: str = "", duplicates: tuple[str, ...] = (), *, met_limit: bool = False
    ) -> None:
        super().__init__(problem)
        self.part = part
        self.duplicates = duplicates
        self.met_limit = met_limit
        self.of_key = False

    def with_problem(self, **changes: Any) -> "Refusal":
        """The same refusal with changes to its problem."""
        changed = Refusal(replace(self.problem, **changes), self.part, self.duplicates, met_limit=self.met_limit)
        changed.of_key = self.of_key
        return changed

    @property
    def is_of_the_write(self) -> bool:
        """Whether Salesforce has read the write and stored nothing.

        A refusal before that point does not show what an earlier request with the same key, whose answer was lost, has stored.
        """
        known = self.problem.code in CODES and self.problem.code not in BEFORE_THE_WRITE
        return known or self.problem.kind is ErrorKind.LEAD


@dataclass(frozen=True, slots=True)
class _Error:
    """One error of an answer. `message` may hold personal data, and is never kept."""

    code: str
    message: str
    fields: tuple[str, ...]
    duplicates: tuple[str, ...]


def refusal_of(status: int, body: Any, retry_after: float | None = None, part: str = "") -> Refusal:
    """The refusal of a request, by its known code, else by its HTTP status."""
    errors = list(_errors(body))
    error = next((found for found in errors if found.code in CODES), errors[0] if errors else None)
    if error is None:
        return Refusal(_by_status(status, "", retry_after), part)
    same = [found for found in errors if found.code == error.code]
    fields = tuple(dict.fromkeys(name for found in same for name in found.fields))
    duplicates = tuple(dict.fromkeys(name for found in errors for name in found.duplicates))
    kind, words = _kind_and_words(error, part)
    if kind is None:
        return Refusal(_by_status(status, error.code, retry_after), part)
    met_limit = kind is ErrorKind.TRANSIENT and _LIMIT.search(error.message) is not None
    return Refusal(Problem(kind, error.code, words, retry_after, fields), part, duplicates, met_limit=met_limit)


def _kind_and_words(error: _Error, part: str) -> tuple[ErrorKind | None, str]:
    if error.code == "REQUEST_LIMIT_EXCEEDED" and _TOO_MANY_AT_ONCE.search(error.message):
        return _BUSY
    if error.code in _OF_THE_ORGANISATION or error.code not in CODES:
        if _LOCK.search(error.message) or _LIMIT.search(error.message):
            return _BUSY
        if error.fields and error.code in _OF_THE_ORGANISATION:
            return ErrorKind.FIELD, CODES[error.code][1]
    if error.code == "NOT_FOUND" and part:
        return _TARGET_GONE
    if error.code in CODES:
        return CODES[error.code]
    if "IDEMPOTEN" in error.code.upper():
        words = (
            "The organisation does not accept idempotency keys: make an external ID field, and set external_id_field."
        )
        return ErrorKind.SETTINGS, words
    return None, ""


def _by_status(status: int, code: str, retry_after: float | None) -> Problem:
    shown = code or str(status)
    if status == 401:
        return Problem(ErrorKind.SIGN_IN_AGAIN, shown, _SIGN_IN)
    if status in {406, 409, 420, 428} or is_transient(status):
        return Problem(ErrorKind.TRANSIENT, shown, retry_after=retry_after)
    if status == 412:
        return Problem(ErrorKind.CHANGED_MEANWHILE, shown)
    if status == 403:
        kind, words = _RIGHTS
        return Problem(kind, shown, words)
    if status < 300:
        return UNREADABLE
    if status < 400 or status in {404, 405, 410}:
        return Problem(ErrorKind.SETTINGS, shown, WRONG_ADDRESS)
    return Problem(ErrorKind.LEAD, shown, _LEAD)


def _errors(body: Any) -> Iterator[_Error]:
    """The errors in a body. REST sends an array of errors, the UI API one error that wraps others."""
    for found in json_objects(body if isinstance(body, list) else [body]):
        yield from _wrapped_errors(as_object(found.get("output")))
        code = found.get("errorCode")
        if isinstance(code, str) and code:
            yield _error(found, code)


def _wrapped_errors(output: Mapping[str, Any]) -> Iterator[_Error]:
    groups = [output.get("errors"), *as_object(output.get("fieldErrors")).values()]
    for found in (error for group in groups for error in json_objects(group)):
        if isinstance(found.get("errorCode"), str):
            yield _error(found, found["errorCode"])


_NAMES_IN_MESSAGE: Final = re.compile(r"['\"‘“„«](\w+)['\"’”“»]|: (\w+(?:, \w+)*)")
"""Names of fields in a message of any language: the first quoted name, or a list."""


def _error(found: Mapping[str, Any], code: str) -> _Error:
    message = found.get("message")
    message = message if isinstance(message, str) else ""
    names = [
        name for name in (found.get("constituentField"), *json_texts(found.get("fields")), found.get("field")) if name
    ]
    if not names and code in HIDDEN_FIELD:
        match = _NAMES_IN_MESSAGE.search(message)
        names = (match[1] or match[2]).split(", ") if match else []
    # The app writes a compound field's parts and never the compound field itself, such as the address.
    fields = names[:1] if found.get("constituentField") else names
    return _Error(code[:60], message, tuple(map(str, fields)), tuple(_duplicates(found)))


def _duplicates(found: Mapping[str, Any]) -> Iterator[str]:
    """The IDs of the records that a duplicate rule has found. REST spells its key `duplicateResut`."""
    result = found.get("duplicateResut") or found.get("duplicateResult") or found.get("duplicateRecordError")
    for match in json_objects(as_object(result).get("matchResults")):
        yield from json_texts(match.get("matchRecordIds"))
        for record in json_objects(match.get("matchRecords")):
            yield from json_texts([as_object(record.get("record")).get("Id")])


def no_token(answer: Answer) -> Misconfigured | Retry:
    """The outcome of a refused token request."""
    body = as_object(answer.json())
    error, description = str(body.get("error", ""))[:40], str(body.get("error_description", "")).lower()
    if error in _COMES_RIGHT or "already being processed" in description or "rate exceeded" in description:
        return Retry(error or str(answer.status), answer.retry_after)
    if error in TOKEN_ERRORS:
        about = next((words for phrase, words in _GRANT_WORDS if phrase in description), TOKEN_ERRORS[error])
        return Misconfigured(about, error)
    if answer.status < 300 or answer.status == 420 or is_transient(answer.status):
        return Retry(error or str(answer.status), answer.retry_after)
    if error:
        return Misconfigured(_WRONG_APP, error)
    return Misconfigured(WRONG_ADDRESS, str(answer.status))
