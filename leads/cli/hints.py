"""Commands that a hint names: they can be pasted as they are, and reach the same app."""

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
    """How the command line was started: as the installed program, or as a module of a checkout."""
    return (INSTALLED,) if Path(sys.argv[0]).stem == INSTALLED else _MODULE


def as_typed(text: str) -> str:
    """A text with its commands written the way the present command was started."""
    return text.replace(f"{shlex.join(_MODULE)} ", f"{shlex.join(program())} ")


def remember(arguments: Sequence[str]) -> None:
    """Note the arguments of the command that runs now."""
    _GIVEN.set(tuple(arguments))


def given() -> tuple[str, ...]:
    """The arguments of the command that runs now."""
    return _GIVEN.get()


def command(*words: str) -> str:
    """A command with these words, on the app that this one is on."""
    app, _ = _taken_out(_WHERE)
    return shlex.join([*program(), *([_WHERE, app] if app else []), *words])


def again(option: str, value: str) -> str:
    """The command that runs now, with another value of an option."""
    _, others = _taken_out(option)
    return shlex.join([*program(), *others, option, value])


def here(text: str) -> str:
    """A text of the app with its commands directed at the app that the present command uses."""
    return _ANYWHERE.sub(lambda _: f"{command()} ", text)


def moved(option: str) -> str:
    """The command that runs now, with an option of the program itself where it belongs."""
    value, others = _taken_out(option)
    return shlex.join([*program(), option, value or "URL", *others])


def _taken_out(option: str) -> tuple[str, list[str]]:
    """The option's value in the command that runs now, and the other arguments."""
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
