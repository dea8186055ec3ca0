"""A command that is killed at one of its storage requests, in a forked process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from multiprocessing import get_context

from leads.cli import main
from tests.support.command_line import environment_of
from tests.support.proxy import Proxy, Rule


def is_killed(storage: str, rule: Rule, *arguments: str, typed: str = "") -> bool:
    """Run a command on this account. Returns whether the rule has killed it. `typed`: its standard input."""
    forking = get_context("forkserver")
    forking.set_forkserver_preload([__name__, "leads.operations.table", "tests.support.recording"])
    with Proxy(storage, rule) as proxy:
        environment = environment_of({"LeadsStorage": proxy.connection_string})
        command = forking.Process(target=_run, args=(environment, arguments, typed))
        command.start()
        proxy.pid = command.pid or 0
        command.join(120)
        return (command.exitcode or 0) < 0


def _run(environment: Mapping[str, str], arguments: tuple[str, ...], typed: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    sys.stdin = io.StringIO(typed)
    sys.exit(main(arguments))
