"""Processes whose parent was killed. Where nobody collects them, as in a container without an init, they stay as zombies."""

from __future__ import annotations

import time

import psutil


def wait_for_end(pid: int, timeout: float = 120) -> None:
    """Wait until a process has ended. `timeout`: seconds."""
    deadline = time.monotonic() + timeout
    while not _has_ended(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.1)


def _has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
