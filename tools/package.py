"""`make package`: dist/marketplace-leads-VERSION.zip, ready to run on Azure Functions, Python 3.13 on x86-64 Linux.

    python -m tools.package [FOLDER]     into FOLDER instead of dist/

It holds the app, the packages of requirements.txt for that platform whatever this machine is, and the byte code of both. The
byte code is *unchecked-hash*: Python takes it whatever the file times say, so nothing is compiled at a cold start (Python
documentation, "Cached bytecode invalidation"). Most packages come without their sources. The same commit gives
the same bytes, by the same Python and zlib.

Packages lie in `.python_packages/lib/site-packages`, where the platform looks for them (Microsoft Learn, "Azure Functions Python
developer reference guide", section "Install local packages"). Exit status 2: something is missing on this machine, in one line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from tools.bootstrap import UNREACHABLE, dotted, find
from tools.lock import locked
from tools.smaller import LEFT_OUT, make_smaller

ROOT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "marketplace-leads"
PYTHON: Final = "3.13"
SOURCELESS: Final = ROOT / "tools/sourceless.py"
APP: Final = ("function_app.py", "host.json", "leads")
NOT_DEPLOYED: Final = ("__pycache__", "build.json", "cli", "__main__.py")
"""Of the app: the command line needs packages that are not deployed."""
PACKAGES: Final = Path(".python_packages/lib/site-packages")
DEPLOYED_TO: Final = Path("/home/site/wwwroot")
"""Where the platform mounts the package: tracebacks name this folder instead of one of the machine that made the package."""
PLATFORMS: Final = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
TARGET: Final = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{PYTHON}.0",
    "python_version": PYTHON,
    "sys_platform": "linux",
    "extra": "",
}
"""What the markers of requirements.txt are asked about: pip itself answers them for the machine that it runs on."""
WITH_SOURCES: Final = ("azure/functions", "werkzeug", "markupsafe", "typing_extensions.py")
"""What another Python than 3.13 needs to say that it is the wrong one (`leads/platform/unusable.py`)."""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class PackageError(Exception):
    """The package can't be made; the text says in one line what is missing and what to do."""


class OfflineError(PackageError):
    """The packages can't be downloaded."""


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else ROOT / "dist"
    try:
        made = make(folder)
    except PackageError as error:
        print(f"package: {error}", file=sys.stderr)
        return 2
    with zipfile.ZipFile(made) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    print(f"{made} ({made.stat().st_size / 1e6:.1f} MB, unpacked {unpacked / 1e6:.1f} MB)")
    return 0


def make(folder: Path) -> Path:
    """Make the package in this folder. Raises PackageError."""
    python = python_for_target()
    with tempfile.TemporaryDirectory(prefix="package-") as temporary:
        tree = Path(temporary, "tree")
        (tree / PACKAGES).mkdir(parents=True)
        copy_app(tree)
        packages = install_packages(tree / PACKAGES)
        make_smaller(tree / PACKAGES)
        for name in LEFT_OUT:
            del packages[name]
        (tree / "leads/build.json").write_text(json.dumps(about(packages), indent=1, sort_keys=True) + "\n")
        compile_tree(python, tree)
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{NAME}-{version()}.zip"
        part = archive.with_suffix(".part")  # what is interrupted leaves no half package
        write_zip(tree, part)
        part.replace(archive)
    return archive


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def python_for_target() -> str:
    """A Python of the deployment's version: this one, found, or got by uv. Byte code of another one is not used."""
    if dotted(sys.version_info[:2]) == PYTHON:
        return sys.executable
    if found := find(PYTHON):
        return found.path
    if uv := shutil.which("uv"):
        got = subprocess.run([uv, "python", "install", PYTHON], capture_output=True, text=True)
        done = subprocess.run([uv, "python", "find", PYTHON], capture_output=True, text=True)
        if got.returncode == done.returncode == 0:
            return done.stdout.strip()
    raise PackageError(f"Python {PYTHON} is needed, whose byte code is deployed: install it, or uv, which gets it")


def copy_app(tree: Path) -> None:
    for name in APP:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns(*NOT_DEPLOYED))
        else:
            shutil.copy(ROOT / name, tree / name)


def install_packages(folder: Path) -> dict[str, str]:
    """Install what requirements.txt has for the target, by its hashes, from binary wheels alone. Returns name → version.

    By this Python's pip: the target's, where it is another, may have none.
    """
    wanted = list(wanted_packages())
    platforms = [argument for name in PLATFORMS for argument in ("--platform", name)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines for _, lines in wanted))
        file.flush()
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--no-deps",
            "--ignore-requires-python",  # some of pip ask it of the Python that runs pip, others of --python-version
        ]
        command += ["--require-hashes", "--only-binary", ":all:", *platforms, "--implementation", "cp"]
        command += ["--python-version", PYTHON, "--target", str(folder), "--requirement", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["pip failed"]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1])
        if UNREACHABLE.search(done.stderr):
            raise OfflineError(
                f"the packages of requirements.txt can't be fetched, check the network connection: {reason}"
            )
        raise PackageError(f"the packages of requirements.txt can't be had: {reason}")
    return {requirement.name: next(iter(requirement.specifier)).version for requirement, _ in wanted}


def wanted_packages() -> Iterator[tuple[Requirement, str]]:
    """The requirements that the target needs, each as a line for pip with its hashes and without the marker."""
    for requirement, hashes in locked():
        if requirement.marker is None or requirement.marker.evaluate(dict(TARGET)):
            pin = f"{requirement.name}{requirement.specifier}"
            yield requirement, " ".join([pin, *(f"--hash={each}" for each in hashes)])


def about(packages: dict[str, str]) -> dict[str, object]:
    """What the package says of itself (`leads/build.json`)."""
    return {"version": version(), "commit": commit(), "python": PYTHON, "packages": packages}


def commit() -> str:
    """The commit of this checkout, with a + where files differ from it; "" where there is no git."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        changed = ["git", "status", "--porcelain", "--", *APP, "requirements.txt", "pyproject.toml"]
        differs = subprocess.run(changed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if differs else "")


def compile_tree(python: str, tree: Path) -> None:
    """Byte code for every module, in one process and with fixed hashes, so that the same source gives the same bytes.

    The app's lies beside its sources, which tracebacks show; that of most packages takes the place of theirs.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    with_sources = [*(PACKAGES / name for name in WITH_SOURCES), *(Path(name) for name in APP if name != "host.json")]
    without = [SOURCELESS, tree / PACKAGES, DEPLOYED_TO / PACKAGES, *WITH_SOURCES]
    beside = ["-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", tree, "-p", DEPLOYED_TO]
    for arguments in (without, [*beside, *(tree / name for name in with_sources)]):
        done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, env=environment)
        if done.returncode:
            said = (done.stdout or done.stderr).strip() or f"compiling ended with {done.returncode}"
            raise PackageError(f"a module can't be compiled: {said.splitlines()[0]}")


def write_zip(tree: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as written:
        for path in sorted(path for path in tree.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(tree).as_posix(), EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is made
            entry.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
