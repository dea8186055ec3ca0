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
    return shlex.join([*PROGRAM, *_app(), *words])


def again(option: str, value: str) -> str:
    """The command that runs now, with another value of an option."""
    return shlex.join([*PROGRAM, *_without(option, _GIVEN.get()), option, value])


def here(text: str) -> str:
    """A text of the app whose hints name commands, each on the app that this command is on."""
    return _ANYWHERE.sub(lambda _: f"{command()} ", text)


def moved(option: str) -> str:
    """The command that runs now, with an option of the program itself where it belongs."""
    given = _GIVEN.get()
    others = _without(option, given)
    return shlex.join([*PROGRAM, option, _value(option, given) or "URL", *others])


def _app() -> list[str]:
    value = _value(_WHERE, _GIVEN.get())
    return [_WHERE, value] if value else []


def _value(option: str, given: Sequence[str]) -> str:
    for number, word in enumerate(given):
        if word == option:
            return given[number + 1] if number + 1 < len(given) else ""
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return ""


def _without(option: str, given: Sequence[str]) -> list[str]:
    kept: list[str] = []
    is_value = False
    for word in given:
        if not is_value and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        is_value = word == option
    return kept
