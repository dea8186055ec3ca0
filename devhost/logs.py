"""Prints log records: the host's, and the app's within an invocation."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

PAUSE_SECONDS = 0.02
HOST_LOGGERS = ("devhost", "aiohttp", "asyncio", "azure.functions")
"""Loggers of the host and of the worker library. Records of all other loggers are the app's."""


def log_to_stderr(level: str, current_function: Callable[[], str | None]) -> QueueListener:
    """Start to print log records. `stop` of the returned listener prints the last ones.

    As in the real worker, the root logger is set to INFO, and the app's records from threads or tasks without an invocation are
    dropped.
    """
    printing = logging.StreamHandler(sys.stderr)
    printing.setFormatter(
        logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(function)s %(name)s: %(message)s", "%H:%M:%S")
    )
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(lines)
    handler.setFormatter(logging.Formatter("%(message)s"))  # or basicConfig would set one with a prefix
    handler.addFilter(_OfAnInvocation(current_function))
    handler.setLevel(level.upper())
    listener = _Listener(lines, printing)
    listener.start()
    logging.basicConfig(level=min(logging.INFO, handler.level), handlers=[handler])
    for name in ("aiohttp", "asyncio"):  # the host's; below, they print every request
        logging.getLogger(name).setLevel(logging.WARNING)
    return listener


class _OfAnInvocation(logging.Filter):
    """Adds the name of the invocation's function to each record, and drops the app's records without an invocation."""

    def __init__(self, current_function: Callable[[], str | None]) -> None:
        super().__init__()
        self._current_function = current_function

    def filter(self, record: logging.LogRecord) -> bool:
        function = self._current_function()
        record.function = function or "host"
        return function is not None or record.name.startswith(HOST_LOGGERS)


class _Listener(QueueListener):
    """Prints the records in a separate thread, as the real worker does, so that functions do not wait for the output.

    The thread wakes some times a second, not for each line.
    """

    def __init__(self, lines: SimpleQueue[logging.LogRecord], printing: logging.Handler) -> None:
        super().__init__(lines, printing)
        self._lines = lines

    def handle(self, record: logging.LogRecord) -> None:
        super().handle(record)
        if self._lines.empty():
            time.sleep(PAUSE_SECONDS)
