"""The texts that a salesperson reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html import escape, unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leads.core.lead import Lead, Stage
from leads.destinations import text as words
from leads.destinations.base import OutgoingLead
from leads.destinations.follow_up import FollowUp, follow_up_of, is_hotter


def outgoing(stage: Stage = Stage.CONTACT_REQUESTED, /, **fields: str) -> OutgoingLead:
    received = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)
    return OutgoingLead("lead-1", Lead.model_validate(fields), "contoso.crm", "crm", stage, received)


def test_a_headline_says_what_was_done_about_which_offer() -> None:
    assert words.headline(outgoing(offer_title="Contoso CRM")) == "Contact requested: Contoso CRM"
    assert words.headline(outgoing(Stage.TRIAL)) == "Trial: contoso.crm"


def test_a_test_lead_is_marked() -> None:
    assert words.headline(outgoing(company="MSFT_TEST_636573304831318844")).startswith("[Test] ")


def test_a_story_holds_everything_that_the_lead_says() -> None:
    lead = {
        "first_name": "Siobhán",
        "last_name": "O'Neil",
        "email": "siobhan+crm@example.com",
        "phone": "16175555555",
        "company": "Example Works",
        "title": "Engineer",
        "country": "Ireland",
        "lead_source": "AzureMarketplace-PLT|contoso.crm",
        "description": "Please call.\nBefore noon.",
    }
    told = words.summary(outgoing(**lead))
    for value in lead.values():
        assert value in told
    assert "Received: 2026-01-31 23:59 UTC" in told
    assert "Lead: lead-1" in told
    assert told.endswith("\n\nPlease call.\nBefore noon.")


def test_a_story_holds_campaign_parameters_and_unknown_fields() -> None:
    lead = Lead(description='{"mktcmpid": "spring"}', extra={"Budget": "5"}, customer_extra={"City": "Cork"})
    told = words.summary(replace(outgoing(), lead=lead))
    assert {"Campaign mktcmpid: spring", "Budget: 5", "City: Cork"} <= set(told.splitlines())


@pytest.mark.parametrize(
    ("fields", "company"),
    [
        ({"company": "Example Works", "email": "a@example.com"}, "Example Works"),
        ({"email": "a@Example.COM"}, "example.com"),
        ({"email": "a+b@sales.example.com"}, "sales.example.com"),
        ({"email": "a@gmail.com"}, words.NOT_PROVIDED),
        ({"email": "a@outlook.com"}, words.NOT_PROVIDED),
        ({"email": "no address"}, words.NOT_PROVIDED),
        ({}, words.NOT_PROVIDED),
    ],
)
def test_a_missing_company_is_the_domain_unless_it_is_a_free_mail_providers(
    fields: dict[str, str], company: str
) -> None:
    assert words.company(Lead.model_validate(fields)) == company


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("USA", "United States"),
        ("uk", "United Kingdom"),
        ("Deutschland", "Germany"),
        ("South Korea", "Korea, Republic of"),
        ("Atlantis", ""),
        ("", ""),
    ],
)
def test_a_country_has_the_name_that_picklists_of_countries_have(sent: str, name: str) -> None:
    assert words.country_name(Lead(country=sent)) == name


def test_a_missing_last_name_is_a_visible_placeholder() -> None:
    assert words.last_name(Lead()) == "(not provided)"
    assert words.last_name(Lead(last_name="O'Neil")) == "O'Neil"


@given(st.text(), st.integers(1, 60))
def test_a_cut_text_fits_in_utf_16_and_begins_like_the_whole(text: str, limit: int) -> None:
    shortened = words.truncate(text, limit)
    assert len(shortened.encode("utf-16-le", "surrogatepass")) // 2 <= limit
    assert shortened == text or (shortened.endswith("…") and text.startswith(shortened[:-1]))


def test_fields_are_cut_but_for_those_that_would_be_wrong_then() -> None:
    fields = {"name": "Ada Lovelace", "phone": "1617", "mail": "ada@example.com", "score": 12345, "free": "x" * 99}
    lengths = {"name": 4, "phone": 4, "mail": 4, "score": 4}
    fit_fields = words.fit_fields(fields, lengths, {"phone", "mail"})
    assert fit_fields == {"name": "Ada…", "phone": "1617", "score": 12345, "free": "x" * 99}


@given(st.text(), st.integers(2, 9))
def test_a_text_in_pieces_is_whole_and_each_piece_fits_in_utf_16(text: str, limit: int) -> None:
    found = words.chunk(text, limit)
    assert "".join(found) == text
    for piece in found:
        assert len(piece.encode("utf-16-le", "surrogatepass")) // 2 <= limit
    assert len(found) == 1 or all(found)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(3, 60))
def test_a_text_that_is_cut_to_bytes_fits_and_begins_like_the_whole(text: str, limit: int) -> None:
    shortened = words.truncate_bytes(text, limit)
    assert len(shortened.encode()) <= limit
    assert shortened == text or (shortened.endswith("…") and text.startswith(shortened[:-1]))


def test_ratings_rise_and_never_fall() -> None:
    assert is_hotter("hot", "warm") and is_hotter("warm", "cold") and is_hotter("cold", "")
    assert not is_hotter("warm", "hot") and not is_hotter("warm", "warm")


def test_a_stage_without_a_configured_rating_gets_the_usual_rating() -> None:
    def wanted(**values: str) -> FollowUp:
        return FollowUp.model_validate(values)

    configured = {Stage.PURCHASE: wanted(rating="cold"), Stage.TRIAL: wanted(owner="team:x")}
    assert follow_up_of(Stage.PURCHASE, configured).rating == "cold"
    assert follow_up_of(Stage.TRIAL, configured) == wanted(owner="team:x", rating="warm")
    assert follow_up_of(Stage.CONTACT_REQUESTED, configured).rating == "hot"
    assert follow_up_of(Stage.UNKNOWN, configured).rating is None


@example("&<>\n" * 9 + "🏢" * 9, 10)
@given(st.text(max_size=60), st.integers(10, 40))
def test_pieces_of_html_hold_the_whole_text_and_split_no_part(text: str, limit: int) -> None:
    chunk = words.chunk_html(text, limit)
    assert all(len(piece.encode("utf-16-le")) <= 2 * limit for piece in chunk)
    shown = [unescape(piece.replace("<br>\n", "\n")) for piece in chunk]
    assert "".join(shown) == text
    assert [escape(part, quote=False).replace("\n", "<br>\n") for part in shown] == chunk
