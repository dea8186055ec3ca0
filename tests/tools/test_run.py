"""tools/run.py, `make run`: settings, run.json, and a real run from the start to Ctrl-C."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient
from rich.console import Console

from leads.app import App
from leads.destinations import MODULES
from leads.offers.model import Offer
from leads.platform.settings import read_settings as read_storage_settings
from leads.platform.storage import LEADS_QUEUE
from tools import demo, history, journey, run
from tools.core_tools import HTTP
from tools.demo import TABLE, read_samples
from tools.host import DEFAULT_PORT, ROOT, RunError
from tools.journey import STAGES, stand_ins
from tools.run import Announcement, Options, Stop, log_folder, read_options, settings, storage

FACTS: dict[str, str | int] = {"intake_url": "http://127.0.0.1:7071/api/leads", "pid": 1}


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, Options(port=None, once=False, keep=False, kind="auto", journey=False)),
        (
            {"PORT": "18071", "ONCE": "1", "KEEP": "1", "HOST": "devhost", "DEMO": "all"},
            Options(port=18071, once=True, keep=True, kind="devhost", journey=True),
        ),
        *(({"ONCE": off}, Options(None, once=False, keep=False, kind="auto")) for off in ("", "0", "no", "false")),
    ],
)
def test_settings_are_read_from_the_environment(environment: dict[str, str], options: Options) -> None:
    assert read_options(environment) == options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "7071a"),
        ("PORT", "-1"),
        ("ONCE", "2"),
        ("HOST", "node"),
        ("DEMO", "some"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(name: str, value: str) -> None:
    with pytest.raises(RunError, match=f"^{name} must be .* not '{value}'$"):
        read_options({name: value})


def test_the_app_gets_the_settings_of_the_example_with_the_storage_of_this_run() -> None:
    example = read(ROOT / "local.settings.example.json")["Values"]
    assert example["PYTHON_THREADPOOL_THREAD_COUNT"] == "32"
    assert settings("mine") == {
        name: "mine" if value == "UseDevelopmentStorage=true" else value for name, value in example.items()
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_run_json_is_there_from_ready_to_the_end_also_of_a_run_that_fails(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")  # of a copy that was killed
    with contextlib.suppress(RunError), Announcement(tmp_path) as announcement:
        assert not (tmp_path / "run.json").exists()
        assert announcement.write(FACTS, 7071) == tmp_path / "run.json"
        assert read(tmp_path / "run.json") == read(tmp_path / "run-7071.json") == FACTS
        raise RunError("the host ended")
    assert not list(tmp_path.glob("*.json"))


def test_a_second_copy_leaves_the_firsts_run_json_alone(tmp_path: Path) -> None:
    with Announcement(tmp_path) as first:
        first.write(FACTS, 7071)
        with Announcement(tmp_path) as second:
            assert second.write({"pid": 2}, 7072) == tmp_path / "run-7072.json"
            assert read(tmp_path / "run.json") == FACTS
        assert read(tmp_path / "run.json") == FACTS
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(("error", "stays"), [(None, False), (Stop, False), (RunError, True)])
def test_logs_stay_where_a_run_fails(error: type[BaseException] | None, stays: bool, tmp_path: Path) -> None:
    with contextlib.suppress(Stop, RunError), log_folder(tmp_path / "1"):
        (tmp_path / "1/devhost.log").touch()
        if error:
            raise error
    assert (tmp_path / "1/devhost.log").exists() is stays


def test_a_second_copy_does_not_share_the_kept_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "Azurite", contextlib.nullcontext)
    with storage(True, tmp_path), pytest.raises(RunError, match="another `make run KEEP=1`"), storage(True, tmp_path):
        pass


@pytest.fixture
def stopped(fresh_storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run is on storage that is there, with a host that does nothing. Gives the hosts that it has stopped."""
    ended: list[str] = []
    host = SimpleNamespace(name="a host", base_url="http://127.0.0.1:1", stop=lambda: ended.append("a host"))
    azurite = SimpleNamespace(connection_string=fresh_storage)
    monkeypatch.setattr(run, "RUN_FOLDER", tmp_path)
    monkeypatch.setattr(run, "Azurite", lambda *_: contextlib.nullcontext(azurite))
    monkeypatch.setattr(run, "start_host", lambda *_: (host, 1))
    monkeypatch.setattr(demo, "configure_offers", lambda _, *, only_missing: None)
    return ended


ONCE = Options(port=None, once=True, keep=True, kind="devhost")


@pytest.mark.usefixtures("stopped")
def test_the_queue_is_there_before_the_host_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int | None] = []

    def start_host(_options: Options, app_settings: dict[str, str], _logs: Path) -> None:
        with QueueClient.from_connection_string(app_settings["LeadsStorage"], LEADS_QUEUE) as queue:
            waiting.append(queue.get_queue_properties().approximate_message_count)
        raise Stop

    monkeypatch.setattr(run, "start_host", start_host)
    with pytest.raises(Stop):
        run.run(ONCE, Console(quiet=True))
    assert waiting == [0]


def test_in_kept_storage_only_missing_offers_are_set(fresh_storage: str) -> None:
    offers = App(read_storage_settings({"LeadsStorage": fresh_storage})).offers
    destination = {"name": "table", "type": "azure_table"}
    offers.save(Offer.model_validate({"id": "contoso.crm", "titles": ["Mine"], "destinations": [destination]}))
    demo.configure_offers(fresh_storage, only_missing=True)
    assert {stored.offer.id: stored.offer.titles for stored in offers.stored()} == {"*": [], "contoso.crm": ["Mine"]}


def test_samples_are_not_posted_again_to_kept_leads(
    stopped: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "read_rows", lambda _: {"a lead": {}})
    said = io.StringIO()
    assert run.run(ONCE, Console(file=said)) == 0
    assert "an earlier run has posted them" in said.getvalue()
    assert (tmp_path / "storage").is_dir()
    assert stopped == ["a host"]


@pytest.mark.parametrize(("samples", "arrived", "status"), [(True, True, 0), (False, True, 1), (True, False, 1)])
@pytest.mark.usefixtures("stopped")
def test_a_run_that_is_to_end_has_status_0_only_if_all_is_as_expected(
    samples: bool, arrived: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendors = SimpleNamespace(settings={})
    monkeypatch.setattr(run, "show_samples", lambda *_: samples)
    monkeypatch.setattr(journey, "stand_ins", lambda: contextlib.nullcontext(vendors))
    monkeypatch.setattr(journey, "configure", lambda *_: None)
    monkeypatch.setattr(journey, "show", lambda *_: arrived)
    monkeypatch.setattr(history, "fill", lambda _: 0)
    assert run.run(replace(ONCE, journey=True), Console(quiet=True)) == status


def start(folder: Path, **settings: str) -> subprocess.Popen[str]:
    """`make run` without the setting up, with `folder` in place of .run and a host key that looks like an option.

    The history is a short one: test_history.py has the whole.
    """
    code = (
        "import pathlib, secrets, sys; from tools import history, run\n"
        f"run.RUN_FOLDER = pathlib.Path({str(folder)!r})\n"
        "history.DAYS = 3\n"
        "secrets.token_urlsafe = lambda size: '-' + size * 'k'\n"
        "sys.exit(run.main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HOST": "devhost", **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def occupied(port: int) -> Iterator[None]:
    with socket.socket() as other, contextlib.suppress(OSError):  # another program may use it already
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield
        return
    yield


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not become ready"
        time.sleep(0.2)


def test_a_run_from_the_start_to_ctrl_c(tmp_path: Path) -> None:
    with occupied(DEFAULT_PORT):
        process = start(tmp_path, DEMO="all")
        wait_for(tmp_path / "run.json", process)
    facts = read(tmp_path / "run.json")
    children = psutil.Process(process.pid).children(recursive=True)

    assert set(facts) == {"intake_url", "function_key", "management_url", "storage_connection_string", "pid"}
    assert facts["pid"] == process.pid
    assert f":{DEFAULT_PORT}/" not in facts["intake_url"]
    assert len(children) >= 2  # storage and host

    body = (
        b'{"UserDetails": {"FirstName": "Ellis", "Email": "ellis@example.com"}, "LeadSource": "AzureMarketplace-INS"}'
    )
    request = urllib.request.Request(facts["intake_url"], body, {"x-functions-key": facts["function_key"]})
    with HTTP.open(request, timeout=30) as answer:
        assert answer.status == 202
        lead_id = json.load(answer)["lead_id"]
    assert row_of(lead_id, facts["storage_connection_string"])["FirstName"] == "Ellis"

    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert f"All {len(read_samples())} samples are where they should be." in output
    unwrapped = " ".join(output.split())
    assert "The vendors are stand-ins on this machine, not their services." in unwrapped
    verdict = "Each lead arrived once in each destination; in Dynamics 365, Salesforce, Marketo and HubSpot they are one record."
    assert verdict in unwrapped
    assert facts["intake_url"] in output
    assert facts["storage_connection_string"] in output
    assert "curl -i '" in output
    assert f"Port {DEFAULT_PORT} is in use by another program" in output
    assert not list(tmp_path.rglob("*.json"))
    assert psutil.wait_procs(children, timeout=120)[1] == []


def row_of(lead_id: str, connection_string: str) -> dict[str, Any]:
    deadline = time.monotonic() + 90
    with TableClient.from_connection_string(connection_string, TABLE) as table:
        while True:
            found = list(table.query_entities("RowKey eq @id", parameters={"id": lead_id}))
            if found or time.monotonic() > deadline:
                return dict(found[0])
            time.sleep(0.2)


def test_an_occupied_port_is_said_in_one_line_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "RUN_FOLDER", tmp_path / "run")
    monkeypatch.setattr(run, "stop_on_signals", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        assert run.main() == 2
    assert (
        capsys.readouterr().err
        == f"run: PORT={port} is in use by another program: choose another one, or leave PORT out\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_journey_goes_through_every_destination_type() -> None:
    with stand_ins() as vendors:
        used = {destination["type"] for destination in vendors.offer["destinations"]}
    assert used == {name for name, module in MODULES.items() if not module.startswith("tests.")}


def test_the_tutorial_says_how_many_leads_the_demo_delivers() -> None:
    delivered = sum(sample.state == "delivered" for sample in read_samples().values()) + len(STAGES)
    assert f"Result: {delivered} leads are delivered" in (ROOT / "docs/tutorial/first-lead.md").read_text()
