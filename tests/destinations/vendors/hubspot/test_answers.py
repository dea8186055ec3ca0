"""HubSpot's refusals are read whatever they hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from leads.destinations.http import Answer
from leads.destinations.vendor_errors import ErrorKind
from leads.destinations.vendors.hubspot.client import EmailTaken
from leads.destinations.vendors.hubspot.errors import problem_of
from tests.support.strategies import json_values

PERSONAL = "Zoë O'Neil, zoe@example.com"
CODES = st.sampled_from(["INVALID_EMAIL", "INVALID_OPTION", "READ_ONLY_VALUE", PERSONAL]) | json_values
CONTEXTS = json_values | st.fixed_dictionaries(
    {},
    optional={
        "propertyName": json_values | st.just([PERSONAL, "phone"]),
        "requiredScopes": json_values | st.just([PERSONAL]),
    },
)
ERRORS = json_values | st.lists(
    st.fixed_dictionaries({"code": CODES, "message": st.just(PERSONAL), "context": CONTEXTS}) | json_values
)
MESSAGES = json_values | st.just(f'Property values were not valid: [{{"name":"{PERSONAL}","error":"{PERSONAL}"}}]')
REFUSALS = json_values | st.fixed_dictionaries(
    {}, optional={"message": MESSAGES, "category": CODES, "policyName": CODES, "errors": ERRORS}
)


@given(REFUSALS | st.binary(), st.sampled_from([302, 400, 401, 403, 404, 408, 409, 414, 423, 429, 477, 500, 502, 521]))
@example({"errors": 1}, 400)
@example({"errors": [{"context": {"propertyName": "phone", "code": 1}}]}, 400)
@example({"errors": [{"context": {"requiredScopes": "contacts"}}]}, 403)
@example({"message": "[1, null]"}, 400)
def test_a_refusal_has_a_meaning_whatever_it_holds_and_repeats_nothing_personal(body: Any, status: int) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = problem_of(Answer(status, {}, raw))
    assert found.code
    assert PERSONAL not in repr(found) and "zoe@" not in repr(found)
    if status >= 500:
        assert found.kind is ErrorKind.TRANSIENT


@given(REFUSALS | st.just({"message": "Contact already exists. Existing ID: 6001"}))
def test_the_contact_of_an_address_is_a_number_or_nothing(body: Any) -> None:
    found = EmailTaken(Answer(409, {}, json.dumps(body).encode()))
    assert found.contact == "" or found.contact.isdigit()
    assert found.problem.kind is ErrorKind.ALREADY_THERE
