"""The trace of a lead: which texts are accepted, which trace events have, and which header requests get."""

from __future__ import annotations

import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.platform.events import Event, emit
from leads.platform.tracing import begin, follow, trace_headers, trace_id, tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OTHER = f"00-{'1' * 32}-{'2' * 16}-00"
HEADER = re.compile(rf"00-{TRACE}-(?!0{{16}})[0-9a-f]{{16}}-01")


def test_a_trace_lasts_to_the_end_of_its_block() -> None:
    with tracing(PARENT):
        assert trace_id() == TRACE
        with tracing(""):
            assert trace_id() == ""
            follow(PARENT)
            assert trace_id() == TRACE
        assert trace_id() == TRACE
    assert (trace_id(), trace_headers()) == ("", {})


def test_a_request_is_a_step_of_its_own_in_the_trace() -> None:
    with tracing(PARENT):
        first, second = trace_headers()["traceparent"], trace_headers()["traceparent"]
    assert HEADER.fullmatch(first)
    assert HEADER.fullmatch(second)
    assert len({PARENT, first, second}) == 3


ODD = [PARENT.upper(), f"{PARENT}-x", f"ff{PARENT[2:]}", f"00-{'0' * 32}-{'1' * 16}-01", f"{PARENT}\n"]


@given(st.text() | st.sampled_from(ODD))
def test_what_is_no_trace_context_is_nobodys_trace(text: str) -> None:
    with tracing(text):
        assert (trace_id(), trace_headers()) == ("", {})


@pytest.mark.parametrize("offered", [(PARENT,), (PARENT, OTHER), ("", PARENT), (None, PARENT), ("some text", PARENT)])
def test_the_first_trace_context_that_is_offered_is_the_leads(offered: tuple[str | None, ...]) -> None:
    assert begin(*offered) == PARENT


@given(st.text() | st.sampled_from(ODD))
def test_a_lead_that_brings_no_trace_context_begins_a_trace_of_its_own(text: str) -> None:
    first, second = trace_id(begin(None, text)), trace_id(begin(None, text))
    assert first != second
    assert "" not in {first, second}


def test_threads_do_not_share_a_trace() -> None:
    with tracing(PARENT), ThreadPoolExecutor(1) as pool:
        assert pool.submit(trace_id).result() == ""


def test_an_event_names_the_trace_that_it_belongs_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leads")
    with tracing(PARENT):
        emit(Event.LEAD_ACCEPTED, lead_id="x")
    emit(Event.LEAD_ACCEPTED, PARENT, lead_id="z")
    emit(Event.LEAD_ACCEPTED, lead_id="y")
    said = [json.loads(record.getMessage().partition(" ")[2]) for record in caplog.records]
    assert said == [{"lead_id": "x", "trace": TRACE}, {"lead_id": "z", "trace": TRACE}, {"lead_id": "y"}]
