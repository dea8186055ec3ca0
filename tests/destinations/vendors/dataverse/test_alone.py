"""Dynamics 365 by itself, over TLS, against an environment that behaves as Microsoft documents: refusals, checks, notes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected, Retry
from leads.destinations.base import CheckResult
from leads.destinations.http import MAX_ANSWER_BYTES
from tests.fakes.dataverse import API, CAMPAIGN, PERSON, QUEUE, TEAM, Column, Dataverse, shown_note
from tests.fakes.https_server import LOSE_ANSWER, Request, Response
from tests.fakes.tls import Authority
from tests.support.dataverse import crm, is_write, one
from tests.support.destination import Alone, Instance


@pytest.fixture
def dynamics(authority: Authority) -> Iterator[Dataverse]:
    with Dataverse(authority) as running:
        yield running


Make = Callable[..., Alone]


@pytest.fixture
def make(authority: Authority, dynamics: Dataverse) -> Make:
    """A destination with these settings, as an instance that has just started has it."""

    def made(**more: Any) -> Alone:
        return Alone(Instance(authority.bundle, {"LEADS_SECRET_DYNAMICS": "the secret"}).make(crm(dynamics, **more)))

    return made


def for_every_stage(**wanted: Any) -> dict[str, Any]:
    return dict.fromkeys(("initial_interest", "contact_requested", "purchase"), wanted)


def refusal(status: int, code: str) -> Response:
    return Response(status, {"error": {"code": code, "message": "Refused."}})


def updates(request: Request) -> bool:
    """Whether a request changes an existing record."""
    return b"If-Match" in request.body


def is_delivered(outcome: Outcome) -> bool:
    return isinstance(outcome, Delivered)


# --- A refused update ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "0x80040265"),
        (400, "0x8004a222"),
        (403, "0x80040220"),
        (412, "0x80060892"),
        (412, "0x80060899"),
        (412, ""),
    ],
)
def test_a_refused_update_takes_neither_note_nor_task_nor_queue_with_it(
    make: Make, dynamics: Dataverse, status: int, code: str
) -> None:
    alone = make(follow_up=for_every_stage(task={"subject": "Call"}, queue=QUEUE))
    alone.send()
    dynamics.fault = lambda request: refusal(status, code) if updates(request) else None
    assert is_delivered(alone.send("Create"))
    assert len(dynamics.notes()) == len(dynamics.tasks) == len(dynamics.queue_items) == 2
    assert one(dynamics.leads)["leadqualitycode"] == 2
    assert "did not accept the changes" in shown_note(dynamics.notes()[-1])


def test_a_rating_that_was_not_stored_is_not_remembered_as_ours(make: Make, dynamics: Dataverse) -> None:
    alone = make()
    alone.send()
    dynamics.fault = lambda request: refusal(412, "0x80060892") if updates(request) else None
    outcome = alone.send("Create")
    assert isinstance(outcome, Delivered) and outcome.memory and outcome.memory["rating"] == "warm"
    assert outcome.code == "0x80060892"


def test_a_record_that_others_never_cease_to_change_still_gets_its_note(make: Make, dynamics: Dataverse) -> None:
    alone = make()
    alone.send()
    lead = one(dynamics.leads)["leadid"]

    def edit_first(request: Request) -> None:
        if updates(request):
            dynamics.edit(lead, companyname="Theirs")

    dynamics.fault = edit_first
    assert is_delivered(alone.send("PLT"))
    assert len(dynamics.notes()) == 2
    assert one(dynamics.leads)["companyname"] == "Theirs"


def test_a_stage_that_is_stored_already_is_not_stored_again(make: Make, dynamics: Dataverse) -> None:
    alone = make()
    alone.send()
    dynamics.fail_next(LOSE_ANSWER, is_write)
    assert isinstance(alone.send("PLT"), Retry)
    outcome = alone.again()
    assert isinstance(outcome, Delivered) and outcome.code == ""
    assert len(dynamics.notes()) == 2
    assert outcome.memory and outcome.memory["rating"] == "hot"


@pytest.mark.parametrize("code", ["0x80060899", "412", "PreconditionFailed"])
def test_an_unknown_code_never_counts_as_stored(make: Make, dynamics: Dataverse, code: str) -> None:
    alone = make()
    dynamics.fault = lambda request: refusal(412, code) if is_write(request) else None
    assert not is_delivered(alone.send())
    dynamics.fault = lambda request: None
    assert is_delivered(alone.again())
    dynamics.fault = lambda request: refusal(412, code) if is_write(request) else None
    assert not is_delivered(alone.send("PLT"))


def test_an_outage_after_a_refusal_is_an_outage(make: Make, dynamics: Dataverse) -> None:
    alone = make(follow_up=for_every_stage(**TARGETS))
    alone.send()
    answers = [refusal(400, "0x80040265"), Response(503), Response(503)]
    dynamics.fault = lambda request: answers.pop(0) if is_write(request) else None
    assert alone.send("PLT") == Retry("503")
    assert len(answers) == 1


# --- Owners, queues and campaigns that refuse ---------------------------------------------------------------------------

TARGETS = {"owner": f"user:{PERSON}", "campaign": CAMPAIGN, "queue": QUEUE, "task": {"subject": "Call"}}
Change = Callable[[Dataverse], Any]
REFUSING: list[tuple[str, dict[str, Any], Change, str]] = [
    ("owner disabled", TARGETS, lambda d: d.change("systemusers", PERSON, isdisabled=True), "disabled"),
    ("owner without role", TARGETS, lambda d: d.people_rights.clear(), "no security role"),
    ("owner gone", TARGETS, lambda d: d.delete("systemusers", PERSON), "no record with this ID"),
    ("access team", TARGETS | {"owner": f"team:{TEAM}"}, lambda d: d.change("teams", TEAM, teamtype=1), "access team"),
    ("queue inactive", TARGETS, lambda d: d.change("queues", QUEUE, statecode=1), "inactive"),
    ("queue private", TARGETS, lambda d: d.change("queues", QUEUE, is_private=True), ""),
    ("campaign gone", TARGETS, lambda d: d.delete("campaigns", CAMPAIGN), "no record with this ID"),
    ("leads not in queues", {"queue": QUEUE}, lambda d: None, "leads can't go to queues"),
    ("right to assign", TARGETS, lambda d: d.rights.discard("prvAssignLead"), "prvAssignLead"),
    ("right to campaigns", TARGETS, lambda d: d.rights.discard("prvAppendToCampaign"), "prvAppendToCampaign"),
]


@pytest.mark.parametrize(("wanted", "change", "words"), [row[1:] for row in REFUSING], ids=[row[0] for row in REFUSING])
def test_an_owner_queue_or_campaign_that_refuses_costs_itself_and_never_the_lead(
    make: Make, dynamics: Dataverse, wanted: dict[str, Any], change: Change, words: str
) -> None:
    change(dynamics)
    alone = make(follow_up=for_every_stage(**wanted))
    found = alone.check()
    assert found.ok and words in found.problem, found
    for action in ("INS", "PLT"):
        assert is_delivered(alone.send(action))
    assert one(dynamics.leads)["leadqualitycode"] == 1, "what does not refuse is stored"
    assert len(dynamics.notes()) == 2
    assert len(dynamics.tasks) == (2 if "task" in wanted else 0)
    assert "did not accept" in shown_note(dynamics.notes()[0])


def test_a_lookup_of_the_mapping_that_refuses_costs_itself_and_never_the_lead(make: Make, dynamics: Dataverse) -> None:
    dynamics.delete("campaigns", CAMPAIGN)
    alone = make(mapping={"campaignid@odata.bind": f"/campaigns({CAMPAIGN})"})
    assert is_delivered(alone.send())
    assert "did not accept" in shown_note(dynamics.notes()[0])


def test_a_lead_refused_also_without_extras_gets_the_last_refusals_outcome(make: Make, dynamics: Dataverse) -> None:
    alone = make(follow_up=for_every_stage(**TARGETS))
    dynamics.fault = lambda request: refusal(400, "0x80040265") if is_write(request) else None
    assert isinstance(alone.send(), Rejected)
    dynamics.fault = lambda request: refusal(403, "0x80042f09") if is_write(request) else None
    assert isinstance(alone.again(), Misconfigured)


def test_a_record_that_is_in_its_queue_already_gets_its_later_stages(make: Make, dynamics: Dataverse) -> None:
    dynamics.leads_go_to_queues = True
    alone = make(follow_up=for_every_stage(queue=QUEUE, owner=f"user:{PERSON}"))
    for action in ("INS", "PLT", "Create"):
        assert is_delivered(alone.send(action))
    assert len(dynamics.notes()) == 3
    assert len(dynamics.queue_items) == 1
    assert one(dynamics.leads)["leadqualitycode"] == 1
    assert not [note for note in dynamics.notes() if "did not accept" in shown_note(note)]


@pytest.mark.parametrize("code", ["0x8004051c", "0x8004051e", "0x80040522"])
def test_a_queue_that_refuses_costs_neither_owner_nor_campaign(make: Make, dynamics: Dataverse, code: str) -> None:
    alone = make(follow_up=for_every_stage(**TARGETS))
    dynamics.fault = lambda request: refusal(400, code) if b"queueitems" in request.body else None
    assert is_delivered(alone.send())
    row = one(dynamics.leads)
    assert (row["_ownerid_value"], row["_campaignid_value"]) == (PERSON, CAMPAIGN)
    assert len(dynamics.tasks) == 1


def test_a_lead_deleted_between_look_and_write_is_made_again_with_its_owner_and_campaign(
    make: Make, dynamics: Dataverse
) -> None:
    alone = make(follow_up=for_every_stage(**TARGETS))
    alone.send()
    before = one(dynamics.leads)["leadid"]

    def delete_first(request: Request) -> None:
        if is_write(request) and before in dynamics.leads:
            dynamics.delete("leads", before)

    dynamics.fault = delete_first
    assert is_delivered(alone.send("PLT"))
    row = one(dynamics.leads)
    assert (row["_ownerid_value"], row["_campaignid_value"]) == (PERSON, CAMPAIGN)
    assert not [note for note in dynamics.notes() if "did not accept" in shown_note(note)]


# --- The check ----------------------------------------------------------------------------------------------------------


def test_a_user_with_all_rights_of_an_administrator_is_checked(make: Make, dynamics: Dataverse) -> None:
    dynamics.rights |= {f"prvReadcontoso_anothertable{number:04d}" for number in range(5800)}
    dynamics.columns |= {f"contoso_another_column_{number:04d}": Column("String", 100) for number in range(8000)}
    assert make(follow_up=for_every_stage(**TARGETS)).check() == CheckResult(ok=True)
    dynamics.columns["subject"] = Column("String", 10)
    assert is_delivered(make().send()), "nor do the columns' lengths come with those of all others"


def test_rights_that_a_team_gives_are_rights(make: Make, dynamics: Dataverse) -> None:
    dynamics.team_rights, dynamics.rights = dynamics.rights, {"prvReadEntity", "prvReadAttribute"}
    dynamics.rights |= {"prvReadUser", "prvReadQueue", "prvReadCampaign"}
    assert make(follow_up=for_every_stage(**TARGETS)).check() == CheckResult(ok=True)


@pytest.mark.parametrize(
    "answer", [Response(200, b"x" * (MAX_ANSWER_BYTES + 1)), Response(200, b"<html>"), Response(500)]
)
@pytest.mark.parametrize("part", ["RetrieveUserSetOfPrivilegesByNames", "Attributes", "campaigns"])
def test_an_incomplete_check_still_finds_other_problems(
    make: Make, dynamics: Dataverse, part: str, answer: Response
) -> None:
    dynamics.fault = lambda request: answer if part in request.path else None
    found = make(follow_up=for_every_stage(**TARGETS)).check()
    assert found.ok and "is incomplete" in found.problem
    dynamics.rights.discard("prvCreateNote")
    found = make(mapping={"new_x": "{email}"}, follow_up=for_every_stage(**TARGETS)).check()
    assert not found.ok and ("prvCreateNote" in found.problem or "new_x" in found.problem)


def test_an_environment_without_leads_is_distinguished_from_a_wrong_column(make: Make, dynamics: Dataverse) -> None:
    dynamics.has_leads = False
    outcome = make().send()
    assert isinstance(outcome, Misconfigured) and "Dynamics 365 Sales" in outcome.reason


# --- Notes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wish", ["<script>alert(1)</script>", "a < b & c > d", "&lt;b&gt;", "R&D\nline two", "<img src=x onerror=alert(1)>"]
)
def test_a_note_shows_what_the_customer_wrote_and_each_line(make: Make, dynamics: Dataverse, wish: str) -> None:
    make().send(Description=wish)
    (note,) = dynamics.notes()
    assert wish in shown_note(note)
    assert set(re.findall(r"<[^>]*>", note["notetext"])) == {"<br>"}
    assert "Name: Ada O'Neil\n" in shown_note(note)


def test_a_long_note_is_parted_between_characters(make: Make, dynamics: Dataverse) -> None:
    wish = "&<>\n🏢" * 12_000
    make().send(Description=wish)
    notes = dynamics.notes()
    assert len(notes) > 1
    assert all(len(note["notetext"].encode("utf-16-le")) // 2 <= 100_000 for note in notes)
    shown = "".join(shown_note(note) for note in notes)
    assert shown.replace("\n", "").endswith(wish.strip().replace("\n", ""))


def test_the_address_of_a_check_names_rights_and_columns_alone(make: Make, dynamics: Dataverse) -> None:
    make(mapping={"it's": "{email}"}).check()
    assert all(request.target.startswith(API) for request in dynamics.journal)
