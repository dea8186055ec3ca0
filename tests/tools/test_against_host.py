"""tools/against_host.py, `make proof`: table, exit status, and hosts that can't be started."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import Console

from tools import against_host
from tools.against_host import Row, main
from tools.host import RunError
from tools.target import Target


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Gives a check a result."""

    def tell(check: str, result: str) -> None:
        monkeypatch.setattr(against_host, check, lambda *_: Row(check, result, f"numbers of {check}"))

    for check in ("samples", "tests", "chaos"):
        tell(check, "passed")
    return tell


@pytest.mark.parametrize(("result", "status"), [("passed", 0), ("skipped", 0), ("failed", 1)])
def test_the_table_has_a_line_for_each_check_and_the_status_is_0_only_where_nothing_failed(
    told: Callable[[str, str], None], result: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told("chaos", result)
    assert main(["--host", "devhost"]) == status
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["On", "devhost"] in lines
    assert [*("samples", "passed", "numbers"), "of", "samples"] in lines
    assert [*("chaos", result, "numbers"), "of", "chaos"] in lines


def test_one_check_can_run_alone(told: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]) -> None:
    told("chaos", "failed")
    assert main(["--host", "devhost", "--only", "samples"]) == 0
    assert "numbers of chaos" not in capsys.readouterr().out


def test_a_host_that_is_not_there_is_said_in_one_line(
    told: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["--host", "func"]) == 2
    assert capsys.readouterr().err.startswith("against_host: Azure Functions Core Tools (func) are not on PATH")
    assert main(["--host", "http://127.0.0.1:1"]) == 2
    assert capsys.readouterr().err.startswith("against_host: HOST_KEY is missing")

    def nobody(*_: object) -> Row:
        raise RunError("http://127.0.0.1:1/admin/functions did not answer")

    monkeypatch.setattr(against_host, "samples", nobody)
    assert main(["--host", "devhost"]) == 2
    assert capsys.readouterr().err == "against_host: http://127.0.0.1:1/admin/functions did not answer\n"


def test_a_running_host_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("", "http://127.0.0.1:1", "master", "storage")
    assert against_host.chaos(target, Console(), 1).result == "skipped"
