"""`--version`: the release of the command line, and its commit where that is known."""

import json
import subprocess
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import typer

NAME: Final = "marketplace-leads"
GIT_SECONDS: Final = 5
_CHECKOUT: Final = Path(__file__).resolve().parents[2]


def print_version(wanted: bool) -> None:
    """What `--version` does."""
    if wanted:
        version, commit = version_and_commit()
        typer.echo(f"leads {version}{f' ({commit})' if commit else ''}")
        raise typer.Exit


def version_and_commit() -> tuple[str, str]:
    """The version and the short commit of the code that runs; "" for what is not known."""
    file = _CHECKOUT / "pyproject.toml"
    if file.is_file():
        return str(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"]), _commit_of_checkout()
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return "", ""
    return installed.version, _commit_installed(installed)


def _commit_of_checkout() -> str:
    command = ("git", "-C", str(_CHECKOUT), "rev-parse", "--short=12", "HEAD")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _commit_installed(installed: Distribution) -> str:
    """The commit that pip or uv has noted, where it was installed from a repository (PyPA, "Recording the Direct URL Origin")."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    return str(origin.get("vcs_info", {}).get("commit_id", ""))[:12]
