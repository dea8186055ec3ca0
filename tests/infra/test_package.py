"""What is deployed: small, the app alone, and able to start with nothing but requirements.txt."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests.infra import code
from tests.infra.bicep import ROOT
from tests.infra.package import build_package, deployed_files
from tests.support.locked import LOCK

MOST_MEGABYTES = 60
START = """
import json, sys
from pathlib import Path
from devhost.runtime import load_app
app = load_app(Path(sys.argv[1]))
print(json.dumps(sorted(app.functions)))
"""


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What requirements.txt has installed here, and nothing else: the build in Azure installs the same, by the hashes."""
    folder = tmp_path_factory.mktemp("installed")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for package in LOCK:
        for file in (distribution(package.name).files or ()) if package.is_for(python) else ():
            if ".." not in file.parts:  # a script
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).symlink_to(file.locate())
    return folder


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Azure brings itself: the worker library, and devhost in the place of its process."""
    folder = tmp_path_factory.mktemp("platform")
    for name in ("azure_functions_runtime", "azurefunctions.extensions.base"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, folder / name.replace(".", "/"))
    shutil.copytree(ROOT / "devhost", folder / "devhost")
    return folder


def test_the_package_is_the_app_and_nothing_else() -> None:
    assert {path.parts[0] for path in deployed_files()} == {"function_app.py", "host.json", "requirements.txt", "leads"}
    kinds = {path.suffix for path in deployed_files() if path.parts[0] == "leads" and path.parts[1] != "console"}
    assert kinds == {".py"}
    console = {path.suffix for path in deployed_files() if path.parts[:2] == ("leads", "console")}
    assert console == {".py", ".html", ".js", ".css", ".json", ".txt"}


def test_the_package_starts_with_requirements_txt_alone_and_is_indexed(
    package: Path, installed: Path, platform: Path
) -> None:
    # -S: nothing of this environment's own packages.
    path = os.pathsep.join(map(str, (package, installed, platform)))
    command = [sys.executable, "-S", "-c", START, str(package)]
    done = subprocess.run(command, cwd=package, env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == code.functions()


def test_the_package_is_small(package: Path, installed: Path, record_property: Callable[[str, object], None]) -> None:
    own, others = (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc") / 1e6
        for folder in (package, installed)
    )
    record_property("summary", f"deployment package: {own:.1f} MB, with its dependencies {own + others:.0f} MB")
    assert 10 < own + others < MOST_MEGABYTES
