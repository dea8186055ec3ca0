"""The templates by themselves: formatted, without a warning, and compiled into the file of the *Deploy to Azure* button."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import INFRA, PARAMETERS, Compiler, Deployment, require_bicep

TEMPLATES = sorted(INFRA.glob("*.bicep"))
PARAMETER_FILES = sorted([*INFRA.glob("*.bicepparam"), *PARAMETERS.glob("*.bicepparam")])
SOURCES = [*TEMPLATES, *PARAMETER_FILES]
SUPPRESSION = re.compile(r"#(?:disable-next-line|disable-diagnostics)\b(.*)")


def named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_there_is_not_one_warning(path: Path, compiler: Compiler) -> None:
    assert compiler.compile(path)[1] == []


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=named)
def test_the_parameter_files_have_not_one_warning_either(path: Path, compiler: Compiler) -> None:
    assert compiler.complaints_of_parameters(path) == []


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_each_file_is_formatted(path: Path, compiler: Compiler) -> None:
    assert path.read_text() == compiler.format(path), f"bicep format {path.name}"


@pytest.fixture
def deployed_with() -> Iterator[Callable[..., Compiler]]:
    """A compiler in the shell of somebody who deploys, with these variables."""
    started: list[Compiler] = []

    def start(**variables: str) -> Compiler:
        started.append(Compiler(**variables))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("missing", ["AZURE_ENV_NAME", "AZURE_LOCATION"])
def test_a_shell_without_the_environments_name_or_region_deploys_no_other_environment(
    missing: str, deployed_with: Callable[..., Compiler], monkeypatch: pytest.MonkeyPatch
) -> None:
    require_bicep()
    monkeypatch.delenv(missing, raising=False)
    given = {"AZURE_ENV_NAME": "prod", "AZURE_LOCATION": "westeurope"}
    del given[missing]
    (complaint,) = deployed_with(**given).complaints_of_parameters(INFRA / "main.bicepparam")
    assert missing in complaint


def test_addresses_for_alerts_may_have_spaces_between_them(deployed_with: Callable[..., Compiler]) -> None:
    require_bicep()
    emails = "on-call@example.com, sales@example.com, "
    given = deployed_with(AZURE_ENV_NAME="prod", AZURE_LOCATION="westeurope", LEADS_ALERT_EMAILS=emails)
    found = given.parameters(INFRA / "main.bicepparam")["alertEmails"]
    assert found == ["on-call@example.com", "sales@example.com"]


def test_a_warning_and_a_file_out_of_shape_would_be_found(tmp_path: Path, compiler: Compiler) -> None:
    unused, parameters, main = (tmp_path / name for name in ("unused.bicep", "main.bicepparam", "main.bicep"))
    unused.write_text("param   nobody string\n")
    main.write_text("module inside 'unused.bicep' = { name: 'inside', params: { nobody: 'x' } }\n")
    parameters.write_text("using 'main.bicep'\n\nvar  idle = 1\n")
    for found in (compiler.compile(unused)[1], compiler.compile(main)[1]):
        assert any("no-unused-params" in complaint for complaint in found)
    assert any("no-unused-vars" in complaint for complaint in compiler.complaints_of_parameters(parameters))
    assert compiler.format(unused) == "param nobody string\n"
    assert compiler.format(parameters) == "using 'main.bicep'\n\nvar idle = 1\n"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_no_warning_is_silenced_without_a_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if SUPPRESSION.search(line):
            assert number and lines[number - 1].strip().startswith("//"), f"{path.name}:{number + 1}"


def test_the_compiled_template_is_that_of_the_sources(compiler: Compiler) -> None:
    compiled, _ = compiler.compile(INFRA / "main.bicep")
    remedy = "compile it: bicep build infra/main.bicep --outfile infra/main.json"
    assert _content((INFRA / "main.json").read_text()) == _content(compiled), remedy


def test_the_same_deployment_twice_is_the_same(production: Deployment, compiler: Compiler) -> None:
    again = compiler.predict(PARAMETERS / "production.bicepparam")
    assert again.snapshot == production.snapshot


def _content(text: str) -> Any:
    """A template without the version of the compiler and the hash that it adds."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key != "_generator"}
        return [plain(item) for item in value] if isinstance(value, list) else value

    return plain(json.loads(text))
