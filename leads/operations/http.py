"""The management API: the operations over HTTP, with JSON in and out, and problem+json for errors."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import azure.functions as func

from leads.app import examined_app, get_app
from leads.operations.access import SIGNED_IN, AccessLevel, Caller, LevelTooLow, base_of, caller_with_key
from leads.operations.audit import carry_out
from leads.operations.operation import Operation
from leads.operations.problems import FAILURES, Forbidden, Problem, Unavailable, as_problem
from leads.operations.sign_in import (
    LOGIN,
    NotSignedIn,
    behind_login,
    is_navigation,
    is_page,
    login_address,
    require_own_page,
    signed_in_caller,
)
from leads.operations.table import OPERATIONS
from leads.operations.wire import match, read_request, write_answer
from leads.pipeline.http import RETRY_AFTER_SECONDS, failed, problem
from leads.platform import deadline
from leads.platform.events import Event, emit
from leads.platform.settings import Settings, SettingsError, read_usable_settings

WHOAMI: Final = "whoami"
NO_STORE: Final = {"Cache-Control": "no-store"}
NOT_OVER_HTTP: Final = (
    "The app answers no personal data over HTTP: set the app setting LEADS_PERSONAL_DATA_OVER_HTTP to true, or use the storage "
    "directly (the command line without --app)."
)


def answer_with_key(req: func.HttpRequest, function: str) -> func.HttpResponse:
    """Answer a management request. The host has checked the function's key."""
    return _answer_caller(req, function, partial(behind_login, caller_with_key(function)))


def answer_signed_in(req: func.HttpRequest) -> func.HttpResponse:
    """Answer a management request of a user whom the platform has signed in; the host asks for no key."""

    def caller(headers: Mapping[str, str], settings: Settings) -> Caller:
        found = signed_in_caller(headers, settings)
        require_own_page(req.method, headers, settings.host_name)
        return found

    return _answer_caller(req, SIGNED_IN, caller)


def _answer_caller(
    req: func.HttpRequest, function: str, caller: Callable[[Mapping[str, str], Settings], Caller]
) -> func.HttpResponse:
    headers = _in_lower_case(req.headers)
    try:
        # The doctor answers even if another setting is wrong.
        return _answer(req, caller(headers, read_usable_settings()[0]))
    except NotSignedIn as refused:
        if function == SIGNED_IN and req.route_params.get("path") == WHOAMI and is_page(req.method, headers):
            return _not_signed_in(refused)
        if refused.may_help and is_navigation(req.method, headers):
            address = login_address(f"{base_of(function)}/{req.route_params.get('path') or ''}")
            return func.HttpResponse(status_code=302, headers=NO_STORE | {"Location": address})
        more = {"login": LOGIN} if refused.may_help else None
        headers = NO_STORE | {"WWW-Authenticate": "Bearer"}
        return problem(refused.status, refused.title, str(refused), more=more, headers=headers)
    except Forbidden as refused:
        return problem(refused.status, refused.title, str(refused), headers=NO_STORE)
    except Exception as error:  # noqa: BLE001
        return failed(function, error)


def _not_signed_in(refused: NotSignedIn) -> func.HttpResponse:
    """The answer to a page that asks who has signed in, if no user has: the sign-in address, or "".

    The status is 200: the alert on refused requests would otherwise count each visit of the console.
    """
    told = {"level": None, "login": LOGIN if refused.may_help else ""}
    return func.HttpResponse(json.dumps(told), mimetype="application/json", headers=NO_STORE)


def _in_lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _answer(req: func.HttpRequest, caller: Caller) -> func.HttpResponse:
    path = (req.route_params.get("path") or "").strip("/")
    found = {op.method: (op, segments) for op in OPERATIONS if (segments := match(op.path, path)) is not None}
    if not found:
        return problem(404, "No such address", f"GET {caller.base} lists the addresses there are.", headers=NO_STORE)
    if req.method not in found:
        allowed = ", ".join(found)
        headers = NO_STORE | {"Allow": allowed}
        return problem(405, "Method not allowed", f"This address takes {allowed}, not {req.method}.", headers=headers)
    operation, segments = found[req.method]
    try:
        return _run(operation, segments, req, caller)
    except FAILURES as failure:
        return _refused(as_problem(failure), failure, caller)


def _run(
    operation: Operation[Any, Any], segments: dict[str, str], req: func.HttpRequest, caller: Caller
) -> func.HttpResponse:
    headers = _in_lower_case(req.headers)
    if not caller.level.reaches(operation.level):
        raise LevelTooLow(caller, operation.level)
    if operation.personal and caller.level is AccessLevel.PERSONAL and not get_app().settings.personal_data_over_http:
        raise Forbidden(NOT_OVER_HTTP)
    request = read_request(operation, segments, req.params, headers, req.get_body())
    app = examined_app() if operation.examines else get_app()
    with deadline.within(operation.seconds):
        sent = write_answer(operation, carry_out(operation, app, request, caller))
    return func.HttpResponse(
        sent.body or None,
        status_code=sent.status,
        mimetype="application/json",
        headers={**NO_STORE, **sent.headers},
    )


def _refused(found: Problem, failure: Exception, caller: Caller) -> func.HttpResponse:
    """The answer for a problem. Its text begins with the wrong field, if there is one."""
    field, colon, detail = str(found).partition(": ")
    if not colon:
        field, detail = "", field
    headers = dict(NO_STORE)
    if isinstance(found, Unavailable):
        if isinstance(failure, SettingsError):
            emit(Event.SETTINGS_WRONG, problem=str(failure))
        else:
            emit(Event.STORAGE_UNAVAILABLE, what=caller.function, why=type(failure).__name__)
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    more = {"level": found.needed.value} if isinstance(found, LevelTooLow) else None
    return problem(found.status, found.title, detail, field=field, more=more, headers=headers)
