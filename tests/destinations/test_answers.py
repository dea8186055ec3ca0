"""The excerpt of an endpoint's answer shows the refusal, and no secret or personal data that the answer repeats."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from string import ascii_letters, digits
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.destinations.answers import EXCERPT_CHARACTERS, excerpt
from leads.destinations.http import Answer

WAYS: dict[str, Callable[[str], str]] = {
    "as it stands": str,
    "in JSON": json.dumps,
    "in an address": quote,
    "in HTML": html.escape,
}
secrets = st.text(ascii_letters + digits + "\\/%&+<>\"' .-é", min_size=8, max_size=60).filter(
    lambda text: text.strip() == text
)


def told(body: str | bytes, *known: str, status: int = 401) -> str:
    return excerpt(Answer(status, {}, body.encode() if isinstance(body, str) else body), known)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"error":"token expired"}', '401 {"error":"token expired"}'),
        ("<html><title>Unauthorized</title>\n<p>No&nbsp;entry</p></html>", "401 Unauthorized No entry"),
        ('[{"message":"no right","errorCode":"INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"}]', None),
        ("AuthorizationPermissionMismatch at /services/data/sobjects/Lead", None),
        ("", "401 (no text that can be shown)"),
        ("for ada@example.com, o'neil+x@example.com and ada%40example.com", "401 for ***, *** and ***"),
        ("key 0123456789abcdefABCDEF and eyJ0eXAiOiJKV1QifQaaaa.eyJzdWIiOiIxMjM0NQaaaa", "401 key *** and ***.***"),
        ("a\x1b[31mred\r\nline\u202e", "401 a [31mred line"),
        ("Bearer s3cret is no s3cret; S3CRET", "401 *** is no ***; ***"),
    ],
)
def test_a_refusal_is_shown_in_one_redacted_line(body: str, shown: str | None) -> None:
    assert told(body, "Bearer s3cret") == (shown or f"401 {body}")


def test_an_answer_that_cannot_be_read_as_text_is_only_a_status() -> None:
    for body in ("s3cret-one".encode("utf-16"), b"&#" + rb"\u0039" * 5000 + b";"):
        assert told(body, "s3cret-one") == "401 (no text that can be shown)"


def test_only_the_error_in_a_successful_answer_is_shown() -> None:
    assert told('{"value":[{"name":"Ada"}]}', status=200) == ""
    assert told('{"success":false,"errors":[{"code":"610"}]}', status=200) == '200 "errors":[{"code":"610"}]}'


@given(secrets, st.sampled_from(sorted(WAYS)), st.text(max_size=300), st.text(max_size=300))
@example("a\\nb 100%25", "as it stands", "", "")
@example("DOMAIN\\user name", "in JSON", "x\\", "")
def test_no_secret_is_shown_whatever_way_it_is_written(secret: str, way: str, before: str, behind: str) -> None:
    shown = told(f"{before} {WAYS[way](secret)} {behind}", secret)
    assert secret.casefold() not in shown.casefold()
    assert len(shown) <= EXCERPT_CHARACTERS
    assert shown.isprintable()


@given(st.emails(), st.sampled_from(sorted(WAYS)), st.text(max_size=100))
def test_no_email_address_is_shown(email: str, way: str, before: str) -> None:
    shown = told(f"{before} {WAYS[way](email)} is known")
    assert email not in shown
    assert "@" not in shown
    assert len(shown) <= EXCERPT_CHARACTERS


@given(st.binary(max_size=3000), st.integers(100, 599))
def test_any_bytes_give_one_short_line(body: bytes, status: int) -> None:
    shown = told(body, status=status)
    assert len(shown) <= EXCERPT_CHARACTERS
    assert shown.isprintable()
