"""The form of Web-to-Lead, for any lead: what is encoded is read back, and nothing is in it that Salesforce would not take."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl

from hypothesis import given
from hypothesis import strategies as st

from leads.core.lead import Lead, Stage
from leads.destinations.base import Customer, MappingValue, OutgoingLead
from leads.destinations.follow_up import follow_up_of
from leads.destinations.mapping import FIELDS, merge_mapping
from leads.destinations.vendors.salesforce_web_to_lead import (
    DEFAULT_MAPPING,
    LENGTHS,
    NOT_TRUNCATED,
    REQUIRED,
    encode,
    form,
)
from tests.support.strategies import leads, wild_text

TEMPLATES = {"{" + name + "}" for name in FIELDS}

outgoing_leads = st.builds(
    lambda lead, stage, do_not_contact: OutgoingLead(
        "20260131235959999-0123456789ab-c",
        lead,
        "contoso.crm",
        "crm",
        stage,
        datetime(2026, 1, 31, tzinfo=UTC),
        follow_up=follow_up_of(stage, {}),
        set_do_not_contact=do_not_contact,
    ),
    leads,
    st.sampled_from(Stage),
    st.booleans(),
)
values: st.SearchStrategy[MappingValue] = st.sampled_from(sorted(TEMPLATES)) | st.booleans() | st.integers() | st.none()
mappings = st.dictionaries(st.sampled_from([*LENGTHS, "00Nxx000000AbCd", "doNotCall"]), values)


@given(outgoing_leads, mappings)
def test_any_leads_form_survives_being_encoded_and_read(
    outgoing: OutgoingLead, mapping: dict[str, MappingValue]
) -> None:
    made = form(merge_mapping(DEFAULT_MAPPING, mapping), outgoing, Customer("key"))
    body = encode(made)
    assert body.isascii()
    read = parse_qsl(body, keep_blank_values=True, strict_parsing=True, encoding="utf-8", errors="strict")
    assert read == [(name, text.encode(errors="replace").decode()) for name, text in made.items()]


@given(outgoing_leads, mappings)
def test_no_field_is_longer_than_the_form_admits_and_required_fields_are_present(
    outgoing: OutgoingLead, mapping: dict[str, MappingValue]
) -> None:
    made = form(merge_mapping(DEFAULT_MAPPING, mapping), outgoing, Customer("key"))
    for name, text in made.items():
        assert text
        assert len(text.encode("utf-16-le", "surrogatepass")) // 2 <= LENGTHS.get(name, 10**6)
    assert made.keys() >= REQUIRED.keys()
    assert ({"emailOptOut", "faxOptOut"} <= made.keys()) is outgoing.set_do_not_contact


@given(st.text(min_size=1, max_size=200).map(str.strip), st.sampled_from(sorted(NOT_TRUNCATED)))
def test_a_number_or_address_is_whole_or_missing(text: str, name: str) -> None:
    outgoing = OutgoingLead(
        "id", Lead(phone=text), "contoso.crm", "crm", Stage.PURCHASE, datetime(2026, 1, 31, tzinfo=UTC)
    )
    assert form({name: "{phone}"}, outgoing, Customer("key")).get(name, text) == text


@given(wild_text)
def test_an_address_that_is_sent_has_one_at_sign_and_a_domain(text: str) -> None:
    outgoing = OutgoingLead(
        "id", Lead(email=text), "contoso.crm", "crm", Stage.PURCHASE, datetime(2026, 1, 31, tzinfo=UTC)
    )
    sent = form(DEFAULT_MAPPING, outgoing, Customer("key")).get("email")
    if sent is not None:
        local, _, domain = sent.partition("@")
        assert local
        assert sent.isascii()
        assert "." in domain
        assert "@" not in domain
