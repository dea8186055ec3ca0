"""The product's log events in tests."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

LEADS: Final = str(Path(__file__).parents[2] / "leads")
_BEGIN_THREADS: Final = (threading.__file__, str(Path(futures.__file__).parent))


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """The name and the fields of each event."""
    said = (record.getMessage().partition(" ") for record in caplog.records if record.name == "leads")
    return [(head.removeprefix("event="), json.loads(fields)) for head, _, fields in said]


def logged(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    """The fields of each event of this name."""
    return [fields for event, fields in events(caplog) if event == name]


class Strays(logging.Filter):
    """Records events that are logged in threads of the app, because the host drops them.

    Threads in which a test or Microsoft's worker library calls the app count as invocations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if _first_of_ours(sys._getframe()).startswith(LEADS):
            self.found.append(f"{record.threadName}: {record.getMessage()}")
        return True


def _first_of_ours(frame: FrameType) -> str:
    """The file of the first call in this thread."""
    return [file for file in _files(frame) if not file.startswith(_BEGIN_THREADS)][-1]


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back
