"""Deploying: azd and the pipelines give the templates all that they ask for, and hold no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.bicep import INFRA, ROOT, Deployment

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
VARIABLES = set(re.findall(r"readEnvironmentVariable\('(\w+)'", (INFRA / "main.bicepparam").read_text()))


def workflow(name: str) -> dict[str, Any]:
    text: dict[str, Any] = yaml.load((ROOT / ".github/workflows" / name).read_text(), Loader=yaml.BaseLoader)
    return text


def test_azd_finds_the_templates_and_the_app(production: Deployment) -> None:
    config = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / config["infra"]["path"] / f"{config['infra']['module']}.bicep").exists()
    (name,) = config["services"]
    assert production.the("Microsoft.Web/sites")["tags"]["azd-service-name"] == name
    assert config["services"][name] == {"project": ".", "language": "python", "host": "function"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_secret_and_no_right_that_it_does_not_need(path: Path) -> None:
    text = path.read_text()
    assert "secrets." not in text
    assert "pull_request_target" not in text
    assert workflow(path.name)["permissions"] == {"contents": "read"}
    for job in workflow(path.name)["jobs"].values():
        assert set(job.get("permissions", {})) <= {"contents", "id-token"}
        assert "uses" in job or "timeout-minutes" in job


def test_a_pull_request_shows_what_it_would_change_and_deploys_nothing() -> None:
    jobs = workflow("deploy.yml")["jobs"]
    for name, job in jobs.items():
        commands = "\n".join(step.get("run", "") + step.get("uses", "") for step in job.get("steps", []))
        if name == "what-if":
            assert "github.event_name == 'pull_request'" in job["if"]
            assert "head.repo.full_name == github.repository" in job["if"], "a fork gets no token"
            assert "what-if" in commands
            assert "deployment sub create" not in commands and "functions-action" not in commands
        else:
            assert "github.event_name != 'pull_request'" in job["if"]
    assert jobs["deploy"]["needs"] == "test"


def test_the_pipeline_gives_each_value_that_the_parameter_file_asks_for() -> None:
    given = workflow("deploy.yml")["env"]
    assert given.keys() == VARIABLES
    for name, value in given.items():
        assert f"vars.{name}" in value


def test_the_pipelines_defaults_are_those_of_the_parameter_file() -> None:
    asked = dict(re.findall(r"readEnvironmentVariable\('(\w+)', '([^']*)'\)", (INFRA / "main.bicepparam").read_text()))
    for name, value in workflow("deploy.yml")["env"].items():
        default = re.search(r"\|\| '([^']*)'", value)
        if not name.startswith("AZURE_"):
            assert (default[1] if default else "") == asked[name], name


def test_the_login_is_by_token_alone() -> None:
    for job in workflow("deploy.yml")["jobs"].values():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("azure/login"):
                assert job["permissions"]["id-token"] == "write"
                assert step["with"].keys() == {"client-id", "tenant-id", "subscription-id"}


def test_each_value_is_documented() -> None:
    documented = (ROOT / "docs/deploy.md").read_text()
    for name in VARIABLES:
        assert f"`{name}`" in documented, name
    for name in re.findall(r"^param (\w+)", (INFRA / "main.bicep").read_text(), re.MULTILINE):
        assert f"`{name}`" in documented, name


def test_the_checks_run_with_the_compiler_where_a_skip_is_a_failure() -> None:
    steps = workflow("test.yml")["jobs"]["test"]["steps"]
    commands = [step.get("run", "") for step in steps]
    assert any("az bicep install" in command for command in commands)
    assert "make test" in commands
