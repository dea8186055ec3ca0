"""The check of a Marketo destination says what to change and writes nothing; impossible settings are refused before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from leads.core.states import State
from leads.destinations.base import CheckResult
from leads.destinations.vendors import marketo as vendor
from leads.destinations.vendors.marketo.client import DESCRIPTION_BYTES
from leads.offers.model import InvalidOffer, read_offer
from tests.fakes.https_server import Response
from tests.fakes.marketo import FORM, LIST, Marketo
from tests.support.marketo import BY_FORM, JOURNEY, check, crm, is_write
from tests.support.pipeline import Pipeline, deliver, state


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"munchkin_id": "ys12"}, "munchkin_id"),
        ({"client_secret": "abc"}, "client_secret"),
        ({"endpoint": "http://123-abc-456.mktorest.com"}, "endpoint"),
        ({"form_id": 0}, "form_id"),
        ({"program_id": 7}, "program_id"),
        ({"form_id": FORM, "partition": "Europe"}, "partition"),
        ({"journey_field": "a field"}, "journey_field"),
        ({"do_not_contact": ["email"]}, "do_not_contact"),
        ({"follow_up": {"purchase": {"list": "a list"}}}, "list"),
        ({"follow_up": {"purchase": {"task": {}}}}, "task"),
    ],
)
def test_impossible_settings_are_refused_when_the_offer_is_saved(
    marketo: Marketo, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidOffer, match=field):
        read_offer({"id": "a.b", "destinations": [crm(marketo, **changes)]})


SettingUp = Callable[[Marketo], Any]


def keep_form(marketo: Marketo, **changes: Any) -> None:
    for name, value in changes.items():
        setattr(marketo.forms[FORM], name, value)


MISCONFIGURED: list[tuple[str, dict[str, Any], SettingUp, str, str]] = [
    ("wrong secret", {}, lambda m: setattr(m, "secret", "another"), "invalid_client", "client secret"),
    ("wrong client", {"client_id": "0"}, lambda m: None, "unauthorized", "client_id"),
    (
        "no such secret",
        {"client_secret": "env:LEADS_SECRET_NOT_SET"},
        lambda m: None,
        "settings",
        "LEADS_SECRET_NOT_SET",
    ),
    ("no right to write", {}, lambda m: m.permissions.discard("Read-Write Lead"), "603", "Read-Write Lead"),
    ("no right to see forms", BY_FORM, lambda m: m.permissions.discard("Read-Only Assets"), "603", "Read-Only Assets"),
    ("quota", {}, lambda m: setattr(m, "quota", 0), "607", "quota"),
    ("missing field", {"mapping": {"newField": "{email}"}}, lambda m: None, "check", "mapping.newField"),
    ("read-only field", {"mapping": {"createdAt": "{email}"}}, lambda m: None, "check", "mapping.createdAt"),
    ("missing journey field", {"journey_field": "noField"}, lambda m: None, "check", "journey_field"),
    ("journey in a number", {"journey_field": "leadScore"}, lambda m: None, "check", "journey_field"),
    ("missing rating field", {"rating_field": "noField"}, lambda m: None, "check", "rating_field"),
    ("missing form", {"form_id": 7}, lambda m: None, "check", "form_id"),
    ("draft", BY_FORM, lambda m: keep_form(m, status="draft"), "check", "approve it"),
    ("form without e-mail", BY_FORM, lambda m: m.forms[FORM].fields.pop("email"), "check", "e-mail"),
    (
        "mapped, not on the form",
        BY_FORM | {"mapping": {"marketplaceOffer": "{offer}"}},
        lambda m: None,
        "check",
        "hidden",
    ),
    ("journey not on the form", BY_FORM | {"journey_field": JOURNEY}, lambda m: None, "check", "journey_field"),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "shown", "words"),
    [row[1:] for row in MISCONFIGURED],
    ids=[row[0] for row in MISCONFIGURED],
)
def test_a_check_says_precisely_what_to_change_and_writes_nothing(
    pipeline: Pipeline, marketo: Marketo, settings_: dict[str, Any], break_it: SettingUp, shown: str, words: str
) -> None:
    break_it(marketo)
    result = check(pipeline, marketo, **settings_)
    assert not result.ok and not result.transient
    assert result.code == shown
    assert words in result.problem
    assert not [request for request in marketo.journal if is_write(request)]


def test_a_check_says_which_lists_leads_are_not_put_on_and_that_they_arrive(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    result = check(pipeline, marketo, static_list=5, follow_up={"purchase": {"list": "6"}})
    assert result.ok and "static_list" in result.problem and "follow_up.purchase.list" in result.problem


def test_an_incomplete_check_does_not_count_against_the_connection(
    pipeline: Pipeline, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its answer a call may be under way for longest_call seconds, and the next one waits so long.
    monkeypatch.setattr(vendor, "RATE_LIMIT", replace(vendor.RATE_LIMIT, longest_call=0.0))
    too_large = Response(200, b"x" * (DESCRIPTION_BYTES + 1))
    marketo.fault = lambda request: too_large if "describe" in request.path else None
    result = check(pipeline, marketo, form_id=7)
    assert not result.ok and "form_id" in result.problem, "the check still finds other problems"
    result = check(pipeline, marketo)
    assert result.ok and "answer_too_large" in result.problem


@pytest.mark.parametrize("form", [{}, BY_FORM], ids=["directly", "form"])
def test_a_check_of_what_works_says_so(pipeline: Pipeline, marketo: Marketo, form: dict[str, Any]) -> None:
    marketo.forms[FORM].fields[JOURNEY] = False
    follow_up = {"purchase": {"list": LIST, "rating": "hot"}}
    more = {"static_list": int(LIST), "journey_field": JOURNEY, "follow_up": follow_up}
    assert check(pipeline, marketo, **more, **form) == CheckResult(ok=True)
    assert not marketo.persons


def test_a_host_that_is_not_there_is_named_as_the_fault(pipeline: Pipeline, marketo: Marketo) -> None:
    result = check(pipeline, marketo, endpoint="https://999-xxx-999.mktorest.invalid")
    assert not result.ok and result.transient, "it may be the name service that is out of order"
    assert "munchkin_id" in result.problem


def test_a_field_of_the_mapping_that_is_gone_pauses_and_heals(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, mapping={"marketplaceOffer": "{offer}"}))
    gone = marketo.fields.pop("marketplaceOffer")
    lead = deliver(pipeline)
    assert state(pipeline, lead) is State.PARKED
    assert "mapping.marketplaceOffer" in pipeline.delivery(lead).reason
    marketo.fields["marketplaceOffer"] = gone
    pipeline.tick(3)
    assert state(pipeline, lead) is State.DELIVERED
