"""What an endpoint answered to a refused request, on one short line for the person at the shell.

An answer can repeat secrets that were sent and what a customer wrote: it is redacted, and not stored, logged or sent over HTTP.
"""

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from leads.destinations.base import MASK, Destination, secret_references
from leads.destinations.http import Answer, HttpClient
from leads.platform.settings import SettingsError

EXCERPT_CHARACTERS: Final = 200
_SHORTEST_PART: Final = 4
"""A part of a secret, such as what follows `Bearer `, is masked from this length on."""

_TAG: Final = re.compile(r"<[^<>]*>")
_ERROR: Final = re.compile(r'"(?:errors?|errorCode|message)"\s*:')
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED_SPACE: Final = frozenset("bfnrt")
_LOCAL_PART: Final = r"\w.!#$%&'*+/=?^`{|}~-"
_EMAIL: Final = re.compile(rf'(?:"[^"]*"|(?<![{_LOCAL_PART}])[{_LOCAL_PART}]+|)@[\w.\[\]:@-]*')
_LONG: Final = re.compile(r"[A-Za-z0-9+/=_~-]{20,}")
_WORD: Final = re.compile(r"[a-z]{0,20}|[A-Z]{1,20}|[A-Z]?[a-z]{2,20}(?:[A-Z][a-z]{2,20})*")


class Listening(HttpClient):
    """A client that keeps the last answer. For a destination that one person uses."""

    last: Answer | None = None

    def request(self, method: str, url: str, **options: Any) -> Answer:
        self.last = None  # a request without an answer leaves none
        self.last = super().request(method, url, **options)
        return self.last


def listen(destination: Destination) -> Listening:
    """Keep what the destination's vendor answers; before its first request, and of no destination that delivers."""
    settings = destination.context.settings
    return destination.context.shared(("http", destination.connection), lambda: Listening.of(settings))


def last_answer(heard: Listening, destination: Destination, more: Iterable[str] = ()) -> str:
    """The excerpt of the vendor's last answer, or ""; without the destination's secrets and what `more` names."""
    return excerpt(heard.last, [*_secrets(destination), *more]) if heard.last else ""


def _secrets(destination: Destination) -> Iterator[str]:
    for reference in secret_references(destination.settings).values():
        try:
            yield destination.context.secrets.read(reference)
        except SettingsError:
            continue  # what can't be read was not sent


def excerpt(answer: Answer, secrets: Iterable[str]) -> str:
    """Status and beginning of an answer, such as `401 {"error": "token expired"}`, on one line and redacted.

    Of an answer of success it is the text after the first name of an error, or "".
    """
    text = "" if b"\0" in answer.body else answer.body.decode(errors="replace")
    if answer.status < 300:
        error = _ERROR.search(text)
        if not error:
            return ""
        text = text[error.start() :]
    told = _redacted(_TAG.sub(" ", text), secrets)
    return f"{answer.status} {told or 'and nothing that can be shown'}"[:EXCERPT_CHARACTERS].rstrip()


def _redacted(text: str, secrets: Iterable[str]) -> str:
    """The text on one line, masked both as it stands and as it reads: JSON, HTML and URLs write characters in other ways."""
    masked = _masked(text, names := _pattern(secrets))
    try:
        return _masked(_decoded(masked), names)
    except ValueError:
        return ""  # a character reference of thousands of digits


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """Finds the secrets and their parts, the longest first, whatever blanks are in between."""
    known = set[str]()
    for secret in secrets:
        known |= {secret.strip()} | {part for part in re.split(r"[\s:;,=&]+", secret) if len(part) >= _SHORTEST_PART}
    words = sorted(known - {""}, key=len, reverse=True)
    return re.compile("|".join(r"\s+".join(map(re.escape, word.split())) for word in words) or r"(?!)", re.IGNORECASE)


def _masked(text: str, names: re.Pattern[str]) -> str:
    return _LONG.sub(_unless_words, _EMAIL.sub(MASK, names.sub(MASK, text)))


def _unless_words(found: re.Match[str]) -> str:
    """A long run is most likely a token, unless it reads as words: a vendor's code, a name, a path."""
    return found[0] if all(map(_WORD.fullmatch, re.split(r"[^A-Za-z0-9]", found[0]))) else MASK


def _decoded(text: str) -> str:
    """The text as it reads. What can't be printed becomes a blank, so that nothing joins what was apart."""
    plain = html.unescape(unquote(_ESCAPE.sub(_unescaped, text)))
    return " ".join("".join(character if character.isprintable() else " " for character in plain).split())


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return " " if found[2] in _ESCAPED_SPACE else found[2]
