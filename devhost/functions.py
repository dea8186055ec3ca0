"""What an app's functions are and what their calls give, whichever process they run in."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from devhost.clock import Clock
from devhost.errors import StartError


@dataclass(frozen=True)
class Function:
    """A function as the library's indexer reports it; `bindings` are what the real host gets."""

    name: str
    id: str
    bindings: tuple[dict[str, Any], ...]

    @cached_property
    def trigger(self) -> dict[str, Any]:
        """The trigger's binding."""
        return next(binding for binding in self.bindings if binding["type"].endswith("Trigger"))

    @property
    def type(self) -> str:
        """`httpTrigger`, `queueTrigger` or `timerTrigger`."""
        return str(self.trigger["type"])

    @property
    def route(self) -> str:
        return str(self.trigger.get("route") or self.name)

    @property
    def methods(self) -> tuple[str, ...]:
        """Upper case; empty means every method."""
        return tuple(method.upper() for method in self.trigger.get("methods") or ())

    @property
    def auth_level(self) -> str:
        """`anonymous`, `function` or `admin`."""
        return str(self.trigger.get("authLevel") or "function").lower()

    @property
    def queue_name(self) -> str:
        return with_settings(str(self.trigger["queueName"]))

    @property
    def connection(self) -> str:
        """The name of the setting that says which storage account the queue is in."""
        return str(self.trigger.get("connection") or "AzureWebJobsStorage")

    @property
    def schedule(self) -> str:
        return with_settings(str(self.trigger["schedule"]))


@dataclass(frozen=True)
class InvocationResult:
    """Whether the function ended normally; otherwise `error` is its exception's repr."""

    ok: bool
    error: str = ""


@dataclass(frozen=True)
class HttpResult:
    """What the caller gets: header names as the function wrote them, Set-Cookie lines apart."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Setup:
    """Where the app is, and what tests change in it."""

    app_dir: Path
    modules: tuple[str, ...]
    """To be imported before the app."""
    clock: Clock
    lease_seconds: int | None
    log_level: str


class App:
    """An app whose functions can be called: in this process (`LoadedApp`) or in one of its own (`Dispatcher`)."""

    functions: dict[str, Function]

    def of_type(self, trigger_type: str) -> list[Function]:
        """The functions with this trigger."""
        return [function for function in self.functions.values() if function.type == trigger_type]

    async def invoke_http_async(self, *args: Any, **kwargs: Any) -> HttpResult:
        raise NotImplementedError

    async def invoke_queue_async(self, *args: Any, **kwargs: Any) -> InvocationResult:
        raise NotImplementedError

    async def invoke_timer_async(self, *args: Any, **kwargs: Any) -> InvocationResult:
        raise NotImplementedError

    async def start(self) -> None:
        """Make the app callable. Raises StartError where it does not load."""

    async def run(self) -> None:
        """Keep the app callable; ends only with a HostEnd that says why it no longer is."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """End what runs the functions."""


def with_settings(text: str) -> str:
    """Replace each %NAME% by the setting of that name; raises StartError where it is not set."""

    def setting(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise StartError(f"setting {match[1]} is not set (a binding says %{match[1]}%)")
        return value

    return re.sub("%([^%]+)%", setting, text)
