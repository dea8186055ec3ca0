"""The templates by themselves: formatted, without a warning, and compiled into the file of the *Deploy to Azure* button."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import INFRA, PARAMETERS, ROOT, bicep, require_bicep

SOURCES = sorted([*INFRA.glob("*.bicep"), *INFRA.glob("*.bicepparam"), *PARAMETERS.glob("*.bicepparam")])
SUPPRESSION = re.compile(r"#(?:disable-next-line|disable-diagnostics)\b(.*)")


@pytest.fixture(autouse=True)
def _compiler() -> None:
    require_bicep()


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files in a place where the compiler may write beside them."""
    root = tmp_path_factory.mktemp("templates")
    for path in [*SOURCES, *INFRA.glob("queries/*.kql")]:
        copy = root / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return root


@pytest.mark.parametrize("command", ["build", "build-params", "lint"])
def test_there_is_not_one_warning(command: str, copies: Path) -> None:
    pattern = "**/*.bicepparam" if command == "build-params" else "**/*.bicep"
    done = bicep(command, "--pattern", copies / pattern)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_parameter_files_have_not_one_warning_either(copies: Path) -> None:
    done = bicep("lint", "--pattern", copies / "**/*.bicepparam")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_each_file_is_formatted(copies: Path) -> None:
    for pattern in ("**/*.bicep", "**/*.bicepparam"):
        assert bicep("format", "--pattern", copies / pattern).returncode == 0
    behind = [path.name for path in SOURCES if (copies / path.relative_to(ROOT)).read_text() != path.read_text()]
    assert behind == [], "bicep format FILE"


def test_a_warning_and_a_file_out_of_shape_would_be_found(tmp_path: Path) -> None:
    unused = tmp_path / "unused.bicep"
    unused.write_text("param   nobody string\n")
    for command in ("build", "lint"):
        done = bicep(command, "--pattern", tmp_path / "**/*.bicep")
        assert "no-unused-params" in done.stderr
    bicep("format", "--pattern", tmp_path / "**/*.bicep")
    assert unused.read_text() == "param nobody string\n"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_warning_is_silenced_without_a_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if SUPPRESSION.search(line):
            assert number and lines[number - 1].strip().startswith("//"), f"{path.name}:{number + 1}"


def test_the_compiled_template_is_that_of_the_sources(tmp_path: Path) -> None:
    compiled = tmp_path / "main.json"
    assert bicep("build", INFRA / "main.bicep", "--outfile", compiled).returncode == 0
    remedy = "compile it: bicep build infra/main.bicep --outfile infra/main.json"
    assert _content(INFRA / "main.json") == _content(compiled), remedy


def _content(path: Path) -> Any:
    """A template without the version of the compiler and the hash that it adds."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key != "_generator"}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(json.loads(path.read_text()))
