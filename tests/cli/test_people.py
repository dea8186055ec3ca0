"""`erase` and `access` at the shell: the address from standard input, a question first, a report row by row."""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import UTC, datetime

import pytest

from leads.core.identity import customer_hash
from leads.core.states import State
from leads.ledger.queries import newest
from tests.chaos.every_request import KillAt, Way
from tests.cli.conftest import AtATerminal
from tests.support.command_line import Ran, Run, one_line
from tests.support.killed_command import is_killed
from tests.support.leftovers import leftovers
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import Vendor

EMAIL = "ada@example.com"
TABLE = {"name": "table", "type": "azure_table"}


@pytest.fixture(autouse=True)
def now(pipeline: Pipeline) -> None:
    """Storage's clock decides which leads an erasure covers."""
    pipeline.clock.time = datetime.now(UTC)


@pytest.fixture
def lead(routed: Pipeline) -> str:
    lead_id = routed.post(a_lead(EMAIL))
    routed.run()
    return lead_id


@pytest.fixture
def run_with(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command, with the first word as its standard input."""

    def call(*words: str) -> Ran:
        typed, *arguments = words
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        return run(*arguments)

    return call


def test_the_report_names_each_row_and_what_is_in_the_crm(run_with: Run, lead: str, fresh_storage: str) -> None:
    told = run_with(f"{EMAIL}\n", "erase", "--dry-run")
    done = run_with(f"{EMAIL}\n", "erase", "--yes")
    assert (told.status, done.status) == (5, 5), "the CRM's record is left for a person"
    for ran in (told, done):
        assert "LeadLedger" in ran.out
        assert re.search(rf"contoso.crm crm \(recording\) +{lead} +NOT ERASED: erase it there", ran.out)
        assert ran.out.splitlines()[-1].startswith("NOT ERASED: 1 of the listed entries.")
        assert EMAIL not in ran.out + ran.err
    assert "2 of them about this person. What would be done:" in told.out
    assert leftovers(fresh_storage, [EMAIL]) == []
    as_json = json.loads(run_with(EMAIL, "erase", "--yes", "--json").out)
    assert [one["record_id"] for one in as_json["handed_over"]] == [lead]


def test_where_all_is_the_apps_own_nothing_is_left_for_a_person(
    run_with: Run, pipeline: Pipeline, fresh_storage: str
) -> None:
    pipeline.offer(TABLE)
    pipeline.post(a_lead(EMAIL))
    pipeline.run()
    done = run_with(EMAIL, "erase", "--yes")
    assert done.status == 0
    assert "erased" in done.out.splitlines()[-1]
    assert "NOT ERASED" not in done.out
    assert leftovers(fresh_storage, [EMAIL]) == []
    assert run_with("nobody@example.com", "erase", "--yes").status == 0


def test_a_message_that_stays_on_the_queue_is_reported_and_left_for_a_person(run_with: Run, pipeline: Pipeline) -> None:
    pipeline.post(a_lead("bob@example.org", Description=f"ask {EMAIL}"))
    done = run_with(EMAIL, "erase", "--yes")
    assert done.status == 5
    assert "NOT ERASED: another person's lead that mentions the address" in done.out
    assert done.out.splitlines()[-1].startswith("NOT ERASED: 1 of the listed entries.")


def test_without_anybody_to_ask_it_needs_yes_and_an_address_it_can_read(
    run_with: Run, lead: str, pipeline: Pipeline
) -> None:
    assert one_line(run_with(EMAIL, "erase"), 2).startswith("--yes: ")
    for wrong in ("", "Ada", "\n"):
        for command in (("erase", "--yes"), ("access",)):
            refused = one_line(run_with(wrong, *command), 2)
            assert refused == "e-mail: must be an e-mail address; give the address on standard input"
    assert pipeline.record(lead).lead is not None


@pytest.mark.storage("azurite")
def test_a_person_is_asked_for_the_address_and_whether_they_mean_it(
    lead: str, terminal_with: AtATerminal, pipeline: Pipeline
) -> None:
    with terminal_with("erase") as terminal:
        terminal.answer(
            ("E-mail address: ", EMAIL),
            ("the storage that LeadsStorage names: Erase all data about this address permanently? [y/N]: ", "n"),
        )
        assert terminal.end() == 130
    assert pipeline.record(lead).lead is not None
    with terminal_with("erase") as terminal:
        terminal.answer(
            ("E-mail address: ", EMAIL), ("[y/N]: ", "y"), "emptied: its state, times and record ids are kept"
        )
        assert terminal.end() == 5
    assert pipeline.record(lead).emptied_at is not None


def test_access_prints_one_json_document(run_with: Run, lead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leads.operations.people.FOUND_A_STEP", 1)
    held = json.loads(run_with(EMAIL, "access").out)
    assert [one["lead"]["lead_id"] for one in held["leads"]] == [lead]
    assert held["leads"][0]["said"]["company"] == "Example Works"
    assert held["leads"][0]["handed_over"][0]["destination"] == "crm"
    assert len(held["customers"]) == 1


@pytest.mark.storage("azurite")
@pytest.mark.parametrize(("number", "way"), [(4, "before"), (39, "after")], ids=["at the beginning", "at the end"])
def test_killed_and_run_again_it_says_the_same_and_nothing_is_left(
    run_with: Run, routed: Pipeline, vendor: Vendor, fresh_storage: str, number: int, way: Way
) -> None:
    sent = routed.post(a_lead(EMAIL))
    routed.run()
    routed.offer(crm(vendor.url), offer_id="other.one", titles=["Other"])
    unrouted = routed.post(a_lead(EMAIL, OfferTitle="Nobody's"))
    routed.run()
    assert is_killed(fresh_storage, KillAt(number, way, "number"), "erase", "--yes", typed=EMAIL)
    again = run_with(EMAIL, "erase", "--yes", "--json")
    assert again.status == 5
    report = json.loads(again.out)
    assert [(one["lead_id"], one["certain"]) for one in report["handed_over"]] == [(sent, True)]
    assert {unrouted, sent} <= {row.lead_id for row in newest(routed.app.ledger)}
    assert routed.record(unrouted).state is State.ERASED
    assert leftovers(fresh_storage, [EMAIL, "O'Neil", "16175555555"]) == []
    assert routed.app.tombstones.get(customer_hash(f"email:{EMAIL}"))
