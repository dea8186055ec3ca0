"""What others look for: checkov over the deployment, azure-functions-doctor over the package. A skip has its reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.infra.bicep import INFRA, ROOT, Deployment
from tests.infra.conftest import Predicted
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
WARNED: Final = {
    "Native dependency risk": "whatever deploys lets Azure build: see test_workflows.py",
    "host.json logLevel conflict": "the host is to be quiet while the app's events stay: see test_host_json.py",
}
"""The doctor's warnings that stay."""


@dataclass(frozen=True)
class Scanned:
    """What checkov says of several templates; to start it costs more than to look."""

    answer: dict[str, Any]

    def failed(self, name: str) -> set[str]:
        return {check["check_id"] for check in self._of(name, "failed_checks")}

    def passed(self, name: str) -> int:
        return len(self._of(name, "passed_checks"))

    def _of(self, name: str, kind: str) -> list[dict[str, Any]]:
        return [check for check in self.answer["results"][kind] if check["file_path"] == f"/{name}.json"]


@pytest.fixture(scope="module")
def checkov(predicted: Predicted, tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """Over the compiled template, a production deployment with its final values, and one with a planted violation."""
    folder = tmp_path_factory.mktemp("checkov")
    shutil.copy(INFRA / "main.json", folder)
    production = predicted("production")
    account = production.the("Microsoft.Storage/storageAccounts")
    open_account = {**account, "properties": {**account["properties"], "supportsHttpsTrafficOnly": False}}
    for name, resources in {"production": production.resources, "planted": [open_account]}.items():
        template = {"$schema": TEMPLATE, "contentVersion": "1.0.0.0", "resources": resources}
        (folder / f"{name}.json").write_text(json.dumps(template, indent=2))
    command = [str(SCANNERS / "checkov"), "-d", str(folder), "--framework", "arm"]
    done = subprocess.run([*command, "--skip-download", "--output", "json"], capture_output=True, text=True, cwd=folder)
    assert done.stdout, done.stderr
    return Scanned(json.loads(done.stdout))


def test_checkov_finds_nothing_but_what_has_a_reason(checkov: Scanned) -> None:
    assert checkov.passed("production") > 20
    assert checkov.failed("production") == SKIPPED.keys()


def test_checkov_reads_every_template_without_an_error(checkov: Scanned) -> None:
    # Of modules inside the compiled one it sees only that they are there; their resources are those of the deployment.
    assert checkov.answer["summary"]["parsing_errors"] == 0
    assert checkov.failed("main") == set()


def test_a_planted_violation_is_found_by_checkov(checkov: Scanned) -> None:
    assert "CKV_AZURE_3" in checkov.failed("planted")


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


def test_the_doctor_finds_nothing_wrong_with_the_package_and_its_settings(
    production: Deployment, tmp_path: Path
) -> None:
    build_package(tmp_path)
    shutil.copy(ROOT / ".funcignore", tmp_path)
    shutil.copytree(INFRA, tmp_path / "infra")
    give_settings(tmp_path, production.settings)
    found = doctor(tmp_path)
    assert found.get("fail", []) == []
    assert {warning.partition(":")[0] for warning in found["warn"]} == WARNED.keys()
    assert len([finding for finding in found["pass"] if finding.startswith("Flex Consumption")]) == 3


def test_a_planted_mistake_is_found_by_the_doctor(tmp_path: Path, production: Deployment) -> None:
    for name in ("function_app.py", "requirements.txt"):  # it reads each file of the app several times
        shutil.copy(ROOT / name, tmp_path)
    host = json.loads((ROOT / "host.json").read_text())
    (tmp_path / "host.json").write_text(json.dumps({**host, "version": "1.0"}))
    give_settings(tmp_path, production.settings | {"WEBSITE_RUN_FROM_PACKAGE": "1"})
    found = doctor(tmp_path)
    wrong = "\n".join(found.get("fail", []) + found.get("warn", []))
    assert "host.json version" in wrong
    assert "WEBSITE_RUN_FROM_PACKAGE" in wrong
