"""Requests without a body get a helpful answer and raise an alarm within minutes, because their leads are lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from leads.app import App, get_app
from leads.health.empty_bodies import NOTED_A_MINUTE, SEVERAL, WITHOUT_LENGTH_FOR
from leads.operations.doctor import examine_deployment
from leads.operations.findings import Area, Finding, Level
from leads.operations.operation import Nothing
from leads.operations.status import show_status
from leads.pipeline import http
from leads.pipeline.http import answer_intake
from leads.platform.events import Event
from leads.platform.settings import read_settings
from leads.watch.conditions import CALLS_FOR
from tests.support.logs import logged
from tests.support.pipeline import Pipeline
from tests.support.process_app import forget_app
from tests.support.proxy import Proxy

ROOT = Path(__file__).parents[2]
CHUNKED = {"transfer-encoding": "chunked", "user-agent": "Sender/1.0 (Contoso)"}
Post = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def post(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Post:
    """Posts to the intake of the pipeline's app as the host does: with an empty body by default."""
    caplog.set_level("INFO", "leads")
    monkeypatch.setattr(http, "get_app", lambda: pipeline.app)
    return posted


def posted(headers: dict[str, str] | None = None, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    url = "https://example.azurewebsites.net/api/leads"
    answer = answer_intake(func.HttpRequest("POST", url, headers=headers or {}, body=body), "")
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, json.loads(answer.get_body())


def about_the_intake(pipeline: Pipeline) -> Finding:
    found = examine_deployment(pipeline.app, Nothing())
    (finding,) = [finding for finding in found.findings if finding.area is Area.INTAKE]
    return finding


def calls(pipeline: Pipeline) -> list[str]:
    """The alarms that `status` names."""
    needs = pipeline.ask(show_status, Nothing()).needs_a_person
    return [name[0] for text in needs if (name := re.match("bod(y|ies)_[a-z_]+", text))]


# --- A body without its length ----------------------------------------------------------------------------------------


def test_a_body_that_came_without_a_length_is_answered_411_with_what_to_do(post: Post) -> None:
    status, problem = post(CHUNKED)
    assert (status, problem["status"], problem["field"]) == (411, 411, "Content-Length")
    assert "not stored" in problem["detail"]
    assert "Send it again with a Content-Length" in problem["detail"]


def test_what_is_there_in_spite_of_the_header_is_taken(post: Post, pipeline: Pipeline) -> None:
    url = "https://example.azurewebsites.net/api/leads"
    assert answer_intake(func.HttpRequest("POST", url, headers=CHUNKED, body=b'{"Email": "x"}'), "").status_code == 202
    assert post(CHUNKED, body=b" ")[0] == 400


def test_each_of_them_is_an_alarm_that_names_the_sender(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3 * NOTED_A_MINUTE):
        post(CHUNKED)
    assert logged(caplog, "body_without_length") == [{"user_agent": "Sender/1.0 (Contoso)"}] * 3 * NOTED_A_MINUTE
    assert {record.levelname for record in caplog.records if record.name == "leads"} == {"ERROR"}


def test_it_is_an_alarm_until_a_day_has_passed_without_another(post: Post, pipeline: Pipeline) -> None:
    post(CHUNKED)
    pipeline.tick()
    (change,) = pipeline.app.alarms.active()
    assert (change.event.value, change.fields) == ("body_without_length", {"user_agent": "Sender/1.0 (Contoso)"})
    assert calls(pipeline) == ["body_without_length"]
    pipeline.clock.time += WITHOUT_LENGTH_FOR - timedelta(minutes=2)
    post(CHUNKED | {"user-agent": "Another"})
    pipeline.clock.time += WITHOUT_LENGTH_FOR - timedelta(minutes=2)
    pipeline.tick()
    assert calls(pipeline) == ["body_without_length"]
    pipeline.tick(2)
    assert calls(pipeline) == []


def test_the_doctor_names_the_last_one_and_its_sender_for_thirty_days(post: Post, pipeline: Pipeline) -> None:
    post(CHUNKED | {"user-agent": "An earlier one"})
    pipeline.clock.time += timedelta(minutes=5)
    post(CHUNKED)
    finding = about_the_intake(pipeline)
    assert (finding.level, finding.about) == (Level.WRONG, "sender Sender/1.0 (Contoso)")
    assert f"{pipeline.clock.time:%Y-%m-%d %H:%M} UTC" in finding.says
    assert "docs/how-to/connect.md" in finding.remedy
    pipeline.clock.time += WITHOUT_LENGTH_FOR
    finding = about_the_intake(pipeline)
    assert finding.level is Level.NOTE
    pipeline.clock.time += CALLS_FOR
    assert about_the_intake(pipeline).level is Level.FINE


# --- An empty body ----------------------------------------------------------------------------------------------------


def test_several_empty_bodies_within_an_hour_are_an_alarm_until_they_are_that_no_more(
    post: Post, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(SEVERAL - 1):
        assert post({"user-agent": "probe"})[0] == 400
    pipeline.tick(20)
    assert logged(caplog, "body_empty") == [{"user_agent": "probe"}] * (SEVERAL - 1)
    assert logged(caplog, "bodies_empty") == []
    post({"user-agent": "probe"}, body=b" \r\n")
    pipeline.tick()
    assert logged(caplog, "bodies_empty") == [{"count": SEVERAL, "user_agent": "probe"}]
    assert calls(pipeline) == ["bodies_empty"]
    pipeline.tick(60)
    assert len(logged(caplog, "bodies_empty_no_more")) == 1
    assert calls(pipeline) == []


def test_empty_bodies_of_several_instances_are_counted_together(
    post: Post, pipeline: Pipeline, second: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(SEVERAL):
        app = (pipeline, second)[number % 2].app
        monkeypatch.setattr(http, "get_app", lambda app=app: app)
        post()
        pipeline.clock.time += timedelta(minutes=1)
    second.watch()
    assert [alarm["count"] for alarm in logged(caplog, "bodies_empty")] == [SEVERAL]


# --- What it costs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """An account with the alarms' table, behind a proxy that counts requests."""
    with Proxy(fresh_storage) as proxy:
        monkeypatch.setenv("LeadsStorage", proxy.connection_string)
        forget_app()
        get_app().empty_bodies.note(Event.BODY_EMPTY, "")
        proxy.forget()
        yield proxy
    forget_app()


@pytest.mark.storage("azurite")
def test_of_a_flood_a_few_a_minute_are_noted_and_each_is_answered(proxied: Proxy) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: posted(CHUNKED)[0], range(50)))
    assert answers == [411] * 50
    assert proxied.counts().total() <= 2 * NOTED_A_MINUTE  # the minute may change during the test


def test_notes_of_the_hour_before_are_replaced(post: Post, pipeline: Pipeline) -> None:
    for _ in range(3):
        for _ in range(2 * NOTED_A_MINUTE):
            post(CHUNKED)
        assert len(pipeline.app.empty_bodies.notes()) == NOTED_A_MINUTE
        pipeline.clock.time += timedelta(hours=1)


def test_where_storage_does_not_answer_the_sender_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "leads")
    monkeypatch.setattr(http, "get_app", lambda: App(read_settings({})))
    assert posted(CHUNKED)[0] == 411
    assert posted()[0] == 400
    assert len(logged(caplog, "body_without_length")) == 1
    assert logged(caplog, "storage_unavailable") == [{"what": "empty bodies", "why": "SettingsError"}] * 2


@pytest.mark.storage("azurite")
def test_a_lead_with_a_body_loads_nothing_of_this(fresh_storage: str) -> None:
    code = (
        "import sys, function_app; from leads.app import get_app; from leads.pipeline.intake import accept; "
        """accept(get_app().incoming, b'{"Email": "x"}'); """
        "sys.exit(bool({'azure.data.tables', 'leads.health.alarms', 'leads.health.empty_bodies'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"LeadsStorage": fresh_storage}, cwd=ROOT)
    assert done.returncode == 0
