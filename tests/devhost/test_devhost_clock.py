"""The app's time under a clock factor."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from azure.storage.queue import QueueClient
from hypothesis import given
from hypothesis import strategies as st

from devhost.clock import Clock, speed_up_app
from leads.core import clock
from leads.platform.message_client import MessageClient
from leads.platform.settings import Settings
from leads.platform.storage import Storage
from tests.devhost.conftest import until


def test_without_a_factor_it_is_the_real_time() -> None:
    assert datetime.now(UTC) <= Clock().now() <= datetime.now(UTC)


def test_time_runs_faster_since_the_epoch() -> None:
    epoch = time.time() - 10
    before, now, after = time.time(), Clock(60, epoch).now().timestamp(), time.time()
    assert epoch + (before - epoch) * 60 - 0.001 <= now <= epoch + (after - epoch) * 60 + 0.001


@pytest.mark.parametrize(("seconds", "in_storage"), [(0, 0), (1, 1), (60, 1), (61, 2), (604_800, 10_080)])
def test_storage_times_are_rounded_up_to_whole_seconds(seconds: int, in_storage: int) -> None:
    assert Clock(60).storage_seconds(seconds) == in_storage


@given(st.integers(0, 604_800), st.floats(1, 10_000))
def test_a_delay_is_never_lost_nor_made_longer(seconds: int, factor: float) -> None:
    shortened = Clock(factor).storage_seconds(seconds)
    assert (shortened == 0) == (seconds == 0)
    assert shortened <= seconds


def test_what_the_app_puts_with_a_delay_is_visible_as_much_sooner(
    fresh_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", clock.now)
    for client in (QueueClient, MessageClient):
        for method in ("send_message", "update_message"):
            monkeypatch.setattr(client, method, getattr(client, method))
    speed_up_app(Clock(36_000))
    queue = Storage(Settings.model_validate({"LeadsStorage": fresh_storage})).queue("leads")
    queue.put("in ten hours", 36_000)
    until(lambda: bool(queue.receive(1, 1)), what="the message")
