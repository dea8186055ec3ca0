"""What is deployed: everything pinned, by its hash, under a licence that is known to be fine, and looked over by others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.locked import LOCK, environment, requirements
from tools.lock import COMMAND

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
ALLOWED = frozenset({"MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "PSF-2.0", "MPL-2.0"})
"""SPDX identifiers. MPL-2.0 binds only who changes its files (certifi)."""
CLASSIFIED = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What classifiers call them. Those of the BSD that do not say which are the one with three clauses."""
BY_NAME = {package.name: package for package in LOCK if package.is_for("3.13")}


def test_the_lock_says_how_it_was_made() -> None:
    assert f"#    {' '.join(COMMAND)}\n" in (ROOT / "requirements.txt").read_text()


def test_everything_is_pinned_with_hashes() -> None:
    assert len(LOCK) > 20
    for package in LOCK:
        assert package.version
        assert package.hashes, package.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in package.hashes)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_what_is_asked_for_and_all_that_it_needs(python: str) -> None:
    locked = {package.name: package for package in LOCK if package.is_for(python)}
    wanted = [
        each for each in requirements("requirements.in") if not each.marker or each.marker.evaluate(environment(python))
    ]
    for package in locked.values():
        wanted += _needed_by(package.name, python)
    assert len(wanted) > len(locked)
    for requirement in wanted:
        found = locked.get(canonicalize_name(requirement.name))
        assert found, f"make lock: {requirement} is not in requirements.txt"
        assert found.version in requirement.specifier, f"make lock: {requirement}, but {found.version} is locked"


def _needed_by(name: str, python: str) -> Iterator[Requirement]:
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            yield requirement


def test_nothing_is_locked_that_nothing_needs() -> None:
    needed = {canonicalize_name(each.name) for each in requirements("requirements.in")}
    while more := {canonicalize_name(each.name) for name in needed for each in _needed_by(name, "3.13")} - needed:
        needed |= more
    assert needed >= BY_NAME.keys()


def test_the_tests_run_on_what_is_deployed() -> None:
    python = ".".join(default_environment()["python_full_version"].split(".")[:2])
    for package in LOCK:
        if package.is_for(python):
            assert distribution(package.name).version == package.version, f"make setup: {package.name}"


def test_nothing_of_development_is_deployed() -> None:
    for name in ("requirements-dev.txt", "requirements-devhost.txt"):
        development = {canonicalize_name(each.name) for each in requirements(name)}
        assert development
        assert development & BY_NAME.keys() == set()


# --- Licences -----------------------------------------------------------------------------------------------------------


def _one(values: list[Any] | None) -> str:
    return str(values[0]) if values else ""


def licences(name: str) -> set[str]:
    """The SPDX identifiers of a package; of several that one may choose from, all."""
    metadata = distribution(name).metadata
    said = _one(metadata.get_all("License-Expression"))
    if not said:
        classified = [
            text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or [] if "License ::" in text
        ]
        named = [CLASSIFIED.get(text, text) for text in classified]
        said = " OR ".join(named) or _one(metadata.get_all("License"))
    return set(re.split(r" (?:OR|AND) ", said))


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_the_licence_of_what_is_deployed_is_an_allowed_one(name: str) -> None:
    try:
        found = licences(name)
    except PackageNotFoundError:
        pytest.fail(f"{name} is not installed: make setup")
    assert found <= ALLOWED, f"{name}: {found - ALLOWED}"
