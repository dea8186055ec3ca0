"""Fixtures of the command line's tests: a terminal, and files."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from leads.cli.environment import APP_VARIABLES, KEY_VARIABLE, TOKEN_VARIABLE
from tests.fakes.https_server import Request, Response, VendorServer
from tests.support.command_line import Run, Terminal, at_a_terminal, run_against

AtATerminal = Callable[..., AbstractContextManager[Terminal]]
Write = Callable[..., str]


@pytest.fixture
def terminal_with(fresh_storage: str) -> AtATerminal:
    """Runs a command at a terminal, against the pipeline's storage."""
    return partial(at_a_terminal, environment={"LeadsStorage": fresh_storage})


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a text unchanged, and another value as JSON, which is also YAML. Returns the file's name."""

    def write(content: object, name: str = "offers.yaml") -> str:
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return write


PROFILE_KEY = "k3y-of-manage=="
WHO = {"level": "personal", "name_of_level": "manage", "by": "key", "personal_data": True}


class NamedApp(VendorServer):
    """A deployed app that answers whoami, and has no offers."""

    def answer(self, request: Request) -> Response:
        return Response(200, WHO if request.target.endswith("/whoami") else {"offers": []})


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[NamedApp]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with NamedApp(None) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of profiles, for an environment that names no app."""
    for name in [*os.environ]:
        if name.startswith("LeadsStorage") or name in {*APP_VARIABLES, KEY_VARIABLE, TOKEN_VARIABLE}:
            monkeypatch.delenv(name)
    monkeypatch.setattr("typer.get_app_dir", lambda name: str(tmp_path / "config" / name))
    return tmp_path / "config/marketplace-leads/apps.json"


@pytest.fixture
def command(file: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return run_against(capsys)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input holds the key."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PROFILE_KEY}\n"))
