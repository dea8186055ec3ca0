"""The functions of an app, and the results of their calls, for in-process and worker-process apps."""

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
    """A function as the library's indexer reports it. `bindings`: as the real host gets them."""

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
        """The HTTP methods, in upper case; empty = every method."""
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
        """The name of the setting that names the queue's storage account."""
        return str(self.trigger.get("connection") or "AzureWebJobsStorage")

    @property
    def schedule(self) -> str:
        return with_settings(str(self.trigger["schedule"]))


@dataclass(frozen=True)
class InvocationResult:
    """The result of a call. `ok`: the function ended normally; otherwise `error` is the repr of its exception."""

    ok: bool
    error: str = ""


@dataclass(frozen=True)
class HttpResult:
    """The answer of an HTTP function. Header names are as the function wrote them; `cookies` are Set-Cookie lines."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = ()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Setup:
    """How a worker loads the app. `modules`: imported before the app."""

    app_dir: Path
    modules: tuple[str, ...]
    clock: Clock
    lease_seconds: int | None
    log_level: str


class App:
    """An app with callable functions, in this process (`LoadedApp`) or in a worker process (`Dispatcher`)."""

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
        """Make the app callable. Raises StartError if the app does not load."""

    async def run(self) -> None:
        """Keep the app callable. Raises HostEnd when that is no longer possible; never returns."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """End the process or threads that run the functions."""


def with_settings(text: str) -> str:
    """Replace each %NAME% by the value of that setting. Raises StartError if a setting is missing."""

    def setting(match: re.Match[str]) -> str:
        value = os.environ.get(match[1])
        if value is None:
            raise StartError(f"setting {match[1]} is not set (a binding says %{match[1]}%)")
        return value

    return re.sub("%([^%]+)%", setting, text)
