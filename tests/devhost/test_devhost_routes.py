"""Routes: the requests that they match, and their parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devhost.errors import StartError
from devhost.routes import is_reserved, parse_route


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("api/leads", "/api/leads", {}),
        ("api/leads", "/API/Leads", {}),
        ("api/leads", "/api/leads/", {}),
        ("api/leads", "/api/leads/x", None),
        ("api/leads", "/api", None),
        ("api/status/{lead_id}", "/api/status/7", {"lead_id": "7"}),
        ("api/status/{lead_id}", "/api/status/", None),
        ("api/status/{lead_id}", "/api/status//", None),
        ("api/status/{lead_id}", "/api/status/7/8", None),
        ("api/a/{x}/b/{y}", "/api/a/1/b/2", {"x": "1", "y": "2"}),
        ("api/a/{x?}", "/api/a", {}),
        ("api/a/{x?}", "/api/a/1", {"x": "1"}),
        ("api/a/{x?}", "/api/a/1/2", None),
        ("api/leads/{*offer}", "/api/leads", {}),
        ("api/leads/{*offer}", "/api/leads/", {}),
        ("api/leads/{*offer}", "/api/leads/contoso.crm", {"offer": "contoso.crm"}),
        ("api/leads/{*offer}", "/api/leads/a/b c", {"offer": "a/b c"}),
        ("api/leads/{*offer}", "/api/leads/a//b/", {"offer": "a//b/"}),
        ("api/leads/{*offer}", "/api/leads//x", None),
        ("api/leads/{*offer}", "/api/leads//", None),
        ("api/leads/{*offer}", "//api/leads", None),
        ("api/leads/{*offer}", "/api/leadsx", None),
        ("{*all}", "/", {}),
        ("{*all}", "/a/b", {"all": "a/b"}),
    ],
)
def test_matching(template: str, path: str, values: dict[str, str] | None) -> None:
    assert parse_route(template).match(path) == values


@pytest.mark.parametrize("template", ["a/{x:int}", "a/{x}.{y}", "a/{x=1}", "{*a}/b", "{a?}/b", "a/{", "a/{}"])
def test_a_template_it_does_not_know_is_refused(template: str) -> None:
    with pytest.raises(StartError):
        parse_route(template)


@pytest.mark.parametrize(
    ("route", "reserved"),
    [("admin", True), ("/Admin/x", True), ("administration", True), ("runtime/x", True), ("leads/admin", False)],
)
def test_the_host_keeps_some_routes_for_itself(route: str, reserved: bool) -> None:
    assert is_reserved(route) is reserved


def test_the_most_specific_route_comes_first() -> None:
    templates = ["a/{*x}", "a/{x?}", "a/{x}", "a/b"]
    assert sorted(templates, key=lambda template: parse_route(template).order) == templates[::-1]


@given(st.text())
def test_any_path_gives_the_parameters_of_the_template_or_nothing(path: str) -> None:
    for template, names in (("api/leads/{*offer}", {"offer"}), ("api/{a}/{b?}", {"a", "b"}), ("{*all}", {"all"})):
        values = parse_route(template).match(path)
        assert values is None or (set(values) <= names and all(values.values()))
