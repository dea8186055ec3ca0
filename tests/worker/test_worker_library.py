"""Calling the app through Microsoft's worker library: what goes in and what comes out."""

from __future__ import annotations

import gc
import json
import logging
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from devhost.errors import StartError
from devhost.runtime import LoadedApp, load_app
from tests.support.logs import logged
from tests.support.process_app import forget_app
from tests.worker.conftest import APP_DIR

LEAD = json.dumps(
    {
        "UserDetails": {"FirstName": "Ada", "Email": "ada@example.com"},
        "LeadSource": "AzureMarketplace",
        "ActionCode": "INS",
        "OfferTitle": "Contoso CRM",
    }
).encode()


def queued(storage: str) -> int:
    with QueueClient.from_connection_string(storage, "leads") as queue:
        return queue.get_queue_properties().approximate_message_count or 0


def test_a_lead_whose_body_the_host_did_not_hand_over_is_asked_for_with_its_length(
    function_app: LoadedApp, fresh_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    headers = {
        "Transfer-Encoding": "chunked",
        "User-Agent": "Sender/1.0 ada@example.com",
        "Content-Type": "application/json",
    }
    answer = function_app.invoke_http("accept_lead", body=b"", headers=headers)
    assert (answer.status, answer.json()["field"]) == (411, "Content-Length")
    assert logged(caplog, "body_without_length") == [{"user_agent": "Sender/1.0 ***"}]
    assert not [record for record in caplog.records if "ada@" in record.getMessage()]
    function_app.invoke_timer("watch")
    with TableClient.from_connection_string(fresh_storage, "LeadAlarms") as alarms:
        assert alarms.get_entity("alarm", "body_without_length")["logged"]


def test_what_is_logged_of_a_lead_names_the_trace_of_its_request(
    function_app: LoadedApp, fresh_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    trace = "0af7651916cd43dd8448eb211c80319c"
    function_app.invoke_http("accept_lead", body=LEAD, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    with QueueClient.from_connection_string(fresh_storage, "leads") as queue:
        (message,) = queue.receive_messages()
    function_app.invoke_queue("deliver_lead", b64decode(message.content))
    for event in ("lead_accepted", "lead_unrouted"):
        assert [said["trace"] for said in logged(caplog, event)] == [trace]


def test_a_lead_without_a_trace_of_its_senders_gets_one_of_its_own(
    function_app: LoadedApp, fresh_storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "leads")
    for headers in ({}, {"traceparent": "ada@example.com"}):
        function_app.invoke_http("accept_lead", body=LEAD, headers=headers)
    with QueueClient.from_connection_string(fresh_storage, "leads") as queue:
        for message in queue.receive_messages():
            function_app.invoke_queue("deliver_lead", b64decode(message.content))
    accepted = [said["trace"] for said in logged(caplog, "lead_accepted")]
    assert len(set(accepted)) == 2
    assert sorted(said["trace"] for said in logged(caplog, "lead_unrouted")) == sorted(accepted)


def test_garbage_is_collected_once_everything_is_imported(function_app: LoadedApp) -> None:
    assert gc.isenabled()


def test_many_threads_may_call_at_once(function_app: LoadedApp, fresh_storage: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: function_app.invoke_http("accept_lead", body=LEAD), range(20)))
    assert [answer.status for answer in answers] == [202] * 20
    assert queued(fresh_storage) == 20


def test_a_queue_function_gets_the_text_of_its_message(
    function_app: LoadedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("leads.pipeline.delivery.deliver", lambda app, text, *_: seen.append(text))
    assert function_app.invoke_queue("deliver_lead", "a message — ünïcode", dequeue_count=2).ok
    assert seen == ["a message — ünïcode"]


def test_what_a_function_raises_is_its_result(function_app: LoadedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("as asked")

    monkeypatch.setattr("leads.pipeline.delivery.deliver", fail)
    monkeypatch.setattr("leads.watch.tick.watch", fail)
    for result in (function_app.invoke_queue("deliver_lead", "x"), function_app.invoke_timer("watch")):
        assert (result.ok, result.error) == (False, "ValueError('as asked')")


def test_one_app_a_process(indexed_app: LoadedApp, tmp_path: Path) -> None:
    assert load_app(APP_DIR) is indexed_app
    with pytest.raises(StartError, match="use another process for"):
        load_app(tmp_path)


def test_health_and_management_say_that_a_setting_is_wrong_and_the_log_says_which(
    function_app: LoadedApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("LeadsStorage")
    monkeypatch.setenv("LeadsStorage__accountName", "contosoleads")
    monkeypatch.setenv("LeadsStorage__queueServiceUri", "https://elsewhere.queue.core.windows.net")
    forget_app()
    asked = function_app.invoke_http("health", "GET", "http://localhost/api/health")
    posted = function_app.invoke_http("accept_lead", "POST", "http://localhost/api/leads", body=b"{}")
    managed = function_app.invoke_http("manage", "GET", "http://localhost/api/manage/status", params={"path": "status"})
    assert (asked.status, posted.status, managed.status) == (503, 503, 503)
    assert managed.json()["detail"] == "An app setting is wrong. Run leads doctor, which names it."
    event, again = logged(caplog, "settings_wrong")
    assert event == again
    assert event["problem"].startswith("LeadsStorage__queueServiceUri: is of another account")
