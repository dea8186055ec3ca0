"""The app as a process on an account of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from leads.app import App
from leads.offers.model import read_offer
from leads.platform.settings import Settings
from tests.support.account import rows
from tests.support.running_app import TARGET, RunningApp, running_app
from tools.host import ROOT


def app_on(storage: str) -> App:
    """The parts of the app on an account, to look at what it holds and to configure it."""
    return App(Settings.model_validate({"LeadsStorage": storage}))


@contextmanager
def demonstration(storage: str) -> Iterator[RunningApp]:
    """The running app on an account with the demonstration offers."""
    offers = app_on(storage).offers
    for file in sorted((ROOT / "samples" / "offers").glob("*.json")):
        offers.save(read_offer(json.loads(file.read_text())))
    with running_app(storage) as running:
        yield running


@pytest.fixture(autouse=True)
def _only_where_the_host_can(request: pytest.FixtureRequest) -> None:
    """Skip what needs an option of devhost on any other host (see the marker `devhost`)."""
    marker = request.node.get_closest_marker("devhost")
    if marker and TARGET.kind != "devhost":
        pytest.skip(f"devhost alone can do this: {marker.args[0]} (HOST={TARGET.name})")


@pytest.fixture
def fresh_storage(fresh_storage: str) -> str:
    """As everywhere; a host that runs already has one account, which all tests share."""
    if TARGET.address:
        pytest.skip(f"this test starts the app on an account of its own (HOST={TARGET.name} runs already)")
    return fresh_storage


@pytest.fixture(scope="module")
def shared_storage(shared_storage: str) -> str:
    """As everywhere; that of the host where one runs already."""
    return TARGET.storage or shared_storage


@pytest.fixture
def demo(fresh_storage: str) -> Iterator[RunningApp]:
    """The app with the demonstration offers."""
    with demonstration(fresh_storage) as running:
        yield running


@pytest.fixture(scope="module")
def shared_demo(shared_storage: str) -> Iterator[RunningApp]:
    """As `demo`, for all tests of a module together: each posts a lead of its own."""
    with demonstration(shared_storage) as running:
        yield running


def delivered_rows(storage: str) -> dict[str, dict[str, Any]]:
    """What the demonstration has delivered, by lead id."""
    return {row["RowKey"]: row for row in rows(storage)}
