"""Microsoft's Bicep compiler as the tests use it: it compiles, lints and formats, and predicts a deployment offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

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


class Compiler:
    """One process of the compiler (`bicep jsonrpc`) for all questions: to start it costs more than to ask it."""

    def __init__(self, **variables: str) -> None:
        self.variables = variables
        """What a parameter file reads of the environment."""

    @cached_property
    def _process(self) -> subprocess.Popen[bytes]:
        # To compile its own code twice would cost more than the second, faster version saves in so few questions.
        environment = {**os.environ, "DOTNET_TieredCompilation": "0", **self.variables}
        command = ["bicep", "jsonrpc", "--stdio"]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        if "_process" in self.__dict__:
            self._process.terminate()
            self._process.communicate()

    def compile(self, path: Path) -> tuple[str, list[str]]:
        """The JSON that a template is compiled to, and every error and warning of it and its modules, the linter's too."""
        answer = self._ask("compile", path=str(path))
        return str(answer["contents"]), _complaints(answer)

    def complaints_of_parameters(self, path: Path) -> list[str]:
        """Every error and warning of a parameter file and the templates that it uses."""
        return _complaints(self._ask("compileParams", path=str(path), parameterOverrides={}))

    def parameters(self, path: Path) -> dict[str, Any]:
        """The values that a parameter file gives."""
        given = json.loads(self._ask("compileParams", path=str(path), parameterOverrides={})["parameters"])
        return {name: one["value"] for name, one in given["parameters"].items()}

    def format(self, path: Path) -> str:
        """The file as the formatter writes it."""
        return str(self._ask("format", path=str(path))["contents"])

    def predict(self, parameters: Path) -> Deployment:
        """The deployment of a parameter file."""
        metadata = {"subscriptionId": SUBSCRIPTION, "location": "westeurope", "deploymentName": "leads"}
        none = {"tenantId": None, "resourceGroup": None}
        answer = self._ask("getSnapshot", path=str(parameters), metadata=metadata | none, externalInputs=None)
        return Deployment(json.loads(answer["snapshot"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": f"bicep/{method}", "params": params}).encode()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(asked), asked))
        self._process.stdin.flush()
        answer = json.loads(_message(self._process.stdout))
        assert "result" in answer, answer["error"]["message"]
        return dict(answer["result"])


def _message(stream: IO[bytes]) -> bytes:
    """The next message, which stands behind headers as in HTTP."""
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        headers[name.lower()] = value
    return stream.read(int(headers[b"content-length"]))


def _complaints(answer: Mapping[str, Any]) -> list[str]:
    return [f"{one['source']}: {one['level']} {one['code']}: {one['message']}" for one in answer["diagnostics"]]
