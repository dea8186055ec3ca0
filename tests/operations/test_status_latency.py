"""The latency in `status`, by the warm parts of the deployment."""

from __future__ import annotations

import pytest

from leads.operations.operation import Nothing
from leads.operations.status import latency, show_status
from leads.platform.settings import read_settings
from tests.support.pipeline import Pipeline


@pytest.mark.parametrize(
    ("warm", "said", "unsaid"),
    [
        ("intake,delivery", ("answered at once", "a second later"), "started an instance"),
        ("intake", ("answered at once", "noticed its message"), "a second later"),
        ("delivery", ("answered once Azure has started an instance", "a second later"), "at once"),
        ("none", ("answered once Azure has started an instance", "noticed its message"), "a second later"),
        ("intake,delivery,reports", ("answered at once", "a second later"), "started an instance"),
    ],
)
def test_what_is_warm_says_how_soon_a_lead_is_delivered(warm: str, said: tuple[str, ...], unsaid: str) -> None:
    text = latency(read_settings({"LEADS_WARM": warm}).warm)
    assert all(part in text for part in said)
    assert unsaid not in text


@pytest.mark.parametrize("environ", [{}, {"LEADS_WARM": " "}])
def test_without_the_setting_no_latency_is_shown(environ: dict[str, str]) -> None:
    assert latency(read_settings(environ).warm) == ""


def test_status_says_it(pipeline: Pipeline) -> None:
    pipeline.app.settings = pipeline.app.settings.model_copy(update={"warm": frozenset({"intake"})})
    assert pipeline.ask(show_status, Nothing()).latency == latency({"intake"})
