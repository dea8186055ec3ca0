"""Timer triggers: on schedule, on one host at a time, never overlapping."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import aiohttp

from devhost.storage import Service, find_account
from devhost.timers import TimerLock
from devhost.times import Times
from tests.devhost.conftest import AppWith, Recorder, Start

EVERY_SECOND = {"TICK_SCHEDULE": "* * * * * *"}
TIMERS_ONLY = ("--no-http", "--no-queues")
LOOKS_OFTEN = ("--time", "timer_look=0.5")
SHORTEST_LEASE = ("--time", "timer_lease=15")


def test_a_host_keeps_a_timer_for_a_minute_and_the_others_look_once_a_minute() -> None:
    assert (Times.timer_lease, Times.timer_look) == (60, 60)


def test_one_of_two_hosts_fires_and_the_other_takes_over_when_it_looks_after_the_first_has_stopped(
    start_devhost: Start, recorder: Recorder
) -> None:
    first = start_devhost(*TIMERS_ONLY, env=EVERY_SECOND)
    second = start_devhost(*TIMERS_ONLY, "--time", "timer_look=6", env=EVERY_SECOND)
    looked = recorder.wait_for("tick", pid=first.pid)[0]["at"]
    recorder.wait_for("tick", len(recorder.of("tick", pid=first.pid)) + 2, pid=first.pid)
    assert not recorder.of("tick", pid=second.pid)
    first.stop()
    assert recorder.wait_for("tick", pid=second.pid)[0]["at"] - looked > 2


def test_the_timer_of_a_host_that_was_killed_goes_over_when_its_lease_has_ended(
    start_devhost: Start, recorder: Recorder
) -> None:
    first = start_devhost(*TIMERS_ONLY, *SHORTEST_LEASE, env=EVERY_SECOND)
    recorder.wait_for("tick", pid=first.pid)
    first.kill()
    last = recorder.of("tick")[-1]["at"]
    again = start_devhost(*TIMERS_ONLY, *SHORTEST_LEASE, *LOOKS_OFTEN, env=EVERY_SECOND)
    assert recorder.wait_for("tick", pid=again.pid)[0]["at"] - last > 5


def test_a_host_that_stops_releases_the_lock_of_its_timer(
    start_devhost: Start, app_environment: dict[str, str], recorder: Recorder
) -> None:
    host = start_devhost(*TIMERS_ONLY, env=EVERY_SECOND)
    recorder.wait_for("tick")
    account = find_account("AzureWebJobsStorage", "blob", app_environment)
    assert account

    async def is_free() -> bool:
        async with aiohttp.ClientSession() as session:
            return await TimerLock(Service(session, account), "tick", 15).acquire()

    assert not asyncio.run(is_free())
    host.stop()
    assert asyncio.run(is_free())


def test_a_timer_does_not_run_beside_itself_and_never_says_that_it_is_late(
    start_devhost: Start, recorder: Recorder
) -> None:
    start_devhost(*TIMERS_ONLY, env={**EVERY_SECOND, "TICK_SECONDS": "2.5"})
    ticks = recorder.wait_for("tick", 3)
    assert [seen["event"] for seen in recorder.events[:4]] == ["tick", "tick ended", "tick", "tick ended"]
    assert [seen["past_due"] for seen in ticks] == [False] * 3
    assert ticks[2]["at"] - ticks[0]["at"] < 20, "what was missed is one call, at once"


def test_a_timer_that_hangs_costs_its_worker_and_no_tick(
    start_devhost: Start, app_with: AppWith, recorder: Recorder
) -> None:
    start_devhost(
        *("--no-http", "--no-queues", "--time", "kill=0.1"),
        app_dir=app_with(function_timeout="00:00:02"),
        env={"TICK_SCHEDULE": "*/6 * * * * *", "TICK_SECONDS": "60"},
        in_process=False,
    )
    ticks = recorder.wait_for("tick", 4)
    assert len({seen["pid"] for seen in ticks}) == 4
    gaps = [later["at"] - earlier["at"] for earlier, later in pairwise(ticks)]
    # On a busy machine, a worker may start later than the next tick, but rarely each time.
    assert 4 < min(gaps) < 9


def test_without_a_lock_each_host_fires_and_says_so(start_devhost: Start, recorder: Recorder) -> None:
    unlocked = {**EVERY_SECOND, "AzureWebJobsStorage": ""}
    hosts = [start_devhost(*TIMERS_ONLY, env=unlocked) for _ in range(2)]
    for host in hosts:
        recorder.wait_for("tick", pid=host.pid)
        assert host.says("Timers run without a lock")
