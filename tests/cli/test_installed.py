"""The command line as pip, pipx or uv installs it: the wheel that they build, and the program in it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, process

ONLY_DEPLOYED = "leads/console/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network by the backend that uv itself contains."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (
        sys.executable,
        "-m",
        "uv",
        "build",
        "--quiet",
        "--offline",
        "--wheel",
        "--out-dir",
        str(folder),
        str(ROOT),
    )
    subprocess.run(build, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


def pinned(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_what_is_installed_is_what_is_deployed_and_what_only_a_shell_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    deployed = pinned("requirements.in")
    assert project["dependencies"][: len(deployed)] == deployed
    shell = project["dependencies"][len(deployed) :]
    assert {line.partition("==")[0] for line in shell} == {"typer", "rich", "PyYAML"}
    assert set(shell) <= set(pinned("requirements-dev.txt"))


def test_the_wheel_holds_the_code_of_the_command_line_and_nothing_else(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/") and ".dist-info/" not in name]
    modules = (path.relative_to(ROOT).as_posix() for path in ROOT.glob("leads/**/*.py"))
    assert sorted(names) == sorted(name for name in modules if not name.startswith(ONLY_DEPLOYED))


def test_the_installed_program_runs_from_the_wheel_alone(wheel: Path) -> None:
    code = """
import sys
from importlib.metadata import entry_points
(program,) = entry_points(group="console_scripts", name="leads")
for words in ("offers types", "offers connect --help", "import csv --help", "--version"):
    sys.argv = ["/usr/local/bin/leads", *words.split()]
    assert program.load()() == 0
"""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ran = process(environment={"PYTHONPATH": str(wheel)}, python=("-P", "-c", code))
    assert (ran.status, ran.err, ran.out.splitlines()[-1]) == (0, "", f"leads {version}")
