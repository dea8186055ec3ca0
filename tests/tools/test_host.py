"""tools/host.py and tools/tether.py: the chosen port and host, and children that end with their parent."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.running_app import RunningApp
from tools import host
from tools.host import ROOT, Host, RunError, choose_port, find_func, port_is_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_the_port_is_the_one_asked_for_or_the_default_or_a_free_one(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match=f"PORT={taken_port} is in use"):
        choose_port(taken_port)
    monkeypatch.setattr(host, "DEFAULT_PORT", taken_port)
    free = choose_port(None)
    assert free != taken_port
    assert port_is_free(free)
    monkeypatch.setattr(host, "DEFAULT_PORT", free)
    assert choose_port(None) == free


def fake_func(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    (folder / "func").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "func").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_core_tools_are_used_where_they_are_there_and_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_func("auto") is None
    with pytest.raises(RunError, match=r"not on PATH.*HOST=devhost"):
        find_func("func")
    fake_func(tmp_path, monkeypatch, "exit 1")
    assert find_func("auto") == find_func("func") == str(tmp_path / "func")
    assert find_func("devhost") is None


def test_where_core_tools_do_not_come_up_devhost_takes_over_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_func(tmp_path, monkeypatch, "echo no bundle; exit 1")
    stand_in = object()
    monkeypatch.setattr(host, "start_devhost", lambda *_: stand_in)
    assert host.start("auto", choose_port(None), "key", {}, tmp_path) is stand_in
    assert capsys.readouterr().out == ("Azure Functions Core Tools did not start: no bundle; using devhost instead\n")


@pytest.fixture
def core_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake `func` on PATH. It behaves as Core Tools do, as far as tools/core_tools.py needs."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    fake_func(tmp_path, monkeypatch, f'exec {sys.executable} -m tests.fakes.core_tools "$@"')


@pytest.mark.usefixtures("core_tools")
def test_core_tools_are_started_with_keys_that_are_checked_and_known(fresh_storage: str, tmp_path: Path) -> None:
    settings = {"LeadsStorage": fresh_storage, "AzureWebJobsStorage": fresh_storage}
    running = host.start(
        "func", 0, "every-door", settings, tmp_path, modules=["tests.support.recording"], only_http=True
    )
    app = RunningApp(running)
    try:
        assert running.name == "Azure Functions Core Tools"
        for function, path in (("manage", "/api/manage/status"), ("lead_status", "/api/status/nonsense")):
            for key in (running.key, running.function_keys[function]):
                assert app.call("GET", path, key=key).status != 401
            assert app.call("GET", path, key=running.function_keys["accept_lead"]).status == 401
            assert app.call("GET", path, key="").status == 401
        types = app.call("GET", "/api/manage/destination-types").json()
        assert "recording" in str(types), "the module that is to be imported before the app"
        attached = host.attach(running.base_url, core_tools_master(running))
        assert (attached.key, attached.function_keys) == (running.key, running.function_keys)
        with pytest.raises(RunError, match="answered 401: is the master key right"):
            host.attach(running.base_url, "wrong")
    finally:
        running.stop()
    assert not running.temporary or not running.temporary.exists()


def core_tools_master(running: Host) -> str:
    assert running.temporary
    keys = json.loads((running.temporary / "secrets/functions/secrets/host.json").read_text())
    return str(keys["masterKey"]["value"])


def test_a_host_that_fails_to_start_is_said_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = host._tethered([sys.executable, "-c", "print('one\\n\\nport in use\\n')"], {}, log)
    with pytest.raises(RunError, match=r"^devhost did not start: port in use$"):
        host._wait(Host("devhost", "", "", log, process), lambda: False)


def start_tethered(code: str) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """A parent that holds the tether of a child with this code. Yields the parent, and the child after its start."""
    parent_code = (
        "import subprocess, sys, time\n"
        f"child = [sys.executable, '-m', 'tools.tether', sys.executable, '-c', {code!r}]\n"
        "subprocess.Popen(child, stdin=subprocess.PIPE)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout
    return parent, psutil.Process(int(parent.stdout.readline()))


def test_a_tethered_command_and_its_children_end_when_the_parent_is_killed() -> None:
    code = (
        "import os, subprocess, time\n"
        "subprocess.Popen(['sleep', '600'])\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)"
    )
    parent, child = start_tethered(code)
    family = [child, *child.children()]
    assert len(family) == 2
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(family, timeout=120)
    assert alive == []


def test_a_tethered_command_may_end_in_order() -> None:
    code = (
        "import os, signal, sys, time\n"
        # Not print: the signal may come after the print below has written, and before it returns.
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), os.write(1, b'in order\\n'), sys.exit(0)))\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)"
    )
    parent, _ = start_tethered(code)
    parent.kill()
    assert parent.stdout
    assert parent.stdout.read() == b"in order\n"
    parent.communicate()


def test_a_tethered_command_passes_its_status_on() -> None:
    tethered = [sys.executable, "-m", "tools.tether", sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(tethered, cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 7
