"""Notices: the posts to chats and programs, in their formats."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.offers.model import NoticeFormat
from leads.watch.notifications import LINES_AT_MOST, Line, Notice, body, format_of

FORMATS: tuple[NoticeFormat, ...] = ("teams", "slack", "json")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.slack.com/services/T/B/x", "slack"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x/triggers/manual/paths/invoke?sig=y", "teams"),
        ("https://default0.1f.environment.api.powerplatform.com/powerautomate/automations/direct/x", "teams"),
        ("https://contoso.webhook.office.com/webhookb2/x", "teams"),
        ("https://alarms.example.com/leads", "json"),
        ("https://hooks.slack.com.example.com/x", "json"),
    ],
)
def test_the_format_follows_from_the_address(url: str, expected: str) -> None:
    assert format_of(url) == expected


def test_teams_gets_an_adaptive_card_with_a_block_for_each_line() -> None:
    message = body(Notice("Two leads", [Line("one"), Line("two", "https://crm.example.com/a?b=1&c=2")], {}), "teams")
    (attachment,) = message["attachments"]
    assert message["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard"
    assert [block["text"] for block in attachment["content"]["body"]] == [
        "Two leads",
        "one",
        "two – [open the record](https://crm.example.com/a?b=1&c=2)",
    ]


def test_slack_gets_a_text_in_which_its_own_marks_are_escaped() -> None:
    lines = [Line("<!channel> hello"), Line("lead", "https://crm.example.com/a?b=1&c=2")]
    assert body(Notice("A & B", lines, {}), "slack")["text"].splitlines() == [
        "*A &amp; B*",
        "&lt;!channel&gt; hello",
        "lead – <https://crm.example.com/a?b=1&amp;c=2|open the record>",
    ]


def test_a_program_gets_the_data() -> None:
    assert body(Notice("t", [Line("line")], {"type": "alarms", "alarms": [1]}), "json") == {
        "title": "t",
        "type": "alarms",
        "alarms": [1],
    }


@pytest.mark.parametrize("kind", ["teams", "slack"])
def test_what_is_too_much_for_a_card_is_counted(kind: NoticeFormat) -> None:
    shown = json.dumps(body(Notice("t", [Line("x" * 5000)] * (LINES_AT_MOST + 7), {}), kind))
    assert "and 7 more" in shown
    assert len(shown) < 28_000


@given(st.text(), st.lists(st.text(), max_size=40), st.sampled_from(FORMATS))
def test_any_text_makes_json(title: str, lines: list[str], kind: NoticeFormat) -> None:
    assert json.loads(json.dumps(body(Notice(title, [Line(line) for line in lines], {}), kind)))


@given(st.text(alphabet="[]()*_#`<>!|\\ab", min_size=1))
def test_a_customers_text_is_no_markdown(text: str) -> None:
    block = body(Notice("t", [Line(text)], {}), "teams")["attachments"][0]["content"]["body"][1]["text"]
    assert block.replace("\\\\", "").count("\\") == sum(text.count(mark) for mark in "[]()*_#`<>!|")
