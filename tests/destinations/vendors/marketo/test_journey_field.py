"""The field of a Marketo person that holds the customer's whole journey."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leads.core.states import State
from leads.ledger import transactions
from tests.fakes.https_server import Request
from tests.fakes.marketo import Marketo
from tests.fakes.tls import Authority
from tests.support.marketo import JOURNEY, crm, is_write, one
from tests.support.pipeline import EMAIL, Pipeline, a_lead, deliver, pipeline_over_tls, state


def test_each_stage_is_a_line_of_the_one_journey_and_the_rating_rises(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    leads = []
    for number, action in enumerate(("INS", "StartTestDrive", "PLT", "INS")):
        pipeline.advance(60)
        leads.append(deliver(pipeline, action, Description=f"note {number}"))
    person = one(marketo)
    lines = person[JOURNEY].split("\n\n")[0].split("\n")
    assert [line.rpartition(" ")[2] for line in lines] == leads[::-1]
    assert [line.split(" · ")[1].partition(":")[0] for line in lines] == [
        "Initial interest",
        "Contact requested",
        "Trial",
        "Initial interest",
    ]
    assert "note 3" in person[JOURNEY] and "E-mail: " + EMAIL in person[JOURNEY], "the newest lead is there in full"
    assert person["rating"] == "Hot", "it does not fall again"


def test_the_journey_replaces_the_whole_field(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    first = deliver(pipeline)
    marketo.edit(one(marketo)["id"], **{JOURNEY: "scribbled over"})
    second = deliver(pipeline, "PLT")
    text = one(marketo)[JOURNEY]
    assert first in text and second in text and "scribbled" not in text


def test_the_ledgers_memory_of_a_journey_has_no_personal_data(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    for action in ("DNC", "PLT"):
        deliver(pipeline, action, Description="my note")
    rows = [row for row in pipeline.app.ledger.table.query("PartitionKey ge '0'") if row["RowKey"].startswith("cust;")]
    kept = json.dumps(rows[0]["memory"])
    for personal in (EMAIL, "siobhan", "Neil", "Ada", "16175555555", "Example Works", "my note", "USA"):
        assert personal not in kept
    assert "Contact requested: Contoso CRM" in kept


def test_stages_whose_sends_overlapped_are_both_remembered(
    pipeline: Pipeline, fresh_storage: str, authority: Authority, marketo: Marketo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process can stall for longer than its claim lasts."""
    another = pipeline_over_tls(fresh_storage, authority.bundle, monkeypatch, pipeline.clock)
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    leads: list[str] = []
    receive = marketo.receive

    def stall(request: Request) -> Any:
        if is_write(request) and not leads:
            leads.append(pipeline.post(a_lead(EMAIL, "StartTestDrive")))
            with monkeypatch.context() as patch:
                patch.setattr(transactions, "CLAIM_LEASE_SECONDS", -5)
                another.step()
        return receive(request)

    monkeypatch.setattr(marketo, "receive", stall)
    leads.append(deliver(pipeline))
    leads.append(deliver(pipeline, "PLT"))
    assert [state(pipeline, lead) for lead in leads] == [State.DELIVERED] * 3
    assert [lead in one(marketo)[JOURNEY] for lead in leads] == [True] * 3


def test_a_deleted_person_is_made_again_with_the_whole_journey(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    first = deliver(pipeline)
    marketo.delete(one(marketo)["id"])
    lead = deliver(pipeline, "PLT")
    assert state(pipeline, lead) is State.DELIVERED
    assert first in one(marketo)[JOURNEY] and one(marketo)["lastName"] == "O'Neil"


def test_a_journey_that_is_too_long_keeps_its_newest_stages_and_says_that_it_was_cut(
    pipeline: Pipeline, marketo: Marketo
) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    lead = deliver(pipeline, Description="ü" * 20_000)
    text = one(marketo)[JOURNEY]
    assert lead in text and text.endswith("ü…") and 29_990 < len(text.encode()) <= 30_000
    pipeline.offer(crm(marketo, journey_field="marketplaceOffer"))
    later = deliver(pipeline, "PLT")
    text = one(marketo)["marketplaceOffer"]
    assert later in text and lead in text and text.endswith("…") and len(text) <= 255
