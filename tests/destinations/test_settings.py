"""The settings of destinations: each has a label and a description, and secrets are recognised."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from leads import destinations
from leads.destinations import MODULES, connection_of, read_settings
from leads.operations.destination_types import describe

TYPES = sorted(name for name, module in MODULES.items() if not module.startswith("tests."))
SETTINGS = [
    (type_name, name) for type_name in TYPES for name in destinations.destination_class(type_name).Settings.model_fields
]

MICROSOFTS = {
    ("dataverse", "url"): "https://contoso.crm4.dynamics.com",
    ("dataverse", "client_id"): "0a1b2c3d-0000-4000-8000-0123456789ab",
    ("dataverse", "tenant_id"): "0a1b2c3d-0000-4000-8000-0123456789ab",
    ("webhook", "url"): "https://contoso.example.com/api/leads?code=A-b_c==",
}
"""Values that the marketplace's own schema `customer-leads` lets a publisher enter for the same settings."""


def schema(type_name: str, name: str) -> dict[str, Any]:
    properties: Any = describe(type_name).settings_schema["properties"]
    found: dict[str, Any] = properties[name]
    return found


@pytest.mark.parametrize(("type_name", "name"), SETTINGS)
def test_a_setting_has_a_label_and_says_what_it_is_for(type_name: str, name: str) -> None:
    field = destinations.destination_class(type_name).Settings.model_fields[name]
    assert field.title and field.description
    assert schema(type_name, name)["title"] == field.title
    assert schema(type_name, name)["description"] == field.description


@pytest.mark.parametrize(("type_name", "name"), SETTINGS)
def test_a_setting_says_whether_it_is_a_secret(type_name: str, name: str) -> None:
    found = schema(type_name, name)
    refers = "secret-reference" in json.dumps({key: found[key] for key in ("anyOf", "format") if key in found})
    assert (found.get("format") == "secret-reference") == refers
    assert refers == bool(re.search("secret|connection_string|key", name))


@pytest.mark.parametrize(("setting", "value"), MICROSOFTS.items(), ids=str)
def test_addresses_that_the_marketplace_accepts_are_accepted(setting: tuple[str, str], value: str) -> None:
    type_name, name = setting
    known = {"client_secret": "env:X", "secret": "env:X"}
    needed = {
        key: known[key] for key in known if key in destinations.destination_class(type_name).Settings.model_fields
    }
    others = {key: other for (kind, key), other in MICROSOFTS.items() if kind == type_name}
    assert getattr(read_settings(type_name, needed | others), name) == value


@pytest.mark.parametrize(
    ("type_name", "settings", "words"),
    [
        ("dataverse", {"url": "contoso.crm4.dynamics.com"}, "https://contoso.crm4.dynamics.com"),
        ("dataverse", {"url": "https://contoso.crm4.dynamics.com/main.aspx?appid=1"}, "such as https://contoso"),
        ("dataverse", {"url": "https://x.example.com", "client_id": "my app"}, "00000000-0000-0000-0000-000000000000"),
        ("salesforce", {"url": "contoso.my.salesforce.com"}, "https://contoso.my.salesforce.com"),
        ("salesforce", {"url": "https://contoso.my.salesforce.com/00Q?fcf=1"}, "such as https://contoso"),
        ("salesforce", {"url": "https://x.my.salesforce.com", "client_id": "my app"}, "3MVG9"),
        ("webhook", {"url": "http://hooks.example.com", "secret": "env:X"}, "https://"),
        ("azure_table", {"table": "my leads"}, "letters and digits"),
    ],
)
def test_a_malformed_setting_is_refused_with_the_expected_form(
    type_name: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=r"^settings\.\w+: does not have the right form\.") as refused:
        read_settings(type_name, settings)
    assert words in str(refused.value)
    assert "^" not in str(refused.value), "no person has to read a pattern"


@pytest.mark.parametrize(
    ("type_name", "settings", "other"),
    [
        ("webhook", {"url": "https://a.example.com", "secret": "env:X"}, {"secret": "env:Y"}),
        (
            "webhook",
            {"url": "https://a.example.com", "secret": "env:X", "headers": {"X-A": "env:K"}},
            {"headers": {"X-B": "env:K"}},
        ),
        ("dataverse", {"url": "https://a.example.com"}, {"authority": "https://login.microsoftonline.us"}),
        ("dataverse", {"url": "https://a.example.com"}, {"url": "https://b.example.com"}),
        ("azure_table", {"table": "Leads"}, {"table": "Others"}),
    ],
)
def test_offers_that_reach_the_vendor_in_another_way_share_no_connection(
    type_name: str, settings: dict[str, Any], other: dict[str, Any]
) -> None:
    assert connection_of(type_name, settings) == connection_of(type_name, dict(settings))
    assert connection_of(type_name, settings) != connection_of(type_name, settings | other)
