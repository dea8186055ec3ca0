"""Templates over a lead and its customer, and the field mappings made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.core.clock import now
from leads.core.lead import Lead, Stage
from leads.destinations.base import Customer, MappingValue, OutgoingLead
from leads.destinations.mapping import FIELDS, check_template, merge_mapping, render, render_mapping

CUSTOMER = Customer("key", "record")


def outgoing(**fields: str) -> OutgoingLead:
    return OutgoingLead(
        "20260101000000000-0123456789ab-c", Lead.model_validate(fields), "a.b", "crm", Stage.TRIAL, now()
    )


def rendered(template: str, **fields: str) -> str:
    return render(template, outgoing(**fields), CUSTOMER)


def test_names_are_filled_in_and_braces_escaped() -> None:
    found = rendered(
        "{first_name}/{stage}/{campaign.mktcmpid}/{campaign.none}/{{x}}/{customer.key}/{customer.record_id}",
        first_name="Ada",
        description='{"mktcmpid": "7"}',
    )
    assert found == "Ada/trial/7//{x}/key/record"


@given(st.text())
def test_what_a_customer_wrote_is_never_read_as_a_template(text: str) -> None:
    assert rendered("<{company}>", company=text) == f"<{text}>"


@given(st.text())
def test_any_text_is_a_template_or_refused_in_one_line(text: str) -> None:
    try:
        check_template(text)
    except ValueError as error:
        assert "\n" not in str(error).replace(text, "")
    else:
        rendered(text)


@pytest.mark.parametrize(
    "template",
    ["{frist_name}", "{}", "{0}", "{first_name!r}", "{first_name:>9}", "{first_name.x}", "{campaign}", "{", "}"],
)
def test_an_unknown_name_in_a_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"field|template|leave out"):
        check_template(template)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_can_be_missing(name: str) -> None:
    assert isinstance(rendered("{" + name + "}"), str)


def test_a_mapping_adds_replaces_and_takes_out() -> None:
    merged = merge_mapping({"a": "{company}", "b": "{email}", "c": 8}, {"b": None, "c": 9, "d": "{note}"})
    assert merged == {"a": "{company}", "c": 9, "d": "{note}"}


def test_constants_keep_their_type_and_empty_texts_are_left_out() -> None:
    mapping: dict[str, MappingValue] = {
        "number": 8,
        "flag": False,
        "text": " {company} ",
        "empty": "{phone}",
        "blank": " ",
    }
    found = render_mapping(mapping, outgoing(company="Example Works"), CUSTOMER)
    assert found == {"number": 8, "flag": False, "text": "Example Works"}
