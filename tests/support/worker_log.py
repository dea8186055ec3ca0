"""The app's functions called as the host calls them, and what the worker hands to the host of all that is logged meanwhile."""

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
    """Stands where the worker's own handler does: it formats whatever reaches the root logger, and sends it to the host."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(Line(record.name, self.format(record)))

    def take(self) -> list[Line]:
        """What has been logged since it was taken last."""
        taken, self._lines = self._lines, []
        return taken


@contextmanager
def worker_log() -> Iterator[WorkerLog]:
    """Log as the worker does until the block ends: everything from INFO on."""
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
    """The queue of an account, which the app makes with the first lead."""
    with QueueClient.from_connection_string(
        storage,
        "leads",
        message_encode_policy=TextBase64EncodePolicy(),
        message_decode_policy=TextBase64DecodePolicy(),
    ) as queue:
        yield queue


def deliver_visible(app: LoadedApp, queue: QueueClient) -> list[str]:
    """Deliver until nothing is visible on the queue. Gives the texts of the messages."""
    texts: list[str] = []
    while messages := list(queue.receive_messages(max_messages=32)):
        for message in messages:
            texts.append(message.content)
            assert app.invoke_queue("deliver_lead", message.content).ok
            queue.delete_message(message)
    return texts


def tick(app: LoadedApp) -> None:
    """The timer, once."""
    for timer in TIMERS:
        assert app.invoke_timer(timer).ok
