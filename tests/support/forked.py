"""A process that is forked from one that has already imported the product. Its start costs a tenth of an interpreter's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context, reduction
from typing import Any

FORKING = get_context("forkserver")
IMPORTED = (
    "leads.operations.table",
    "leads.cli.connect",
    "tests.support.recording",
    "devhost.__main__",
    "devhost.worker",
)
FORKING.set_forkserver_preload([__name__, *IMPORTED])


class Forked:
    """Calls `main`, which finds `arguments` in sys.argv, as `subprocess.Popen` runs a program.

    `files` are those of its standard input, output and error.
    """

    def __init__(
        self,
        main: Callable[[], int],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        files: tuple[int, int, int],
        folder: str = ".",
    ) -> None:
        inherited = [_Inherited(file) for file in files]
        self._process = FORKING.Process(target=_run, args=(main, arguments, dict(environment), inherited, folder))
        self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Inherited:
    """A file that the process has, too: its number there, once it has arrived."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _arrived, (reduction.DupFd(self._number),)


def _arrived(file: Any) -> int:
    number: int = file.detach()
    return number


def _run(
    main: Callable[[], int],
    arguments: Sequence[str],
    environment: dict[str, str],
    files: list[int],
    folder: str,
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering=1, encoding="utf-8", closefd=False) for number, mode in enumerate("rww")
    )
    sys.argv[1:] = arguments
    sys.exit(main())
