"""Hints of the command line and commands of the documents: each can be pasted, because the real parser takes it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.exceptions import TyperException

from leads import cli
from leads.cli import hints
from leads.cli.leads import next_step
from leads.core.identity import received_at_of
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord
from leads.operations.leads import lead_view
from tests.support.command_line import commands_in, parse
from tests.test_docs import PAGES, ROOT

LEAD = "20260131235959999-0123456789ab-c"
MODULES = sorted(ROOT.glob("leads/**/*.py"))


def texts(path: Path) -> Iterator[str]:
    """The texts of a module, with X for values. Docstrings of commands are their help."""
    tree = ast.parse(path.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def test_the_parser_of_these_tests_refuses_what_the_command_line_refuses() -> None:
    for line in ("python -m leads leeds list", "python -m leads leads list --nope", "python -m leads leads show"):
        with pytest.raises(TyperException):
            parse(line)
    text = "a `python -m leads offers show ID` b\n    python -m leads access < address.txt\n  python -m leads status  tells"
    assert [line.split()[3] for line in commands_in(text)] == ["offers", "access", "status"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_the_code_names_can_be_pasted(path: Path) -> None:
    for text in texts(path):
        for line in commands_in(text):
            parse(line)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_a_document_names_can_be_pasted(path: Path) -> None:
    installed = re.compile(
        r"^( {4,})leads (?=[a-z-])", re.MULTILINE
    )  # in a block; elsewhere it is a word of prose as well
    for line in commands_in(installed.sub(r"\1python -m leads ", path.read_text())):
        parse(line)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["export", "-o", "a b.csv", "--after", "0:1"], "python -m leads export -o 'a b.csv' --after 7:x"),
        (["export", "--after=0:1"], "python -m leads export --after 7:x"),
        (
            ["--app", "https://a.example.com", "leads", "list"],
            "python -m leads --app https://a.example.com leads list --after 7:x",
        ),
    ],
)
def test_a_command_that_goes_on_is_the_whole_command(given: list[str], hint: str) -> None:
    hints.remember(given)
    assert hints.again("--after", "7:x") == hint
    parse(hint)


def test_a_hint_reaches_the_app_that_the_command_was_for() -> None:
    hints.remember(["--app=https://a.example.com", "doctor"])
    shown = "python -m leads --app https://a.example.com leads show"
    assert hints.command("leads", "show", LEAD) == f"{shown} {LEAD}"
    assert hints.here(f"see python -m leads leads show {LEAD}") == f"see {shown} {LEAD}"
    assert hints.here(f"see {shown} {LEAD}") == f"see {shown} {LEAD}"


def test_a_lead_that_does_not_go_on_by_itself_shows_the_command_that_sends_it_on() -> None:
    hints.remember([])
    parked = Delivery("crm", State.PARKED, connection="0123456789abcdef")
    said = {}
    for state in State:
        record = LeadRecord(LEAD, received_at_of(LEAD), None, deliveries={"crm": replace(parked, state=state)})
        said[state] = commands_in(next_step(lead_view(record)))
    for line in [line for lines in said.values() for line in lines]:
        parse(line)
    assert said[State.UNREADABLE] == [f"python -m leads replay {LEAD} --lead FILE"]
    assert said[State.DEAD_LETTER] == said[State.HELD] == [f"python -m leads replay {LEAD}"]
    assert {state for state in State if not said[state]} == {
        *(State.WAITING, State.RETRY, State.CRASHED),
        *(State.DELIVERED, State.DUPLICATE, State.SKIPPED, State.ERASED),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("leads", "list", "--nope"),
        ("offers", "set"),
        ("offers", "bogus"),
        ("status", "--app", "https://a.example.com"),
        ("leads", "show", "12"),
    ],
)
def test_an_error_of_a_wrong_command_names_a_command_to_paste(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LeadsStorage", "UseDevelopmentStorage=true")
    assert cli.main(arguments) in {1, 2}
    (hint,) = commands_in(capsys.readouterr().err)
    parse(hint)
