"""Calls the app's functions as the host does, and collects the log records that the worker passes to the host."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy

if TYPE_CHECKING:
    from devhost.runtime import LoadedApp

TIMERS = ("watch",)


@dataclass(frozen=True)
class Line:
    """A record as the host gets it."""

    logger: str
    text: str


class WorkerLog(logging.Handler):
    """Replaces the worker's handler. It formats each record of the root logger, and sends it to the host."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(Line(record.name, self.format(record)))

    def take(self) -> list[Line]:
        """The records since the last call."""
        taken, self._lines = self._lines, []
        return taken


@contextmanager
def worker_log() -> Iterator[WorkerLog]:
    """Log as the worker does until the block ends: all records from INFO."""
    root, log = logging.getLogger(), WorkerLog()
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(log)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(before)


@contextmanager
def leads_queue(storage: str) -> Iterator[QueueClient]:
    """The queue of an account. The app creates it with the first lead."""
    with QueueClient.from_connection_string(
        storage,
        "leads",
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    ) as queue:
        yield queue


def deliver_visible(app: LoadedApp, queue: QueueClient) -> list[str]:
    """Deliver until no message is visible on the queue. Returns the texts of the messages."""
    texts: list[str] = []
    while messages := list(queue.receive_messages(max_messages=32)):
        for message in messages:
            texts.append(message.content)
            assert app.invoke_queue("deliver_lead", message.content).ok
            queue.delete_message(message)
    return texts


def tick(app: LoadedApp) -> None:
    """Call the timer once."""
    for timer in TIMERS:
        assert app.invoke_timer(timer).ok
