"""A list that says less than the lead did: what is missing in it is no difference, so nothing is delivered twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from leads.api.imports import ImportRows, JudgedRows, ReconcileRows, RowsToImport, import_rows, reconcile_rows
from leads.importing import Verdict
from leads.rows import State
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import Vendor

WORDS = [("Contact me", "PLT"), ("GET IT NOW", "INS"), ("Get it now", "Create"), ("Test drive", "StartTestDrive")]


def a_row(at: datetime, **cells: str) -> dict[str, str]:
    """A row of a list that has an address, a time and little else."""
    return {"Email": "ada@example.com", "CreatedTime": f"{at:%Y-%m-%d %H:%M:%S}"} | cells


def rows(*records: dict[str, str], **wanted: Any) -> ImportRows:
    numbered = [{"number": number, "record": record} for number, record in enumerate(records, 2)]
    return ImportRows(wanted=RowsToImport.model_validate({"rows": numbered, **wanted}))


def verdicts(found: JudgedRows) -> list[Verdict]:
    return [row.verdict for row in found.rows]


@pytest.mark.parametrize(
    ("action", "cells"),
    [
        ("PLT", {"Offer name": "Contoso CRM"}),
        ("XYZ", {"Offer name": "Contoso CRM"}),
        ("PLT", {"Action": "PLT"}),
        ("PLT", {}),
        ("XYZ", {"Offer name": "Contoso CRM", "Call to action": "Free Trial"}),
        *[(code, {"Offer name": "Contoso CRM", "Call to action": word}) for word, code in WORDS],
    ],
)
def test_a_delivered_lead_is_known_although_its_row_says_less(
    routed: Pipeline, vendor: Vendor, action: str, cells: dict[str, str]
) -> None:
    """A default offer takes the rows that name none: that is no other offer either."""
    routed.offer(crm(vendor.url), offer_id="*", titles=[])
    lead = routed.post(a_lead(action=action))
    routed.run()
    wanted = rows(a_row(routed.clock.now() - timedelta(hours=9), **cells))
    found = reconcile_rows(routed.app, ReconcileRows(wanted=wanted.wanted))
    assert [(row.verdict, row.lead_id, row.state) for row in found.rows] == [(Verdict.KNOWN, lead, State.DELIVERED)]
    assert verdicts(import_rows(routed.app, wanted)) == [Verdict.KNOWN]
    assert routed.run() == 0
    assert len(vendor.calls) == 1


@pytest.mark.parametrize(
    "cells", [{"Action": "INS"}, {"Call to action": "Contact me"}, {"Call to action": "Test drive"}]
)
def test_another_action_is_another_lead(routed: Pipeline, cells: dict[str, str]) -> None:
    routed.post(a_lead(action="Create"))
    routed.run()
    row = a_row(routed.clock.now(), **{"Offer name": "Contoso CRM"}, **cells)
    assert verdicts(import_rows(routed.app, rows(row))) == [Verdict.MISSING]


@pytest.mark.parametrize("action", ["PLT", "XYZ"])
def test_a_lead_that_was_recorded_without_its_action_is_not_sent_when_it_comes(
    routed: Pipeline, vendor: Vendor, action: str
) -> None:
    row = a_row(routed.clock.now() - timedelta(hours=3), **{"Offer name": "Contoso CRM"})
    import_rows(routed.app, rows(row, policy="record"))
    routed.run()
    lead = routed.post(a_lead(action=action))
    routed.run()
    assert routed.delivery(lead).state is State.DUPLICATE
    assert not vendor.calls


@pytest.mark.parametrize(("word", "code"), WORDS)
def test_a_lead_that_was_recorded_by_the_words_for_its_action_is_not_sent_when_it_comes(
    routed: Pipeline, vendor: Vendor, word: str, code: str
) -> None:
    row = a_row(routed.clock.now(), **{"Offer name": "Contoso CRM", "Call to action": word})
    import_rows(routed.app, rows(row, policy="record"))
    routed.run()
    lead = routed.post(a_lead(action=code))
    routed.post(a_lead("grace@example.com", action=code))
    routed.run()
    assert routed.delivery(lead).state is State.DUPLICATE
    assert [call.lead["email"] for call in vendor.calls] == ["grace@example.com"]


@pytest.mark.parametrize("cells", [{}, {"Call to action": "Get it now"}])
def test_a_row_that_was_taken_for_missing_is_recognised_when_it_is_delivered(
    routed: Pipeline, vendor: Vendor, cells: dict[str, str]
) -> None:
    """The lead itself is still on the queue when the list is compared."""
    routed.post()
    row = a_row(routed.clock.now(), **{"Offer name": "Contoso CRM"}, **cells)
    assert verdicts(import_rows(routed.app, rows(row))) == [Verdict.MISSING]
    routed.run()
    assert len(vendor.calls) == 1


def test_what_customers_rows_remember_is_found_without_an_action_or_offer(routed: Pipeline) -> None:
    routed.post()
    routed.run()
    table = routed.app.ledger.table.client
    for entity in list(table.query_entities("RowKey lt 'b' or RowKey gt 'd'")):
        table.delete_entity(entity)
    at = routed.clock.now()
    wanted = rows(a_row(at), a_row(at, **{"Call to action": "Get it now"}), a_row(at, Action="PLT")).wanted
    found = reconcile_rows(routed.app, ReconcileRows(wanted=wanted))
    assert verdicts(found) == [Verdict.KNOWN, Verdict.KNOWN, Verdict.MISSING]


@pytest.mark.parametrize(
    ("word", "source", "stage"),
    [
        ("Contact me", "", "contact_requested"),
        ("Get it now", "", "initial_interest"),
        ("Get it now", "Azure Marketplace", "initial_interest"),
        ("Get it now", "Azure portal", "purchase"),
        ("Test drive", "AppSource", "trial"),
        ("Free Trial", "AppSource", "unknown"),
    ],
)
def test_words_for_an_action_give_its_stage(
    routed: Pipeline, vendor: Vendor, word: str, source: str, stage: str
) -> None:
    cells = {"Offer name": "Contoso CRM", "Call to action": word, "Lead Source": source}
    import_rows(routed.app, rows(a_row(routed.clock.now(), **cells)))
    routed.run()
    assert [call.stage for call in vendor.calls] == [stage]


def test_a_row_that_names_no_offer_is_not_only_recorded_because_that_would_protect_nothing(routed: Pipeline) -> None:
    wanted = (a_row(routed.clock.now()), a_row(routed.clock.now(), Offer="contoso.crm", Email="b@example.com"))
    found = import_rows(routed.app, rows(*wanted, policy="record"))
    assert verdicts(found) == [Verdict.BAD, Verdict.MISSING]
    assert (
        found.rows[0].reason == "names no offer, so its lead would be sent when it comes; name the offer with --offer"
    )
    assert (
        verdicts(import_rows(routed.app, rows(*wanted, policy="record", offer="contoso.crm"))) == [Verdict.MISSING] * 2
    )
