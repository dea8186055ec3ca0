"""A lead's source, action, stage, country, customer and fingerprint; and lead ids."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from leads.core.identity import (
    complement,
    customer_hash,
    customer_identity,
    fingerprint,
    is_lead_id,
    new_lead_id,
    partition_of,
    received_at_of,
)
from leads.core.lead import Lead, Source, Stage, stage_of
from leads.core.lead_parsing import parse_body

SAMPLES = Path(__file__).parents[2] / "samples"
NOW = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
MARK = "MSFT_TEST_636573304831318844"

texts = st.text(max_size=12)
leads = st.builds(
    Lead,
    first_name=st.just("") | texts,
    phone=st.just("") | texts,
    company=texts,
    email=st.just("") | st.emails() | texts,
)
times = st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def sample(name: str) -> Lead:
    (path,) = SAMPLES.glob(f"[0-9][0-9]-{name}.json")
    return parse_body(path.read_bytes())


def test_a_lead_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Lead().email = "a@example.com"


# --- Source, action, offer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("", Source()),
        ("AzureMarketplace", Source("AzureMarketplace")),
        ("AzureMarketplace-INS", Source("AzureMarketplace", "INS")),
        ("SPZA-PLT|contoso.crm", Source("SPZA", "PLT", "contoso.crm", "contoso", "crm")),
        (" SPZA - PLT |  contoso.crm ", Source("SPZA", "PLT", "contoso.crm", "contoso", "crm")),
        ("SPZA|contoso.crm", Source("SPZA", "", "contoso.crm", "contoso", "crm")),
        ("|contoso.crm", Source("", "", "contoso.crm", "contoso", "crm")),
        ("SPZA-PLT|", Source("SPZA", "PLT")),
        ("-|-", Source("", "", "-", "", "-")),
        (
            "AzurePortal-Create|docusign.3701c77e-1cfa-4c56-91e6-3ed0b622145a",
            Source(
                "AzurePortal",
                "Create",
                "docusign.3701c77e-1cfa-4c56-91e6-3ed0b622145a",
                "docusign",
                "3701c77e-1cfa-4c56-91e6-3ed0b622145a",
            ),
        ),
        ("A-B-C|d|e-f.g.h", Source("A", "B-C", "d|e-f.g.h", "d|e-f", "g.h")),
        ("SPZA-INS|Contoso CRM", Source("SPZA", "INS", "Contoso CRM", "", "Contoso CRM")),
        ("SPZA-INS|Contoso CRM 2.0", Source("SPZA", "INS", "Contoso CRM 2.0", "", "Contoso CRM 2.0")),
        ("SPZA-INS|.crm", Source("SPZA", "INS", ".crm", "", ".crm")),
        (f"{MARK}-{MARK}|<Offer Name>", Source(MARK, MARK, "<Offer Name>", "", "<Offer Name>")),
        ("Test run through MS Flow", Source("Test run through MS Flow")),
    ],
)
def test_lead_source_grammar(text: str, source: Source) -> None:
    assert Source.parse(text) == source


@given(st.text(st.sampled_from("a -|.\n\u00a0")))
def test_any_text_is_a_source_with_stripped_parts(text: str) -> None:
    parts = Source.parse(text)
    for part in (parts.source, parts.action, parts.offer_part, parts.publisher, parts.offer):
        assert part == part.strip()


@pytest.mark.parametrize(
    ("sent", "source"),
    [
        ("AzureMarketplace", "AzureMarketplace"),
        ("azureportal-Create", "AzurePortal"),
        ("TESTDRIVE", "TestDrive"),
        ("SPZA", "SPZA"),
        ("AppSource (SPZA)-INS", "SPZA"),
        ("AppSource", "SPZA"),
        ("Our Own Fair", "Our Own Fair"),
        ("", ""),
    ],
)
def test_known_sources_have_one_spelling(sent: str, source: str) -> None:
    assert Lead(lead_source=sent).source == source


def test_action_code_wins_over_the_action_in_lead_source_and_both_stay() -> None:
    lead = sample("action-contradicts-source")
    assert (lead.action, lead.action_code, lead.lead_source) == (
        "Create",
        "Create",
        "AzureMarketplace-INS|contoso.crm",
    )


def test_action_comes_from_lead_source_where_there_is_no_code() -> None:
    assert sample("connector-object").action == "Create"
    assert sample("no-action-code").action == ""


def test_offer_part_and_publisher() -> None:
    assert sample("spaces-around-parts").offer_part == "contoso.crm"
    assert sample("spaces-around-parts").publisher == "contoso"
    assert sample("display-name-as-offer").offer_part == "Contoso CRM"
    assert sample("display-name-as-offer").publisher == ""
    assert sample("table-row").publisher == "contoso"
    assert sample("odd-offer-name").offer_part == "Contoso - the .NET/CRM \\ #1? 100% | EU"


@pytest.mark.parametrize(
    ("action", "stage"),
    [
        ("INS", "initial_interest"),
        ("PLT", "contact_requested"),
        ("Create", "purchase"),
        ("StartTestDrive", "trial"),
        ("DNC", "cross_listed"),
        ("Subscribe", "unknown"),
        ("", "unknown"),
    ],
)
def test_stage_of_each_action_in_any_case(action: str, stage: str) -> None:
    assert stage_of(action) == stage_of(action.upper()) == stage_of(action.lower()) == stage


def test_an_offer_can_override_a_stage() -> None:
    overrides = {"ins": "purchase", "Subscribe": "purchase"}
    assert stage_of("INS", overrides) is Stage.PURCHASE
    assert stage_of("subscribe", overrides) is Stage.PURCHASE
    assert stage_of("PLT", overrides) is Stage.CONTACT_REQUESTED


def test_override_with_a_stage_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="hot"):
        stage_of("INS", {"INS": "hot"})


# --- Test leads, description ------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["first_name", "last_name", "email", "company", "description", "lead_source"])
def test_microsofts_mark_makes_a_test_lead(field: str) -> None:
    assert Lead.from_wire({field: f"{MARK}@test.com"}).is_test


@pytest.mark.parametrize("text", ["MSFT_TEST_", "MSFT_TEST_123", "someone@test.com", "a test"])
def test_other_leads_are_no_test_leads(text: str) -> None:
    assert not Lead(first_name=text, email=text, description=text).is_test


def test_only_the_test_lead_among_the_samples_is_one() -> None:
    expected = json.loads((SAMPLES / "expected.json").read_text("utf-8"))
    names = [name for name in expected if expected[name]["status"] == 202]
    assert [name for name in names if parse_body((SAMPLES / name).read_bytes()).is_test] == ["02-test-lead.json"]


def test_campaign_parameters_in_the_description() -> None:
    lead = sample("campaign-parameters")
    assert lead.campaign == {"mktcmpid": "spring-fair", "partnerid": "98765"}
    assert lead.note == ""
    assert lead.description == '{"mktcmpid": "spring-fair", "partnerid": "98765"}'


@pytest.mark.parametrize(
    ("description", "campaign"),
    [
        (
            '{"n": 1.0, "b": true, "x": null, "l": ["a"], " k ": " v "}',
            {"n": "1.0", "b": "true", "l": '["a"]', "k": "v"},
        ),
        ("{not json", {}),
        ('["mktcmpid"]', {}),
        ("{} and a note", {}),
        ("", {}),
    ],
)
def test_campaign_is_text_by_name(description: str, campaign: dict[str, str]) -> None:
    assert Lead(description=description).campaign == campaign


@pytest.mark.parametrize("note", ["Please call.", "Campaigns: spring fair", "{} is our logo", "[1]"])
def test_customers_words_are_the_note(note: str) -> None:
    assert Lead(description=note).note == note


@pytest.mark.parametrize("description", ["", "Campaigns:", "campaigns", MARK, '{"mktcmpid": "1"}'])
def test_placeholders_are_no_note(description: str) -> None:
    assert Lead(description=description).note == ""


@given(st.text(max_size=30) | st.dictionaries(st.text(), st.text()).map(json.dumps))
def test_any_description_is_a_note_or_parameters_or_neither(description: str) -> None:
    lead = Lead(description=description)
    assert lead.note in ("", description)
    assert not (lead.note and lead.campaign)


# --- Country ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("country", "code"),
    [
        ("US", "US"),
        ("usa", "US"),
        ("U.S.A.", "US"),
        ("United States", "US"),
        ("The United States of America", "US"),
        ("840", "US"),
        ("UK", "GB"),
        ("Great Britain", "GB"),
        ("England", "GB"),
        ("Korea", "KR"),
        ("Nauru", "NR"),
        ("Republic of Korea", "KR"),
        ("Korea, Republic of", "KR"),
        ("North Korea", "KP"),
        ("Viet Nam", "VN"),
        ("Vietnam", "VN"),
        ("Türkiye", "TR"),
        ("Turkey", "TR"),
        ("Czech Republic", "CZ"),
        ("Czechia", "CZ"),
        ("Russia", "RU"),
        ("Côte d’Ivoire", "CI"),
        ("cote d'ivoire", "CI"),
        ("Deutschland", "DE"),
        ("The Netherlands", "NL"),
        ("Hong Kong SAR", "HK"),
        ("Taiwan", "TW"),
        ("UAE", "AE"),
        ("Georgia", "GE"),
        ("Congo", "CG"),
        ("", ""),
        ("n/a", ""),
        ("N.A.", ""),
        ("U.K.", "GB"),
        ("Unknown", ""),
        ("Europe", ""),
        ("XX", ""),
        ("🇺🇸", ""),
    ],
)
def test_country_code(country: str, code: str) -> None:
    assert Lead(country=country).country_code == code


def test_every_code_and_name_of_the_standard_is_known() -> None:
    from iso3166 import countries

    for country in countries:
        for name in (country.alpha2, country.alpha3, country.name, country.apolitical_name):
            assert Lead(country=name.lower()).country_code == country.alpha2


@given(st.text())
def test_any_text_is_a_country_or_none(text: str) -> None:
    assert re.fullmatch("[A-Z]{2}|", Lead(country=text).country_code)


def test_long_text_is_no_country() -> None:
    assert Lead(country="United States" + " " * 100).country_code == ""


# --- Redelivery -------------------------------------------------------------------------------------

LEAD = Lead(
    first_name="Some",
    last_name="Oné",
    email="some.one@example.com",
    phone="+1 (202) 555-0123",
    country="USA",
    company="Contoso",
    lead_source="AzureMarketplace-INS|contoso.crm",
    description="Please call.",
    extra={"a": "1", "b": "2"},
)


def changed(**fields: Any) -> Lead:
    return LEAD.model_copy(update=fields)


@pytest.mark.parametrize(
    "same",
    [
        changed(first_name="  SOME "),
        changed(last_name="One\u0301"),
        changed(email="Some.One@Example.com"),
        changed(phone="12025550123"),
        changed(country="United States"),
        changed(lead_source=" AzureMarketplace - INS | contoso.crm"),
        changed(lead_source="AzureMarketplace|contoso.crm", action_code="ins"),
        changed(description="please  call.\n"),
        changed(extra={"b": "2", "a": "1"}),
        changed(created_time="11/15/2025 20:02:52"),
        changed(original="AAAA"),
    ],
)
def test_same_lead_sent_again_has_the_same_fingerprint(same: Lead) -> None:
    assert fingerprint(same, "contoso.crm") == fingerprint(LEAD, "Contoso.CRM")


@pytest.mark.parametrize(
    "other",
    [
        changed(first_name="Sam"),
        changed(last_name="One"),
        changed(email="some.one+2@example.com"),
        changed(phone="12025550124"),
        changed(phone=""),
        changed(country="Canada"),
        changed(company="Fabrikam"),
        changed(title="Buyer"),
        changed(lead_source="AzurePortal-INS|contoso.crm"),
        changed(lead_source="AzureMarketplace-INS|contoso.erp"),
        changed(action_code="PLT"),
        changed(description="Please call again."),
        changed(product_id="contoso.erp"),
        changed(offer_title="Contoso ERP"),
        changed(extra={"a": "1"}),
        changed(extra={}, customer_extra={"a": "1", "b": "2"}),
        # The same words in other fields are a different lead.
        changed(first_name="Some Oné", last_name=""),
    ],
)
def test_another_lead_has_another_fingerprint(other: Lead) -> None:
    assert fingerprint(other, "contoso.crm") != fingerprint(LEAD, "contoso.crm")


def test_phone_without_digits_counts_as_text() -> None:
    prints = {fingerprint(changed(phone=phone), "contoso.crm") for phone in ("", "on request", "reception")}
    assert len(prints) == 3


def test_another_offer_has_another_fingerprint() -> None:
    assert fingerprint(LEAD, "contoso.crm") != fingerprint(LEAD, "contoso.erp")


@given(leads)
def test_fingerprint_is_32_hex_digits(lead: Lead) -> None:
    assert re.fullmatch("[0-9a-f]{32}", fingerprint(lead, "contoso.crm"))


# --- Customer ---------------------------------------------------------------------------------------

ID = "20260131235959999-0123456789ab-c"


def test_email_is_the_customer() -> None:
    lead = Lead(email="Some.One+Azure@Example.com", first_name="Some")
    assert customer_identity(lead, ID) == "email:some.one+azure@example.com"


@pytest.mark.parametrize("lead", [Lead(first_name="Some"), Lead(last_name="One"), Lead(phone="1")])
def test_without_an_email_the_lead_itself_tells_the_customer(lead: Lead) -> None:
    assert customer_identity(lead, ID) == customer_identity(lead, ID.replace("2026", "2027"))
    assert customer_identity(lead, ID) == f"print:{fingerprint(lead, '')}"


def test_leads_without_personal_data_never_merge() -> None:
    lead = sample("edu-without-person")
    assert customer_identity(lead, ID) == "lead:20260131235959999-0123456789ab"


@pytest.mark.parametrize("email", ["n/a", "none", "-", "@", "@example.com", "someone@"])
def test_text_that_is_no_address_makes_no_two_strangers_one(email: str) -> None:
    strangers = [Lead(email=email, first_name=name) for name in ("Avery", "Blake")]
    assert len({customer_identity(lead, ID) for lead in strangers}) == 2


@given(st.text())
def test_customer_hash_is_32_hex_digits_without_personal_data(identity: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", customer_hash(identity))


def test_customer_hash_is_stable_because_rows_are_stored_under_it() -> None:
    assert customer_hash("email:some.one@example.com") == "d6397d911545f6abd81eb6998cad3eb9"
    assert fingerprint(LEAD, "contoso.crm") == "d002aff88ff37171363d02f2943f34b1"


# --- Lead ids ---------------------------------------------------------------------------------------


def test_lead_id_shows_its_time_in_utc() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    for now in (NOW, east):
        assert re.fullmatch("20260131235959999-[0-9a-f]{12}-[0-9a-f]", new_lead_id(now, Lead()))


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        new_lead_id(NOW.replace(tzinfo=None), Lead())


def test_lead_ids_differ_within_one_millisecond() -> None:
    assert len({new_lead_id(NOW, LEAD) for _ in range(1_000)}) == 1_000


@given(times, leads)
def test_partition_is_the_first_digit_of_the_customers_hash(now: datetime, lead: Lead) -> None:
    lead_id = new_lead_id(now, lead)
    assert is_lead_id(lead_id)
    assert partition_of(lead_id) == customer_hash(customer_identity(lead, lead_id))[0]


@given(times, leads)
def test_lead_id_tells_when_the_lead_came_in(now: datetime, lead: Lead) -> None:
    received = received_at_of(new_lead_id(now, lead))
    assert received == now.replace(microsecond=now.microsecond // 1000 * 1000)
    assert received.tzinfo == UTC


@given(st.lists(times, min_size=2, max_size=8, unique_by=lambda time: int(time.timestamp() * 1000)))
def test_complemented_lead_ids_sort_newest_first(moments: list[datetime]) -> None:
    ids = [new_lead_id(now, Lead()) for now in moments]
    newest_first = [complement(row) for row in sorted(map(complement, ids))]
    received = [received_at_of(lead_id) for lead_id in newest_first]
    assert received == sorted(received, reverse=True)


@given(st.from_regex(r"[0-9]{17}-[0-9a-f]{12}-[0-9a-f]", fullmatch=True))
def test_complement_is_its_own_inverse(lead_id: str) -> None:
    assert complement(lead_id) != lead_id
    assert complement(complement(lead_id)) == lead_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260131235959999-0123456789ab",
        "20260131235959999-0123456789ab-C",
        "20260131235959999-0123456789ab-c\n",
        "20261331235959999-0123456789ab-c",
        "00000000000000000-0123456789ab-c",
        "٢٠٢٦٠١٣١٢٣٥٩٥٩٩٩٩-0123456789ab-c",
        "../../etc/passwd",
    ],
)
def test_other_text_is_no_lead_id(text: str) -> None:
    assert not is_lead_id(text)
    with pytest.raises(ValueError):
        received_at_of(text)
