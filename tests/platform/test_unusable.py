"""The app that replaces the real one if its packages can't be used."""

from __future__ import annotations

import json

import azure.functions as func

from leads.platform.unusable import health_alone


def test_a_missing_package_is_not_called_one_of_another_python() -> None:
    (health,) = health_alone(ImportError("No module named 'aiohttp'")).get_functions()
    answer = health.get_user_function()(func.HttpRequest("GET", "/api/health", body=b""))
    detail = json.loads(answer.get_body())["detail"]
    assert answer.status_code == 503
    assert "a package is missing or incomplete (No module named 'aiohttp')" in detail
    assert "the packages are for" not in detail
