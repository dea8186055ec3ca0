"""The settings of host.json that devhost supports, with the defaults of the Azure Functions host.

Queue defaults: QueuesOptions.cs, QueuePollingIntervals.cs and SkuUtility.cs of Azure/azure-sdk-for-net
(Microsoft.Azure.WebJobs.Extensions.Storage). The others: https://learn.microsoft.com/azure/azure-functions/functions-host-json
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from devhost.errors import StartError

TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,7})?))?")


def seconds(value: object) -> float:
    """The seconds of a .NET time span, `[days.]hh:mm[:ss[.fraction]]`. Raises ValueError for any other value."""
    match = TIME_SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a time span as "hh:mm:ss"')
    days, hours, minutes, rest = match.groups()
    if int(hours) > 23 or int(minutes) > 59 or float(rest or 0) >= 60:
        raise ValueError('write a time span as "d.hh:mm:ss" with hours below 24, minutes and seconds below 60')
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + float(rest or 0)


TimeSpan = Annotated[float, BeforeValidator(seconds)]


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class QueueOptions(_Section):
    """The settings of queue triggers. Times are in seconds."""

    batch_size: Annotated[int, Field(ge=1, le=32)] = 16
    new_batch_threshold: Annotated[int, Field(ge=0)] = Field(
        default_factory=lambda data: data.get("batch_size", 16) // 2 * (os.cpu_count() or 1)
    )
    max_dequeue_count: Annotated[int, Field(ge=1)] = 5
    visibility_timeout: TimeSpan = 0.0
    max_polling_interval: Annotated[TimeSpan, Field(ge=0.1)] = 60.0
    message_encoding: Literal["base64", "none"] = "base64"

    @property
    def max_parallel(self) -> int:
        """The largest number of messages that one function handles at once."""
        return self.batch_size + self.new_batch_threshold


class _Http(_Section):
    route_prefix: Annotated[str, AfterValidator(lambda prefix: prefix.strip("/"))] = "api"


class _Extensions(_Section):
    http: _Http = _Http()
    queues: QueueOptions = QueueOptions()


class HostJson(_Section):
    """The settings of host.json. `function_timeout`: in seconds, None = unlimited."""

    version: Literal["2.0"]
    function_timeout: Annotated[float | None, BeforeValidator(lambda text: None if text == "-1" else seconds(text))] = (
        1800.0
    )
    extensions: _Extensions = _Extensions()

    @property
    def route_prefix(self) -> str:
        return self.extensions.http.route_prefix

    @property
    def queues(self) -> QueueOptions:
        return self.extensions.queues


def read_host_json(app_dir: Path) -> HostJson:
    """Read `app_dir`/host.json. Raises StartError, which names a missing file or wrong setting."""
    try:
        content = json.loads((app_dir / "host.json").read_text("utf-8-sig"))
    except FileNotFoundError:
        raise StartError(f"no host.json in {app_dir}: name the folder of the app with --app-dir") from None
    except ValueError as error:
        raise StartError(f"host.json is not JSON: {error}") from None
    return parse_host_json(content)


def parse_host_json(content: Any) -> HostJson:
    """Check the parsed file. Raises StartError, which names the first wrong setting."""
    try:
        return HostJson.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise StartError(f"host.json: {place}: {first['msg']}") from None
