"""An e-mail address is found in every encoding, and other addresses are not."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest

from leads.core.identity import customer_hash, customer_identity
from leads.core.lead import Lead
from leads.privacy.email_matcher import EmailMatcher

EMAIL = "ada+crm@example.com"
ADA = EmailMatcher.parse(f" {EMAIL.upper()}\n")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        EMAIL,
        f"<{EMAIL.title()}>.",
        f"\n{EMAIL}\n",
        json.dumps({"a": f"\n{EMAIL}"}),
        json.dumps(json.dumps({"é": f"\t{EMAIL}"})),
        EMAIL.replace("@", "\\u0040").replace("+", "\\u002B"),
        f"a=1&Email=%20{quote(EMAIL, safe='')}&b=2",
        *(b64(f"{'x' * (n - 1)} {EMAIL}" if n else EMAIL) for n in range(5)),
        b64(json.dumps({"a": f"\n{EMAIL}"}).replace("@", "\\u0040")),
        "data:text/plain;base64," + b64(f"so {EMAIL}"),
        "QQ" + b64(EMAIL),
        base64.urlsafe_b64encode(f"ÿÿÿ> {EMAIL}".encode()).decode(),
    ],
)
def test_it_is_found(text: str) -> None:
    assert ADA.matches(text)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert ADA.matches_body(text.encode(encoding))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nada+crm@example.com",
        "x.ada+crm@example.com",
        f"{EMAIL}.au",
        f"{EMAIL}pany",
        "crm@example.com",
        "ada@example.com",
    ],
)
def test_another_address_is_not_it(text: str) -> None:
    assert not ADA.matches(text)
    assert not ADA.matches(b64(f" {text} "))


@pytest.mark.parametrize("text", ["", "ada", "@", "@@@", "a\x00@b", "x" * 320 + "@b"])
def test_what_is_no_address_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an e-mail address$"):
        EmailMatcher.parse(text)


def test_the_customer_is_the_one_that_their_leads_have() -> None:
    assert ADA.customer == customer_hash(customer_identity(Lead(email=EMAIL.upper()), "any"))


def test_a_lead_whose_field_holds_it_among_other_text_is_their_own() -> None:
    assert ADA.owns(Lead(email=f"Ada <{EMAIL}>"), "any")
    assert not ADA.owns(Lead(email="bob@example.com", description=EMAIL), "any")


@pytest.mark.parametrize(
    "lead",
    [
        Lead(description=f"ask {EMAIL.upper()} or carl@example.com"),
        Lead(extra={EMAIL: "1"}),
        Lead(customer_extra={"cc": quote(EMAIL)}),
        Lead(original=b64(f"ask {EMAIL}")),
    ],
)
def test_a_lead_can_mention_it_in_any_field(lead: Lead) -> None:
    assert ADA.matches_lead(lead)
    assert not ADA.owns(lead, "any")


def test_a_body_that_was_made_to_be_slow_is_read_in_time() -> None:
    """A quarter of a megabyte takes milliseconds. Trying each backslash would take an hour."""
    assert not ADA.matches_body(b"\\" * 256 * 1024)
    assert ADA.matches_body(b"\\" * 256 * 1024 + EMAIL.replace("@", "\\u0040").encode())
