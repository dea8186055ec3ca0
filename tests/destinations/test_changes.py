"""A later stage changes no value of a record that a person may have edited."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from leads.core.lead import Lead, Stage
from leads.destinations.base import OutgoingLead
from leads.destinations.changes import CONFLICTS_AT_MOST, Existing, Vocabulary, WithoutChanges, changes_to
from leads.destinations.follow_up import FollowUp
from leads.destinations.text import NOT_PROVIDED
from leads.destinations.vendor_errors import ErrorKind

VOCABULARY = Vocabulary("Rating", {"hot": "Hot", "warm": "Warm", "cold": "Cold"}, ("NoMail", "NoCall"))
FIELDS = {"Name": "O'Neil", "Phone": "1617"}


def changes(
    values: dict[str, Any],
    *,
    ours: bool = True,
    edited: bool = False,
    last: str = "warm",
    stage: Stage = Stage.PURCHASE,
    rating: str = "hot",
    overwrite: bool = False,
    fields: dict[str, Any] = FIELDS,
) -> dict[str, Any]:
    follow_up = FollowUp.model_validate({"rating": rating})
    outgoing = OutgoingLead(
        "id", Lead(), "a.b", "crm", stage, datetime.now(UTC), follow_up=follow_up, overwrite=overwrite
    )
    return changes_to(Existing(values, ours, edited, last), fields, outgoing, VOCABULARY)


def test_empty_fields_are_filled_and_others_stay() -> None:
    values = {"Name": "Oneil", "Phone": None, "Rating": "Warm"}
    assert changes(values) == {"Phone": "1617", "Rating": "Hot"}
    assert changes(values, ours=False) == {"Phone": "1617"}


def test_a_field_that_a_person_has_emptied_stays_empty() -> None:
    assert changes({"Name": "Oneil", "Phone": None, "Rating": "Cold"}, edited=True) == {}


def test_a_placeholder_gives_way_and_is_never_put_into_a_record_that_is_there() -> None:
    assert changes({"Name": NOT_PROVIDED, "Phone": "1", "Rating": "Hot"}) == {"Name": "O'Neil"}
    assert changes({"Name": None, "Phone": "1", "Rating": "Hot"}, fields={"Name": NOT_PROVIDED}, ours=False) == {}


def test_fields_that_were_not_asked_for_are_not_taken_for_empty() -> None:
    assert changes({"Rating": "Hot"}) == {}


@pytest.mark.parametrize(
    ("now", "options", "raised"),
    [
        ("Warm", {}, True),
        ("Hot", {}, False),
        ("Hot", {"rating": "cold"}, False),
        ("Warm", {"edited": True}, True),  # it is still what we have set
        ("Cold", {"edited": True}, False),  # somebody has rated it
        ("Lukewarm", {"edited": True, "last": ""}, False),
        ("Cold", {"ours": False}, False),
        (None, {"ours": False}, True),
        ("Cold", {"edited": True, "overwrite": True}, True),
    ],
)
def test_a_rating_rises_from_the_apps_own_rating(now: str | None, options: dict[str, Any], raised: bool) -> None:
    made = changes({"Name": "x", "Phone": "1", "Rating": now}, **options)
    assert ("Rating" in made) is raised


@pytest.mark.parametrize(
    ("options", "taken_back"),
    [
        ({}, True),
        ({"edited": True}, False),
        ({"ours": False}, False),
        ({"stage": Stage.CROSS_LISTED}, False),
    ],
)
def test_our_own_flags_are_taken_back_by_real_interest(options: dict[str, Any], taken_back: bool) -> None:
    values = {"Name": "x", "Phone": "1", "Rating": "Hot", "NoMail": True, "NoCall": False}
    assert changes(values, **options) == ({"NoMail": False} if taken_back else {})


def test_everything_is_overwritten_where_that_is_the_policy() -> None:
    assert changes({"Name": "Oneil", "Phone": "1", "Rating": "Hot"}, edited=True, overwrite=True) == FIELDS


@pytest.mark.parametrize(
    "refusal", [ErrorKind.LEAD, ErrorKind.FIELD, ErrorKind.GONE, ErrorKind.SETTINGS, ErrorKind.ALREADY_THERE]
)
def test_a_refused_change_is_left_out_once(refusal: ErrorKind) -> None:
    without = WithoutChanges()
    assert without.decide(refusal) and without.decided
    assert not without.decide(refusal), "what is refused then is the stage"


def test_a_conflict_that_lasts_is_left_out_after_some_tries_and_an_outage_never() -> None:
    without = WithoutChanges()
    decided = [without.decide(ErrorKind.CHANGED_MEANWHILE) for _ in range(CONFLICTS_AT_MOST)]
    assert decided == [False] * (CONFLICTS_AT_MOST - 1) + [True]
    assert not WithoutChanges().decide(ErrorKind.TRANSIENT)
