"""What a worker process holds at most with the largest bodies, under as many requests and deliveries as an instance takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, result
from benchmarks.side import FLOOR, KEY, OURS, THREADS, Side, accounts, prepare
from benchmarks.typical import body
from devhost.process import DevhostProcess
from leads.pipeline.intake import MAX_BODY_BYTES

INSTANCE_MB: Final = 512
"""The smallest instance of Flex Consumption. The platform adds 272 MB for the host (Microsoft Learn, "Azure Functions Flex
Consumption plan hosting", section "Instance sizes")."""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """One row: 16 senders post the largest bodies while up to 24 of their leads are delivered at once."""
    bodies = [_largest(number) for number in range(effort.largest_leads)]
    with accounts(2) as (ours, floor):
        peaks = []
        for app, storage in ((OURS, ours), (FLOOR, floor)):
            peaks.append(_peak(app, storage, bodies))
            tell(f"{app.name}: {peaks[-1]:.0f} MB")
    most, least = peaks
    return [result("peak memory of the worker, MB", most, Target("≤", INSTANCE_MB / 2, "ours"), floor=least)]


def _largest(number: int) -> bytes:
    """A lead with a text as long as the intake takes."""
    usual = body(number)
    return usual.replace(b"{", b'{"Filler": "' + b"x" * (MAX_BODY_BYTES - len(usual) - 20) + b'", ', 1)


def _peak(app_dir: Path, storage: str, bodies: list[bytes]) -> float:
    prepare(storage)
    settings = {
        "LeadsStorage": storage,
        "AzureWebJobsStorage": storage,
        "PYTHON_THREADPOOL_THREAD_COUNT": str(THREADS),
    }
    with DevhostProcess(app_dir, "--function-key", KEY, env=settings, timeout=120) as host:
        side = Side(host, storage)
        side.post(bodies)
        side.wait_until_empty()
        workers = psutil.Process(host.pid).children(recursive=True)
        return max(_high_water(worker.pid) for worker in workers)


def _high_water(pid: int) -> float:
    """The most that a process has had in memory at a time, in MB: the kernel keeps count."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) / 1024
