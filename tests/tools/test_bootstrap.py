"""tools/bootstrap.py: the chosen Python, repeated installation, and errors."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import bootstrap
from tools.bootstrap import ROOT, Python, SetupError, choose, explain, find, only_one, probe, step

BROKEN = "broken"
"""Like a pyenv shim without a selected version."""


class Machine:
    """Fakes installed Pythons: each is a script that answers as `probe` expects."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(self, path: str, version: str, has_venv: bool = True) -> str:
        says = f"printf '%s\\n' '{self.root / path}' '{version}' '{has_venv}'"
        script = self.root / path
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{'exit 127' if version == BROKEN else says}\n")
        script.chmod(0o755)
        return str(script)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without any Python."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python3"))
    return Machine(tmp_path)


PYENV = "pyenv/versions/{0}/bin/python3.13"


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"bin/python3": "3.11.2", "bin/python3.13": "3.13.1"}, "bin/python3.13"),
        (
            {
                "bin/python3": "3.11.2",
                "bin/python3.13": BROKEN,
                PYENV.format("3.13.9"): "3.13.9",
                PYENV.format("3.13.10"): "3.13.10",
            },
            PYENV.format("3.13.10"),
        ),
        ({"bin/python3.11": "3.11.9", "bin/python3": "3.12.1"}, "bin/python3"),
        ({"bin/python3": "3.9.2", "bin/python3.11": "3.11.2"}, "bin/python3.11"),
        ({"bin/python3": "3.12.1", "bin/python3.13": "3.13.0rc1"}, "bin/python3"),
    ],
    ids=["3.13 first", "newest of pyenv", "python3 without 3.13", "newer than an old python3", "no release candidate"],
)
def test_the_python_that_is_chosen(machine: Machine, there: dict[str, str], chosen: str) -> None:
    for path, version in there.items():
        machine.install(path, version)
    assert choose() == Python(str(machine.root / chosen), there[chosen], has_venv=True)


@pytest.mark.parametrize(
    ("path", "version", "has_venv", "said"),
    [
        ("bin/python3", "3.9.2", True, r"3\.11 or newer is needed .*3\.9\.2.*apt-get install python3 python3-venv"),
        ("bin/python3", BROKEN, True, r"none was found.*apt-get install python3 python3-venv"),
        ("bin/python3.13", "3.13.1", False, r"virtual environments: apt-get install python3\.13-venv"),
    ],
)
def test_without_a_python_that_will_do_the_package_is_named(
    machine: Machine, path: str, version: str, has_venv: bool, said: str
) -> None:
    machine.install(path, version, has_venv)
    with pytest.raises(SetupError, match=said):
        choose()


def test_the_variable_overrides_the_choice(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install("bin/python3.13", "3.13.1")
    wanted = machine.install("elsewhere/python", "3.12.4")
    monkeypatch.setenv("PYTHON", wanted)
    assert choose().path == wanted


@pytest.mark.parametrize("value", ["/nowhere/python", "/bin/false"])
def test_a_variable_that_names_no_python_is_an_error(
    value: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install("bin/python3.13", "3.13.1")
    monkeypatch.setenv("PYTHON", value)
    with pytest.raises(SetupError, match=f"PYTHON={value}"):
        choose()


def test_find_looks_for_one_minor_version_alone(machine: Machine) -> None:
    system = machine.install("bin/python3", "3.11.2")
    found = find("3.11")
    assert found and found.path == system
    assert find("3.12") is None


def test_find_passes_over_folders_that_cannot_be_read_and_a_user_without_a_home(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = machine.install("bin/python3", "3.11.2")
    unreadable = "/" + 300 * "x"  # as for a folder without permission, `stat` fails with another error than "not found"
    monkeypatch.setenv("PATH", os.pathsep.join((unreadable, os.environ["PATH"])))
    for name in ("PYENV_ROOT", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    found = find("3.11")
    assert found and found.path == system


def test_find_passes_over_the_pyenv_of_another_user(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    system = machine.install("bin/python3", "3.11.2")

    def refuses(*_: object) -> Iterator[Path]:
        raise PermissionError

    monkeypatch.setattr(Path, "glob", refuses)
    found = find("3.11")
    assert found and found.path == system


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errno.EACCES, "setup: .venv/.lock: Permission denied; own the checkout, or clone it again\n"),
        (errno.ENOSPC, "setup: .venv/.lock: No space left on device; check the disk\n"),
    ],
)
def test_a_checkout_that_cannot_be_written_is_one_line(
    kind: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> Path:
        raise OSError(kind, os.strerror(kind), ".venv/.lock")

    monkeypatch.setattr(bootstrap, "set_up", refused)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("PYTHONUTF8", "1")
    assert bootstrap.main([]) == 2
    assert capsys.readouterr().err == said


def test_what_it_starts_speaks_utf_8_in_any_locale() -> None:
    code = """
import sys
from tools import bootstrap
bootstrap.set_up = lambda module: bootstrap.say("packages \\u2026") or sys.executable
sys.exit(bootstrap.main(["timeit", "-n1", "-r1", "-s", "import sys; print('mode', sys.flags.utf8_mode)", "pass"]))
"""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | locale, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"setup: packages ?\nmode 1\n")


def test_probe_reads_a_real_interpreter() -> None:
    python = probe(sys.executable)
    assert python == Python(sys.executable, ".".join(map(str, sys.version_info[:3])), has_venv=True)


class TestEnvironment:
    """Makes the virtual environment without installing packages."""

    PYTHON = Python("/usr/bin/python3", "3.11.2", has_venv=True)

    @pytest.fixture(autouse=True)
    def checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
        for name in bootstrap.REQUIREMENTS:
            (tmp_path / name).write_text("one==1\n")

    @pytest.fixture
    def installs(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        made: list[Path] = []

        def install(python: Python, folder: Path) -> None:
            (folder / "bin").mkdir(parents=True, exist_ok=True)
            (folder / "bin/python").touch()
            made.append(folder)

        monkeypatch.setattr(bootstrap, "install_packages", install)
        return made

    def test_it_is_made_once_and_again_when_what_it_is_made_from_changes_or_is_gone(
        self, installs: list[Path], tmp_path: Path
    ) -> None:
        interpreter = bootstrap.make_environment(self.PYTHON)
        assert interpreter == tmp_path / ".venv/3.11/bin/python"
        assert bootstrap.make_environment(self.PYTHON) == interpreter
        assert len(installs) == 1
        bootstrap.make_environment(Python(self.PYTHON.path, "3.11.3", has_venv=True))
        assert len(installs) == 2
        (tmp_path / "requirements-dev.txt").write_text("one==2\n")
        bootstrap.make_environment(Python(self.PYTHON.path, "3.11.3", has_venv=True))
        assert len(installs) == 3
        interpreter.unlink()
        bootstrap.make_environment(Python(self.PYTHON.path, "3.11.3", has_venv=True))
        assert len(installs) == 4

    def test_each_version_has_its_own(self, installs: list[Path]) -> None:
        bootstrap.make_environment(self.PYTHON)
        bootstrap.make_environment(Python("/usr/bin/python3.13", "3.13.0", has_venv=True))
        assert [folder.name for folder in installs] == ["3.11", "3.13"]

    def test_what_is_deployed_is_installed_by_itself_and_by_its_hashes(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        commands: list[list[str]] = []
        monkeypatch.setattr(bootstrap, "step", lambda title, command, *_: commands.append(command))
        bootstrap.install_packages(self.PYTHON, tmp_path)
        installed = [command[command.index("install") + 1 :] for command in commands if "install" in command]
        assert installed[0][-3:] == ["--require-hashes", "-r", "requirements.txt"]
        assert all("requirements.txt" not in command for command in installed[1:])
        assert any("requirements-dev.txt" in command for command in installed[1:])

    def test_an_interrupted_one_is_made_again(
        self, installs: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        bootstrap.make_environment(self.PYTHON)
        (tmp_path / "requirements-dev.txt").write_text("one==2\n")

        def interrupted(python: Python, folder: Path) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(bootstrap, "install_packages", interrupted)
            with pytest.raises(KeyboardInterrupt):
                bootstrap.make_environment(self.PYTHON)
        (tmp_path / "requirements-dev.txt").write_text("one==1\n")
        bootstrap.make_environment(self.PYTHON)
        assert len(installs) == 2


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (
            "WARNING: Retrying after connection broken by NewConnectionError\n"
            "ERROR: Could not find a version that satisfies the requirement one==1.0 (from versions: none)\n",
            "could not fetch one==1.0 (of the packages)",
        ),
        ("npm error code ENOTFOUND\nnpm error network request failed\n", "could not fetch the packages"),
        ("HTTPSConnectionPool: Max retries exceeded with url: /one/\n", "could not fetch the packages"),
    ],
)
def test_a_network_failure_is_one_line_that_says_what_is_missing(text: str, missing: str) -> None:
    said = explain(text, Path("setup.log"), "the packages")
    assert said.startswith(missing)
    assert "network" in said
    assert "setup.log" in said
    assert "\n" not in said


def test_another_failure_shows_the_end_of_the_log() -> None:
    noise = "".join(f"line {number}\n\n" for number in range(100))
    said = explain(f"{noise}error: No space left on device\n", Path("setup.log"), "the packages").splitlines()
    assert said[0] == "could not install the packages; the log is setup.log, its end:"
    assert said[-1].strip() == "error: No space left on device"
    assert len(said) == 1 + bootstrap.TAIL_LINES


def test_a_version_that_does_not_exist_is_no_network_failure() -> None:
    text = "ERROR: Could not find a version that satisfies the requirement one==9 (from versions: 1.0, 2.0)\n"
    assert explain(text, Path("setup.log"), "the packages").startswith("could not install the packages")


def test_a_step_says_what_it_does_and_keeps_the_noise_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step("packages", [sys.executable, "-c", "print('noise')"], tmp_path / "setup.log", "the packages")
    assert re.fullmatch(r"setup: packages …\nsetup: packages: done in \d+ s\n", capsys.readouterr().out)
    assert (tmp_path / "setup.log").read_text() == "noise\n"


def test_a_step_that_fails_raises_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"could not install the packages; the log is .*setup\.log.*\n  no space"):
        step("packages", ["/bin/sh", "-c", "echo no space; exit 1"], tmp_path / "setup.log", "the packages")


def test_two_terminals_set_up_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    code = (
        "import pathlib; from tools import bootstrap\n"
        f"bootstrap.ROOT = pathlib.Path({str(tmp_path)!r})\n"
        "with bootstrap.only_one(): print('mine', flush=True)"
    )
    root = Path(__file__).parents[2]
    with only_one():
        other = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
        assert other.stdout
        assert "waiting" in other.stdout.readline()
        assert other.poll() is None
    assert other.communicate(timeout=60)[0] == "mine\n"
