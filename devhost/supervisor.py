"""Restarts a host after it has ended, as the platform does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Generic, Protocol, Self, TypeVar


class Host(Protocol):
    """A running host, such as a `DevhostProcess`. It ends with its `with` block."""

    def has_ended(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: Any) -> None: ...


H = TypeVar("H", bound=Host)


class Supervisor(Generic[H]):
    """Starts a host with `start`, and again each time the host has ended, until the end of the block.

    `hosts`: every host so far, the running host last. A start that raises RuntimeError is retried. `problem`: the text of the
    last such error, "" after a successful start.
    """

    def __init__(self, start: Callable[[], H], pause: float = 0.1) -> None:
        self._start = start
        self._pause = pause
        self._over = threading.Event()
        self._ending = ExitStack()
        self.problem = ""
        self.hosts = [self._begin()]
        self._keeping = threading.Thread(target=self._keep, daemon=True)
        self._keeping.start()

    @property
    def host(self) -> H:
        return self.hosts[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._keeping.join()
        self._ending.close()

    def _keep(self) -> None:
        while not self._over.wait(self._pause):
            if self.host.has_ended():
                try:
                    self.hosts.append(self._begin())
                    self.problem = ""
                except RuntimeError as error:
                    self.problem = str(error)

    def _begin(self) -> H:
        host = self._start()
        self._ending.enter_context(host)
        return host
