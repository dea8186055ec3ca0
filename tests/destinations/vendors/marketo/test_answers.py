"""Marketo's answers are read whatever they hold. The journey as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.core.identity import new_lead_id
from leads.core.lead import Lead, Stage
from leads.core.outcomes import Misconfigured, Retry
from leads.destinations.base import OutgoingLead
from leads.destinations.http import Answer
from leads.destinations.rate_limiter import RateLimit
from leads.destinations.tokens import NoToken, Token, TokenSource
from leads.destinations.vendor_errors import ErrorKind, VendorError
from leads.destinations.vendors.marketo import RATE_LIMIT
from leads.destinations.vendors.marketo.client import LimitedClient
from leads.destinations.vendors.marketo.errors import CODES, WAITS, problem_of, record_problem
from leads.destinations.vendors.marketo.fields import Field, catalogue, form_fields
from leads.destinations.vendors.marketo.journey import EARLIER, STAGES_KEPT, as_text, with_stage
from leads.destinations.vendors.marketo.records import may_raise, newest, unfit_email
from leads.destinations.vendors.marketo.settings import MarketoSettings
from leads.destinations.vendors.marketo.sign_in import _token
from tests.support.strategies import json_values, leads

START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def answer(body: Any, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(body).encode(errors="replace"))


def settings(**more: Any) -> MarketoSettings:
    given = {"munchkin_id": "123-ABC-456", "client_id": "id", "client_secret": "env:LEADS_SECRET_MARKETO"}
    return MarketoSettings.model_validate(given | more)


# --- Answers ------------------------------------------------------------------------------------------------------------


@given(json_values | st.fixed_dictionaries({"success": json_values, "errors": json_values}), st.integers(100, 599))
def test_an_answer_is_well_only_if_it_says_so_and_names_no_error(body: Any, status: int) -> None:
    problem = problem_of(answer(body, status))
    well = isinstance(body, dict) and body.get("success") is True and 200 <= status < 300
    assert problem is not None or well


@given(st.dictionaries(st.sampled_from(["status", "reasons", "errors", "id"]), json_values))
@example({"status": "skipped"})
@example({"id": 1, "status": "created", "reasons": [{"code": 1003}]})
@example({"errors": [{"code": "1003"}], "reasons": None})
def test_a_record_that_was_skipped_or_has_reasons_is_never_stored(record: dict[str, Any]) -> None:
    problem = record_problem(record)
    if record.get("status") == "skipped":
        assert problem is not None
    for reason in record.get("reasons") or [] if isinstance(record.get("reasons"), list) else []:
        if isinstance(reason, dict) and str(reason.get("code", "")).strip() and isinstance(reason["code"], str | int):
            assert problem is not None


@given(json_values, st.integers(100, 599))
@example({"access_token": "x", "expires_in": 0}, 200)
@example({"access_token": "x", "expires_in": float("inf")}, 200)
@example({"access_token": "", "expires_in": 3600}, 200)
@example({"error": "invalid_client", "error_description": "Bad client credentials"}, 401)
def test_an_identity_answer_is_a_token_or_says_why_there_is_none(body: Any, status: int) -> None:
    try:
        token = _token(answer(body, status))
    except NoToken as none:
        assert isinstance(none.outcome, Misconfigured | Retry)
        assert none.outcome.code
    else:
        assert token.value and status == 200


@given(st.lists(json_values, max_size=4))
@example([{"rest": {"name": "a", "readOnly": True}, "soap": None, "length": "x"}])
@example([{"id": "Email", "maxLength": -1}, {"id": 5}, {"id": "Email", "required": 1, "maxLength": 3}])
def test_fields_are_read_from_whatever_is_listed(items: list[Any]) -> None:
    known = catalogue(Listing(items))  # type: ignore[arg-type]
    for name, field in known.by_name.items():
        assert field.name == name and (field.length is None or field.length > 0)
    assert set(form_fields(Listing(items), 1, known)) <= set(known.by_name)  # type: ignore[arg-type]


class Listing:
    """A client to which every path lists the same."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def get(self, path: str) -> list[dict[str, Any]]:
        return [item for item in self._items if isinstance(item, dict)]


@pytest.mark.parametrize(
    "refused",
    [Answer(400, {}, b""), *(answer({"success": False, "errors": [{"code": code}]}) for code in (605, "609"))],
)
def test_an_answer_that_no_request_can_be_read_is_neither_the_leads_fault_nor_a_wrong_munchkin_id(
    refused: Answer,
) -> None:
    problem = problem_of(refused)
    assert problem is not None
    outcome = problem.outcome()
    assert isinstance(outcome, Misconfigured)
    assert "endpoint" in outcome.reason and "munchkin_id" not in outcome.reason


def test_every_code_that_is_waited_for_is_one_that_passes() -> None:
    assert {CODES[code][0] for code in WAITS} == {ErrorKind.TRANSIENT}


def test_every_code_that_is_left_to_a_person_has_words() -> None:
    told = {ErrorKind.SETTINGS, ErrorKind.LEAD, ErrorKind.GONE, ErrorKind.FIELD, ErrorKind.SIGN_IN_AGAIN}
    assert not [code for code, (kind, words) in CODES.items() if kind in told and not words]


# --- Persons ------------------------------------------------------------------------------------------------------------


def test_only_a_person_with_the_very_address_counts() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "email": "b@example.com"},
        {"id": 2, "email": "A@example.com "},
        {"id": 3},
        {"email": "a@example.com"},
    ]
    found = newest(rows, "a@example.com")
    assert found is not None and found.id == "2"
    assert newest(rows[:1], "a@example.com") is None


@pytest.mark.parametrize(
    ("current", "last", "rating", "overwrite", "rises"),
    [
        ("", "", "cold", False, True),
        ("Cold", "Cold", "hot", False, True),
        ("Cold", "", "hot", False, False),
        ("Cold", "", "hot", True, True),
        ("Hot", "Hot", "warm", True, False),
        ("hot", "Hot", "hot", False, False),
        ("A+", "", "hot", False, False),
    ],
)
def test_a_rating_rises_from_none_or_from_the_apps_own(
    current: str, last: str, rating: str, overwrite: bool, rises: bool
) -> None:
    assert may_raise(current, last, rating, overwrite=overwrite) is rises


@given(st.text(max_size=300))
def test_an_address_that_is_taken_is_ascii_and_fits(email: str) -> None:
    if not unfit_email(email):
        assert email and email.isascii() and len(email) <= 255


@given(st.text(max_size=400), st.sampled_from(["string", "text", "phone", "integer"]), st.none() | st.integers(1, 300))
def test_a_fitted_text_fits_and_says_that_it_was_cut(text: str, kind: str, length: int | None) -> None:
    fitted = Field("x", kind, length).fit(text)
    if kind == "text":
        assert fitted == text
    else:
        assert len(fitted.encode("utf-16-le", "surrogatepass")) <= 2 * (length or 255)
        assert fitted == text or fitted.endswith("…")


# --- The journey --------------------------------------------------------------------------------------------------------


def outgoing(number: int, lead: Lead | None = None) -> OutgoingLead:
    moment = START + timedelta(seconds=number)
    lead_id = f"{new_lead_id(moment, Lead())[:17]}-{number:012x}-c"
    return OutgoingLead(lead_id, lead or Lead(offer_title="Contoso CRM"), "contoso.crm", "crm", Stage.TRIAL, moment)


@given(st.lists(st.integers(0, 60), max_size=120))
def test_each_lead_is_one_line_however_often_and_in_whatever_order_it_is_sent(sent: list[int]) -> None:
    memory: dict[str, str] = {"rating": "Hot"}
    for number in sent:
        memory = {"rating": "Hot"} | with_stage(memory, outgoing(number, Lead(offer_title="ü" * 200)))
    stages = [name for name in memory if name not in {"rating", EARLIER}]
    assert stages == sorted(stages, reverse=True)
    assert len(stages) == min(len(set(sent)), STAGES_KEPT)
    assert (EARLIER in memory) == (len(set(sent)) > STAGES_KEPT)
    assert len(json.dumps(memory)) < 32_000, "a column of the table"


@given(leads)
def test_the_text_begins_with_the_stages_and_ends_with_the_lead_in_full(lead: Lead) -> None:
    at_hand = outgoing(2, lead)
    stages = with_stage(with_stage({}, outgoing(1)), at_hand)
    text = as_text(stages, at_hand, ["A remark."])
    first, second, blank, *rest = text.split("\n")
    assert first.startswith("2026-01-31 12:00 UTC · ") and first.endswith(f" · {at_hand.lead_id}")
    assert second.endswith(f"Trial: Contoso CRM · {outgoing(1).lead_id}")
    assert (blank, rest[0], rest[1]) == ("", "A remark.", "")
    assert not lead.note or text.endswith(lead.note)


def test_dropped_stages_are_marked_by_an_ellipsis() -> None:
    memory: dict[str, str] = {}
    for number in range(STAGES_KEPT + 1):
        memory = with_stage(memory, outgoing(number))
    assert as_text(memory, outgoing(STAGES_KEPT), []).split("\n")[STAGES_KEPT] == "…"


# --- Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "https://123-abc-456.mktorest.com"),
        ({"munchkin_id": "123-abc-456"}, "https://123-abc-456.mktorest.com"),
        ({"endpoint": "https://123-ABC-456.mktorest.com/rest"}, "https://123-ABC-456.mktorest.com"),
        ({"endpoint": "https://123-ABC-456.mktorest.com/rest/"}, "https://123-ABC-456.mktorest.com"),
        ({"endpoint": "https://proxy.example.com:8443/"}, "https://proxy.example.com:8443"),
    ],
)
def test_the_endpoint_loses_a_slash_and_rest_at_its_end(given: dict[str, str], expected: str) -> None:
    assert settings(**given).url == expected


def test_an_instance_has_one_name_however_it_is_written() -> None:
    assert settings(munchkin_id="123-abc-456").instance == settings().instance


def test_the_rate_limit_is_what_adobe_advises() -> None:
    assert RateLimit(at_once=5, calls=50, seconds=20.0, longest_call=90.0) == RATE_LIMIT


def test_a_refused_call_has_ended_as_any_other_where_the_limit_counts_it() -> None:
    ended: list[int] = []

    class Slot:
        def call(self, request: Callable[[], Answer]) -> Answer:
            found = request()
            ended.append(found.status)
            return found

    class Http:
        def request(self, *_: Any, **__: Any) -> Answer:
            return answer({"success": False, "errors": [{"code": "1003"}]})

    http: Any = Http()
    slot: Any = Slot()
    tokens = TokenSource(lambda: Token("token", START + timedelta(days=36500)))
    client = LimitedClient("https://123-abc-456.mktorest.com", http, tokens, slot)
    with pytest.raises(VendorError):
        client.may_write()
    assert ended == [200]
