"""Runs a command that ends with the process that started this program, also after a crash of that process.

    python -m tools.tether COMMAND [ARGS...]

Standard input is a pipe; only the starting process has its other end. When that process or the kernel closes the pipe, the
command and its children get SIGTERM and, `GRACE` seconds later, SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 40.0
"""Seconds. Longer than a host gives running functions after SIGTERM."""


def main(command: list[str]) -> int:
    """Run the command. Returns its exit status, negative if a signal ended it."""
    # A separate session, because Ctrl-C at the terminal is for the starting process, which ends its children in order.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    return child.wait()


def _end_with_parent(child: subprocess.Popen[bytes]) -> None:
    os.read(sys.stdin.fileno(), 1)  # sys.stdin would hold its lock if this process ends first
    _signal_group(child, signal.SIGTERM)
    time.sleep(GRACE)
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
