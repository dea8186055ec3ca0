"""After any answer of a CRM, a check and a send have a result. Neither raises, and neither repeats the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.core.lead import Lead, Stage
from leads.core.outcomes import Outcome
from leads.destinations.base import CheckResult, Customer, OutgoingLead
from leads.destinations.crm import Crm
from leads.destinations.http import Answer
from leads.destinations.tokens import Token, TokenSource
from tests.destinations.faults.subjects import SUBJECTS
from tests.destinations.faults.subjects.base import CrmSubject
from tests.support.destination import Instance

TOLD = "what the vendor told"
LEAD = Lead(last_name="O'Neil", email="ada@example.com", offer_title="Contoso CRM", country="Germany")
OUTGOING = OutgoingLead(
    "20260101000000000-0123456789ab-c", LEAD, "a.b", "crm", Stage.PURCHASE, datetime(2026, 1, 1, tzinfo=UTC)
)
CRMS = {name: kind for name, kind in SUBJECTS.items() if issubclass(kind, CrmSubject)}

NAMES = (
    "value error code message UserId RolePrivileges PrivilegeName LogicalName MaxLength AttributeType leadid statecode merged "
    "id results properties propertiesWithHistory associations notes paging category policyName context errors name scopes "
    "records fields compositeResponse body httpStatusCode referenceId errorCode Description output Id options list "
    "success result status reasons rest soap"
)
CODES = (
    "0x80040237 0x80060882 0x80040217 0x80040333 0x80044331 0x80072322 0x8005f101 0x80040220 0x80040203 -2147220937 x "
    "DUPLICATE_VALUE INVALID_FIELD STRING_TOO_LONG ENTITY_IS_DELETED UNABLE_TO_LOCK_ROW DUPLICATES_DETECTED INVALID_SESSION_ID "
    "VALIDATION_ERROR PROPERTY_DOESNT_EXIST 601 606 1003 1004 1005 1006 1021 created updated"
)
scalars = st.none() | st.booleans() | st.integers(-5, 300) | st.sampled_from([*CODES.split(), TOLD, "", "_", "7"])
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=5),
    max_leaves=10,
)
refusals = st.sampled_from(CODES.split()).flatmap(
    lambda code: st.sampled_from(
        [
            {"error": {"code": code, "message": TOLD}},
            [{"errorCode": code, "message": TOLD, "fields": [TOLD, "Phone"]}],
            {"success": False, "errors": [{"code": code, "message": TOLD}]},
            {"success": True, "result": [{"id": 7, "status": "skipped", "reasons": [{"code": code, "message": TOLD}]}]},
            {
                "status": "error",
                "category": code,
                "message": TOLD,
                "errors": [{"code": code, "context": {"propertyName": [TOLD]}}],
            },
        ]
    )
)
bodies = (json_values | refusals).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
parts = bodies.map(
    lambda body: b"--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 400 X\r\n\r\n" + body + b"\r\n--b--"
)
answers = st.builds(
    Answer,
    st.sampled_from([200, 200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 412, 429, 477, 500]),
    st.sampled_from([{}, {"retry-after": "9"}, {"content-type": "multipart/mixed; boundary=b"}]),
    bodies | parts,
)


class Vendor:
    """Gives its answers one after the other, and then repeats the last answer."""

    def __init__(self, given: list[Answer]) -> None:
        self._given = list(given)

    def request(self, *_: Any, **__: Any) -> Answer:
        return self._given.pop(0) if len(self._given) > 1 else self._given[0]


def crm(type_name: str, given: list[Answer]) -> Crm:
    made = Instance("", {"LEADS_SECRET_VENDOR": "pat-secret"}).make(
        {"type": type_name, "settings": CRMS[type_name].example}
    )
    assert isinstance(made, Crm)
    vendor: Any = Vendor(given)
    token = Token("token", datetime.now(UTC) + timedelta(days=1))
    client = made.client_class("https://vendor.example.com", vendor, TokenSource(lambda: token))

    @contextmanager
    def connected(**_: Any) -> Iterator[Any]:
        yield client

    made.__dict__["connected"] = connected
    return made


@pytest.mark.parametrize("type_name", CRMS)
@given(st.lists(answers, min_size=1, max_size=6))
def test_any_answers_to_a_check_are_a_result(type_name: str, given: list[Answer]) -> None:
    found = crm(type_name, given).check()
    assert isinstance(found, CheckResult)
    assert TOLD not in found.problem


@pytest.mark.parametrize("type_name", CRMS)
@example([Answer(200, {}, b"{}")], "0a1b2c3d-0000-4000-8000-0123456789ab")
@given(st.lists(answers, min_size=1, max_size=6), st.sampled_from(["", "0a1b2c3d-0000-4000-8000-0123456789ab", "7"]))
def test_any_answers_to_a_lead_are_an_outcome(type_name: str, given: list[Answer], record: str) -> None:
    outcome = crm(type_name, given).send(OUTGOING, Customer("key", record))
    assert isinstance(outcome, get_args(Outcome))
    assert TOLD not in getattr(outcome, "reason", "") and TOLD not in getattr(outcome, "code", "")
