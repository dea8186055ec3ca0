"""Killed at every storage request, before and after it: every accepted lead ends delivered, and is sent once.

Once, but for the one case that no connector can rule out: the worker died after the vendor had the lead and before the
ledger knew. Then it is sent again, under the same key.

With EACH_REQUEST=1 (`make kills`) it is every single request, before and after it. Without it, those are left out that leave
storage and vendors as another one does: whoever dies at a request that only reads, or before one that changes something,
leaves them as the change before did. A call to a vendor in between makes the difference, so each of those is tried, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devhost.clock import Clock
from tests.chaos.every_request import (
    WAYS,
    Intake,
    LaterStage,
    Misconfigured,
    Outcome,
    Poison,
    Retried,
    Runs,
    Scenario,
    TwoDestinations,
    Unrouted,
)
from tests.chaos.workers import ForkServer

SCENARIOS: dict[str, Callable[[Path], Scenario]] = {
    "first_lead": lambda folder: Intake(),
    "later_stage": lambda folder: LaterStage(),
    "retry": lambda folder: Retried(),
    "misconfigured": lambda folder: Misconfigured(),
    "two_destinations": lambda folder: TwoDestinations(),
    "unrouted": lambda folder: Unrouted(),
    "poison": Poison,
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
    forks: ForkServer,
    fast_clock: Clock,
    accounts: Iterator[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[Outcome]]:
    """All runs of the scenarios that are asked for, together: they wait for leases at the same time."""
    here = [item for item in request.session.items if item.path == request.path]
    wanted = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")}
    scenarios = {name: make(tmp_path_factory.mktemp(name)) for name, make in SCENARIOS.items() if name in wanted}
    found = Runs(forks, fast_clock, accounts).every_request(list(scenarios.values()))
    return {name: found[scenario.name] for name, scenario in scenarios.items()}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_lead_survives_a_kill_at_every_request(
    name: str, outcomes: dict[str, list[Outcome]], record_property: Callable[[str, object], None]
) -> None:
    undisturbed, *runs = outcomes[name]
    wrong = [outcome.wrong for outcome in (undisturbed, *runs) if outcome.wrong]
    assert not wrong, "\n\n".join([f"{len(wrong)} of {len(runs)} runs went wrong; the first:", wrong[0]])
    assert undisturbed.repeated_calls == 0
    assert not [outcome for outcome in runs if outcome.spared], "each moment has been the last one of a worker"
    assert not any(outcome.killed for outcome in runs[-len(WAYS) :]), (
        "the last kills came too late: there are no more requests"
    )
    between = sum(outcome.between_send_and_settle for outcome in runs)
    assert between, "some kills fall between send and settle, or this test shows nothing"
    kills = sum(outcome.killed for outcome in runs)
    repeated = sum(outcome.repeated_calls for outcome in runs)
    stalled = sum(outcome.stalled for outcome in runs)
    record_property(
        "summary",
        f"{undisturbed.scenario}: {kills} kills, {between} between send and settle, {repeated} calls repeated, {stalled} stalled",
    )
