"""Apps by name: what `login` saves and where, which app a command uses, and which credentials the app gets."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from leads.cli.environment import APP_VARIABLES, KEY_VARIABLE, TOKEN_VARIABLE
from tests.cli.conftest import PROFILE_KEY as KEY
from tests.cli.conftest import NamedApp as App
from tests.fakes.https_server import Response
from tests.support.command_line import ROOT, Run, one_line


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An Azure CLI that records its arguments, and prints a key or a token."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "az"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\ncase "$1" in account) echo t0ken ;; *) echo {KEY} ;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "asked"


@pytest.mark.usefixtures("typed")
def test_login_keeps_address_and_key_where_only_the_user_can_read_them(command: Run, app: App, file: Path) -> None:
    ran = command("login", "prod", "--url", app.url)
    assert (ran.status, ran.err) == (0, "")
    assert f"{app.url} accepts the sign-in: level personal" in ran.out
    assert KEY not in ran.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert app.journal[-1].headers["x-functions-key"] == KEY
    assert command("offers", "list").status == 0, "the first is used where nothing else is said"
    assert app.journal[-1].headers["x-functions-key"] == KEY
    assert app.journal[-1].target == "/api/manage/offers"


@pytest.mark.usefixtures("typed")
def test_the_environment_and_the_flag_say_otherwise(command: Run, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    command("login", "prod", "--url", app.url)
    monkeypatch.setattr(sys, "stdin", io.StringIO("0ther-key\n"))
    command("login", "test", "--url", f"{app.url}/api/report")
    for said in (("--app", "test"), ("--app=test",)):
        assert command(*said, "offers", "list").status == 0
        assert (app.journal[-1].target, app.journal[-1].headers["x-functions-key"]) == (
            "/api/report/offers",
            "0ther-key",
        )
    monkeypatch.setenv("LEADS_APP", "test")
    command("offers", "list")
    assert app.journal[-1].target == "/api/report/offers"
    monkeypatch.delenv("LEADS_APP")
    assert command("use", "test").status == 0
    command("offers", "list")
    assert app.journal[-1].target == "/api/report/offers"
    asked = len(app.journal)
    monkeypatch.setenv("LeadsStorage", "AccountKey=c2VjcmV0")
    assert one_line(command("offers", "list"), 2).startswith("LeadsStorage: is not a storage connection string")
    assert len(app.journal) == asked


@pytest.mark.usefixtures("typed")
def test_a_profile_with_a_key_ignores_the_environment(command: Run, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "of-another-app")
    monkeypatch.setenv(TOKEN_VARIABLE, "of-another-app")
    command("login", "prod", "--url", app.url)
    command("offers", "list")
    for request in app.journal:
        assert request.headers["x-functions-key"] == KEY
        assert "authorization" not in request.headers
    command("login", "open", "--url", app.url, "--environment")
    command("--app", "open", "offers", "list")
    assert app.journal[-1].headers["x-functions-key"] == "of-another-app"


def test_the_azure_cli_is_asked_each_time_and_nothing_is_kept(command: Run, app: App, az: Path, file: Path) -> None:
    assert command("login", "prod", "--url", app.url, "--az-group", "rg", "--az-name", "contoso").status == 0
    assert KEY not in file.read_text()
    assert app.journal[-1].headers["x-functions-key"] == KEY
    command("offers", "list")
    asked = "functionapp function keys list -g rg -n contoso --function-name manage --query default -o tsv\n"
    assert az.read_text() == 2 * asked
    assert command("login", "entra", "--url", app.url, "--az-resource", "api://1").status == 0
    assert app.journal[-1].headers["authorization"] == "Bearer t0ken"
    assert "x-functions-key" not in app.journal[-1].headers
    assert app.journal[-1].target == "/api/signed-in/whoami"


def test_an_azure_cli_that_fails_is_one_line(
    command: Run, az: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("login", "prod", "--url", "https://a.example.com", "--az-group", "rg")
    (az.parent / "az").write_text("#!/bin/sh\necho 'Please run az login' >&2\nexit 1\n")
    line = one_line(command(*words), 3)
    assert line == "az: functionapp function keys list has failed: Please run az login"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert one_line(command(*words), 3).startswith("az: this profile gets its key from the Azure CLI")
    assert one_line(command("use", "prod"), 2).startswith("profile: none is called prod (no profile exists yet)")


@pytest.mark.usefixtures("typed")
def test_a_login_that_the_app_refuses_is_not_kept(
    command: Run, app: App, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(App, "answer", lambda *_: Response(401, {}))
    assert "refuses the key (401)" in one_line(command("login", "prod", "--url", app.url), 3)
    assert not file.exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n"))
    assert command("login", "prod", "--url", app.url, "--no-check").status == 0
    assert file.exists()


@pytest.mark.usefixtures("typed")
def test_profiles_are_listed_without_keys_and_forgotten(command: Run, app: App, file: Path) -> None:
    assert command("profiles").out.startswith("There is no profile.")
    command("login", "prod", "--url", app.url)
    shown = command("profiles")
    assert shown.out.splitlines()[1].split() == [*f"prod {app.url} key: kept in the file of profiles *".split()]
    (row,) = json.loads(command("profiles", "--json").out)
    assert row == {"name": "prod", "url": app.url, "source": "key: kept in the file of profiles", "current": True}
    assert command("logout", "prod").out == "prod: removed\n"
    assert KEY not in file.read_text()
    assert one_line(command("--app", "prod", "status"), 2).startswith("profile: none is called prod")
    assert one_line(command("offers", "list"), 2).startswith("No storage is configured")


@pytest.mark.usefixtures("typed")
def test_a_file_that_others_can_read_is_refused(command: Run, app: App, file: Path) -> None:
    command("login", "prod", "--url", app.url)
    file.chmod(0o644)
    assert one_line(command("offers", "list"), 2).endswith(f"chmod 600 {file}")
    file.chmod(0o600)
    file.write_text("{")
    assert "was not written by leads login" in one_line(command("profiles"), 2)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("login", "a b", "--url", "https://a.example.com"), "NAME: "),
        (("login", "prod"), "--url: is missing"),
        (("login", "prod", "--url", "http://a.example.com"), "address: must begin with https://"),
        (("login", "prod", "--url", "https://a.example.com/?code=s3cret"), "address: must hold no key"),
        (("login", "prod", "--url", "https://a.example.com", "--az-name", "x"), "--az-group: is missing"),
        (("login", "prod", "--url", "https://a.example.com", "--az-group", "x", "--environment"), "--environment: "),
        (("login", "prod", "--url", "https://a.example.com"), "key: is empty"),
        (("use",), "NAME: "),
        (("logout", "prod"), "profile: none is called prod"),
    ],
)
def test_wrong_options_are_one_line(
    words: tuple[str, ...], problem: str, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert one_line(command(*words), 2).startswith(problem)


def test_no_test_reaches_the_app_or_the_storage_of_whoever_runs_it() -> None:
    code = "import os; before = set(os.environ); import tests.conftest; print(*sorted(before - set(os.environ)))"
    theirs = dict.fromkeys((*APP_VARIABLES, KEY_VARIABLE, TOKEN_VARIABLE, "LeadsStorage__accountName"), "theirs")
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | theirs, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == set(theirs)
    assert os.environ["XDG_CONFIG_HOME"] == os.devnull
