"""`python -m leads` as tests run it: in this process, as a process, or at a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol
from unittest.mock import patch

import pytest
import typer.main
from typer.core import TyperGroup

from leads import cli
from leads.__main__ import run
from leads.cli.program import load
from leads.cli.prompts import ask
from tests.support.forked import Forked
from tests.support.markers import SECRETS, found_in
from tests.support.memory import require_reachable
from tests.support.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """The result of a command. Checks that no command prints a secret."""

    status: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert found_in(self.out + self.err, SECRETS) == [], "secrets are printed"


class Run(Protocol):
    def __call__(self, *arguments: str) -> Ran: ...


def command_names() -> list[str]:
    """Every command by its words, such as `offers list`."""
    return [name for name, command in _commands(_everything()) if not hasattr(command, "commands")]


def parse(line: str) -> None:
    """Read a command's line with the real parser, without running it. Raises the parser's error."""
    words = shlex.split(line, comments=True)
    assert words[:3] == ["python", "-m", "leads"], line
    root = _everything()
    with redirect_stdout(io.StringIO()):
        root.main(args=words[3:], prog_name="python -m leads", standalone_mode=False)


def commands_in(text: str) -> list[str]:
    """The commands of a text, each up to the end of its line, the prose behind it, a pipe or a redirection."""
    found = _COMMAND.findall(re.sub(r"\\\n\s*", "", text))
    return [line.rstrip() for line in found]


_COMMAND = re.compile(
    r"""python\ -m\ leads\ (?:'[^'\n]*' | "[^"\n]*" | (?!\ \ | \ [|<>]\ | \.(?:\s|$))[^`;,)'"\n])+""", re.VERBOSE
)


@cache
def _everything() -> Any:
    """The program with all its commands imported, none of which does anything."""
    root: Any = typer.main.get_command(cli.commands)
    root.commands = {name: load(name) for name in root.commands}
    root.resolve_command = partial(TyperGroup.resolve_command, root)
    for command in (root, *(command for _, command in _commands(root))):
        command.callback = lambda **_: None
    return root


def _commands(group: Any, *before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield " ".join((*before, name)), command
        if hasattr(command, "commands"):
            yield from _commands(command, *before, name)


def run_against(capsys: pytest.CaptureFixture[str], *before: str) -> Run:
    """Runs commands in this process, with `before` in front of their words."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        status = cli.main([*before, *arguments])
        return Ran(status, *capsys.readouterr())

    return call


def one_line(ran: Ran, status: int) -> str:
    """The single line on standard error of a failed command, without its first word."""
    assert (ran.status, ran.out) == (status, "")
    lines = ran.err.splitlines()
    assert len(lines) == 1
    assert "Traceback" not in ran.err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings, and only those variables of this machine that a process needs to start."""
    require_reachable(settings.get("LeadsStorage", ""))
    kept = ("PATH", "HOME", "PYTHONPATH", "NO_PROXY", "XDG_CONFIG_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ} | dict(settings)


def process(*arguments: str, environment: Mapping[str, str], python: tuple[str, ...] = (), typed: str = "") -> Ran:
    """Run a command, or the interpreter with other arguments, as a process; `typed` is its standard input."""
    done = subprocess.run(
        [sys.executable, *python, *(() if python else ("-m", "leads")), *arguments],
        cwd=ROOT,
        env=environment_of(environment),
        input=typed,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


class Terminal:
    """A command at a terminal with a typing person."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._screen, terminal = pty.openpty()
        environment = environment_of(environment) | {"COLUMNS": "120", "TERM": "dumb"}
        self.process = Forked(run, arguments, environment, (terminal, terminal, terminal))
        os.close(terminal)
        self.shown = ""
        self._read = 0

    def wait_for(self, text: str, seconds: float = 180) -> None:
        """Wait until this text is shown after the texts of earlier waits. A text that ends like a prompt must be a prompt."""
        deadline = time.monotonic() + seconds
        while text not in self.shown[self._read :] or (text.endswith(": ") and not self.shown.endswith(": ")):
            assert time.monotonic() < deadline, f"{text!r} is not shown; the screen says: {self.shown[-2000:]}"
            if not self._more(0.2):
                assert text in self.shown[self._read :], f"it ended without {text!r}: {self.shown[-2000:]}"
        self._read = self.shown.index(text, self._read) + len(text)

    def type(self, text: str, end: str = "\n") -> None:
        os.write(self._screen, f"{text}{end}".encode())

    def answer(self, *dialogue: tuple[str, str] | str) -> None:
        """Wait for each question and answer it, and wait for other texts."""
        for said in dialogue:
            question, answer = said if isinstance(said, tuple) else (said, None)
            self.wait_for(question)
            if answer is not None:
                self.type(answer)

    def interrupt(self) -> None:
        """Press Ctrl-C, and again if Python missed the signal between a prompt and the wait for a key."""
        for _ in range(10):
            self.process.send_signal(signal.SIGINT)
            with suppress(AssertionError):
                return self.wait_for("Interrupted.", 2)
        raise AssertionError(f"it is not interrupted: {self.shown[-2000:]}")

    def end(self) -> int:
        """The rest of the output, and the exit status."""
        deadline = time.monotonic() + 180
        while self._more(0.2):
            assert time.monotonic() < deadline, f"it does not end: {self.shown[-2000:]}"
        return self.process.wait(180)

    def _more(self, seconds: float) -> bool:
        """Read the output. False after the end of the command."""
        if not select.select([self._screen], [], [], seconds)[0]:
            return True
        with suppress(OSError):  # Linux reports a closed terminal like this
            if data := os.read(self._screen, 65_536):
                self.shown += data.decode(errors="replace").replace("\r\n", "\n")
                return True
        return False


@contextmanager
def at_a_terminal(*arguments: str, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A command that runs at a terminal. It has ended when the block ends."""
    terminal = Terminal(arguments, environment)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal._screen)


@contextmanager
def ctrl_c_during_the_answer(times: int = 1) -> Iterator[None]:
    """Interrupt a listing of leads in this process by a real signal, during its answer."""

    def interrupted(*question: Any) -> Any:
        answer = ask(*question)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        return answer

    with patch("leads.cli.leads.ask", interrupted):
        yield


@contextmanager
def working(pipeline: Pipeline) -> Iterator[None]:
    """The pipeline's worker delivers messages until the block ends."""
    over = Event()

    def work() -> None:
        while not over.wait(0.05):
            pipeline.step()

    worker = Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()
