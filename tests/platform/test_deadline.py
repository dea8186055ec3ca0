"""Every function ends far below `functionTimeout`, because at that limit the host ends the worker with all its calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest

from devhost.hostjson import parse_host_json
from leads.cli.transport import ANSWER_SECONDS
from leads.core import clock
from leads.destinations.bounded_calls import CHECK_SECONDS, SEND_SECONDS
from leads.ledger.transactions import CLAIM_LEASE_SECONDS
from leads.operations.table import OPERATIONS
from leads.pipeline import http
from leads.pipeline.delivery import DELIVERY_SECONDS, LEDGER_DOWN_SECONDS, MAX_DEFERRALS, PUT_BACK_SECONDS
from leads.pipeline.settling import SETTLE_SECONDS
from leads.platform import deadline
from leads.watch import announcements, poison, probes, tick
from tools.host import ROOT

HOSTS_LEASE = timedelta(minutes=10)
"""The visibility timeout of messages that the host receives."""
READING = 30
"""The time for reading and claiming before the send."""


def function_timeout() -> float:
    found = parse_host_json(json.loads((ROOT / "host.json").read_text())).function_timeout
    assert found is not None
    return found


def test_a_send_ends_before_its_delivery_its_claim_the_function_and_the_message() -> None:
    hosts_lease = HOSTS_LEASE.total_seconds()
    assert SEND_SECONDS < DELIVERY_SECONDS < CLAIM_LEASE_SECONDS < function_timeout() < hosts_lease
    assert DELIVERY_SECONDS - SEND_SECONDS - SETTLE_SECONDS - PUT_BACK_SECONDS >= READING


def test_every_other_function_ends_long_before_the_host_ends_it() -> None:
    others = [http.INTAKE_SECONDS, http.STATUS_SECONDS, tick.WATCH_SECONDS, poison.DRAIN_SECONDS]
    others += [operation.seconds for operation in OPERATIONS]
    assert max(others) <= function_timeout() * 0.75


def test_a_sender_has_its_answer_in_five_seconds_and_a_person_before_the_command_line_gives_up() -> None:
    assert http.INTAKE_SECONDS < 5
    assert CHECK_SECONDS < max(operation.seconds for operation in OPERATIONS) < ANSWER_SECONDS


def test_each_step_of_watch_has_all_of_its_time_whatever_the_others_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(60):
        monkeypatch.setattr(clock, "now", Mock(return_value=datetime(2026, 3, 1, 12, minute, tzinfo=UTC)))
        beginning = tick.Tick(Mock(), [], {}, [], Mock())
        first, later = tick.first_steps(beginning), tick.later_steps(beginning)
        in_a_row = tick.READ_SECONDS + sum(step.seconds for step in first) + max(step.seconds for step in later)
        assert in_a_row <= tick.WATCH_SECONDS, f"in minute {minute}"


def test_a_check_is_begun_only_with_the_time_for_it_and_for_what_it_means() -> None:
    assert probes.ASK_SECONDS > probes.ANSWER_SECONDS + probes.NOTING_SECONDS
    assert probes.ANSWER_SECONDS < CHECK_SECONDS


def test_a_tick_in_which_others_hang_is_over_before_the_next_one_is_due() -> None:
    steps = tick.later_steps(tick.Tick(Mock(), [], {}, [], Mock()))
    waits_for_others = {"vendors", "notifications", "silence and expiry", "announcements"}
    assert all(step.seconds <= 55 for step in steps if step.name in waits_for_others)
    assert waits_for_others <= {step.name for step in steps}


def test_an_announcement_is_in_hand_for_less_time_than_others_do_not_see_it() -> None:
    assert announcements.POST_SECONDS + announcements.REMOVE_SECONDS < announcements.ANNOUNCE_SECONDS
    assert announcements.ANNOUNCE_SECONDS < announcements.HIDDEN_SECONDS / 2


def test_a_batch_of_poison_is_dealt_with_before_others_see_it_again() -> None:
    assert poison.DRAIN_SECONDS < poison.POISON_HIDDEN_SECONDS


def test_a_message_that_came_before_its_lead_waits_for_longer_than_any_attempt() -> None:
    assert function_timeout() <= MAX_DEFERRALS * LEDGER_DOWN_SECONDS


# --- How deadlines nest -------------------------------------------------------------------------------------------------


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: moment[0])
    return moment


def test_without_a_deadline_there_is_all_the_time_in_the_world() -> None:
    with deadline.leaving(10):
        assert deadline.remaining() == float("inf")


def test_a_deadline_passes_and_ends_with_its_block(now: list[float]) -> None:
    with deadline.within(10):
        now[0] += 12
        assert deadline.remaining() == -2
    assert deadline.remaining() == float("inf")


def test_an_inner_deadline_is_never_later_than_the_one_around_it(now: list[float]) -> None:
    with deadline.within(10):
        for seconds, remaining in ((5, 5), (20, 10)):
            with deadline.within(seconds):
                assert deadline.remaining() == remaining
        assert deadline.remaining() == 10


def test_what_comes_after_a_block_keeps_its_share(now: list[float]) -> None:
    with deadline.within(10), deadline.leaving(4):
        assert deadline.remaining() == 6
        with deadline.within(8), deadline.leaving(1):
            assert deadline.remaining() == 5


# --- What the documents say ---------------------------------------------------------------------------------------------


def test_the_documented_limits_are_those_of_the_code() -> None:
    page = " ".join((ROOT / "docs/reference/configuration.md").read_text().split())
    usual, long = sorted({operation.seconds for operation in OPERATIONS})
    reading = DELIVERY_SECONDS - SEND_SECONDS - SETTLE_SECONDS - PUT_BACK_SECONDS
    for words in (
        f"A delivery has {DELIVERY_SECONDS} seconds: reading and claiming {reading}, the `send` {SEND_SECONDS}, "
        f"settling {SETTLE_SECONDS}, putting the message back {PUT_BACK_SECONDS}.",
        f"its claim ({CLAIM_LEASE_SECONDS})",
        f"At {function_timeout():g} (`functionTimeout`)",
        f"the host's hold on a message ({HOSTS_LEASE.total_seconds():g})",
        f"A `check` has {CHECK_SECONDS} seconds",
        f"Intake has {http.INTAKE_SECONDS:g}, a request for a lead's status {http.STATUS_SECONDS:g}",
        f"a management request {usual:g}, or {long:g} for what asks vendors",
        f"A run of `watch` has {tick.WATCH_SECONDS:g}, of which the poison queue may take {poison.DRAIN_SECONDS:g}.",
    ):
        assert words in page
