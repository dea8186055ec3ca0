"""What a refused sign-in and a refused request to Dynamics 365 mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leads.core.outcomes import Misconfigured
from leads.destinations.http import Answer
from leads.destinations.vendor_errors import ErrorKind
from leads.destinations.vendors.dataverse.errors import problem_of
from leads.destinations.vendors.dataverse.sign_in import _refused

TOLD = "what the environment told"


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"error": "invalid_grant"}, "invalid_grant", "check tenant_id, client_id and client_secret"),
        ({"error": "invalid_grant", "error_codes": [50126]}, "AADSTS50126", "check tenant_id, client_id"),
        ({"error": "invalid_request", "error_codes": [900971]}, "AADSTS900971", "reply address"),
    ],
)
def test_a_refused_sign_in_is_misconfigured_and_names_what_to_repair(
    told: dict[str, Any], code: str, words: str
) -> None:
    refused = _refused(Answer(400, {}, json.dumps(told).encode()))
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
