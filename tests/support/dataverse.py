"""A publisher's Dynamics 365 in the tests: its configuration, leads on their way to it, and what its stand-in has seen."""

from __future__ import annotations

from typing import Any

from leads.app import App
from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.offers.model import read_offer
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Request
from tests.support.pipeline import Pipeline, a_lead

EMAIL = "siobhan+crm@example.com"


def crm(dynamics: Dataverse, **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = {key: more.pop(key) for key in ("mapping", "follow_up", "when") if key in more}
    settings = dynamics.settings("env:LEADS_SECRET_DYNAMICS") | more
    return {"name": "crm", "type": "dataverse", "settings": settings, **config}


def deliver(pipeline: Pipeline, action: str = "INS", email: str = EMAIL, **changes: Any) -> str:
    """A lead, from its post until it is settled."""
    lead = pipeline.post(a_lead(email, action, **changes))
    pipeline.run()
    return lead


def state(pipeline: Pipeline, lead: str) -> State:
    return pipeline.delivery(lead).state


def one(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows.values()
    return row


def check(pipeline: Pipeline, dynamics: Dataverse, **more: Any) -> CheckResult:
    """The check of an app that has just started."""
    offer = read_offer({"id": "a.b", "destinations": [crm(dynamics, **more)]})
    return App(pipeline.app.settings).destination(offer.destinations[0]).check()


def is_write(request: Request) -> bool:
    """Whether a request stores something: a change set, or a PATCH."""
    return request.method == "PATCH" or b"\r\nPATCH " in request.body


def tokens(dynamics: Dataverse) -> int:
    return sum(request.path.endswith("/token") for request in dynamics.entra.journal)
