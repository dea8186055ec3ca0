"""The program itself: what it imports, how it was started, what Tab completes, and how it ends."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import typer.main

from leads import cli
from leads.cli.program import COMMANDS, load
from leads.cli.transport import StorageTransport
from leads.operations.imports import JudgedRow, JudgedRows
from leads.pipeline.importing import Verdict
from tests.support.command_line import ROOT, Ran, Run, process

HEAVY = (
    "aiohttp",
    "azure",
    "cryptography",
    "msal",
    "pydantic",
    "requests",
    "rich",
    "yaml",
    "leads.app",
    "leads.operations",
)
"""Modules that take long to import. Only commands need them."""


def imported_by(*arguments: str, **environment: str) -> tuple[str, set[str]]:
    """The output of the installed program, and the modules of `HEAVY` that it imported."""
    code = f"""
import atexit, os, sys
os.environ.update({environment!r})
sys.argv = ["/usr/local/bin/leads", *{arguments!r}]
atexit.register(lambda: print("imported:", *(set({HEAVY!r}) & sys.modules.keys())))
from leads.__main__ import run
sys.exit(run())
"""
    ran = process(environment={}, python=("-c", code))
    assert (ran.status, ran.err) == (0, "")
    out, _, modules = ran.out.partition("imported:")
    return out, set(modules.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_and_version_import_nothing_that_only_a_command_needs(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments)[1] == set()


def test_the_names_of_commands_are_completed_without_importing_a_command() -> None:
    out, modules = imported_by(_LEADS_COMPLETE="complete_bash", COMP_WORDS="leads re", COMP_CWORD="1")
    assert out == "report\nreplay\nreconcile\n"
    assert modules <= {"pydantic"}  # typer imports pydantic


def test_the_list_of_commands_says_of_each_what_its_own_help_says() -> None:
    root = typer.main.get_command(cli.commands)
    stand_ins = getattr(root, "commands", {})
    assert list(stand_ins) == list(COMMANDS)
    for name, stand_in in stand_ins.items():
        assert stand_in.get_short_help_str(200) == load(name).get_short_help_str(200)


def test_the_installed_program_speaks_of_itself_by_its_name(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/leads"])
    for words in (("--help",), ("offers", "--help"), ("replay", "--help")):
        shown = run(*words)
        assert shown.out.startswith("Usage: leads")
        assert "python -m leads" not in shown.out
        assert re.search(r"^  leads \w+", shown.out, re.MULTILINE)
    assert run("offers", "list").out.endswith("To set an offer: leads offers connect\n")
    assert run("offers", "bogus").err.endswith("; for more: leads offers --help\n")


def test_the_version_is_that_of_the_checkout() -> None:
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    ran = process("--version", environment={})
    assert re.fullmatch(rf"leads {re.escape(version)}( \([0-9a-f]{{12}}\))?\n", ran.out)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("report",),
        ("doctor",),
        ("whoami",),
        ("audit",),
        ("offers", "list"),
        ("leads", "list"),
        ("leads", "show", "20260131235959999-0123456789ab-c"),
        ("connections", "list"),
        ("replay", "20260131235959999-0123456789ab-c"),
        ("export",),
    ],
    ids=" ".join,
)
def test_ctrl_c_ends_a_command_with_one_line(words: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StorageTransport, "ask", interrupted)
    ran = run(*words)
    assert (ran.status, ran.err) == (130, "Interrupted.\n")


def test_ctrl_c_in_an_import_says_how_far_it_came_and_that_it_can_be_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [f"2026-{month}-03,{month}@example.com,contoso.crm" for month in ("09", "10")]
    (tmp_path / "leads.csv").write_text("\n".join(("Created date,Email,Offer", *rows)))
    known = JudgedRow(number=2, verdict=Verdict.KNOWN, lead_id="", state=None, reason="")
    answers = [JudgedRows(rows=[known], unknown_columns=[])]

    def interrupted_at_the_second_request(*_: object) -> JudgedRows:
        if not answers:
            raise KeyboardInterrupt
        return answers.pop()

    monkeypatch.setattr(StorageTransport, "ask", interrupted_at_the_second_request)
    ran = run("import", "csv", str(tmp_path / "leads.csv"))
    said = "Stopped after 1 of 2 rows. Give the same command again: no row is imported twice.\nInterrupted.\n"
    assert (ran.status, ran.err) == (130, said)


def test_ctrl_c_before_the_command_has_begun_ends_with_the_same_line() -> None:
    code = "import signal, sys; import leads.cli; leads.cli.main = lambda: signal.raise_signal(signal.SIGINT);"
    ran = process(environment={}, python=("-c", f"{code} from leads.__main__ import run; sys.exit(run())"))
    assert ran == Ran(130, "", "Interrupted.\n")
