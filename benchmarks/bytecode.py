"""A cold start from what is deployed, beside the bare SDK whose byte code is valid, missing or stale."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.coldstart import APP, FLOOR, TIMED
from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result
from benchmarks.rounds import compare
from tools import package
from tools.smaller import make_smaller

ROUNDS: Final = 4
"""A start that compiles takes seconds, and its ratio is far from its target."""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Four rows. Raises `PackageError` where no package can be made."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        tell("installing the packages of requirements.txt")
        python = package.python_for_target()
        valid, missing, stale, tree, unpackaged = (
            folder / part for part in ("valid", "missing", "stale", "package", "unpackaged")
        )
        _install(python, folder, tree)

        def started(imports: str, *paths: Path) -> float:
            return _milliseconds(python, imports, paths)

        def ours() -> list[float]:
            return [started(APP, tree, tree / package.PACKAGES)]

        def ours_slow() -> list[float]:
            return [*ours() * 2, started(APP, unpackaged, stale)]

        def floor_slow() -> list[float]:
            compiled = started(FLOOR, stale)
            return [started(FLOOR, missing), compiled, compiled]

        few = replace(effort, fewest_rounds=min(ROUNDS, effort.fewest_rounds))
        compared = [
            *compare(ours, lambda: [started(FLOOR, valid)], effort, tell),
            *compare(ours_slow, floor_slow, few, tell),
        ]
    rows = [
        ("from the package, ms of CPU; the SDK's byte code valid", 1.15),
        ("from the package, ms of CPU; the SDK's byte code missing", 0.5),
        ("from the package, ms of CPU; the SDK's byte code stale", 0.5),
        ("without the package, ms of CPU; all byte code stale", 1.15),
    ]
    return [
        compared_result(f"cold start {what}", one, Target("≤", bound))
        for (what, bound), one in zip(rows, compared, strict=True)
    ]


def _install(python: str, folder: Path, tree: Path) -> None:
    """The packages in the three states, the package as `make package` makes it, and the app without it."""
    valid, missing, stale = (folder / part for part in ("valid", "missing", "stale"))
    missing.mkdir()
    package.install_packages(missing)
    (tree / package.PACKAGES).parent.mkdir(parents=True)
    shutil.copytree(missing, tree / package.PACKAGES)
    make_smaller(tree / package.PACKAGES)
    package.copy_app(tree)
    package.compile_tree(python, tree)
    (folder / "unpackaged").mkdir()
    package.copy_app(folder / "unpackaged")
    shutil.copytree(missing, valid)
    subprocess.run(
        [python, "-m", "compileall", "-q", valid, folder / "unpackaged"], check=True, stdout=subprocess.DEVNULL
    )
    shutil.copytree(valid, stale)
    for changed in (stale, folder / "unpackaged", tree):
        for source in changed.rglob("*.py"):
            os.utime(source, (0, 0))


def _milliseconds(python: str, imports: str, paths: tuple[Path, ...]) -> float:
    """Processor time of the imports in a fresh interpreter that finds nothing but these folders and writes no byte code."""
    found = f"import sys\nsys.path[:0] = {[str(path) for path in paths]!r}\n"
    command = [python, "-I", "-S", "-B", "-c", found + TIMED.format(imports=imports)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])
