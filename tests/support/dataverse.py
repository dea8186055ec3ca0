"""A publisher's Dynamics 365 in the tests: configuration, leads for it, and the requests that the fake got."""

from __future__ import annotations

from typing import Any

from leads.destinations.base import CheckResult
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Request
from tests.support.pipeline import Pipeline, check_anew, destination_entry


def crm(dynamics: Dataverse, **more: Any) -> dict[str, Any]:
    return destination_entry("dataverse", dynamics.settings("env:LEADS_SECRET_DYNAMICS"), **more)


def one(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows.values()
    return row


def check(pipeline: Pipeline, dynamics: Dataverse, **more: Any) -> CheckResult:
    return check_anew(pipeline, crm(dynamics, **more))


def is_write(request: Request) -> bool:
    """Whether a request stores something: a change set, or a PATCH."""
    return request.method == "PATCH" or b"\r\nPATCH " in request.body


def tokens(dynamics: Dataverse) -> int:
    return sum(request.path.endswith("/token") for request in dynamics.entra.journal)
