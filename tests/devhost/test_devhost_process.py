"""The process: start, output, options for tests, and end."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from tempfile import TemporaryFile

import pytest
import requests
from azure.storage.queue import QueueClient

from devhost.__main__ import main
from devhost.process import ROOT, DevhostProcess
from tests.devhost.conftest import SAMPLE_APP, AppWith, Recorder, Start, task
from tests.support.forked import Forked


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """The line in which devhost says why it does not start."""
    environment = {**os.environ, **(env or {})}
    with Path(os.devnull).open("r+") as nowhere, TemporaryFile("w+") as errors:
        files = (nowhere.fileno(), nowhere.fileno(), errors.fileno())
        assert Forked(main, ("--in-process", *arguments), environment, files).wait(120) == 2
        errors.seek(0)
        said = errors.read()
    *before, last = said.splitlines()
    assert all(" WARNING " in line for line in before), said  # the library's message about an unusual app
    assert last.startswith("devhost: ")
    return last


def ask_in_vain(url: str) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=120)


def test_it_says_what_it_is_and_what_it_runs_and_has_a_ready_file_meanwhile(start_devhost: Start) -> None:
    devhost = start_devhost("--function-key", "the-key")
    said = devhost.log
    assert "not the Azure Functions host" in said
    assert f"thing: [GET,HEAD] {devhost.base_url}/api/things/{{name}} (function)" in said
    assert "work: queue work in LeadsStorage" in said
    assert "tick: timer 0 0 0 1 1 *" in said
    assert "the-key" in said
    assert devhost.function_keys["thing"] in said
    ready = json.loads(devhost.ready_file.read_text())
    assert ready["pid"] == devhost.pid
    assert ready["host_key"] == "the-key"
    assert ready["base_url"].startswith("http://127.0.0.1:")
    assert set(ready["function_keys"]) >= {"thing", "parts"}
    assert devhost.stop() == 0
    assert not devhost.ready_file.exists()


def test_roles_leave_the_rest_alone(start_devhost: Start, work_queue: QueueClient, recorder: Recorder) -> None:
    work_queue.send_message(task("one"))
    intake = start_devhost("--no-queues", "--no-timers", env={"TICK_SCHEDULE": "* * * * * *"})
    assert requests.get(f"{intake.base_url}/api/echo", timeout=120).status_code == 202
    assert "work: queue" not in intake.log
    assert recorder.events == []
    delivery = start_devhost("--no-http")
    assert recorder.wait_for("ended")[0]["pid"] == delivery.pid
    assert delivery.base_url == ""
    assert recorder.of("tick") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_end(
    number: signal.Signals, start_devhost: Start, work_queue: QueueClient, recorder: Recorder
) -> None:
    devhost = start_devhost()
    answers: list[requests.Response] = []
    request = threading.Thread(
        target=lambda: answers.append(requests.get(f"{devhost.base_url}/api/slow?seconds=1", timeout=120))
    )
    request.start()
    recorder.wait_for("slow began")
    work_queue.send_message(task("running", seconds=1))
    recorder.wait_for("began")
    devhost.signal(number)
    assert devhost.wait() == 0
    request.join()
    assert (answers[0].status_code, answers[0].text) == (200, "done")
    assert recorder.of("ended", name="running")
    assert work_queue.get_queue_properties().approximate_message_count == 0
    assert not devhost.ready_file.exists()


def test_a_second_signal_ends_it_at_once(start_devhost: Start, recorder: Recorder) -> None:
    devhost = start_devhost()
    threading.Thread(target=ask_in_vain, args=(f"{devhost.base_url}/api/slow?seconds=60",)).start()
    recorder.wait_for("slow began")
    devhost.signal(signal.SIGTERM)
    assert devhost.says("Stopping")
    devhost.signal(signal.SIGTERM)
    assert devhost.wait() == 1, "0 would be an end in order"
    assert not devhost.ready_file.exists()


def test_a_function_that_will_not_end_is_left_when_the_drain_is_over(start_devhost: Start, recorder: Recorder) -> None:
    devhost = start_devhost("--time", "drain=1")
    threading.Thread(target=ask_in_vain, args=(f"{devhost.base_url}/api/slow?seconds=60",)).start()
    recorder.wait_for("slow began")
    devhost.signal(signal.SIGTERM)
    assert devhost.wait() == 0


def test_past_the_function_timeout_a_call_has_failed(
    start_devhost: Start, app_with: AppWith, recorder: Recorder
) -> None:
    devhost = start_devhost(app_dir=app_with(function_timeout="00:00:01"))
    answer = requests.get(f"{devhost.base_url}/api/slow?seconds=20", timeout=120)
    assert (answer.status_code, answer.content) == (500, b"")
    assert devhost.says("slow: functionTimeout of 1 s exceeded")


def test_a_module_of_the_tests_own_is_imported_before_the_app(app_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "brought_in.py").write_text(
        "import sys\nassert 'function_app' not in sys.modules\nprint('brought in', flush=True)\n"
    )
    search_path = f"{tmp_path}{os.pathsep}{ROOT}"
    arguments = ("--in-process", "--with", "brought_in")
    with DevhostProcess(SAMPLE_APP, *arguments, env={**app_environment, "PYTHONPATH": search_path}) as devhost:
        assert "brought in" in devhost.log


def test_settings_come_from_the_command_line_then_the_environment_then_the_file(
    start_devhost: Start, app_with: AppWith
) -> None:
    app = app_with()
    values = {"WORK_QUEUE": "from-file", "TICK_SCHEDULE": "1 1 1 1 1 *", "ONLY_HERE": 1}
    (app / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    devhost = start_devhost("--env", "WORK_QUEUE=from-command-line", app_dir=app)
    assert "work: queue from-command-line" in devhost.log
    assert "tick: timer 0 0 0 1 1 *" in devhost.log


def test_a_clock_factor_lets_the_app_live_faster_and_the_claim_lease_shrinks_with_the_queue_lease(
    start_devhost: Start, app_with: AppWith, work_queue: QueueClient, recorder: Recorder
) -> None:
    epoch = time.time()
    devhost = start_devhost(
        *("--clock-factor", "60", "--clock-epoch", str(epoch), "--lease-seconds", "10"),
        app_dir=app_with(leads=True, visibilityTimeout="00:01:00"),
        env={"TICK_SCHEDULE": "0 * * * * *"},
    )
    asked = time.time()
    seen = requests.get(f"{devhost.base_url}/api/time", timeout=120).json()
    assert (asked - epoch) * 60 < seen["now"] - epoch < (time.time() - epoch) * 60
    assert seen["claim_lease_seconds"] == 4
    recorder.wait_for("tick", 3)  # once a minute of app time, so every second
    began = time.monotonic()
    requests.post(f"{devhost.base_url}/api/put?delay=120", data=task("later"), timeout=120)
    assert recorder.wait_for("began", name="later")[0]["at"] - began > 1.5
    requests.post(f"{devhost.base_url}/api/put", data=task("failing", fail=True), timeout=120)
    tries = recorder.wait_for("began", 2, name="failing")  # visibilityTimeout is a minute of app time
    assert tries[1]["at"] - tries[0]["at"] > 0.9


def test_no_app_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--app-dir", str(tmp_path)]) == 2
    assert "no host.json" in capsys.readouterr().err
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    assert "no function_app.py" in refused("--app-dir", str(tmp_path))
    (tmp_path / "function_app.py").write_text("import azure.functions as func\napp = func.FunctionApp()\n")
    assert "declares no function" in refused("--app-dir", str(tmp_path))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import no_such_module\n", "No module named 'no_such_module' (function_app.py line 1)"),
        ("x = \n", "SyntaxError"),
        ("x = 1\nraise ValueError('odd')\n", "ValueError: odd (function_app.py line 2)"),
        ("x = 1\n", "function app instances"),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.route('x')\ndef f(request: func.HttpRequest) -> str:\n    return ''\n",
            "f function",
        ),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.blob_trigger(arg_name='b', path='p', connection='c')\ndef f(b: func.InputStream) -> None: ...\n",
            "blobTrigger",
        ),
        (
            "import azure.functions as func\napp = func.FunctionApp()\n"
            "@app.route('x/{n:int}')\ndef f(req: func.HttpRequest) -> str:\n    return ''\n",
            "{n:int}",
        ),
    ],
)
def test_an_app_that_does_not_load(source: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    (tmp_path / "function_app.py").write_text(source)
    assert named in refused("--app-dir", str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "arguments", "named"),
    [
        ({"LeadsStorage": ""}, (), "setting LeadsStorage (connection of work)"),
        ({"WORK_QUEUE": None}, (), "WORK_QUEUE"),
        ({"TICK_SCHEDULE": "often"}, (), "'often'"),
        ({}, ("--ready-file", "/nowhere/ready"), "--ready-file"),
        ({}, ("--with", "no_such_module"), "no_such_module"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(
    app_environment: dict[str, str], settings: dict[str, str | None], arguments: tuple[str, ...], named: str
) -> None:
    environment = {name: value for name, value in {**app_environment, **settings}.items() if value is not None}
    assert named in refused("--app-dir", str(SAMPLE_APP), "--port", "0", *arguments, env=environment)


def test_a_port_that_is_taken(app_environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("--app-dir", str(SAMPLE_APP), "--port", port, env=app_environment)
    assert port in said
    assert "--port" in said


@pytest.mark.parametrize("broken", ["[]", "{", '{"Values": []}', '{"IsEncrypted": true, "Values": {}}'])
def test_broken_local_settings(broken: str, app_with: AppWith, capsys: pytest.CaptureFixture[str]) -> None:
    app = app_with()
    (app / "local.settings.json").write_text(broken)
    assert main(["--app-dir", str(app)]) == 2
    assert capsys.readouterr().err.startswith("devhost: local.settings.json")


@pytest.mark.parametrize(
    "wrong",
    [("--port", "70000"), ("--port", "x"), ("--env", "X"), ("--clock-factor", "0"), ("--lease-seconds", "0")],
)
def test_a_wrong_argument_is_named(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(wrong))
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err
