"""Errors of Salesforce by their codes, and answers that can't be read."""

from __future__ import annotations

from typing import Any

import pytest

from leads.core.outcomes import Misconfigured, Outcome, Rejected, Retry
from tests.fakes.https_server import Response
from tests.fakes.salesforce import Salesforce
from tests.support.salesforce import Make, answered

CLASSES: list[tuple[Response, type[Outcome]]] = [
    (answered("UNABLE_TO_LOCK_ROW"), Retry),
    (answered("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "trigger: UNABLE_TO_LOCK_ROW, unable to obtain"), Retry),
    (answered("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "execution of BeforeInsert"), Rejected),
    (answered("CANNOT_EXECUTE_FLOW_TRIGGER", "„Zuweisung“: UNABLE_TO_LOCK_ROW: kein Zugriff"), Retry),
    (answered("CANNOT_EXECUTE_FLOW_TRIGGER", "「割り当て」 System.LimitException: Apex CPU"), Retry),
    (answered("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Update failed: UNABLE_TO_LOCK_ROW"), Retry),
    (answered("APEX_ERROR", "System.LimitException: Demasiadas consultas"), Retry),
    (answered("CANNOT_EXECUTE_FLOW_TRIGGER", "INVALID_CROSS_REFERENCE_KEY: propietario"), Rejected),
    (answered("SERVER_UNAVAILABLE", status=503), Retry),
    (answered("REQUEST_LIMIT_EXCEEDED", "ConcurrentPerOrgLongTxn Limit exceeded.", 403), Retry),
    (answered("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403), Misconfigured),
    (answered("REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests: Zu viele gleichzeitig", 403), Retry),
    (answered("API_DISABLED_FOR_ORG", status=403), Misconfigured),
    (answered("INSUFFICIENT_ACCESS_OR_READONLY"), Misconfigured),
    (answered("INVALID_TYPE"), Misconfigured),
    (answered("STORAGE_LIMIT_EXCEEDED"), Misconfigured),
    (answered("IDEMPOTENCY_NOT_SUPPORTED"), Misconfigured),
    (answered("JSON_PARSER_ERROR"), Misconfigured),
    (answered("REQUIRED_FIELD_MISSING", "missing", 400, "Region__c"), Misconfigured),
    (answered("REQUIRED_FIELD_MISSING", "missing", 400, "Phone"), Rejected),
    (answered("INVALID_FIELD_FOR_INSERT_UPDATE", "x", 400, "LastName"), Misconfigured),
    (answered("INVALID_FIELD", "Keine Spalte"), Misconfigured),
    (answered("DUPLICATE_VALUE"), Rejected),
    (answered("SOMETHING_NEW"), Rejected),
    (answered("SOMETHING_NEW", status=500), Retry),
    (answered("SOMETHING_NEW", status=420), Retry),
    (Response(409, []), Retry),
    (Response(400, {"message": "odd"}), Rejected),
    (Response(403, b"<html>"), Misconfigured),
    (Response(404, b"<html>"), Misconfigured),
    (Response(200, [1, "x", None]), Retry),
    (Response(200, {"id": "../x"}), Retry),
]


@pytest.mark.parametrize(("response", "kind"), CLASSES, ids=lambda value: str(getattr(value, "body", ""))[:60])
def test_an_error_is_classified_by_its_code_and_repeats_nothing(
    org: Salesforce, make: Make, response: Response, kind: type[Outcome]
) -> None:
    alone = make(match_existing="off")
    org.fault = lambda request: response if request.path.endswith("/ui-api/records") else None
    outcome = alone.send()
    assert isinstance(outcome, kind), outcome
    assert "Neil" not in repr(outcome)


@pytest.mark.parametrize(
    "body", [{}, {"compositeResponse": []}, {"compositeResponse": ["x"]}, {"compositeResponse": [{}]}, []]
)
def test_a_transaction_with_an_unreadable_answer_is_retried(org: Salesforce, make: Make, body: Any) -> None:
    org.fault = lambda request: Response(200, body) if request.path.endswith("composite") else None
    assert isinstance(make().send(), Retry)
