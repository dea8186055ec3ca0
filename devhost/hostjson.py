"""The settings of host.json that the devhost obeys, with the defaults of the Azure Functions host.

Queue defaults: QueuesOptions.cs, QueuePollingIntervals.cs and SkuUtility.cs of Azure/azure-sdk-for-net
(Microsoft.Azure.WebJobs.Extensions.Storage). The others: https://learn.microsoft.com/azure/azure-functions/functions-host-json
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from devhost.errors import StartError

TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,7})?))?")


@dataclass(frozen=True)
class QueueOptions:
    """How queue triggers work; times in seconds."""

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: float = 0.0
    max_polling_interval: float = 60.0
    base64: bool = True

    @property
    def max_parallel(self) -> int:
        """The largest number of messages that one function handles at once."""
        return self.batch_size + self.new_batch_threshold


@dataclass(frozen=True)
class HostJson:
    """What host.json asks for; `function_timeout` in seconds, None is unlimited."""

    route_prefix: str = "api"
    function_timeout: float | None = 1800.0
    queues: QueueOptions = field(default_factory=QueueOptions)


def seconds(value: object) -> float:
    """The seconds of a .NET time span, `[days.]hh:mm[:ss[.fraction]]`; raises ValueError on anything else."""
    match = TIME_SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a time span as "hh:mm:ss"')
    days, hours, minutes, rest = match.groups()
    if int(hours) > 23 or int(minutes) > 59 or float(rest or 0) >= 60:
        raise ValueError('write a time span as "d.hh:mm:ss" with hours below 24, minutes and seconds below 60')
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(rest or 0)


TimeSpan = Annotated[float, BeforeValidator(seconds)]


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class _Http(_Section):
    route_prefix: str = "api"


class _Queues(_Section):
    batch_size: Annotated[int, Field(ge=1, le=32)] = 16
    new_batch_threshold: Annotated[int, Field(ge=0)] | None = None
    max_dequeue_count: Annotated[int, Field(ge=1)] = 5
    visibility_timeout: TimeSpan = 0.0
    max_polling_interval: Annotated[TimeSpan, Field(ge=0.1)] = 60.0
    message_encoding: Literal["base64", "none"] = "base64"


class _Extensions(_Section):
    http: _Http = _Http()
    queues: _Queues = _Queues()


class _File(_Section):
    version: Literal["2.0"]
    function_timeout: TimeSpan | Literal["-1"] = 1800.0
    extensions: _Extensions = _Extensions()


def read_host_json(app_dir: Path) -> HostJson:
    """Read `app_dir`/host.json; raises StartError naming the setting where it is missing or wrong."""
    try:
        content = json.loads((app_dir / "host.json").read_text("utf-8-sig"))
    except FileNotFoundError:
        raise StartError(f"no host.json in {app_dir}: name the folder of the app with --app-dir") from None
    except ValueError as error:
        raise StartError(f"host.json is not JSON: {error}") from None
    return parse_host_json(content)


def parse_host_json(content: Any) -> HostJson:
    """Translate the parsed file; raises StartError naming the first setting that is wrong."""
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StartError(f"host.json: {place}: {first['msg']}") from None
    queues = file.extensions.queues
    threshold = queues.new_batch_threshold
    return HostJson(
        route_prefix=file.extensions.http.route_prefix.strip("/"),
        function_timeout=None if file.function_timeout == "-1" else float(file.function_timeout),
        queues=QueueOptions(
            batch_size=queues.batch_size,
            new_batch_threshold=_default_threshold(queues.batch_size) if threshold is None else threshold,
            max_dequeue_count=queues.max_dequeue_count,
            visibility_timeout=queues.visibility_timeout,
            max_polling_interval=queues.max_polling_interval,
            base64=queues.message_encoding == "base64",
        ),
    )


def _default_threshold(batch_size: int) -> int:
    return batch_size // 2 * (os.cpu_count() or 1)
