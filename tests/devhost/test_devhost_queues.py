"""Queue triggers on Azurite: the life of a message, as in the Azure Functions host."""

from __future__ import annotations

import base64
import json
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from urllib.parse import quote

import pytest
import requests
from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from devhost.queues import LEASE_SECONDS, Backoff
from tests.devhost.conftest import AppWith, Recorder, Start, task, until
from tests.support.proxy import Proxy


def left(queue: QueueClient) -> int:
    return queue.get_queue_properties().approximate_message_count or 0


def texts(queue: QueueClient) -> list[str]:
    return [message.content for message in queue.peek_messages(32)]


def test_a_message_that_is_handled_is_deleted(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder
) -> None:
    sent = work_queue.send_message(task("one"), time_to_live=-1)
    devhost = start_devhost()
    [began] = recorder.wait_for("began")
    assert (began["name"], began["count"], began["id"]) == ("one", 1, sent.id)
    assert began["expires"].startswith("9999-12-31")
    until(lambda: left(work_queue) == 0)
    assert devhost.says("INFO work sample: working on one")


def test_a_failure_is_retried_after_the_visibility_timeout_and_ends_in_the_poison_queue(
    start_devhost: Start, work_queue: QueueClient, poison_queue: QueueClient, recorder: Recorder
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
    start_devhost: Start, work_queue: QueueClient, poison_queue: QueueClient, recorder: Recorder
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
    start_devhost: Start, fresh_storage: str, work_queue: QueueClient, poison_queue: QueueClient, recorder: Recorder
) -> None:
    raw = QueueClient.from_connection_string(fresh_storage, "work")
    raw.send_message('{"not": "base64 <&> "}')
    raw.send_message(base64.b64encode(b"\xff\xfe").decode())
    start_devhost()
    # The second is base64 but not text. The host can't bind it, so the call fails.
    until(lambda: left(work_queue) == 0)
    assert sorted(texts(poison_queue)) == sorted(['{"not": "base64 <&> "}', "//4="])
    assert recorder.of("began") == []


def test_base64_with_line_breaks_is_understood(
    start_devhost: Start, fresh_storage: str, work_queue: QueueClient, recorder: Recorder
) -> None:
    text = base64.encodebytes(task("a long name " * 10).encode()).decode()
    QueueClient.from_connection_string(fresh_storage, "work").send_message(text)
    start_devhost()
    assert recorder.wait_for("ended")


def test_without_encoding_the_text_is_the_message(
    start_devhost: Start, app_with: AppWith, fresh_storage: str, work_queue: QueueClient, recorder: Recorder
) -> None:
    QueueClient.from_connection_string(fresh_storage, "work").send_message(task("plain"))
    start_devhost(app_dir=app_with(messageEncoding="none"))
    assert recorder.wait_for("ended")[0]["name"] == "plain"


def test_the_lease_is_renewed_at_half_time_while_the_function_runs(
    start_devhost: Start, fresh_storage: str, work_queue: QueueClient, recorder: Recorder
) -> None:
    assert LEASE_SECONDS == 600
    with Proxy(fresh_storage) as storage:
        through_proxy = {"LeadsStorage": storage.connection_string}
        hosts = [start_devhost("--lease-seconds", "8", env=through_proxy) for _ in range(2)]
        work_queue.send_message(task("long", seconds=10))
        recorder.wait_for("ended")
        until(lambda: left(work_queue) == 0)
        assert len(recorder.of("began")) == 1, "it ran for longer than a lease"
        renewals = [request for request in storage.journal if request.operation == "update"]
        fetched = next(request for request in storage.journal if request.operation == "get" and request.step)
        assert renewals[0].arrived_at - fetched.arrived_at > 3
        assert all("visibilitytimeout=8" in request.path for request in renewals)
        for host in hosts:
            host.stop()


def test_what_needed_no_renewal_is_deleted_with_the_receipt_that_it_came_with(
    start_devhost: Start, fresh_storage: str, work_queue: QueueClient, recorder: Recorder
) -> None:
    with Proxy(fresh_storage) as storage:
        devhost = start_devhost(env={"LeadsStorage": storage.connection_string})
        work_queue.send_message(task("short"))
        receipt = recorder.wait_for("began")[0]["receipt"]
        until(lambda: left(work_queue) == 0)
        assert [request.operation for request in storage.journal if request.step] == ["properties", "get", "delete"]
        (deletion,) = (request for request in storage.journal if request.operation == "delete")
        assert f"popreceipt={quote(receipt, safe='')}" in deletion.path
        devhost.stop()


def test_messages_and_requests_share_the_threads(
    start_devhost: Start, app_with: AppWith, work_queue: QueueClient, recorder: Recorder
) -> None:
    app = app_with(batchSize=2, newBatchThreshold=0)
    for number in range(2):
        work_queue.send_message(task(f"{number}", seconds=8))
    devhost = start_devhost(app_dir=app, env={"PYTHON_THREADPOOL_THREAD_COUNT": "3"})
    recorder.wait_for("began", 2)
    with ThreadPoolExecutor(3) as pool:
        answers = pool.map(lambda _: requests.get(f"{devhost.base_url}/api/slow?seconds=1", timeout=120), range(3))
    assert [answer.status_code for answer in answers] == [200] * 3
    began = [seen["at"] for seen in recorder.of("slow began")]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(began)), "one at a time beside two messages"


def test_the_message_of_a_host_that_died_comes_back_after_its_lease(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder
) -> None:
    first = start_devhost("--lease-seconds", "4")
    work_queue.send_message(task("interrupted", first_seconds=60))
    recorder.wait_for("began")
    first.kill()
    start_devhost()
    recorder.wait_for("ended")
    assert [seen["count"] for seen in recorder.of("began")] == [1, 2]
    until(lambda: left(work_queue) == 0)


def test_no_more_than_batch_size_and_threshold_run_at_once(
    start_devhost: Start, work_queue: QueueClient, recorder: Recorder
) -> None:
    for number in range(12):
        # Two messages of the first batch are still in progress when the second batch is received.
        work_queue.send_message(task(f"{number}", seconds=0.2 if number in {2, 3} else 4))
    start_devhost(env={"PYTHON_THREADPOOL_THREAD_COUNT": "12"})
    recorder.wait_for("ended", 12)
    running = most = 0
    for seen in recorder.events:
        running += {"began": 1, "ended": -1}[seen["event"]]
        most = max(most, running)
    assert most == 6  # batchSize 4 + newBatchThreshold 2


def test_a_queue_that_is_not_there_is_asked_for_and_missed_at_each_poll_until_it_is(
    start_devhost: Start, fresh_storage: str, recorder: Recorder
) -> None:
    queue = QueueClient.from_connection_string(fresh_storage, "work", message_encode_policy=TextBase64EncodePolicy())
    with Proxy(fresh_storage) as storage:
        devhost = start_devhost(env={"LeadsStorage": storage.connection_string})
        until(lambda: len(storage.journal) > 5)
        assert {(request.verb, request.operation) for request in storage.journal} == {("GET", "properties")}
        assert devhost.log.count("there is no queue work") >= 5
        gaps = [later.arrived_at - earlier.arrived_at for earlier, later in pairwise(storage.journal[4:])]
        assert all(gap > 0.4 for gap in gaps), "maxPollingInterval is half a second here"
        queue.create_queue()
        queue.send_message(task("first"))
        assert recorder.wait_for("ended")
        devhost.stop()


def test_polling_backs_off_to_its_longest_and_starts_again_after_a_message() -> None:
    backoff = Backoff(2.0, random.Random(7))
    delays = [backoff.next() for _ in range(10)]
    assert delays[0] == pytest.approx(0.1)
    assert all(later > delay for delay, later in pairwise(delays[:6]))
    assert delays[-1] == 2.0
    backoff.reset()
    assert backoff.next() == pytest.approx(0.1)
    assert 0.18 <= backoff.next() <= 0.22
    at_the_minimum = Backoff(0.1)
    assert [at_the_minimum.next() for _ in range(3)] == [0.1] * 3
