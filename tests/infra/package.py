"""The deployment package: what `.funcignore` leaves of the checkout, as `func azure functionapp publish` sends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tests.infra.bicep import ROOT


def deployed_files() -> Iterator[Path]:
    """The files that are sent, relative to the checkout."""
    lines = [line.strip() for line in (ROOT / ".funcignore").read_text().splitlines()]
    patterns = [line.rstrip("/") for line in lines if line and not line.startswith("#")]

    def is_left_out(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in patterns)

    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not is_left_out(name)]
        yield from (Path(folder, name).relative_to(ROOT) for name in files if not is_left_out(name))


def build_package(folder: Path) -> Path:
    """Copy what is deployed into `folder`."""
    for path in deployed_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return folder
