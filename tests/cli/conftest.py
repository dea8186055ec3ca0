"""What tests of the command line share: a terminal, and a file to name."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.support.command_line import Terminal, at_a_terminal

AtATerminal = Callable[..., AbstractContextManager[Terminal]]
Write = Callable[..., str]


@pytest.fixture
def terminal_with(fresh_storage: str) -> AtATerminal:
    """Runs a command at a terminal, against the pipeline's storage."""
    return partial(at_a_terminal, environment={"LeadsStorage": fresh_storage})


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a text as it is, any other value as JSON, which is YAML, too. Gives the file's name."""

    def write(content: object, name: str = "offers.yaml") -> str:
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(file)

    return write
