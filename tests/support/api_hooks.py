"""Hooks for Schemathesis: requests that the host would refuse are not made, and addresses have no listener."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

import schemathesis

ADDRESS = re.compile(r"^(https://)[^/?#]*", re.IGNORECASE)
THERE_IS: dict[str, str] = json.loads(os.environ.get("THERE_IS", "{}"))
"""Name of a path parameter → existing values."""


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    return _texts(body, lambda text: ADDRESS.sub(r"\g<1>127.0.0.1:1", text))


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Half of the names exist."""
    return {
        name: THERE_IS[name] if name in THERE_IS and len(str(value)) % 2 else _texts(value, _without_null)
        for name, value in (path_parameters or {}).items()
    } or path_parameters


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    return _texts(query, _without_null)


@schemathesis.hook
def map_headers(context: Any, headers: Any) -> Any:
    return _texts(headers, lambda text: text.encode("ascii", "ignore").decode())


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with all its texts changed."""
    if isinstance(value, dict):
        return type(value)({_texts(name, change): _texts(inner, change) for name, inner in value.items()})
    if isinstance(value, list):
        return [_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def _without_null(text: str) -> str:
    return text.replace("\0", "") or "-"
