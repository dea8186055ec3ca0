"""Which build of the app runs: its version, its commit, and the packages that were put into it."""

import json
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

NAME: Final = "marketplace-leads"
GIT_SECONDS: Final = 5
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Build:
    """`version` and `commit` are "" where they are not known; `packages` (name → version) is empty but for a made package."""

    version: str
    commit: str
    packages: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.version or 'unknown'}{f' ({self.commit[:12]})' if self.commit else ''}"


@cache
def this_build() -> Build:
    """What `make package` has noted, else what the checkout or the installed distribution says."""
    noted = _ROOT / "leads/build.json"
    if noted.is_file():
        found = json.loads(noted.read_text(encoding="utf-8"))
        return Build(found["version"], found["commit"], found["packages"])
    project = _ROOT / "pyproject.toml"
    if project.is_file():
        version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        return Build(str(version), _commit_of_checkout())
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return Build("", "")
    return Build(installed.version, _commit_installed(installed))


def _commit_of_checkout() -> str:
    command = ("git", "-C", str(_ROOT), "rev-parse", "HEAD")
    try:
        said = subprocess.check_output(command, text=True, timeout=GIT_SECONDS, stderr=subprocess.DEVNULL)  # noqa: S603
        return said.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _commit_installed(installed: Distribution) -> str:
    """The commit that pip or uv has noted, where it was installed from a repository (PyPA, "Recording the Direct URL Origin")."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    return str(origin.get("vcs_info", {}).get("commit_id", ""))
