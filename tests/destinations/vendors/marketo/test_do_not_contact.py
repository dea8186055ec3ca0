"""Do-not-contact flags in Marketo: who sets them, and who takes them back."""

from __future__ import annotations

import pytest

from tests.fakes.marketo import Form, Marketo
from tests.support.marketo import JOURNEY, crm, one
from tests.support.pipeline import EMAIL, Pipeline, deliver


@pytest.mark.parametrize("policies", [{}, {"existing_records": "overwrite"}])
def test_on_a_person_that_is_there_it_is_a_stage_only(
    pipeline: Pipeline, marketo: Marketo, policies: dict[str, str]
) -> None:
    marketo.add_person(email=EMAIL, rating="Warm")
    pipeline.offer(crm(marketo, journey_field=JOURNEY), policies=policies)
    deliver(pipeline, "DNC")
    assert "doNotCall" not in one(marketo)
    assert "Cross-listed" in one(marketo)[JOURNEY]


def test_unsubscribed_is_set_only_where_a_setting_names_it(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, do_not_contact=["unsubscribed"]))
    deliver(pipeline, "DNC")
    assert one(marketo)["unsubscribed"] is True
    assert "doNotCall" not in one(marketo)


def test_real_interest_takes_our_flags_back_with_their_reason(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo), policies={"existing_records": "overwrite"})
    deliver(pipeline, "DNC")
    person = one(marketo)
    assert person["doNotCall"] is True and "Cross-listed" in person["doNotCallReason"]
    assert "unsubscribed" not in person
    deliver(pipeline, "PLT")
    person = one(marketo)
    assert (person["doNotCall"], person["doNotCallReason"], person["rating"]) == (False, None, "Hot")


def test_flags_that_somebody_else_has_set_stay_and_the_journey_says_so(pipeline: Pipeline, marketo: Marketo) -> None:
    pipeline.offer(crm(marketo, journey_field=JOURNEY))
    deliver(pipeline, "DNC")
    marketo.edit(one(marketo)["id"], doNotCallReason="Asked for it by telephone")
    deliver(pipeline, "PLT")
    assert one(marketo)["doNotCall"] is True
    assert "not to contact" in one(marketo)[JOURNEY]


def test_a_form_says_do_not_call_if_it_has_the_field(pipeline: Pipeline, marketo: Marketo, form: Form) -> None:
    deliver(pipeline, "DNC")
    assert "doNotCall" not in one(marketo)
    form.fields |= {"doNotCall": False, "doNotCallReason": False}
    pipeline.advance(86_401)
    deliver(pipeline, "DNC", email="other@example.com")
    assert marketo.persons[max(marketo.persons)]["doNotCall"] is True
