"""What others look for: checkov over the deployment, azure-functions-doctor over the package. A skip has its reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.bicep import INFRA, ROOT, Deployment
from tests.infra.package import build_package

SCANNERS = ROOT / ".venv/scanners/bin"
TEMPLATE = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"

NOT_ON_FLEX: Final = "a setting of an App Service plan, which Flex Consumption does not have"
SKIPPED: Final = {
    "CKV_AZURE_13": "it looks for a login on the app settings; the one on the app is tested where it is asked for",
    "CKV_AZURE_17": "Microsoft's sender has no certificate to show",
    "CKV_AZURE_63": NOT_ON_FLEX,
    "CKV_AZURE_65": NOT_ON_FLEX,
    "CKV_AZURE_66": NOT_ON_FLEX,
    "CKV_AZURE_80": "for .NET alone",
    "CKV_AZURE_88": "Azure Files needs a shared key, and Flex Consumption needs no Azure Files",
    "CKV_AZURE_206": "leads are personal data and stay in their region: three zones, no second region",
    "CKV_AZURE_212": "the instances are the scale settings of Flex Consumption, which it does not know",
    "CKV_AZURE_213": NOT_ON_FLEX,
    "CKV_AZURE_222": "the intake is public, for Microsoft posts to it",
}
"""Findings in a production deployment that stay."""


def checkov(folder: Path) -> dict[str, Any]:
    """What checkov finds in the templates of a folder."""
    command = [str(SCANNERS / "checkov"), "-d", str(folder), "--framework", "arm"]
    done = subprocess.run(
        [*command, "--skip-download", "--quiet", "--output", "json"], capture_output=True, text=True, cwd=folder
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def flat(deployment: Deployment, folder: Path) -> Path:
    """The predicted resources as one template, so that each is seen with its final values."""
    template = {"$schema": TEMPLATE, "contentVersion": "1.0.0.0", "resources": deployment.resources}
    (folder / "deployment.json").write_text(json.dumps(template, indent=2))
    return folder


def failed(answer: dict[str, Any]) -> set[str]:
    return {check["check_id"] for check in answer["results"]["failed_checks"]}


def test_checkov_finds_nothing_but_what_has_a_reason(production: Deployment, tmp_path: Path) -> None:
    answer = checkov(flat(production, tmp_path))
    assert answer["summary"]["parsing_errors"] == 0
    assert answer["summary"]["passed"] > 20
    assert failed(answer) == SKIPPED.keys()


def test_checkov_reads_the_compiled_template_without_an_error(tmp_path: Path) -> None:
    shutil.copy(INFRA / "main.json", tmp_path)
    answer = checkov(tmp_path)
    # Of modules inside a template it sees only that they are there; their resources are in the test above.
    found = answer.get("summary", answer)
    assert found["parsing_errors"] == 0


def test_a_planted_violation_is_found_by_checkov(production: Deployment, tmp_path: Path) -> None:
    account = production.the("Microsoft.Storage/storageAccounts")
    open_account = {**account, "properties": {**account["properties"], "supportsHttpsTrafficOnly": False}}
    planted = Deployment({"predictedResources": [open_account]})
    assert "CKV_AZURE_3" in failed(checkov(flat(planted, tmp_path)))


def doctor(folder: Path) -> dict[str, list[str]]:
    """The doctor's findings by their status."""
    report = folder / "report.json"
    command = [str(SCANNERS / "azure-functions-doctor"), "doctor", "--path", str(folder), "--profile", "deploy"]
    options = ["--hosting-plan", "flex-consumption", "--target-python", "3.13"]
    done = subprocess.run(
        [*command, *options, "--format", "json", "--output", str(report)], capture_output=True, text=True
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for section in json.loads(report.read_text())["results"]:
        for item in section["items"]:
            found.setdefault(item["status"], []).append(f"{item['label']}: {item['value']}")
    return found


def give_settings(folder: Path, settings: dict[str, str]) -> None:
    """Lay the app settings where the doctor looks for them: locally, and as a template has them."""
    (folder / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": settings}))
    listed = [{"name": name, "value": value} for name, value in settings.items()]
    site = {"type": "Microsoft.Web/sites", "properties": {"siteConfig": {"appSettings": listed}}}
    (folder / "settings.json").write_text(json.dumps({"$schema": TEMPLATE, "resources": [site]}))


@pytest.fixture
def deployed(production: Deployment, tmp_path: Path) -> Path:
    """The package with the settings that it is deployed with, and the templates."""
    build_package(tmp_path)
    shutil.copy(ROOT / ".funcignore", tmp_path)
    shutil.copytree(INFRA, tmp_path / "infra")
    give_settings(tmp_path, production.settings)
    return tmp_path


def test_the_doctor_finds_nothing_wrong_with_the_package_and_its_settings(deployed: Path) -> None:
    found = doctor(deployed)
    assert (found.get("fail", []), found.get("warn", [])) == ([], [])
    assert len([finding for finding in found["pass"] if finding.startswith("Flex Consumption")]) == 3


def test_a_planted_mistake_is_found_by_the_doctor(deployed: Path, production: Deployment) -> None:
    host = json.loads((deployed / "host.json").read_text())
    (deployed / "host.json").write_text(json.dumps({**host, "version": "1.0"}))
    give_settings(deployed, production.settings | {"WEBSITE_RUN_FROM_PACKAGE": "1"})
    found = doctor(deployed)
    wrong = "\n".join(found.get("fail", []) + found.get("warn", []))
    assert "host.json version" in wrong
    assert "WEBSITE_RUN_FROM_PACKAGE" in wrong
