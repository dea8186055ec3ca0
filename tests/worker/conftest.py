"""The real function_app.py in this process, indexed and called by Microsoft's worker library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devhost.process import ROOT
from devhost.runtime import LoadedApp, load_app
from tests.support.process_app import forget_app


@pytest.fixture(scope="session")
def indexed_app() -> LoadedApp:
    """The app as the host sees it at start; the library holds one app a process."""
    return load_app(ROOT)


@pytest.fixture
def function_app(indexed_app: LoadedApp, fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedApp]:
    """The app on an empty storage account of its own."""
    monkeypatch.setenv("LeadsStorage", fresh_storage)
    forget_app()
    yield indexed_app
    forget_app()
