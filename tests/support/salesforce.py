"""A publisher's Salesforce in the tests: configuration, and what the fake holds and was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.fakes.https_server import Request, Response
from tests.fakes.salesforce import Salesforce
from tests.support.destination import Alone
from tests.support.pipeline import destination_entry

KEY: Final = "Marketplace_Key__c"

Make = Callable[..., Alone]
"""Makes a destination with these settings, as an instance that has just started has it."""


def crm(org: Salesforce, **more: Any) -> dict[str, Any]:
    return destination_entry("salesforce", org.settings("env:LEADS_SECRET_SALESFORCE"), **more)


def one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows
    return row


def told(org: Salesforce) -> list[str]:
    """The leads of which the organisation's texts tell, one entry for each text."""
    texts = [str(row.get("Description") or "") for row in [*org.leads, *org.tasks()]]
    return [line.removeprefix("Lead: ") for text in texts for line in text.splitlines() if line.startswith("Lead: ")]


def is_write(request: Request) -> bool:
    """Whether a request stores something."""
    return request.method == "POST" and (
        request.path.endswith(("/sobjects/Lead", "/ui-api/records"))
        or b'"POST"' in request.body
        or b'"PATCH"' in request.body
    )


def answered(code: str, message: str = "O'Neil", status: int = 400, *fields: str) -> Response:
    return Response(status, [{"errorCode": code, "message": message, "fields": list(fields)}])
