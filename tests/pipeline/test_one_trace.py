"""One lead has one trace: each event about it names the trace of its request, also days later."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from leads.core.states import State
from leads.pipeline.intake import KeptUnreadable, accept
from tests.support.logs import events
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import DELIVERED, REJECTED, RETRY, Vendor


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leads")


def trace(number: int) -> str:
    return f"{number:032x}"


def post(pipeline: Pipeline, number: int, body: bytes | None = None) -> str:
    raw = body or json.dumps(a_lead(f"{number}@example.com")).encode()
    return accept(pipeline.app.incoming, raw, "", f"00-{trace(number)}-b7ad6b7169203331-01").lead_id


def about(caplog: pytest.LogCaptureFixture, lead_id: str) -> list[tuple[str, dict[str, Any]]]:
    """The events about a lead, in the order in which they were logged."""
    return [(name, fields) for name, fields in events(caplog) if fields.get("lead_id") == lead_id]


def test_a_lead_that_is_tried_parked_and_sent_again_is_one_trace(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.answers(RETRY)
    lead, other = post(routed, 1), post(routed, 2)
    routed.run()
    vendor.refuses()
    routed.advance(120)
    assert routed.delivery(lead).state is State.PARKED
    vendor.works()
    routed.tick(3)
    assert routed.delivery(lead).state is State.DELIVERED
    for number, lead_id in ((1, lead), (2, other)):
        events = about(caplog, lead_id)
        assert {fields["trace"] for _, fields in events} == {trace(number)}
        names = [name for name, _ in events]
        assert names[:3] == ["lead_accepted", "lead_routed", "lead_attempted"]
    everything = about(caplog, lead) + about(caplog, other)
    assert "lead_redriven" in {name for name, _ in everything}
    attempts = [(f["attempt"], f["outcome"]) for name, f in about(caplog, lead) if name == "lead_attempted"]
    assert attempts[0] == (1, "retry")
    assert attempts[-1] == (len(attempts), "delivered")


def test_several_destinations_belong_to_the_same_trace(
    pipeline: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.offer(crm(vendor.url), crm(vendor.url, name="mailing"))
    lead = post(pipeline, 7)
    pipeline.run()
    events = about(caplog, lead)
    assert {fields["destination"] for name, fields in events if name == "lead_attempted"} == {"crm", "mailing"}
    assert {fields["trace"] for _, fields in events} == {trace(7)}
    assert [fields["destinations"] for name, fields in events if name == "lead_routed"] == [2]


def test_what_became_of_a_lead_by_itself_belongs_to_its_trace(
    pipeline: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    unrouted = post(pipeline, 3)
    pipeline.run()
    vendor.answers(DELIVERED)
    pipeline.offer(crm(vendor.url))
    pipeline.tick(2)
    events = about(caplog, unrouted)
    assert {fields["trace"] for _, fields in events} == {trace(3)}
    assert {"lead_unrouted", "lead_redriven", "lead_attempted"} <= {name for name, _ in events}


def test_a_dead_letter_and_a_crash_belong_to_their_leads_traces(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.answers(REJECTED)
    refused = post(routed, 4)
    routed.run()
    crashed = post(routed, 5)
    (message,) = routed.messages()
    routed.app.poison.put(message.content)
    routed.queue.delete(message)
    routed.drain_poison()
    for number, lead_id, event in ((4, refused, "lead_dead_lettered"), (5, crashed, "lead_crashed")):
        events = about(caplog, lead_id)
        assert event in {name for name, _ in events}
        assert {fields["trace"] for _, fields in events} == {trace(number)}


def test_a_body_that_can_not_be_read_belongs_to_its_requests_trace(
    routed: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeptUnreadable) as kept:
        post(routed, 6, b"{")
    assert about(caplog, kept.value.lead_id) == [
        ("lead_unreadable", {"lead_id": kept.value.lead_id, "bytes": 1, "trace": trace(6)})
    ]


def test_a_lead_without_a_trace_has_none_and_takes_nobody_elses(
    routed: Pipeline, vendor: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    post(routed, 8)
    routed.run()
    lead = routed.post(a_lead("9@example.com"))
    routed.run()
    assert not any("trace" in fields for _, fields in about(caplog, lead))
