"""A command that is killed at one of its storage requests, in a forked process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from leads.__main__ import run
from tests.support.command_line import environment_of
from tests.support.forked import Forked
from tests.support.proxy import Proxy, Rule


def is_killed(storage: str, rule: Rule, *arguments: str, typed: str = "") -> bool:
    """Run a command on this account. Returns whether the rule has killed it. `typed`: its standard input."""
    with Proxy(storage, rule) as proxy, tempfile.TemporaryFile() as stdin, Path(os.devnull).open("wb") as nowhere:
        stdin.write(typed.encode())
        stdin.seek(0)
        environment = environment_of({"LeadsStorage": proxy.connection_string})
        command = Forked(run, arguments, environment, (stdin.fileno(), nowhere.fileno(), nowhere.fileno()))
        proxy.pid = command.pid
        return command.wait(120) < 0
