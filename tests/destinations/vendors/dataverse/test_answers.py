"""Whatever an environment answers, a check and a send end in a result: neither raises, and neither repeats what it was told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads import destinations
from leads.core.lead import Lead, Stage
from leads.core.outcomes import Misconfigured, Outcome
from leads.destinations.base import CheckResult, Context, Customer, OutgoingLead
from leads.destinations.http import Answer
from leads.destinations.tokens import Token, TokenSource
from leads.destinations.vendor_errors import ErrorKind
from leads.destinations.vendors.dataverse import Dataverse
from leads.destinations.vendors.dataverse.client import Client
from leads.destinations.vendors.dataverse.errors import problem_of
from leads.destinations.vendors.dataverse.sign_in import _refused
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings
from leads.platform.storage import Storage

TOLD = "what the environment told"
SETTINGS = {"url": "https://contoso.crm4.dynamics.com", "duplicate_detection": "create"}
LEAD = Lead(last_name="O'Neil", email="ada@example.com", offer_title="Contoso CRM")
OUTGOING = OutgoingLead(
    "20260101000000000-0123456789ab-c", LEAD, "a.b", "crm", Stage.PURCHASE, datetime(2026, 1, 1, tzinfo=UTC)
)

NAMES = "value error code message UserId RolePrivileges PrivilegeName LogicalName MaxLength AttributeType leadid statecode merged"
CODES = (
    "0x80040237 0x80060882 0x80040217 0x80040333 0x80044331 0x80072322 0x8005f101 0x80040220 0x80040203 -2147220937 x"
)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([*CODES.split(), TOLD, "", "_"])
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=4),
    max_leaves=8,
)
errors = st.sampled_from(CODES.split()).map(lambda code: {"error": {"code": code, "message": TOLD}})
bodies = (json_values | errors).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
answers = st.builds(
    Answer,
    st.sampled_from([200, 200, 200, 200, 204, 302, 400, 401, 403, 404, 412, 429, 500]),
    st.sampled_from([{}, {"retry-after": "9"}, {"content-type": "multipart/mixed; boundary=b"}]),
    bodies
    | bodies.map(
        lambda body: b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 400 X\r\n\r\n" + body + b"\r\n--b--"
    ),
)


class Environment:
    """Answers what it was given, one after the other, and then the last one for ever."""

    def __init__(self, given: list[Answer]) -> None:
        self._given = list(given)

    def request(self, *_: Any, **__: Any) -> Answer:
        return self._given.pop(0) if len(self._given) > 1 else self._given[0]


def dynamics(given: list[Answer]) -> Dataverse:
    settings = Settings.model_validate({})
    made = destinations.make("dataverse", SETTINGS, Context(settings, Secrets(settings, {}), Storage(settings)))
    assert isinstance(made, Dataverse)
    http: Any = Environment(given)
    token = Token("token", datetime.now(UTC) + timedelta(days=1))
    made.__dict__["client"] = Client("https://contoso.crm4.dynamics.com", http, TokenSource(lambda: token))
    return made


@given(st.lists(answers, min_size=1, max_size=6))
def test_any_answers_to_a_check_are_a_result(given: list[Answer]) -> None:
    found = dynamics(given).check()
    assert isinstance(found, CheckResult)
    assert TOLD not in found.problem


@example([Answer(200, {}, b"{}")], "0a1b2c3d-0000-4000-8000-0123456789ab")
@given(st.lists(answers, min_size=1, max_size=6), st.sampled_from(["", "0a1b2c3d-0000-4000-8000-0123456789ab"]))
def test_any_answers_to_a_lead_are_an_outcome(given: list[Answer], record: str) -> None:
    outcome = dynamics(given).send(OUTGOING, Customer("key", record))
    assert isinstance(outcome, get_args(Outcome))
    assert TOLD not in getattr(outcome, "reason", "")


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"error": "invalid_grant"}, "invalid_grant", "check tenant_id, client_id and client_secret"),
        ({"error": "invalid_grant", "error_codes": [50126]}, "AADSTS50126", "check tenant_id, client_id"),
        ({"error": "invalid_request", "error_codes": [900971]}, "AADSTS900971", "reply address"),
    ],
)
def test_a_refused_sign_in_is_a_matter_of_the_configuration_and_names_what_to_repair(
    told: dict[str, Any], code: str, words: str
) -> None:
    refused = _refused(told)
    assert isinstance(refused, Misconfigured)
    assert refused.code == code
    assert words in refused.reason


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (404, "0x80060888", ErrorKind.SETTINGS, "Dynamics 365 Sales"),
        (400, "0x80060888", ErrorKind.SETTINGS, "column of the mapping"),
        (403, "0x80095ffc", ErrorKind.SETTINGS, "app access control"),
        (405, "0x80060888", ErrorKind.SETTINGS, "gateway"),
        (405, "", ErrorKind.SETTINGS, "gateway"),
        (400, "0x8004022b", ErrorKind.SETTINGS, "owner"),
        (400, "0x80040526", ErrorKind.SETTINGS, "queue"),
        (400, "0x80044170", ErrorKind.LEAD, ""),
        (500, "0x80044170", ErrorKind.TRANSIENT, ""),
        (412, "0x80060899", ErrorKind.CHANGED_MEANWHILE, ""),
        (412, "412", ErrorKind.CHANGED_MEANWHILE, ""),
        (412, "", ErrorKind.ALREADY_THERE, ""),
        (200, "0x80060899", ErrorKind.SETTINGS, ""),
    ],
)
def test_a_refusal_names_what_to_repair(status: int, code: str, kind: ErrorKind, words: str) -> None:
    body = json.dumps({"error": {"code": code, "message": TOLD}}).encode()
    problem = problem_of(Answer(status, {}, body))
    assert problem.kind is kind
    assert words in problem.words and TOLD not in problem.words


def test_a_status_without_a_known_code_is_never_a_success_but_where_microsoft_shows_one() -> None:
    for status in range(300, 600):
        found = {
            problem_of(Answer(status, {}, json.dumps({"error": {"code": code}}).encode())).kind for code in ("x", "")
        }
        assert ErrorKind.ALREADY_THERE not in found or status == 412
