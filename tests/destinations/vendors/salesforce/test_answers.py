"""Salesforce's answers are read whatever they hold: errors, tokens, descriptions of objects, rows of queries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.http import Answer
from leads.destinations.vendor_errors import ErrorKind
from leads.destinations.vendors.salesforce.errors import CODES, no_token, refusal_of
from leads.destinations.vendors.salesforce.fields import LeadFields
from leads.destinations.vendors.salesforce.records import DEFAULT_MAPPING, LeadRecord

SECRET = "O'Neil's own words"
NAMES = st.sampled_from(
    [
        "errorCode",
        "message",
        "fields",
        "output",
        "errors",
        "fieldErrors",
        "matchRecords",
        "record",
        "Id",
        "matchResults",
        "duplicateResut",
        "error",
        "name",
    ]
)
LEAVES = st.sampled_from([None, True, 7, "", SECRET, "Email", *sorted(CODES)])
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


@given(st.integers(0, 599), JSON)
def test_any_error_is_read_and_repeats_no_message(status: int, body: Any) -> None:
    problem = refusal_of(status, body).problem
    assert problem.kind in ErrorKind
    assert SECRET not in problem.words
    assert isinstance(problem.outcome().code, str)


@given(st.integers(100, 599), JSON)
def test_any_answer_of_a_sign_in_is_read(status: int, body: Any) -> None:
    outcome = no_token(Answer(status, {}, json.dumps(body).encode()))
    assert isinstance(outcome, Misconfigured | Retry)
    assert SECRET not in getattr(outcome, "reason", "")


@given(JSON)
def test_any_description_of_leads_is_read(body: Any) -> None:
    fields = LeadFields()
    fields.learn({"fields": body})
    assert fields.are_known
    assert fields.problem_with(DEFAULT_MAPPING, DEFAULT_MAPPING)


@given(st.dictionaries(st.sampled_from(["Id", "Tasks", "IsConverted", "LastModifiedDate", "ConvertedContactId"]), JSON))
def test_any_row_is_read(row: dict[str, Any]) -> None:
    lead = LeadRecord(row)
    assert isinstance(lead.id, str) and isinstance(lead.is_open, bool)
    assert all(parent.id for parent in lead.parents) or lead.is_open
    assert isinstance(dict(lead.unmodified_since), dict) and not lead.is_in_campaign


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            [{"errorCode": "INVALID_FIELD", "message": "No such column 'Offer__c' on sobject of type Lead"}],
            ("Offer__c",),
        ),
        (
            [
                {
                    "errorCode": "INVALID_FIELD_FOR_INSERT_UPDATE",
                    "message": "Unable to create/update fields: A__c, B__c. Please",
                }
            ],
            ("A__c", "B__c"),
        ),
        ([{"errorCode": "STRING_TOO_LONG", "message": "too long", "fields": ["Title"]}], ("Title",)),
        (
            {
                "output": {
                    "errors": [],
                    "fieldErrors": {
                        "Email": [{"errorCode": "INVALID_EMAIL_ADDRESS", "field": "Email", "constituentField": None}],
                        "Name": [
                            {"errorCode": "INVALID_EMAIL_ADDRESS", "field": "Name", "constituentField": "FirstName"}
                        ],
                    },
                }
            },
            ("Email", "FirstName"),
        ),
    ],
)
def test_the_fields_that_are_refused_are_named(body: Any, fields: tuple[str, ...]) -> None:
    assert refusal_of(400, body).problem.fields == fields


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (
            [
                {
                    "errorCode": "DUPLICATES_DETECTED",
                    "duplicateResut": {
                        "matchResults": [{"matchRecords": [{"record": {"Id": "00Q1"}}, {"record": {}}]}]
                    },
                }
            ],
            ("00Q1",),
        ),
        (
            {
                "output": {
                    "errors": [
                        {
                            "errorCode": "DUPLICATES_DETECTED",
                            "duplicateRecordError": {
                                "matchResults": [{"apiName": "Lead", "matchRecordIds": ["00Q1", "00Q2"]}]
                            },
                        }
                    ]
                }
            },
            ("00Q1", "00Q2"),
        ),
    ],
)
def test_the_records_that_a_duplicate_rule_names_are_found(body: Any, ids: tuple[str, ...]) -> None:
    refusal = refusal_of(400, body)
    assert refusal.problem.kind is ErrorKind.DUPLICATE_RULE
    assert refusal.duplicates == ids
