"""The worker process: calls that fail when it is killed or crashes, and the host's reaction."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests
from azure.storage.queue import QueueClient

from tests.devhost.conftest import AppWith, Devhost, Recorder, Start, task, until
from tests.support.orphans import wait_for_end


class Get(threading.Thread):
    """A request in a separate thread: status, body, and the times of request and answer."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.status = 0
        self.sent = time.monotonic()
        self.start()

    def run(self) -> None:
        answer = requests.get(self._url, timeout=120)
        self.status, self.body, self.answered = answer.status_code, answer.content, time.monotonic()


def test_functions_run_in_a_process_of_their_own(start_devhost: Start, recorder: Recorder) -> None:
    devhost = start_devhost("--no-queues", in_process=False, env={"TICK_SCHEDULE": "* * * * * *"})
    assert requests.get(f"{devhost.base_url}/api/slow?seconds=0", timeout=120).text == "done"
    (worker,) = {seen["pid"] for seen in (*recorder.wait_for("slow began"), *recorder.wait_for("tick"))}
    assert worker != devhost.pid


def test_past_the_time_limit_the_worker_is_replaced_and_other_calls_run_into_their_own_limit(
    start_devhost: Start, app_with: AppWith, work_queue: QueueClient, recorder: Recorder
) -> None:
    app = app_with(function_timeout="00:00:06", batchSize=1, newBatchThreshold=0, visibilityTimeout="00:00:01")
    devhost = start_devhost(
        *("--time", "kill=3"), app_dir=app, in_process=False, env={"PYTHON_THREADPOOL_THREAD_COUNT": "8"}
    )
    work_queue.send_message(task("hung", first_seconds=60))
    hung = recorder.wait_for("began")[0]
    work_queue.send_message(task("healthy", first_seconds=5))
    time.sleep(4)
    request = Get(f"{devhost.base_url}/api/slow?seconds=5.5")
    healthy = recorder.wait_for("began", name="healthy")[0]
    work_queue.send_message(task("next"))
    following = recorder.wait_for("began", name="next")[0]
    again = recorder.wait_for("began", 2, name="hung")[1]
    # In the host, a call begins a little earlier than the function reports.
    assert 5 < healthy["at"] - hung["at"] < 9, "begun while the worker of the hung call still lives"
    assert healthy["pid"] == hung["pid"] != following["pid"]
    assert following["at"] - healthy["at"] > 5, "until its own limit it counts against what is fetched"
    assert again["at"] - hung["at"] > 5 + 1, "the limit, then visibilityTimeout"
    request.join()
    assert (request.status, request.body) == (500, b"")
    assert request.answered - request.sent >= 6, "not when its worker was killed"
    assert recorder.wait_for("ended", name="healthy")
    assert devhost.says("work: functionTimeout of 6 s exceeded")


def test_the_calls_of_a_worker_that_dies_fail_at_once_and_the_third_death_ends_the_host(
    start_devhost: Start, app_with: AppWith, work_queue: QueueClient, recorder: Recorder
) -> None:
    app = app_with(function_timeout="00:10:00")
    devhost = start_devhost("--time", "second_restart=4", app_dir=app, in_process=False)
    request = Get(f"{devhost.base_url}/api/slow?seconds=60")
    recorder.wait_for("slow began")
    work_queue.send_message(task("deadly", crash=True))
    request.join(120)
    assert (request.status, request.body) == (500, b"")
    deaths = recorder.wait_for("began", 3, name="deadly")
    assert [seen["count"] for seen in deaths] == [1, 2, 3], "hidden for visibilityTimeout each time"
    first, second, third = (float(seen["at"]) for seen in deaths)
    assert second - first >= 1, "the worker starts again after a second"
    assert third - second >= 4, "and then after a longer while"
    assert len({seen["pid"] for seen in deaths}) == 3
    assert devhost.wait() == 1
    assert devhost.says("devhost: ends itself: the worker process died 3 times within 1800 s")
    assert not devhost.ready_file.exists()


def test_deaths_that_lie_far_apart_do_not_end_the_host(
    start_devhost: Start, app_with: AppWith, work_queue: QueueClient, recorder: Recorder
) -> None:
    app = app_with(maxDequeueCount=5, visibilityTimeout="00:00:00")
    devhost = start_devhost("--time", "restart=0.1", "--time", "crash_window=0.01", app_dir=app, in_process=False)
    work_queue.send_message(task("deadly", crash=True))
    recorder.wait_for("began", 5, name="deadly")
    until(lambda: devhost.log.count("ended by itself") == 5)
    assert requests.get(f"{devhost.base_url}/api/echo", timeout=120).status_code == 202


def test_what_outlasts_the_drain_is_cut_off_and_its_message_is_not_released(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder
) -> None:
    devhost = start_devhost("--time", "drain=1", in_process=False)
    work_queue.send_message(task("long", seconds=15))
    worker = int(recorder.wait_for("began")[0]["pid"])
    devhost.signal(signal.SIGTERM)
    assert devhost.wait() == 0
    assert not psutil.pid_exists(worker)
    assert work_queue.get_queue_properties().approximate_message_count == 1
    assert list(work_queue.receive_messages()) == [], "hidden until its lease ends"
    assert recorder.of("ended") == []


def test_a_worker_ends_with_its_host(start_devhost: Start, work_queue: QueueClient, recorder: Recorder) -> None:
    devhost = start_devhost(in_process=False)
    work_queue.send_message(task("long", seconds=15))
    worker = int(recorder.wait_for("began")[0]["pid"])
    devhost.kill()
    wait_for_end(worker)


def test_an_app_that_does_not_load_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text("import no_such_module\n")
    with pytest.raises(RuntimeError, match=r"devhost: function_app\.py does not load: .*no_such_module"):
        Devhost(tmp_path)
