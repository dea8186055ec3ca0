"""The app as a process on an account of its own, shared by the tests of a module."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from devhost.process import ROOT
from leads.app import App
from leads.offers import read_offer
from leads.settings import Settings
from tests.support.running_app import RunningApp, running_app


def app_on(storage: str) -> App:
    """The parts of the app on an account, to look at what it holds and to configure it."""
    return App(Settings.model_validate({"LeadsStorage": storage}))


@pytest.fixture
def demo_storage(fresh_storage: str) -> str:
    """An account with the demonstration offers."""
    offers = app_on(fresh_storage).offers
    for file in sorted((ROOT / "samples" / "offers").glob("*.json")):
        offers.save(read_offer(json.loads(file.read_text())))
    return fresh_storage


@pytest.fixture
def demo(demo_storage: str) -> Iterator[RunningApp]:
    """The running app with the demonstration offers."""
    with running_app(demo_storage) as running:
        yield running
