"""Whom the platform has signed in with Entra ID: each operation at each role, and who is never believed."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devhost.functions import HttpResult
from devhost.runtime import LoadedApp
from leads.app import examined_app
from leads.operations.access import LEVEL_OF_KEY, AccessLevel, caller_with_key, role_of
from leads.operations.doctor import examine_deployment
from leads.operations.operation import Nothing, Operation
from leads.operations.problems import Forbidden
from leads.operations.sign_in import NotSignedIn, behind_login, require_own_page, signed_in_caller
from leads.operations.table import OPERATIONS
from leads.platform.settings import Settings, read_settings
from tests.support.command_line import ROOT
from tests.support.pipeline import Pipeline
from tests.support.process_app import forget_app
from tests.worker.conftest import ask_function
from tests.worker.test_levels import OFFER, path_of_operation

pytestmark = pytest.mark.storage("memory")
Ask = Callable[..., HttpResult]
OBJECT_ID = "11111111-2222-3333-4444-555555555555"
NAME = "Oberfragerin"
ID_CLAIM = "http://schemas.microsoft.com/identity/claims/objectidentifier"
ROLE_CLAIM = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
OWN = {"X_Requested_With": "marketplace-leads"}
ON = Settings.model_validate({"LEADS_SIGN_IN": "entra", "WEBSITE_AUTH_ENABLED": "True"})


def encoded(value: object) -> str:
    return b64encode(json.dumps(value).encode()).decode()


def principal(
    *roles: str, role_claim: str = "roles", id_claim: str = ID_CLAIM, ids: Sequence[str] = (OBJECT_ID,), **changes: Any
) -> str:
    """The header as App Service sets it."""
    claims = [{"typ": "name", "val": NAME}, *({"typ": id_claim, "val": one} for one in ids)]
    claims += [{"typ": role_claim, "val": role} for role in roles]
    return encoded({"auth_typ": "aad", "claims": claims, "name_typ": "name", "role_typ": ROLE_CLAIM} | changes)


@pytest.fixture
def ask(function_app: LoadedApp, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Asks a function on an app that is deployed with sign-in, where personal data may go out over HTTP."""
    for name in ("LEADS_PERSONAL_DATA_OVER_HTTP", "WEBSITE_AUTH_ENABLED"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("LEADS_SIGN_IN", "entra")
    forget_app()
    yield partial(ask_function, function_app)


def test_the_host_asks_for_no_key_there(indexed_app: LoadedApp) -> None:
    found = indexed_app.functions["signed_in"]
    assert (found.route, found.auth_level) == ("signed-in/{*path}", "anonymous")
    assert set(found.methods) == set(indexed_app.functions["manage"].methods)


# --- Levels -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", AccessLevel)
def test_a_role_opens_what_its_level_reaches_and_nothing_else(ask: Ask, level: AccessLevel) -> None:
    login = {"X_MS_CLIENT_PRINCIPAL": principal(role_of(level))}
    for operation in OPERATIONS:
        answer = ask("signed_in", operation.method, path_of_operation(operation), b"{}", **login, **OWN)
        if level.reaches(operation.level):
            assert answer.status not in {401, 403, 500}, operation.name
        else:
            told = answer.json()
            assert (answer.status, told["level"]) == (403, operation.level), operation.name
            assert f"the app role {role_of(operation.level)}" in told["detail"]


def test_a_page_finds_out_who_has_signed_in(ask: Ask) -> None:
    login = {"X_MS_CLIENT_PRINCIPAL": principal("Leads.Operate")}
    told = ask("signed_in", "GET", "/whoami", **login).json()
    assert (told["level"], told["by"], told["personal_data"]) == ("operate", "entra", False)
    document = ask("signed_in", "GET", "/openapi.json", **login).json()
    assert document["servers"] == [{"url": "/api/signed-in"}]
    assert [*document["components"]["securitySchemes"]] == ["signIn"]


@pytest.mark.parametrize(
    ("roles", "level"),
    [
        (("Leads.Report", "Leads.Personal", "Leads.Operate"), "personal"),
        (("Something.Else", "Leads.Report"), "report"),
    ],
)
@pytest.mark.parametrize("role_claim", ["roles", ROLE_CLAIM])
@pytest.mark.parametrize("id_claim", ["oid", ID_CLAIM])
def test_the_highest_of_the_roles_counts(roles: Sequence[str], level: str, role_claim: str, id_claim: str) -> None:
    header = principal(*roles, role_claim=role_claim, id_claim=id_claim)
    caller = signed_in_caller({"x-ms-client-principal": header}, ON)
    assert (caller.level, caller.by, caller.who) == (level, "entra", OBJECT_ID)


def test_the_roles_that_an_app_registration_gets_are_one_of_each_level() -> None:
    roles = json.loads((ROOT / "infra/app-roles.json").read_text())
    assert [role["value"] for role in roles] == [role_of(level) for level in AccessLevel]
    assert len({UUID(role["id"]) for role in roles}) == len(roles)
    for role in roles:
        assert role["isEnabled"] is True
        assert role["allowedMemberTypes"] == ["User", "Application"]
        assert role["displayName"] and role["description"]


# --- Who is not believed ------------------------------------------------------------------------------------------------

NOT_DEPLOYED_WITH_IT = [
    {"LEADS_SIGN_IN": ""},
    {"LEADS_SIGN_IN": "", "WEBSITE_AUTH_ENABLED": ""},
    {"LEADS_SIGN_IN": "entra", "WEBSITE_AUTH_ENABLED": "False"},
]


@pytest.mark.parametrize("settings", NOT_DEPLOYED_WITH_IT, ids=str)
def test_a_forged_header_opens_nothing_where_the_platform_signs_nobody_in(
    ask: Ask, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    forget_app()
    forged = {"X_MS_CLIENT_PRINCIPAL": principal("Leads.Personal"), "Sec_Fetch_Mode": "navigate"}
    told = ask("signed_in", "GET", "/whoami", **forged | {"Sec_Fetch_Mode": "cors"})
    assert (told.status, told.json()) == (200, {"level": None, "login": ""})
    for operation in OPERATIONS:
        answer = ask("signed_in", operation.method, path_of_operation(operation), b"{}", **forged, **OWN)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), operation.name
        assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "not base64",
        b64encode(b"{").decode(),
        encoded([]),
        encoded({"auth_typ": "aad", "claims": None}),
        encoded({"auth_typ": "aad", "claims": ["roles", {"typ": "roles"}, {"typ": 1, "val": 2}]}),
        principal(),
        principal("leads.personal"),
        principal("Leads.Personal", role_claim="groups"),
        principal("Leads.Personal", auth_typ="google"),
        principal("Leads.Personal", ids=()),
        principal("Leads.Personal", ids=("ada@example.com",)),
        principal("Leads.Personal", ids=(OBJECT_ID, OBJECT_ID.replace("1", "9"))),
    ],
)
def test_whoever_has_no_role_or_no_id_is_not_let_in(header: str) -> None:
    with pytest.raises(NotSignedIn, match=r"app role Leads\.Report, Leads\.Operate or Leads\.Personal"):
        signed_in_caller({"x-ms-client-principal": header}, ON)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["auth_typ", "claims", "typ", "val"]) | st.text(max_size=5), inner, max_size=3
        )
    ),
)


@given(
    header=st.text(max_size=60) | JSON.map(encoded) | st.binary(max_size=60).map(lambda raw: b64encode(raw).decode())
)
def test_any_header_is_a_principal_or_refused(header: str) -> None:
    with pytest.raises(NotSignedIn):
        signed_in_caller({"x-ms-client-principal": header}, ON)


@pytest.mark.parametrize("text", ["", "perhaps", "0", "TRUE "])
def test_what_the_platform_writes_refuses_no_lead(text: str) -> None:
    assert read_settings({"WEBSITE_AUTH_ENABLED": text}).platform_signs_in in {None, True, False}


# --- A login beside the key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", LEVEL_OF_KEY)
def test_where_people_sign_in_a_key_alone_opens_nothing(ask: Ask, function: str) -> None:
    refused = ask(function, "GET", "/whoami")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    told = ask(function, "GET", "/whoami", X_MS_CLIENT_PRINCIPAL=principal()).json()
    assert (told["level"], told["by"]) == (LEVEL_OF_KEY[function], "key"), "the key says the level, and not the role"
    told = ask(function, "GET", "/whoami", X_MS_CLIENT_PRINCIPAL=principal("Leads.Personal")).json()
    assert told["level"] == LEVEL_OF_KEY[function]


def test_a_login_that_is_asked_for_and_that_the_platform_does_not_do_lets_no_key_in() -> None:
    off = Settings.model_validate({"LEADS_SIGN_IN": "entra", "WEBSITE_AUTH_ENABLED": "False"})
    with pytest.raises(NotSignedIn):
        behind_login(caller_with_key("manage"), {"x-ms-client-principal": principal("Leads.Personal")}, off)


def test_without_sign_in_a_key_is_enough_and_a_forged_header_says_nothing() -> None:
    caller = caller_with_key("report")
    assert behind_login(caller, {"x-ms-client-principal": principal("Leads.Personal")}, read_settings({})) == caller


# --- Changes ------------------------------------------------------------------------------------------------------------

BY_PAGES: list[tuple[dict[str, str], bool]] = [
    ({}, False),
    ({"x-requested-with": "XMLHttpRequest", "sec-fetch-site": "same-origin"}, False),
    ({"x-requested-with": "marketplace-leads"}, True),
    ({"x-requested-with": "marketplace-leads", "sec-fetch-site": "same-origin"}, True),
    *(
        ({"x-requested-with": "marketplace-leads", "sec-fetch-site": site}, False)
        for site in ("cross-site", "same-site", "none", "")
    ),
    ({"x-requested-with": "marketplace-leads", "origin": "https://app.example.com"}, True),
    ({"x-requested-with": "marketplace-leads", "origin": "https://leads.example.com"}, True),
    *(
        ({"x-requested-with": "marketplace-leads", "origin": origin}, False)
        for origin in ("https://evil.example.com", "null", "", "https://app.example.com.evil.example.com", "https://[")
    ),
    (
        {
            "x-requested-with": "marketplace-leads",
            "origin": "https://evil.example.com",
            "sec-fetch-site": "same-origin",
        },
        False,
    ),
]


@pytest.mark.parametrize(("headers", "own"), BY_PAGES, ids=str)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_change_is_asked_for_by_the_apps_own_pages_and_by_programs(
    headers: dict[str, str], own: bool, method: str
) -> None:
    sent = {"host": "leads.example.com"} | headers
    require_own_page("GET", sent, "app.example.com")
    if own:
        require_own_page(method, sent, "app.example.com")
    else:
        with pytest.raises(Forbidden):
            require_own_page(method, sent, "app.example.com")


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.method != "GET"], ids=lambda one: one.name)
def test_nothing_is_done_for_the_page_of_another_site(ask: Ask, operation: Operation[Any, Any]) -> None:
    login = {"X_MS_CLIENT_PRINCIPAL": principal("Leads.Personal")}
    path = path_of_operation(operation)
    for headers in ({}, OWN | {"Sec_Fetch_Site": "cross-site"}, OWN | {"Origin": "https://evil.example.com"}):
        answer = ask("signed_in", operation.method, path, b"{}", **login, **headers)
        assert (answer.status, answer.json()["title"]) == (403, "Not allowed")
    assert ask("signed_in", "GET", "/audit", **login).json()["entries"] == []


def test_what_is_done_is_noted_with_the_object_id_and_never_the_name(ask: Ask, pipeline: Pipeline) -> None:
    """The account is searched for the name when the test ends."""
    login = {"X_MS_CLIENT_PRINCIPAL": principal("Leads.Operate")}
    assert ask("signed_in", "PUT", "/offers/a.b", OFFER, **login, **OWN).status == 201
    assert ask("manage", "DELETE", "/offers/a.b", **login).status == 204
    entries = ask("signed_in", "GET", "/audit", **login).json()["entries"]
    assert {(entry["operation"], entry["level"], entry["by"], entry["who"]) for entry in entries} == {
        ("set_offer", "operate", "entra", OBJECT_ID),
        ("remove_offer", "personal", "key", OBJECT_ID),
    }


# --- Browsers -----------------------------------------------------------------------------------------------------------


def test_a_browser_is_sent_to_sign_in_and_a_program_is_told_to(ask: Ask) -> None:
    sent = ask("signed_in", "GET", "/openapi.json", Sec_Fetch_Mode="navigate")
    assert sent.status == 302
    assert sent.headers["location"] == "/.auth/login/aad?post_login_redirect_uri=%2Fapi%2Fsigned-in%2Fopenapi.json"
    told = ask("signed_in", "GET", "/whoami", Sec_Fetch_Mode="cors")
    assert (told.status, told.json()) == (200, {"level": None, "login": "/.auth/login/aad"}), "a visit is no refusal"
    for headers in ({}, {"Sec_Fetch_Mode": "cors"}):
        told = ask("signed_in", "GET", "/openapi.json", **headers)
        assert (told.status, told.json()["login"]) == (401, "/.auth/login/aad")
    assert ask("signed_in", "POST", "/export", Sec_Fetch_Mode="navigate").status == 401
    # Whoever has signed in and has no role would come back over and over.
    assert ask("signed_in", "GET", "", Sec_Fetch_Mode="navigate", X_MS_CLIENT_PRINCIPAL=principal()).status == 401


def test_the_doctor_answers_whoever_has_signed_in_where_nothing_else_can(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_KEY_VAULT_URI", "s3cret")
    monkeypatch.delenv("LeadsStorage")
    forget_app()
    answer = ask("signed_in", "GET", "/doctor", X_MS_CLIENT_PRINCIPAL=principal("Leads.Operate"))
    assert (answer.status, answer.json()["needs_a_person"]) == (200, True)


@pytest.mark.parametrize(
    ("platform", "level"), [("true", "fine"), ("", "note"), ("False", "wrong")], ids=["on", "unknown", "off"]
)
def test_the_doctor_says_whether_the_platform_signs_people_in(
    pipeline: Pipeline, platform: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADS_SIGN_IN", "entra")
    monkeypatch.setenv("WEBSITE_AUTH_ENABLED", platform)
    found = examine_deployment(examined_app(), Nothing()).findings
    assert [one.level for one in found if one.about == "LEADS_SIGN_IN"] == [level]
    monkeypatch.setenv("LEADS_SIGN_IN", "")
    found = examine_deployment(examined_app(), Nothing()).findings
    assert [one for one in found if one.about == "LEADS_SIGN_IN"] == []
