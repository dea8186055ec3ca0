"""Libraries may not fill the log with what they do for the app: their records name row keys, addresses and secrets."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from leads.libraries import LIBRARIES
from tests.support.locked import LOCK

ROOT = Path(__file__).parents[2]


def loggers_of(name: str) -> set[str]:
    """The packages of a distribution in which something is logged."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return set()  # one that another Python version needs
    sources = [file for file in files if file.suffix == ".py" and len(file.parts) > 1]
    return {file.parts[0] for file in sources if "getLogger(" in file.read_text()}


def test_no_library_that_is_deployed_is_forgotten() -> None:
    logging_ones = set[str]().union(*(loggers_of(package.name) for package in LOCK))
    assert logging_ones == {*LIBRARIES, "urllib3"}


FROM_A_WORKER = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
logging.getLogger().setLevel(logging.INFO)
{starting}
for name in {names}:
    logging.getLogger(f"{{name}}.any.part").info("%s tells something", name)
logging.getLogger("urllib3.connection").warning("urllib3 warns of an address")
logging.getLogger("azure.any").warning("azure warns")
logging.getLogger("leads").info("an event")
"""


@pytest.mark.parametrize(
    "starting",
    ["import function_app", "from leads.cli import main; main(['offers', 'list'])"],
    ids=["the function app", "the command line"],
)
def test_with_the_root_logger_at_info_only_the_app_and_warnings_are_heard(starting: str) -> None:
    code = FROM_A_WORKER.format(starting=starting, names=[*LIBRARIES, "urllib3"])
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.splitlines() == ["WARNING:azure.any:azure warns", "INFO:leads:an event"]
