"""A lead named by the beginning of its id: the one that has it, several, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.cli import lead_id
from leads.core.identity import is_lead_id, received_at_of
from tests.support.command_line import Run, one_line
from tests.support.pipeline import Pipeline, a_lead, crm
from tests.support.vendor import Vendor


@pytest.fixture
def two(pipeline: Pipeline, vendor: Vendor) -> tuple[str, str]:
    """Two leads that the vendor has refused, an hour apart."""
    pipeline.offer(crm(vendor.url))
    vendor.refuses()
    first = pipeline.post()
    pipeline.run()
    pipeline.advance(3600)
    second = pipeline.post(a_lead("two@example.com"))
    pipeline.run()
    return first, second


def test_the_beginning_that_only_one_lead_has_is_enough(run: Run, two: tuple[str, str]) -> None:
    for whole in two:
        shown = run("leads", "show", whole).out
        for length in (10, 12, 14, 17, 18, 25, 30, 31, 32):
            assert run("leads", "show", whole[:length]).out == shown
        for command in (("replay", "--dry-run"), ("dismiss", "--note", "why", "--dry-run")):
            name, *flags = command
            assert run(name, whole[:12], *flags) == run(name, whole, *flags)


def test_of_a_beginning_that_several_have_the_leads_are_named(run: Run, two: tuple[str, str]) -> None:
    first, second = two
    for command in (("leads", "show"), ("replay",), ("dismiss", "--note", "why")):
        ran = run(*command, first[:8])
        assert (ran.status, ran.out) == (2, "")
        title, *lines = ran.err.splitlines()
        assert title == f"error: LEAD: several ids begin with {first[:8]}:"
        assert [line.split()[0] for line in lines] == [second, first]


def test_a_beginning_that_no_lead_has_is_not_found(run: Run, two: tuple[str, str]) -> None:
    assert one_line(run("leads", "show", "20010131"), 1).startswith("lead_id: no id begins with 20010131")
    other = "0" if two[0][18] != "0" else "1"
    assert one_line(run("leads", "show", f"{two[0][:18]}{other}"), 1).startswith("lead_id: no id begins with ")
    for what in ("2001", "20011331", "12"):
        assert one_line(run("leads", "show", what), 1).startswith("lead_id: is not a lead's id")


ids = st.builds(
    "{:%Y%m%d%H%M%S}{:03}-{}-{}".format,
    st.datetimes(min_value=received_at_of("20000101000000000-0123456789ab-c").replace(tzinfo=None)),
    st.integers(0, 999),
    st.text("0123456789abcdef", min_size=12, max_size=12),
    st.sampled_from("0123456789abcdef"),
).filter(is_lead_id)


@given(ids, ids, st.integers(8, 17))
def test_exactly_the_leads_of_the_span_have_the_beginning(one: str, other: str, length: int) -> None:
    for id in (one, other, one[:12] + other[12:], one[:9] + other[9:]):
        if is_lead_id(id):
            since, until = lead_id._span(one[:length])
            assert (since <= received_at_of(id) < until) == id.startswith(one[:length])
