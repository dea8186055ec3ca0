"""Microsoft's Bicep compiler as the tests use it: it compiles, lints and formats, and predicts a deployment offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
PARAMETERS = ROOT / "tests/infra/parameters"
MISSING = "bicep is not on PATH, so infra/ was not checked: `az bicep install`, then add ~/.azure/bin to PATH"
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"


def require_bicep() -> None:
    """Skip the test where there is no compiler; fail it where CI is true, for there a skip would go unseen."""
    if shutil.which("bicep") is None:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)


def bicep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What the compiler says. Its status is 0 on warnings: read `stderr` too."""
    return subprocess.run(["bicep", *map(str, arguments)], capture_output=True, text=True)


@dataclass(frozen=True)
class Deployment:
    """What Azure would be given: every resource of every module, with expressions, loops and conditions evaluated."""

    snapshot: Mapping[str, Any]

    @property
    def resources(self) -> list[dict[str, Any]]:
        return list(self.snapshot["predictedResources"])

    @property
    def outputs(self) -> Mapping[str, Any]:
        outputs: Mapping[str, Any] = self.snapshot["outputs"]
        return outputs

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [resource for resource in self.resources if resource["type"].lower() == kind.lower()]

    def the(self, kind: str) -> dict[str, Any]:
        (resource,) = self.of_type(kind)
        return resource

    @property
    def settings(self) -> dict[str, str]:
        """The app settings."""
        (found,) = [one for one in self.of_type("Microsoft.Web/sites/config") if one["name"].endswith("/appsettings")]
        return dict(found["properties"])


def predict(parameters: Path, folder: Path, infra: Path = INFRA) -> Deployment:
    """The deployment of a parameter file with the templates of `infra`, worked out in `folder`."""
    shutil.copytree(infra, folder / "infra")
    (folder / "tests/infra/parameters").mkdir(parents=True)
    copy = Path(shutil.copy(parameters, folder / "tests/infra/parameters"))
    done = bicep(
        *("snapshot", copy, "--mode", "overwrite", "--subscription-id", SUBSCRIPTION),
        *("--location", "westeurope", "--deployment-name", "leads"),
    )
    assert done.returncode == 0, done.stderr
    return Deployment(json.loads(copy.with_suffix(".snapshot.json").read_text()))
