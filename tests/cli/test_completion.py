"""The Tab key completes names at a shell, and nothing that takes long."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from typer.completion import get_completion_inspect_parameters

from leads import cli
from leads.core.states import State
from tests.cli.conftest import NamedApp
from tests.support.command_line import Run, process
from tests.support.pipeline import Pipeline, crm
from tests.support.vendor import Vendor


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The completions that Bash gets for a line with an unfinished last word."""
    get_completion_inspect_parameters()  # prepares the shells, as an installed program does
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/leads"])

    def complete(line: str) -> list[str]:
        monkeypatch.setenv("_LEADS_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main([])
        monkeypatch.delenv("_LEADS_COMPLETE")
        ran = capsys.readouterr()
        assert ran.err == ""
        return [line for line in ran.out.splitlines() if line]

    return complete


def test_offers_connections_and_states_are_completed(
    completed: Any, run: Run, pipeline: Pipeline, vendor: Vendor
) -> None:
    pipeline.offer(crm(vendor.url), offer_id="contoso.one")
    pipeline.offer(crm(vendor.url), offer_id="contoso.two")
    pipeline.offer(crm(vendor.url), offer_id="fabrikam.one")
    assert completed("leads offers show contoso.") == ["contoso.one", "contoso.two"]
    for line in (
        "leads leads list --offer f",
        "leads replay --offer f",
        "leads offers test f",
        "leads export --offer f",
    ):
        assert completed(line) == ["fabrikam.one"]
    (connection,) = run("connections", "list", "--output", "csv").out.splitlines()[1:]
    assert completed("leads connections show ") == [connection.split(",")[0].strip('"')]
    assert completed("leads leads list --state ") == list(State)
    assert completed("leads leads list --state un") == ["unrouted", "unreadable"]
    assert completed("leads leads list --stage pu") == ["purchase"]
    assert completed("leads offers types sales") == ["salesforce", "salesforce_web_to_lead"]
    assert completed("leads leads list --output js") == ["json", "jsonl"]


def test_without_an_answer_nothing_is_completed(completed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LeadsStorage", "AccountKey=wrong")
    assert completed("leads offers show c") == []
    monkeypatch.delenv("LeadsStorage")
    assert completed("leads --app https://app.example.com offers show c") == []


@pytest.mark.usefixtures("typed")
def test_names_of_profiles_are_completed_and_offers_of_the_app_behind_one(
    completed: Any,
    command: Run,
    app: NamedApp,
) -> None:
    command("login", "prod", "--url", app.url)
    assert completed("leads --app p") == ["prod"]
    assert completed("leads use p") == completed("leads logout p") == ["prod"]
    assert completed("leads --app prod offers show c") == []
    assert app.journal[-1].target == "/api/manage/offers"


def test_the_installed_program_shows_and_installs_the_script_for_a_shell(tmp_path: Path) -> None:
    code = 'import sys; sys.argv[0] = "/usr/local/bin/leads"; from leads.__main__ import run; sys.exit(run())'
    environment = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    for shell in ("bash", "zsh", "fish"):
        shown = process("--show-completion", shell, environment=environment, python=("-c", code))
        assert (shown.status, "_LEADS_COMPLETE=complete_" in shown.out) == (0, True)
    done = process("--install-completion", "bash", environment=environment, python=("-c", code))
    assert (done.status, done.err) == (0, "")
    assert "_LEADS_COMPLETE" in (tmp_path / ".bash_completions/leads.sh").read_text()
