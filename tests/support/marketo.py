"""A publisher's Marketo in the tests: configuration, and what the fake holds and was asked."""

from __future__ import annotations

import json
from typing import Any, Final

from leads.destinations.base import CheckResult
from tests.fakes.https_server import Request
from tests.fakes.marketo import FORM, Marketo
from tests.support.pipeline import Killed, Pipeline, check_anew, destination_entry

JOURNEY: Final = "marketplaceJourney"
BY_FORM: Final = {"form_id": FORM}


def crm(marketo: Marketo, **more: Any) -> dict[str, Any]:
    settings = marketo.settings("env:LEADS_SECRET_MARKETO") | {"endpoint": f"{marketo.url}/rest"}
    return destination_entry("marketo", settings, **more)


def one(marketo: Marketo) -> dict[str, Any]:
    (person,) = marketo.persons.values()
    return person


def check(pipeline: Pipeline, marketo: Marketo, **more: Any) -> CheckResult:
    return check_anew(pipeline, crm(marketo, **more))


def is_write(request: Request) -> bool:
    """Whether a request stores something."""
    if request.method != "POST" or not request.path.startswith("/rest/") or request.query.get("_method") == "GET":
        return False
    return b'"input": []' not in request.body


def writes(marketo: Marketo) -> list[dict[str, Any]]:
    """The bodies of the requests that stored something."""
    return [json.loads(request.body) for request in marketo.journal if is_write(request) and request.body]


def tokens(marketo: Marketo) -> int:
    return sum(request.path == "/identity/oauth/token" for request in marketo.journal)


def die(*_: object, **__: object) -> None:
    raise Killed
