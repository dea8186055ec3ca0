"""A folder with the app and another host.json."""

from __future__ import annotations

import json
from pathlib import Path

from devhost.process import ROOT


def app_folder(folder: Path, *, queues: dict[str, int] | None = None, **changes: str) -> Path:
    """`queues` replaces settings of the queue trigger, `changes` settings of the host."""
    settings = json.loads((ROOT / "host.json").read_text()) | changes
    settings["extensions"]["queues"] |= queues or {}
    (folder / "host.json").write_text(json.dumps(settings))
    (folder / "function_app.py").write_text((ROOT / "function_app.py").read_text())
    return folder
