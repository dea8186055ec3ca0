"""The real function_app.py in this process, indexed and called by Microsoft's worker library."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import leads.app
from devhost.functions import HttpResult
from devhost.process import ROOT
from devhost.routes import parse_route
from devhost.runtime import LoadedApp, load_app
from devhost.urls import path_of
from tests.support.process_app import forget_app

APP_DIR = Path(os.environ.get("APP_DIR", ROOT))
"""Where the app lies: the checkout, or a package that has been unpacked."""


@pytest.fixture(scope="session")
def indexed_app() -> LoadedApp:
    """The app as the host sees it at start; the library holds one app a process."""
    assert Path(leads.app.__file__).is_relative_to(APP_DIR)
    return load_app(APP_DIR)


@pytest.fixture
def function_app(indexed_app: LoadedApp, fresh_storage: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedApp]:
    """The app on an empty storage account of its own."""
    monkeypatch.setenv("LeadsStorage", fresh_storage)
    forget_app()
    yield indexed_app
    forget_app()


def ask_function(
    app: LoadedApp, function: str, method: str, path: str, body: object = b"", **headers: str
) -> HttpResult:
    """Call a function that answers operations; the route's parameter is what ASP.NET Core makes of the path below it."""
    found = app.functions[function]
    base = f"/api/{found.route.partition('/')[0]}"
    params = parse_route(f"api/{found.route}").match(path_of(base + path.partition("?")[0]))
    assert params is not None
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = app.invoke_http(function, method, f"http://localhost{base}{path}", headers=named, body=data, params=params)
    return replace(answer, headers={name.lower(): value for name, value in answer.headers.items()})
