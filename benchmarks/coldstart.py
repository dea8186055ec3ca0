"""What a cold start imports, beside what no queue function in Python with pydantic can do without."""

import os
import subprocess
import sys
from collections.abc import Callable

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result
from benchmarks.rounds import compare
from devhost.process import ROOT

APP = "import function_app"
FLOOR = "import azure.functions, azure.storage.queue, pydantic"
FLOOR_IN_USE = "import azure.functions, azure.storage.queue; from pydantic import BaseModel"
"""`import pydantic` alone loads next to nothing of it: its parts are loaded when they are first named."""
# The SDK would load aiohttp where it finds it: devhost's here, but nothing that is deployed brings it.
TIMED = """\
import sys, time
sys.modules["aiohttp"] = None
cpu, wall = time.process_time(), time.perf_counter()
{imports}
print((time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000)
"""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Three rows."""
    for imports in (APP, FLOOR, FLOOR_IN_USE):  # writes the compiled files and fills the page cache
        _imported(imports)

    def ours() -> list[float]:
        cpu, wall = _imported(APP)
        return [cpu, wall, cpu]

    def floor() -> list[float]:
        return [*_imported(FLOOR), _imported(FLOOR_IN_USE)[0]]

    cpu, wall, in_use = compare(ours, floor, effort, tell)
    target = Target("≤", 1.15)
    return [
        compared_result("cold start, ms of CPU to import the app", cpu, target),
        compared_result("cold start, ms to import the app", wall, target),
        compared_result("cold start, ms of CPU, floor with pydantic's BaseModel loaded", in_use, target),
    ]


def _imported(imports: str) -> list[float]:
    """Milliseconds of processor time and of time that the imports take in a fresh interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format(imports=imports)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]
