"""What the documents say that a deployment costs, recomputed from the list of prices."""

from __future__ import annotations

import re

import pytest

from tests.infra import cost
from tests.infra.bicep import INFRA, ROOT, Deployment
from tests.infra.conftest import Predicted

DEPLOY = (ROOT / "docs/how-to/deploy.md").read_text()
COSTS = (ROOT / "docs/reference/limits-and-costs.md").read_text()


@pytest.fixture
def usual(predicted: Predicted) -> Deployment:
    """A deployment of the parameters' defaults that cost something."""
    return predicted("second")


def test_the_usual_deployment_keeps_intake_and_delivery_warm_for_at_most_20_usd_a_month(usual: Deployment) -> None:
    choice = cost.Choice.of(usual)
    assert (choice.intake, choice.delivery) == (1, 1)
    assert sum(cost.costs(usual, 1_000, choice).values()) <= 20


def test_every_price_has_a_source_and_a_date() -> None:
    for name, listed in {**cost.LISTED["prices"], **cost.LISTED["free"]}.items():
        assert listed["source"], name
        assert re.fullmatch(r"20\d\d(-\d\d(-\d\d)?)?", listed["read"]), name


def test_the_tables_of_the_documents_are_what_the_prices_make(usual: Deployment) -> None:
    assert [row for row in cost.volume_rows(usual) if row not in COSTS] == []
    assert [row for row in cost.choice_rows(usual) if row not in DEPLOY] == []


def test_what_is_said_of_single_parameters_is_what_the_prices_make(usual: Deployment) -> None:
    template, readme = (INFRA / "main.bicep").read_text(), (ROOT / "README.md").read_text()
    choice = cost.Choice.of(usual)
    one = cost.costs(usual, 1_000, cost.Choice(choice.memory_mb, 1, 0))["warm instances"]
    assert f"One costs about {one:.0f} USD a month at {choice.memory_mb} MB." in template
    assert f"about {cost.monitoring(usual):.0f} USD a month" in template
    assert f"The alert rules and the availability test: about {cost.monitoring(usual):.0f} USD a month." in DEPLOY
    assert f"{cost.tests(usual):,.0f} executions a month" in " ".join(COSTS.split())
    together = sum(cost.costs(usual, 1_000, choice).values())
    assert f"It costs about {together:.0f} USD a month at 1,000 leads." in readme


def test_a_flood_costs_what_the_documents_say(usual: Deployment) -> None:
    scaling = usual.the("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    instances, memory = scaling["maximumInstanceCount"], scaling["instanceMemoryMB"]
    costs = " ".join(COSTS.split())
    assert f"one group at {instances} instances costs {cost.flood(instances, memory):.2f} USD" in costs
    assert f"The HTTP functions and `deliver_lead` together cost {cost.flood(2 * instances, memory):.2f} USD" in costs
    assert f"All 250 cores that a subscription has in a region by default cost {cost.flood(250, 2048):.2f} USD" in costs
    threats = (ROOT / "docs/explanation/threat-model.md").read_text()
    assert (
        f"[about {cost.flood(2 * instances, memory):.0f} USD an hour](../reference/limits-and-costs.md#what-a-flood-costs)"
        in threats
    )
