"""Shows a vendor's answer to a refused request as one short, redacted line for a person at the shell.

An answer can repeat secrets and personal data. The line is neither stored, logged nor sent over HTTP.
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
"""The least number of characters of a secret's part, such as the part after `Bearer `, that is masked."""

_TAG: Final = re.compile(r"<[^<>]*>")
_ERROR: Final = re.compile(r'"(?:errors?|errorCode|message)"\s*:')
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED_SPACE: Final = frozenset("bfnrt")
_LOCAL_PART: Final = r"\w.!#$%&'*+/=?^`{|}~-"
_EMAIL: Final = re.compile(rf'(?:"[^"]*"|(?<![{_LOCAL_PART}])[{_LOCAL_PART}]+|)@[\w.\[\]:@-]*')
_LONG: Final = re.compile(r"[A-Za-z0-9+/=_~-]{20,}")
_WORD: Final = re.compile(r"[a-z]{0,20}|[A-Z]{1,20}|[A-Z]?[a-z]{2,20}(?:[A-Z][a-z]{2,20})*")


class RecordingClient(HttpClient):
    """An HTTP client that keeps the last answer, for a destination that only one person uses."""

    last: Answer | None = None

    def request(self, method: str, url: str, **options: Any) -> Answer:
        self.last = None  # a request without an answer leaves none
        self.last = super().request(method, url, **options)
        return self.last


def record_answers(destination: Destination) -> RecordingClient:
    """Make the destination keep its vendor's last answer. Call it before the first request, and not in a delivery."""
    settings = destination.context.settings
    return destination.context.shared(("http", destination.connection), lambda: RecordingClient.of(settings))


def last_answer(recorded: RecordingClient, destination: Destination, more: Iterable[str] = ()) -> str:
    """The excerpt of the vendor's last answer, "" without an answer. Masks the destination's secrets and the texts in `more`."""
    return excerpt(recorded.last, [*_secrets(destination), *more]) if recorded.last else ""


def _secrets(destination: Destination) -> Iterator[str]:
    for reference in secret_references(destination.settings).values():
        try:
            yield destination.context.secrets.read(reference)
        except SettingsError:
            continue  # a secret that can't be read was not sent


def excerpt(answer: Answer, secrets: Iterable[str]) -> str:
    """Status and beginning of an answer, such as `401 {"error": "token expired"}`, on one redacted line.

    For a successful status, the text begins at the first JSON name of an error. Without such a name, the result is "".
    """
    text = "" if b"\0" in answer.body else answer.body.decode(errors="replace")
    if answer.status < 300:
        error = _ERROR.search(text)
        if not error:
            return ""
        text = text[error.start() :]
    shown = _redacted(_TAG.sub(" ", text), secrets)
    return f"{answer.status} {shown or '(no text that can be shown)'}"[:EXCERPT_CHARACTERS].rstrip()


def _redacted(text: str, secrets: Iterable[str]) -> str:
    """The text on one line, masked before and after its JSON, HTML and URL escapes are decoded."""
    masked = _masked(text, names := _pattern(secrets))
    try:
        return _masked(_decoded(masked), names)
    except ValueError:
        return ""  # a character reference of thousands of digits


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """Finds the secrets and their parts, the longest first, with any blanks between their words."""
    known = set[str]()
    for secret in secrets:
        known |= {secret.strip()} | {part for part in re.split(r"[\s:;,=&]+", secret) if len(part) >= _SHORTEST_PART}
    words = sorted(known - {""}, key=len, reverse=True)
    return re.compile("|".join(r"\s+".join(map(re.escape, word.split())) for word in words) or r"(?!)", re.IGNORECASE)


def _masked(text: str, names: re.Pattern[str]) -> str:
    return _LONG.sub(_unless_words, _EMAIL.sub(MASK, names.sub(MASK, text)))


def _unless_words(found: re.Match[str]) -> str:
    """Masks a long run, which is most likely a token. A run of words stays: a vendor's code, a name, a path."""
    return found[0] if all(map(_WORD.fullmatch, re.split(r"[^A-Za-z0-9]", found[0]))) else MASK


def _decoded(text: str) -> str:
    """The text with its escapes decoded. A character that can't be printed becomes a blank, which keeps words separate."""
    plain = html.unescape(unquote(_ESCAPE.sub(_unescaped, text)))
    return " ".join("".join(character if character.isprintable() else " " for character in plain).split())


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return " " if found[2] in _ESCAPED_SPACE else found[2]
