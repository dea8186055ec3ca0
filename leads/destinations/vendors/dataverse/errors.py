"""Dataverse's refusals as problems, by a table of Microsoft's error codes.

Sources: Microsoft Learn, "Web service error codes (Microsoft Dataverse)", "Compose HTTP requests and handle errors", "Service
protection API limits"; for Entra ID, "Microsoft Entra authentication and authorization error codes". The words also cover the
messages of Microsoft's own connector ("Troubleshooting lead configuration errors").
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from leads.destinations.http import Answer, is_transient
from leads.destinations.rest import as_object
from leads.destinations.vendor_errors import ErrorKind, Problem

_SIGN_IN: Final = "Dynamics refuses the sign-in: check client_id, client_secret and the application user."
_LEAD: Final = "Dynamics does not accept this lead."
_BUSY: Final = (ErrorKind.TRANSIENT, "")
_TOO_LONG: Final = (ErrorKind.TOO_LONG, "A text is longer than its column allows.")
_RIGHT_MISSING: Final = (
    ErrorKind.SETTINGS,
    "The application user lacks a right: give it the security role of the set-up guide.",
)
_COLUMN_SECURITY: Final = (
    ErrorKind.SETTINGS,
    "The application user may not write or read one of the columns (column security): give it a column security profile, "
    "or leave the column out of the mapping.",
)
_USER_DISABLED: Final = (
    ErrorKind.SETTINGS,
    "The application user is disabled: enable it in the Power Platform admin center.",
)
_OWNER_REFUSED: Final = (
    ErrorKind.SETTINGS,
    "The owner that the offer names is disabled, has no security role, or is an access team: name another one.",
)
_IN_A_QUEUE: Final = (ErrorKind.SETTINGS, "The record is already in a queue.")
_QUEUE_REFUSED: Final = (ErrorKind.SETTINGS, "The offer's queue accepts no items: check whether the queue is active.")
_NO_LEADS: Final = (
    ErrorKind.SETTINGS,
    "The environment has no lead table, or hides it from the application user: install Dynamics 365 Sales, or give the user the "
    "security role of the set-up guide.",
)
_NO_SUCH_METHOD: Final = (
    "The host at this address does not accept the request: check url, and whether a gateway before the environment allows "
    "PATCH."
)
_RIGHT: Final = re.compile(r"\bprv[A-Z][A-Za-z_]{2,60}\b")
_NO_APPLICATION: Final = (
    "The tenant has no application with this client_id, or an administrator has not consented to it."
)
_NO_TENANT_ID: Final = (
    "tenant_id is neither a directory ID nor a domain: copy the Directory (tenant) ID of the app registration."
)

CODES: Final[Mapping[str, tuple[ErrorKind, str]]] = {
    # The record exists.
    "0x80040237": (ErrorKind.ALREADY_THERE, ""),  # DuplicateRecord
    "0x80060892": (ErrorKind.ALREADY_THERE, ""),  # DuplicateRecordEntityKey
    # Another user has changed the record.
    "0x80060882": (ErrorKind.CHANGED_MEANWHILE, ""),  # ConcurrencyVersionMismatch
    "0x80040217": (
        ErrorKind.GONE,
        "A record that the offer's follow-up names does not exist: check owner, queue, campaign.",
    ),
    # Duplicate detection.
    "0x80040333": (ErrorKind.DUPLICATE_RULE, ""),  # DuplicateRecordsFound
    # Lengths.
    "0x80044331": _TOO_LONG,  # StringLengthTooLong
    "0x80073001": _TOO_LONG,
    # Throttling and load.
    "0x80072321": _BUSY,  # execution time in 300 s
    "0x80072322": _BUSY,  # requests in 300 s
    "0x80072326": _BUSY,  # requests at once
    "0x80072323": _BUSY,  # AzureSqlDatabaseResourceLimitExceededError
    "0x80072324": _BUSY,  # AzureSqlMaxConcurrentWorkersLimitExceededError
    "0x80072325": _BUSY,  # AzureSqlDatabaseStorageQuotaExceededError
    "0x8005f103": _BUSY,  # Throttling
    "0x8004a001": _BUSY,  # server busy
    "0x80044150": _BUSY,  # SQL error
    "0x80044151": _BUSY,  # SQL time-out
    "0x80073000": _BUSY,
    "0x80081111": _BUSY,  # plug-in time-out
    "0x80044171": _BUSY,
    "0x80044172": _BUSY,
    "0x80040216": _BUSY,  # unexpected error
    # Sign-in.
    "0x8005f101": (ErrorKind.SIGN_IN_AGAIN, _SIGN_IN),  # AccessTokenExpired
    "0x8004a101": (ErrorKind.SIGN_IN_AGAIN, _SIGN_IN),
    # Settings of the connection, or in Dynamics.
    "0x80040220": _RIGHT_MISSING,  # PrivilegeDenied
    "0x80048306": _RIGHT_MISSING,
    "0x80042f09": (  # UserNotAssignedRoles
        ErrorKind.SETTINGS,
        "The application user has no security role: give it the security role of the set-up guide.",
    ),
    "0x80072560": (  # UserNotMemberOfOrg
        ErrorKind.SETTINGS,
        "The environment has no application user for this application: add it under Settings, Application users.",
    ),
    "0x8004f502": _COLUMN_SECURITY,  # AttributePrivilegeCreateIsMissing
    "0x8004f504": _COLUMN_SECURITY,  # AttributePermissionReadIsMissing
    "0x8004f507": _COLUMN_SECURITY,  # AttributePermissionUpdateIsMissingDuringUpdate
    "0x8004a104": (ErrorKind.SETTINGS, "The environment is disabled: enable it in the Power Platform admin center."),
    "0x8004a113": (  # UserDoesNotHaveAdminOnlyModePermissions
        ErrorKind.SETTINGS,
        "The environment is in administration mode: end it in the Power Platform admin center. Leads wait until then.",
    ),
    "0x8004a112": _USER_DISABLED,
    "0x80040225": _USER_DISABLED,  # unManagedIdsUserNotEnabled
    "0x8006088a": _NO_LEADS,
    "0x80060888": (ErrorKind.SETTINGS, "A column of the mapping does not exist: validate the connection to see which."),
    "0x80095ffc": (
        ErrorKind.SETTINGS,
        "The environment's app access control does not allow the application: an administrator has to allow its client_id in the "
        "Power Platform admin center. A security role does not change that.",
    ),
    # The offer's owners and queues. Leads are stored without them.
    "0x8004022b": _OWNER_REFUSED,  # unManagedidsownernotenabled
    "0x80040229": _OWNER_REFUSED,
    "0x80040210": _OWNER_REFUSED,
    "0x80048340": _OWNER_REFUSED,  # CannotAssignToAccessTeam
    "0x80040526": _IN_A_QUEUE,  # ActiveQueueItemAlreadyExists
    "0x8004051c": _IN_A_QUEUE,  # CannotAddSingleQueueEnabledEntityToQueue
    "0x8004051e": _QUEUE_REFUSED,  # CannotCreateQueueItemInactiveObject
    "0x80040522": _QUEUE_REFUSED,  # CannotAddQueueItemsToInactiveQueue
    "0x80048d19": (
        ErrorKind.SETTINGS,
        "A column of the mapping does not exist, or takes another type of value: validate the connection to see which.",
    ),
    # Only this lead.
    "0x8004431a": (ErrorKind.LEAD, "A choice column has no such value: check the numbers in the mapping."),
    "0x80040278": (ErrorKind.LEAD, "Dynamics considers a value an invalid character sequence."),
    "0x80040203": (ErrorKind.LEAD, "Dynamics does not accept one of the values."),
    "0x80040265": (ErrorKind.LEAD, "A plug-in or validation rule in Dynamics refuses this lead."),
}
"""Code in lower case → kind and words for a person."""

IN_A_QUEUE: Final = frozenset(code for code, meaning in CODES.items() if meaning is _IN_A_QUEUE)
"""The record is already in this or another queue, so that nothing remains to be done."""

ABOUT_QUEUES: Final = IN_A_QUEUE | {code for code, meaning in CODES.items() if meaning is _QUEUE_REFUSED}

ENTRA_CODES: Final[Mapping[int, str]] = {
    7000215: "The client secret is wrong: enter the secret's value, not its ID, as the secret that client_secret names.",
    7000222: "The client secret has expired: make a new one in the app registration and store it where client_secret points.",
    700016: _NO_APPLICATION,
    7000229: _NO_APPLICATION,
    7000112: "The application is disabled in the tenant: enable it under Enterprise applications.",
    90002: "There is no such tenant, or it has no active subscription: check tenant_id (the Directory ID).",
    900023: _NO_TENANT_ID,
    900971: "Entra ID asks for a reply address, which a sign-in by client secret does not need: check authority, and that "
    "client_id is the ID of your own app registration. If both are right, add a redirect URI there under Authentication > Web.",
    500011: "The tenant knows no environment under this url: check url and tenant_id, which must belong together.",
    70011: "Entra ID does not accept the environment's address as a scope: check url.",
    53003: "A Conditional Access policy of the tenant blocks the application.",
}
"""Number in `error_codes` of a token error → what to change."""

WRONG_ADDRESS: Final = (
    "The address is not that of a Dynamics 365 environment (https://NAME.crm4.dynamics.com): check url."
)
WRONG_AUTHORITY: Final = "The authority is not a sign-in service of Entra ID: check authority."
NO_TENANT: Final = "There is no such tenant: check tenant_id (the Directory ID), and authority if it is set."


def problem_of(answer: Answer) -> Problem:
    """The problem of a refused request, by its known code, else by its HTTP status."""
    error = _error(answer)
    code = _code(error)
    status, shown = answer.status, code or str(answer.status)
    if status == 405:
        return Problem(ErrorKind.SETTINGS, shown, _NO_SUCH_METHOD)
    if code in CODES:
        # The code for a name that OData can't resolve: with 404 the table, else a column.
        kind, words = _NO_LEADS if status == 404 and code == "0x80060888" else CODES[code]
        return _named(Problem(kind, code, words, answer.retry_after), error)
    if status == 401:
        return Problem(ErrorKind.SIGN_IN_AGAIN, shown, _SIGN_IN)
    if is_transient(status):
        return Problem(ErrorKind.TRANSIENT, shown, retry_after=answer.retry_after)
    if status == 403:
        kind, words = _RIGHT_MISSING
        return _named(Problem(kind, shown, words), error)
    if status < 400 or status in {404, 410}:
        return Problem(ErrorKind.SETTINGS, shown, WRONG_ADDRESS)
    if status == 412:
        # Microsoft's example of a failed condition has no code. Plug-ins also answer 412, with other codes.
        return Problem(ErrorKind.CHANGED_MEANWHILE if code else ErrorKind.ALREADY_THERE, shown)
    return Problem(ErrorKind.LEAD, shown, _LEAD)


def _error(answer: Answer) -> Mapping[str, Any]:
    return as_object(as_object(answer.json()).get("error"))


def _code(error: Mapping[str, Any]) -> str:
    """The `code` of an error in lower case, "" if it has none. Negative decimal forms become hexadecimal."""
    code = error.get("code")
    text = code.strip().lower() if isinstance(code, str) else ""
    try:
        return f"0x{int(text) & 0xFFFFFFFF:08x}"
    except ValueError:
        return text[:20]


def _named(problem: Problem, error: Mapping[str, Any]) -> Problem:
    """The problem, with the name of the missing right if the message has it. No other text of a message is repeated."""
    right = _RIGHT.search(str(error.get("message")))
    if problem.words != _RIGHT_MISSING[1] or right is None:
        return problem
    return replace(problem, words=problem.words.replace("a right:", f"the right {right[0]}:"))
