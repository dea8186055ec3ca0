"""The app's clock, which tests can speed up."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class Clock:
    """Time that runs `factor` times as fast as the real one since `epoch` (seconds of Unix time)."""

    factor: float = 1.0
    epoch: float = 0.0

    def now(self) -> datetime:
        """The app's time: aware, in UTC."""
        if self.factor == 1.0:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self.epoch + (time.time() - self.epoch) * self.factor, UTC)

    def real_seconds(self, seconds: float) -> float:
        """The real duration of so much app time, in seconds."""
        return seconds / self.factor

    def storage_seconds(self, seconds: float) -> int:
        """As `real_seconds`, for a time that storage measures: whole seconds, rounded up. 0 stays 0."""
        return math.ceil(self.real_seconds(seconds))


def speed_up_app(clock: Clock) -> None:
    """Give the app this clock: replace `leads.core.clock.now`, and shorten the delays of its queue messages.

    Call it before the app is loaded.
    """
    from azure.storage.queue import QueueClient

    clients: list[type[QueueClient]] = [QueueClient]
    if module_exists("leads.core.clock"):
        importlib.import_module("leads.core.clock").now = clock.now  # type: ignore[attr-defined]
    if module_exists("leads.platform.message_client"):
        clients.append(importlib.import_module("leads.platform.message_client").MessageClient)
    for client in clients:
        for method in {"send_message", "update_message"} & vars(client).keys():
            setattr(client, method, _with_real_delay(getattr(client, method), clock))


def module_exists(name: str) -> bool:
    """Whether a module of this dotted name can be imported."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _with_real_delay(method: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, visibility_timeout: float | None = None, **kwargs: Any) -> Any:
        if visibility_timeout is not None:
            kwargs["visibility_timeout"] = clock.storage_seconds(visibility_timeout)
        return method(*args, **kwargs)

    return call
