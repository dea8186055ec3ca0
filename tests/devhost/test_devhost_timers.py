"""Timer triggers: on schedule, one host at a time, never beside themselves."""

from __future__ import annotations

from collections.abc import Callable

from devhost.process import DevhostProcess
from tests.devhost.conftest import Recorder

Start = Callable[..., DevhostProcess]
EVERY_SECOND = {"TICK_SCHEDULE": "* * * * * *"}


def test_one_of_two_hosts_fires_and_the_other_takes_over_at_once_when_it_stops(
    start_devhost: Start, recorder: Recorder
) -> None:
    hosts = [start_devhost("--no-http", "--no-queues", env=EVERY_SECOND) for _ in range(2)]
    before = recorder.wait_for("tick", 3)
    assert len({seen["pid"] for seen in before}) == 1
    [firing] = [host for host in hosts if host.pid == before[0]["pid"]]
    [waiting] = [host for host in hosts if host is not firing]
    firing.stop()
    assert recorder.wait_for("tick", 2, pid=waiting.pid)


def test_the_timer_of_a_host_that_died_goes_over_when_its_lease_ends(start_devhost: Start, recorder: Recorder) -> None:
    first = start_devhost("--no-http", "--no-queues", env=EVERY_SECOND)
    recorder.wait_for("tick", pid=first.pid)
    second = start_devhost("--no-http", "--no-queues", env=EVERY_SECOND)
    first.kill()
    assert recorder.wait_for("tick", pid=second.pid)


def test_a_timer_does_not_run_beside_itself_and_says_when_it_is_late(start_devhost: Start, recorder: Recorder) -> None:
    start_devhost("--no-http", "--no-queues", env={**EVERY_SECOND, "TICK_SECONDS": "1.3"})
    recorder.wait_for("tick", 2)
    assert [seen["event"] for seen in recorder.events[:3]] == ["tick", "tick ended", "tick"]
    assert [seen["past_due"] for seen in recorder.of("tick")[:2]] == [False, True]


def test_without_a_lock_each_host_fires_and_says_so(start_devhost: Start, recorder: Recorder) -> None:
    unlocked = {**EVERY_SECOND, "AzureWebJobsStorage": ""}
    hosts = [start_devhost("--no-http", "--no-queues", env=unlocked) for _ in range(2)]
    for host in hosts:
        recorder.wait_for("tick", pid=host.pid)
        assert host.says("Timers run without a lock")
