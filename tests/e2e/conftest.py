"""The app as a process on an account of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from devhost.process import ROOT
from leads.app import App
from leads.offers import read_offer
from leads.settings import Settings
from tests.support.account import rows
from tests.support.running_app import RunningApp, running_app


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
