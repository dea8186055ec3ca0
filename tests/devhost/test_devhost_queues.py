"""Queue triggers against Azurite: the life of a message as the Azure Functions host lets it live."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from devhost.process import DevhostProcess
from devhost.queues import Backoff
from tests.devhost.conftest import Gate, Recorder
from tools.azurite import Azurite

Start = Callable[..., DevhostProcess]
Task = Callable[..., str]
Until = Callable[..., None]


def left(queue: QueueClient) -> int:
    return queue.get_queue_properties().approximate_message_count or 0


def texts(queue: QueueClient) -> list[str]:
    return [message.content for message in queue.peek_messages(32)]


def test_a_message_that_is_handled_is_deleted(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder, task: Task, until: Until
) -> None:
    sent = work_queue.send_message(task("one"), time_to_live=-1)
    devhost = start_devhost()
    [began] = recorder.wait_for("began")
    assert (began["name"], began["count"], began["id"]) == ("one", 1, sent.id)
    assert began["expires"].startswith("9999-12-31")
    until(lambda: left(work_queue) == 0)
    assert devhost.says("INFO work sample: working on one")


def test_a_failure_is_retried_after_the_visibility_timeout_and_ends_in_the_poison_queue(
    start_devhost: Start,
    work_queue: QueueClient,
    poison_queue: QueueClient,
    recorder: Recorder,
    task: Task,
    until: Until,
) -> None:
    start_devhost()
    work_queue.send_message(task("bad", fail=True))
    tries = recorder.wait_for("began", 3)
    assert [seen["count"] for seen in tries] == [1, 2, 3]
    assert all(later["at"] - seen["at"] > 0.9 for seen, later in pairwise(tries))  # visibilityTimeout is 1 s
    until(lambda: left(work_queue) == 0)
    [moved] = poison_queue.receive_messages()
    assert json.loads(base64.b64decode(moved.content))["name"] == "bad"
    lifetime = moved.expires_on - moved.inserted_on  # type: ignore[operator]
    assert lifetime.days == 7


def test_a_message_dequeued_too_often_goes_to_poison_without_a_call(
    start_devhost: Start,
    work_queue: QueueClient,
    poison_queue: QueueClient,
    recorder: Recorder,
    task: Task,
    until: Until,
) -> None:
    work_queue.send_message(task("crashed before"))
    for _ in range(3):
        [message] = work_queue.receive_messages(max_messages=1)
        work_queue.update_message(message.id, message.pop_receipt, visibility_timeout=0)
    start_devhost()
    until(lambda: left(work_queue) == 0)
    assert [json.loads(base64.b64decode(text))["name"] for text in texts(poison_queue)] == ["crashed before"]
    assert recorder.of("began") == []


def test_what_cannot_be_decoded_goes_to_poison_as_it_is(
    start_devhost: Start,
    fresh_storage: str,
    work_queue: QueueClient,
    poison_queue: QueueClient,
    recorder: Recorder,
    until: Until,
) -> None:
    raw = QueueClient.from_connection_string(fresh_storage, "work")
    raw.send_message('{"not": "base64 <&> "}')
    raw.send_message(base64.b64encode(b"\xff\xfe").decode())
    start_devhost()
    # The second is base64 but no text: the host cannot bind it, which is a failure like any other.
    until(lambda: left(work_queue) == 0)
    assert sorted(texts(poison_queue)) == sorted(['{"not": "base64 <&> "}', "//4="])
    assert recorder.of("began") == []


def test_base64_with_line_breaks_is_understood(
    start_devhost: Start, fresh_storage: str, work_queue: QueueClient, recorder: Recorder, task: Task
) -> None:
    text = base64.encodebytes(task("a long name " * 10).encode()).decode()
    QueueClient.from_connection_string(fresh_storage, "work").send_message(text)
    start_devhost()
    assert recorder.wait_for("ended")


def test_without_encoding_the_text_is_the_message(
    start_devhost: Start,
    app_with: Callable[..., Path],
    fresh_storage: str,
    work_queue: QueueClient,
    recorder: Recorder,
    task: Task,
) -> None:
    QueueClient.from_connection_string(fresh_storage, "work").send_message(task("plain"))
    start_devhost(app_dir=app_with(messageEncoding="none"))
    assert recorder.wait_for("ended")[0]["name"] == "plain"


@pytest.mark.alone
def test_the_lease_is_renewed_while_the_function_runs(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder, task: Task, until: Until
) -> None:
    start_devhost("--lease-seconds", "4")
    start_devhost("--lease-seconds", "4")
    work_queue.send_message(task("long", seconds=6))
    recorder.wait_for("ended")
    until(lambda: left(work_queue) == 0)
    assert len(recorder.of("began")) == 1


def test_the_message_of_a_host_that_died_comes_back_after_its_lease(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder, task: Task, until: Until
) -> None:
    first = start_devhost("--lease-seconds", "1")
    work_queue.send_message(task("interrupted", seconds=3))
    recorder.wait_for("began")
    first.kill()
    start_devhost()
    recorder.wait_for("ended")
    assert [seen["count"] for seen in recorder.of("began")] == [1, 2]
    until(lambda: left(work_queue) == 0)


def test_a_message_that_kills_the_host_is_poison_after_its_last_chance(
    start_devhost: Start,
    app_with: Callable[..., Path],
    work_queue: QueueClient,
    poison_queue: QueueClient,
    recorder: Recorder,
    task: Task,
    until: Until,
) -> None:
    app = app_with(maxDequeueCount=1)
    work_queue.send_message(task("deadly", crash=True))
    assert start_devhost("--lease-seconds", "1", app_dir=app).wait() == 3
    start_devhost("--lease-seconds", "1", app_dir=app)
    until(lambda: left(work_queue) == 0)
    assert len(recorder.of("began")) == 1
    assert len(texts(poison_queue)) == 1


def test_no_more_than_batch_size_and_threshold_run_at_once(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder, task: Task
) -> None:
    for number in range(16):
        # Two of the first batch are still at it when the others have made room for the second one.
        work_queue.send_message(task(f"{number}", seconds=2 if number < 2 else 0.2))
    start_devhost()
    recorder.wait_for("ended", 16)
    running = most = 0
    for seen in recorder.events:
        running += {"began": 1, "ended": -1}[seen["event"]]
        most = max(most, running)
    assert most == 6  # batchSize 4 + newBatchThreshold 2


def test_two_hosts_share_a_queue(start_devhost: Start, work_queue: QueueClient, recorder: Recorder, task: Task) -> None:
    start_devhost()
    start_devhost()
    for number in range(24):
        work_queue.send_message(task(f"{number}", seconds=1))
    ended = recorder.wait_for("ended", 24)
    assert len({seen["name"] for seen in ended}) == 24
    assert len({seen["pid"] for seen in ended}) == 2


def test_a_queue_that_does_not_exist_yet_is_an_empty_one(
    start_devhost: Start, fresh_storage: str, recorder: Recorder, task: Task
) -> None:
    devhost = start_devhost()
    queue = QueueClient.from_connection_string(fresh_storage, "work", message_encode_policy=TextBase64EncodePolicy())
    queue.create_queue()
    queue.send_message(task("first"))
    assert recorder.wait_for("ended")
    assert "cannot poll" not in devhost.log


def test_storage_may_stop_and_start_under_load(
    start_devhost: Start,
    fresh_storage: str,
    azurite: Azurite,
    work_queue: QueueClient,
    recorder: Recorder,
    task: Task,
    until: Until,
) -> None:
    # A way to storage that can be cut: Azurite itself would answer open connections before it stops.
    with Gate(azurite.queue_port) as gate:
        through_gate = fresh_storage.replace(f":{azurite.queue_port}/", f":{gate.port}/")
        for number in range(40):
            work_queue.send_message(task(f"{number}", seconds=0.1))
        devhost = start_devhost("--lease-seconds", "5", env={"LeadsStorage": through_gate})
        recorder.wait_for("ended", 8)
        gate.close()
        until(lambda: "storage does not answer" in devhost.log)
        before = len(recorder.of("ended"))
        time.sleep(1.5)
        assert len(recorder.of("ended")) <= before + 6  # what was received goes on, no more comes
        gate.open()
        until(lambda: len({seen["name"] for seen in recorder.of("ended")}) == 40)
        until(lambda: left(work_queue) == 0)
    assert devhost.says("cannot poll queue work: storage does not answer")
    assert "Traceback" not in devhost.log


def test_polling_backs_off_to_its_longest_and_starts_again_after_a_message() -> None:
    backoff = Backoff(2.0, random.Random(7))
    delays = [backoff.next() for _ in range(10)]
    assert delays[0] == pytest.approx(0.1)
    assert all(later > delay for delay, later in pairwise(delays[:6]))
    assert delays[-1] == 2.0
    backoff.reset()
    assert backoff.next() == pytest.approx(0.1)
    assert 0.18 <= backoff.next() <= 0.22


def test_a_longest_delay_at_the_minimum_is_constant() -> None:
    backoff = Backoff(0.1)
    assert [backoff.next() for _ in range(3)] == [0.1] * 3
