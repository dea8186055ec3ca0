"""Runs a command that ends when the process that started this one ends, however that happens.

    python -m tools.tether COMMAND [ARGS...]

Standard input is a pipe whose other end only the starting process holds: when it is closed, by that process or by
the kernel, the command and what it started get SIGTERM and, `GRACE` seconds later, SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 40.0
"""Longer than a host gives running functions after SIGTERM."""


def main(command: list[str]) -> int:
    """Run the command; its exit status, negative where a signal ended it."""
    # A session of its own: Ctrl-C at the terminal is for the starting process, which ends its children in order.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    return child.wait()


def _end_with_parent(child: subprocess.Popen[bytes]) -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin, whose lock would be held when this process ends first
    _signal_group(child, signal.SIGTERM)
    time.sleep(GRACE)
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if child.poll() is None:
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
