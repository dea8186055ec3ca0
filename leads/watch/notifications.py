"""Posts notices to webhooks of chats and programs: alarms and announcements.

Formats: Microsoft Learn, "Create incoming webhooks with Workflows for Microsoft Teams" (a message with an Adaptive Card); Slack,
"Sending messages using incoming webhooks"; a plain JSON object for other webhooks. Links: Microsoft Learn, "Text features"
(Adaptive Cards); Slack, "Formatting text for app surfaces".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from leads.destinations.http import HttpClient, NoAnswer
from leads.offers.model import NoticeFormat
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings, SettingsError

LINES_AT_MOST: Final = 25
"""Most lines of a notice, because a Teams card holds 28 KB. Further lines are only counted."""
_LINE_CHARACTERS: Final = 500
_LOOK: Final = "open the record"
_TEAMS_HOSTS: Final = (".logic.azure.com", ".powerplatform.com", ".webhook.office.com", ".powerautomate.com")
_SLACK_HOSTS: Final = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text and its link, "" = no link."""

    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A title and lines for people, and the same content as data for a program."""

    title: str
    lines: Sequence[Line]
    data: Mapping[str, Any]


def format_of(url: str) -> NoticeFormat:
    """The format that the host of an address expects."""
    host = urlsplit(url).hostname or ""
    if host in _SLACK_HOSTS:
        return "slack"
    return "teams" if host.endswith(_TEAMS_HOSTS) else "json"


def body(notice: Notice, kind: NoticeFormat) -> dict[str, Any]:
    """The JSON of a notice in a format."""
    if kind == "json":
        return {"title": notice.title, **notice.data}
    lines = [Line(line.text[:_LINE_CHARACTERS], line.link) for line in notice.lines[:LINES_AT_MOST]]
    if left_out := len(notice.lines) - len(lines):
        lines.append(Line(f"and {left_out} more"))
    if kind == "slack":
        return {"text": "\n".join([f"*{_slack_text(notice.title)}*", *map(_slack_line, lines)])}
    blocks = [{"type": "TextBlock", "text": notice.title, "weight": "Bolder", "wrap": True}]
    blocks += [{"type": "TextBlock", "text": _teams_line(line), "wrap": True, "spacing": "Small"} for line in lines]
    card = {"$schema": _CARD_SCHEMA, "type": "AdaptiveCard", "version": "1.4", "body": blocks}
    return {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }


_CARD_SCHEMA: Final = "http://adaptivecards.io/schemas/adaptive-card.json"


def _slack_line(line: Line) -> str:
    text = _slack_text(line.text)
    return f"{text} – <{_slack_text(line.link)}|{_LOOK}>" if line.link else text


def _teams_line(line: Line) -> str:
    text = _teams_text(line.text)
    return f"{text} – [{_LOOK}]({line.link})" if line.link else text


def _slack_text(text: str) -> str:
    """Escape `&`, `<` and `>`, which are control characters (Slack, "Formatting text for app surfaces")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams_text(text: str) -> str:
    """Escape Markdown, which text blocks interpret: a customer's text must not become a link or a list."""
    return "".join("\\" + character if character in "\\`*_[]()#+!|~<>" else character for character in text)


def post(settings: Settings, secrets: Secrets, reference: str, notice: Notice, kind: NoticeFormat | None = None) -> str:
    """Post a notice to the webhook of a secret reference. Returns "" or why it failed, without the address."""
    try:
        url = secrets.read(reference)
    except SettingsError as error:
        return str(error)
    if not url.startswith("https://"):
        return f"{reference} does not hold an address that begins with https://"
    headers = {"Content-Type": "application/json"}
    text = json.dumps(body(notice, kind or format_of(url)))
    try:
        answer = HttpClient.of(settings).request("POST", url, headers=headers, body=text, read_seconds=20)
    except NoAnswer as error:
        return error.failure.value
    return "" if 200 <= answer.status < 300 else str(answer.status)
