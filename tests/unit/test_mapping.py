"""Templates over a lead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leads.clock import now
from leads.destinations.base import OutgoingLead
from leads.destinations.mapping import FIELDS, check_template, render
from leads.lead import Lead, Stage


def outgoing(**fields: str) -> OutgoingLead:
    return OutgoingLead(
        "20260101000000000-0123456789ab-c", Lead.model_validate(fields), "a.b", "crm", Stage.TRIAL, now()
    )


def test_names_are_filled_in_and_braces_escaped() -> None:
    lead = outgoing(first_name="Ada", description='{"mktcmpid": "7"}')
    assert render("{first_name}/{stage}/{campaign.mktcmpid}/{campaign.none}/{{x}}", lead) == "Ada/trial/7//{x}"


@given(st.text())
def test_what_a_customer_wrote_is_never_read_as_a_template(text: str) -> None:
    assert render("<{company}>", outgoing(company=text)) == f"<{text}>"


@given(st.text())
def test_any_text_is_a_template_or_refused_in_one_line(text: str) -> None:
    try:
        check_template(text)
    except ValueError as error:
        assert "\n" not in str(error).replace(text, "")
    else:
        render(text, outgoing())


@pytest.mark.parametrize(
    "template",
    ["{frist_name}", "{}", "{0}", "{first_name!r}", "{first_name:>9}", "{first_name.x}", "{campaign}", "{", "}"],
)
def test_what_names_no_field_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"field|template|leave out"):
        check_template(template)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_can_be_missing(name: str) -> None:
    assert isinstance(render("{" + name + "}", outgoing()), str)
