"""The product's log events as a test sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest


def logged(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    """The fields of each event of this name."""
    heads = (record.getMessage().partition(" ") for record in caplog.records if record.name == "leads")
    return [json.loads(fields) for head, _, fields in heads if head == f"event={name}"]
