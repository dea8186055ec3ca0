"""`make lock`: writes requirements.txt from requirements.in: all deployed packages, pinned with hashes.

    python -m tools.lock               keep the pinned versions as far as possible
    python -m tools.lock --upgrade     take the newest versions

Further arguments go to `uv pip compile`. The command is in the head of requirements.txt, where Dependabot finds it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).resolve().parent.parent
COMMAND: Final = (
    *("uv", "pip", "compile", "requirements.in", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "-o", "requirements.txt"),
)
"""One lock for all platforms and for Python 3.11 and newer: markers select the lines."""


def locked() -> Iterator[tuple[Requirement, tuple[str, ...]]]:
    """Each requirement of requirements.txt with its marker, and its hashes."""
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            pin, *hashes = re.split(r"\s+--hash=", line.strip())
            yield Requirement(pin), tuple(hashes)


def main(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", *COMMAND, "--quiet", *arguments], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
