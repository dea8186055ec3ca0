"""The commands in hints. A person can paste them, and they reach the same app."""

import re
import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Final

INSTALLED: Final = "leads"
_MODULE: Final = ("python", "-m", "leads")
_GIVEN: Final = ContextVar[tuple[str, ...]]("arguments", default=())
_WHERE: Final = "--app"
_ANYWHERE: Final = re.compile(rf"{shlex.join(_MODULE)} (?!{_WHERE})")


def program() -> tuple[str, ...]:
    """How the command line was started: the installed program, or a module of a checkout."""
    return (INSTALLED,) if Path(sys.argv[0]).stem == INSTALLED else _MODULE


def as_typed(text: str) -> str:
    """A text, with its commands written as the present command was started."""
    return text.replace(f"{shlex.join(_MODULE)} ", f"{shlex.join(program())} ")


def remember(arguments: Sequence[str]) -> None:
    """Keep the arguments of the present command."""
    _GIVEN.set(tuple(arguments))


def given() -> tuple[str, ...]:
    """The arguments of the present command."""
    return _GIVEN.get()


def command(*words: str) -> str:
    """A command with these words, for the app that the present command names."""
    app, _ = _taken_out(_WHERE)
    return shlex.join([*program(), *([_WHERE, app] if app else []), *words])


def again(option: str, value: str) -> str:
    """The present command, with another value of an option."""
    _, others = _taken_out(option)
    return shlex.join([*program(), *others, option, value])


def here(text: str) -> str:
    """A text of the app, with `--app` added to its commands if the present command has it."""
    return _ANYWHERE.sub(lambda _: f"{command()} ", text)


def with_app_first() -> str:
    """The present command, with `--app` moved before the command's name."""
    app, others = _taken_out(_WHERE)
    return shlex.join([*program(), _WHERE, app or "URL", *others])


def _taken_out(option: str) -> tuple[str, list[str]]:
    """The option's value in the present command, and the other arguments."""
    value, others = "", []
    given = iter(_GIVEN.get())
    for word in given:
        if word == option:
            value = next(given, "")
        elif word.startswith(f"{option}="):
            value = word.removeprefix(f"{option}=")
        else:
            others.append(word)
    return value, others
