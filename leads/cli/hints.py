"""Commands that a hint names: they can be pasted as they are, and reach the same app."""

import re
import shlex
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

PROGRAM: Final = ("python", "-m", "leads")
_GIVEN: Final = ContextVar[tuple[str, ...]]("arguments", default=())
_WHERE: Final = "--app"
_ANYWHERE: Final = re.compile(rf"{shlex.join(PROGRAM)} (?!{_WHERE})")


def remember(arguments: Sequence[str]) -> None:
    """Note the arguments of the command that runs now."""
    _GIVEN.set(tuple(arguments))


def command(*words: str) -> str:
    """A command with these words, on the app that this one is on."""
    app, _ = _taken_out(_WHERE)
    return shlex.join([*PROGRAM, *([_WHERE, app] if app else []), *words])


def again(option: str, value: str) -> str:
    """The command that runs now, with another value of an option."""
    _, others = _taken_out(option)
    return shlex.join([*PROGRAM, *others, option, value])


def here(text: str) -> str:
    """A text of the app whose hints name commands, each on the app that this command is on."""
    return _ANYWHERE.sub(lambda _: f"{command()} ", text)


def moved(option: str) -> str:
    """The command that runs now, with an option of the program itself where it belongs."""
    value, others = _taken_out(option)
    return shlex.join([*PROGRAM, option, value or "URL", *others])


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
