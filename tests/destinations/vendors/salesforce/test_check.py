"""The check of a Salesforce destination says what to change and writes nothing; impossible settings are refused before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from leads.destinations.base import CheckResult
from leads.offers.model import InvalidOffer, read_offer
from tests.fakes.https_server import Response
from tests.fakes.salesforce import CAMPAIGN, INACTIVE, PERSON, QUEUE, RULE, USERNAME, Field, Salesforce
from tests.support.salesforce import KEY, Make, crm, is_write


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"client_secret": None}, "username: is needed"),
        ({"client_secret": None, "username": USERNAME}, "private_key: is needed"),
        ({"username": USERNAME, "private_key": "env:KEY"}, "client_secret: leave it out"),
        ({"assignment": RULE}, "external_id_field"),
        ({"url": "https://login.salesforce.com"}, "My Domain"),
        ({"url": "https://contoso.lightning.force.com"}, "my.salesforce.com"),
        ({"mapping": {"Owner.Name": "{note}"}}, r"mapping\.Owner\.Name: is not a lead field"),
        ({"mapping": {"a@b": "{note}"}}, r"mapping\.a@b: is not a lead field"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_when_the_offer_is_saved(
    org: Salesforce, settings_: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidOffer, match=words):
        read_offer({"id": "a.b", "destinations": [crm(org, **settings_)]})


def set_field(name: str, **changes: Any) -> Callable[[Salesforce], None]:
    def change(org: Salesforce) -> None:
        org.fields["Lead"][name] = replace(org.fields["Lead"].get(name, Field("string", 32)), **changes)

    return change


SettingUp = Callable[[Salesforce], Any]
PROBLEMS: list[tuple[str, dict[str, Any], SettingUp, str, str]] = [
    ("wrong secret", {}, lambda o: setattr(o, "secret", "x"), "invalid_client", "client_secret"),
    ("wrong consumer key", {"client_id": "3MVG9other.key"}, lambda o: None, "invalid_client_id", "consumer key"),
    (
        "no such secret",
        {"client_secret": "env:LEADS_SECRET_NOT_SET"},
        lambda o: None,
        "settings",
        "LEADS_SECRET_NOT_SET",
    ),
    (
        "expired password",
        {},
        lambda o: setattr(o, "password_expired", True),
        "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
        "password of the app's user has expired",
    ),
    ("daily limit", {}, lambda o: setattr(o, "requests_left", 0), "REQUEST_LIMIT_EXCEEDED", "24 hours"),
    ("leads hidden", {}, lambda o: o.rights["Lead"].clear(), "NOT_FOUND", "permission set"),
    ("no right to create", {}, lambda o: o.rights["Lead"].discard("create"), "check", "Create on Lead"),
    ("no right to edit", {}, lambda o: o.rights["Lead"].discard("edit"), "check", "Edit on Lead"),
    ("no right on tasks", {}, lambda o: o.rights["Task"].discard("create"), "check", "Create on Task"),
    ("task field hidden", {}, lambda o: o.hidden.add(("Task", "WhoId")), "check", "WhoId"),
    ("missing field", {"mapping": {"Offer__c": "{offer}"}}, lambda o: None, "check", "mapping.Offer__c"),
    ("company hidden", {}, lambda o: o.hidden.add(("Lead", "Company")), "check", "mapping.Company"),
    ("read-only field", {"mapping": {"CreatedDate": "{offer}"}}, lambda o: None, "check", "mapping.CreatedDate"),
    ("text for a flag", {"mapping": {"DoNotCall": "yes"}}, lambda o: None, "check", "true or false"),
    (
        "text for a number",
        {"mapping": {"Score__c": "7"}},
        set_field("Score__c", type="double", length=0),
        "check",
        "mapping.Score__c: takes a number",
    ),
    ("required field", {}, set_field("Region__c", required=True), "check", "requires Region__c"),
    ("no key field", {"external_id_field": "Other__c"}, lambda o: None, "check", "external_id_field"),
    ("key not unique", {"external_id_field": KEY}, set_field(KEY, unique=False), "check", "unique"),
    ("key too short", {"external_id_field": KEY}, set_field(KEY, length=20), "check", "32"),
    ("key hidden", {"external_id_field": KEY}, lambda o: o.hidden.add(("Lead", KEY)), "check", "external_id_field"),
    ("encrypted e-mail", {}, set_field("Email", filterable=False), "check", "match_existing"),
    (
        "missing rule",
        {"assignment": "01Q000000000009AAA", "external_id_field": KEY},
        lambda o: None,
        "check",
        "assignment",
    ),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "code", "words"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS]
)
def test_a_check_says_precisely_what_to_change_and_writes_nothing(
    org: Salesforce, make: Make, settings_: dict[str, Any], break_it: SettingUp, code: str, words: str
) -> None:
    break_it(org)
    result = make(**settings_).check()
    assert not result.ok and not result.transient
    assert result.code == code
    assert words in result.problem
    assert not [request for request in org.journal if is_write(request)]


EXTRAS: list[tuple[str, dict[str, Any], SettingUp, str]] = [
    (
        "missing campaign",
        {"follow_up": {"purchase": {"campaign": "701000000000009AAA"}}},
        lambda o: None,
        "follow_up.purchase.campaign",
    ),
    (
        "no right on members",
        {"follow_up": {"purchase": {"campaign": CAMPAIGN}}},
        lambda o: o.rights["CampaignMember"].discard("create"),
        "Marketing User",
    ),
    (
        "inactive owner",
        {"follow_up": {"purchase": {"owner": f"user:{INACTIVE}"}}},
        lambda o: None,
        "follow_up.purchase.owner: the user with this ID is disabled",
    ),
    (
        "missing queue",
        {"follow_up": {"purchase": {"owner": "queue:00G000000000009AAA"}}},
        lambda o: None,
        "follow_up.purchase.owner",
    ),
]


@pytest.mark.parametrize(
    ("settings_", "break_it", "words"), [row[1:] for row in EXTRAS], ids=[row[0] for row in EXTRAS]
)
def test_a_check_says_what_leads_are_stored_without_and_that_they_are_stored(
    make: Make, org: Salesforce, settings_: dict[str, Any], break_it: SettingUp, words: str
) -> None:
    break_it(org)
    result = make(**settings_).check()
    assert result.ok and words in result.problem


@pytest.mark.parametrize(
    "answer", [Response(200, b"x" * (16 * 1024 * 1024 + 1)), Response(200, b"<html>"), Response(500)]
)
def test_an_incomplete_check_does_not_count_against_the_connection(
    org: Salesforce, make: Make, answer: Response
) -> None:
    org.fault = lambda request: answer if request.path.endswith("/Task/describe") else None
    result = make().check()
    assert result.ok and "is incomplete" in result.problem


def test_a_check_of_what_works_says_so(org: Salesforce, make: Make) -> None:
    follow_up = {
        "purchase": {"owner": f"queue:{QUEUE}", "campaign": CAMPAIGN, "task": {}},
        "trial": {"owner": f"user:{PERSON}"},
    }
    org.hidden |= {("Lead", "HasOptedOutOfFax"), ("Lead", "Title")}
    assert make(follow_up=follow_up, external_id_field=KEY, assignment=RULE).check() == CheckResult(ok=True)


def test_a_host_that_is_not_there_is_named_as_the_fault(make: Make) -> None:
    result = make(url="https://contoso.my.salesforce.invalid").check()
    assert not result.ok and result.transient, "it may be the name service that is out of order"
    assert "url" in result.problem


def test_the_description_of_an_object_may_be_long(org: Salesforce, make: Make) -> None:
    long_name = "x" * 70
    org.fields["Lead"] |= {f"{long_name}{number}__c": Field("string", 40) for number in range(6000)}
    assert make().check() == CheckResult(ok=True)
