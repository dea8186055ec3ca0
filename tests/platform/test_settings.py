"""The settings, the errors about wrong ones, and secrets by reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import azure.identity
import azure.keyvault.secrets
import pytest
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError, ServiceRequestError
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from leads.core import clock
from leads.destinations.vendors.azure_table import AzureTableSettings
from leads.platform.secrets import KEY_VAULT_CACHE_SECONDS, Secrets
from leads.platform.settings import (
    FETCHED_BESIDE,
    SecretReference,
    Settings,
    SettingsError,
    read_settings,
    read_usable_settings,
    unread_variables,
)
from leads.platform.storage import Storage

KEY = "bm90LWEtcmVhbC1rZXk="
CONNECTION_STRING = (
    f"DefaultEndpointsProtocol=https;AccountName=example;AccountKey={KEY};EndpointSuffix=core.windows.net"
)
VAULT = "https://example.vault.azure.net"


def wrong(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    error = caught.value
    assert error.__suppress_context__ or error.__context__ is None, "the cause would quote the value"
    return str(caught.value)


# --- Each setting -----------------------------------------------------------------------------------------------------


def test_nothing_is_needed_to_read_the_settings() -> None:
    assert read_settings({}).storage_connection_string == ""


@pytest.mark.parametrize(("processors", "threads"), [(1, 5), (2, 6), (64, 32), (None, 5)])
def test_the_number_of_threads_is_what_python_takes_by_itself(
    processors: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert read_settings({}).thread_count == threads


@pytest.mark.parametrize(
    ("variable", "value", "attribute", "expected"),
    [
        ("LeadsStorage", CONNECTION_STRING, "storage_connection_string", CONNECTION_STRING),
        ("LeadsStorage", f"  {CONNECTION_STRING}\n", "storage_connection_string", CONNECTION_STRING),
        ("LeadsStorage", "usedevelopmentstorage=TRUE;", "storage_connection_string", "UseDevelopmentStorage=true"),
        (
            "LeadsStorage",
            "BlobEndpoint=https://a;QueueEndpoint=https://b;TableEndpoint=https://c;SharedAccessSignature=sv=1&sig=x",
            "storage_connection_string",
            "BlobEndpoint=https://a;QueueEndpoint=https://b;TableEndpoint=https://c;SharedAccessSignature=sv=1&sig=x",
        ),
        ("LeadsStorage", "", "storage_connection_string", ""),
        ("LeadsStorage__accountName", " example\n", "storage_account_name", "example"),
        ("LeadsStorage__accountName", "", "storage_account_name", ""),
        ("LeadsStorage__queueServiceUri", "https://q.example.com", "queue_endpoint", "https://q.example.com"),
        ("LeadsStorage__tableServiceUri", "https://t.example.com", "table_endpoint", "https://t.example.com"),
        ("LeadsStorage__credential", "managedidentity", "storage_credential", "managedidentity"),
        ("LeadsStorage__credential", "ManagedIdentity", "storage_credential", "managedidentity"),
        ("LeadsStorage__credential", "", "storage_credential", ""),
        ("LeadsStorage__clientId", "0000-1111", "storage_client_id", "0000-1111"),
        ("LEADS_KEY_VAULT_URI", VAULT, "key_vault_uri", VAULT),
        ("PYTHON_THREADPOOL_THREAD_COUNT", "8", "thread_count", 8),
    ],
)
def test_a_setting_is_read(variable: str, value: str, attribute: str, expected: object) -> None:
    assert getattr(read_settings({variable: value, "UNRELATED": "1"}), attribute) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LeadsStorage", "s3cret-value"),
        ("LeadsStorage", "AccountName=example"),
        ("LeadsStorage", f"AccountKey={KEY}-s3cret-value"),
        ("LeadsStorage", f"AccountName=example;AccountKey={KEY};s3cret-value"),
        ("LeadsStorage", "SharedAccessSignature=s3cret-value"),
        ("LeadsStorage", f"AccountName=;AccountKey={KEY}"),
        ("LeadsStorage", "AccountName=s3cret-value;AccountKey="),
        ("LeadsStorage", f"AccountName=s3cret-value;AccountKey={KEY};EndpointSuffix="),
        ("LeadsStorage", f"AccountName=example;accountname=s3cret-value;AccountKey={KEY}"),
        ("LeadsStorage", f"AccountName=s3cret-value ;AccountKey={KEY}"),
        ("LeadsStorage", f"AccountName=s3cret-valu\u00e9;AccountKey={KEY}"),
        ("LeadsStorage", f"AccountName=s3cret-value;;AccountKey={KEY}"),
        ("LeadsStorage", "https://s3cret-value.queue.core.windows.net"),
        ("LeadsStorage__accountName", "S3cret-value"),
        ("LeadsStorage__accountName", "s3cret value"),
        ("LeadsStorage__accountName", "https://s3cret-value.table.core.windows.net"),
        ("LeadsStorage__queueServiceUri", "s3cret-value.queue.core.windows.net"),
        ("LeadsStorage__queueServiceUri", "https://[s3cret-value"),
        ("LeadsStorage__tableServiceUri", "https://s3cret-valu\u00e9.table.core.windows.net"),
        ("LeadsStorage__tableServiceUri", "http://s3cret-value.table.core.windows.net"),
        ("LeadsStorage__credential", "s3cret-value"),
        ("LEADS_KEY_VAULT_URI", "s3cret-value"),
        ("LEADS_KEY_VAULT_URI", "http://s3cret-value.vault.azure.net"),
        ("PYTHON_THREADPOOL_THREAD_COUNT", "s3cret-value"),
        ("PYTHON_THREADPOOL_THREAD_COUNT", "0"),
        ("PYTHON_THREADPOOL_THREAD_COUNT", ""),
    ],
)
def test_a_wrong_value_is_answered_in_one_line_that_names_the_variable_and_not_the_value(
    variable: str, value: str
) -> None:
    said = wrong({variable: value})
    assert said.startswith(f"{variable}: ")
    assert len(said.splitlines()) == 1
    assert "3cret" not in said
    assert KEY not in said


@given(st.sampled_from([field.alias for field in Settings.model_fields.values()]), st.text(min_size=4, max_size=40))
def test_any_value_is_taken_or_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    try:
        read_settings({variable: value})
    except SettingsError as error:
        assert str(error).startswith(f"{variable}: ")
        assert "\n" not in str(error)


SIGNATURES = ("sv=2022-11-02&sig=abc%3D", "?sig=abc", "sv=2022-11-02&sig=", "sv=2022-11-02&sig=&se=2030")
_PARTS = ("DefaultEndpointsProtocol", "AccountName", "AccountKey", "SharedAccessSignature", "EndpointSuffix")


@given(
    st.lists(
        st.tuples(st.sampled_from(_PARTS), st.sampled_from(["", " ", "http", "example", KEY, "\u00e9", *SIGNATURES]))
    )
)
@example([("AccountName", "example"), ("AccountKey", KEY)])
@example([("AccountName", "example"), ("SharedAccessSignature", "http"), ("EndpointSuffix", "http")])
@example([("AccountName", "example"), ("SharedAccessSignature", SIGNATURES[0]), ("EndpointSuffix", "example")])
def test_a_connection_string_that_is_taken_names_a_queue_and_a_table(parts: list[tuple[str, str]]) -> None:
    text = ";".join(f"{name}={value}" for name, value in parts)
    try:
        settings = read_settings({"LeadsStorage": text})
    except SettingsError:
        return
    if settings.storage_connection_string:
        storage = Storage(settings)
        storage.queue("leads")
        storage.table("LeadLedger")


def test_settings_can_be_printed_without_the_key() -> None:
    settings = read_settings({"LeadsStorage": CONNECTION_STRING})
    assert KEY not in repr(settings)
    assert KEY not in str(settings)


def test_a_connection_may_take_half_of_the_threads_and_leaves_room_for_other_leads() -> None:
    taken = [
        read_settings({"PYTHON_THREADPOOL_THREAD_COUNT": count}).connection_slots
        for count in ("1", "2", "9", "24", "64")
    ]
    assert taken == [1, 1, 4, 12, FETCHED_BESIDE]


# --- Where storage is -------------------------------------------------------------------------------------------------


def test_the_account_name_gives_both_endpoints() -> None:
    settings = read_settings({"LeadsStorage__accountName": "example"})
    assert settings.queue_endpoint == "https://example.queue.core.windows.net"
    assert settings.table_endpoint == "https://example.table.core.windows.net"


def test_a_service_address_wins_over_the_account_name() -> None:
    settings = read_settings(
        {"LeadsStorage__accountName": "example", "LeadsStorage__queueServiceUri": "https://queue.example.com"}
    )
    assert settings.queue_endpoint == "https://queue.example.com"
    assert settings.table_endpoint == "https://example.table.core.windows.net"


@pytest.mark.parametrize("service", ["queue", "table", "blob"])
@pytest.mark.parametrize(
    "address",
    [
        "https://other.{}.core.windows.net",
        "https://other-secondary.{}.core.windows.net/",
        "https://other.privatelink.{}.core.windows.net",
        "https://other.z01.{}.storage.azure.net",
        "https://10.0.0.4/other",
    ],
)
def test_an_address_of_another_account_than_the_one_named_is_refused_in_one_line(service: str, address: str) -> None:
    setting = f"LeadsStorage__{service}ServiceUri"
    settings, problems = read_usable_settings(
        {"LeadsStorage__accountName": "example", setting: address.format(service)}
    )
    (problem,) = problems
    assert problem.startswith(f"{setting}: is of another account than LeadsStorage__accountName")
    assert "\n" not in problem and "other" not in problem.split(": ", 1)[1].replace("the other's", "").replace(
        "another", ""
    )
    assert settings.storage_account_name == "example"


@pytest.mark.parametrize(
    "address",
    [
        "https://example.{}.core.windows.net/",
        "https://EXAMPLE.{}.core.windows.net",
        "https://example-secondary.{}.core.windows.net",
        "https://example.privatelink.{}.core.windows.net",
        "https://example.{}.core.chinacloudapi.cn",
        "https://example.z01.{}.storage.azure.net",
        "https://127.0.0.1:10001/example",
        "https://storage.contoso.com",
    ],
)
@pytest.mark.parametrize("service", ["queue", "table", "blob"])
def test_addresses_of_the_account_that_is_named_are_taken(service: str, address: str) -> None:
    read_settings(
        {"LeadsStorage__accountName": "example", f"LeadsStorage__{service}ServiceUri": address.format(service)}
    )


@pytest.mark.parametrize(
    ("endpoint", "setting"),
    [("queue_endpoint", "LeadsStorage__queueServiceUri"), ("table_endpoint", "LeadsStorage__tableServiceUri")],
)
def test_without_any_storage_the_settings_to_choose_from_are_named(endpoint: str, setting: str) -> None:
    with pytest.raises(SettingsError) as caught:
        getattr(read_settings({}), endpoint)
    for name in ("LeadsStorage ", "LeadsStorage__accountName", setting):
        assert name in str(caught.value)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The credentials that were made, each with its client id."""
    made: list[tuple[str, str | None]] = []
    for name in ("ManagedIdentityCredential", "DefaultAzureCredential"):

        def make(name: str = name, **options: Any) -> object:
            made.append((name, options.get("client_id")))
            return object()

        monkeypatch.setattr(azure.identity, name, make)
    return made


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (
            {"LeadsStorage__credential": "managedidentity", "LeadsStorage__clientId": "0000-1111"},
            ("ManagedIdentityCredential", "0000-1111"),
        ),
        ({"LeadsStorage__credential": "managedidentity"}, ("ManagedIdentityCredential", None)),
        ({}, ("DefaultAzureCredential", None)),
    ],
    ids=["user-assigned identity", "the app's own identity", "whatever login the machine has"],
)
def test_the_identity_is_the_one_that_the_functions_host_would_use(
    environ: dict[str, str], expected: tuple[str, str | None], credentials: list[tuple[str, str | None]]
) -> None:
    settings = read_settings(environ | {"LeadsStorage__accountName": "example"})
    assert settings.credential is settings.credential
    assert credentials == [expected], "one credential, and so one token cache, for everything"


# --- Secret references ------------------------------------------------------------------------------------------------


@dataclass
class FakeVault:
    """A fake `azure.keyvault.secrets.SecretClient` with its vault."""

    secrets: dict[str, str | None] = field(default_factory=dict)
    expires: dict[str, datetime] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)
    made_with: list[tuple[str, object]] = field(default_factory=list)

    def __call__(self, vault_url: str, credential: object, **limits: Any) -> FakeVault:
        self.made_with.append((vault_url, credential))
        return self

    def get_secret(self, name: str) -> Any:
        self.asked.append(name)
        if self.error is not None:
            raise self.error
        if name not in self.secrets:
            raise ResourceNotFoundError(f"s3cret-value: {name} not found at {VAULT}")
        properties = SimpleNamespace(expires_on=self.expires.get(name))
        return SimpleNamespace(value=self.secrets[name], properties=properties)


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch, credentials: list[tuple[str, str | None]]) -> FakeVault:
    fake = FakeVault({"crm": "s3cret-value"})
    monkeypatch.setattr(azure.keyvault.secrets, "SecretClient", fake)
    return fake


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [datetime(2026, 3, 1, tzinfo=UTC)]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + timedelta(seconds=seconds))


def secrets_of(environ: dict[str, str], **settings: str) -> Secrets:
    return Secrets(Settings.model_validate(settings), environ)


def refused(secrets: Secrets, reference: str) -> str:
    with pytest.raises(SettingsError) as caught:
        secrets.read(reference)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "s3cret-value" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_app_setting_is_read_anew_each_time() -> None:
    environ = {"LEADS_SECRET_CRM": "one"}
    secrets = secrets_of(environ)
    assert secrets.read("env:LEADS_SECRET_CRM") == "one"
    environ["LEADS_SECRET_CRM"] = "two"
    assert secrets.read("env:LEADS_SECRET_CRM") == "two"


@pytest.mark.parametrize("environ", [{}, {"LEADS_SECRET_CRM": ""}])
def test_a_missing_app_setting_is_named(environ: dict[str, str]) -> None:
    assert "app setting LEADS_SECRET_CRM" in refused(secrets_of(environ), "env:LEADS_SECRET_CRM")


KEYS_OF_THE_APP = (
    "LeadsStorage",
    "AzureWebJobsStorage",
    "IDENTITY_HEADER",
    "WEBSITE_AUTH_ENCRYPTION_KEY",
    "LEADS_SECRETS",
)


@pytest.mark.parametrize("name", [*KEYS_OF_THE_APP, "leads_secret_crm", "XLEADS_SECRET_CRM"])
def test_a_setting_that_no_operator_has_given_to_offers_is_not_read(name: str) -> None:
    said = refused(secrets_of({name: "s3cret-value"}, LEADS_ALLOWED_SETTINGS="ERP"), f"env:{name}")
    assert said == refused(secrets_of({}), f"env:{name}"), "whether it is set is not told"
    assert all(way in said for way in (f"env:{name} is not read", "LEADS_SECRET_", "LEADS_ALLOWED_SETTINGS"))


@pytest.mark.parametrize("listed", ["ERP,OLD.One", " OLD.One ,ERP,", "ERP OLD.One"])
def test_a_setting_that_the_operator_lists_is_read(listed: str) -> None:
    secrets = secrets_of({"ERP": "one", "OLD.One": "two", "ERP2": "three"}, LEADS_ALLOWED_SETTINGS=listed)
    assert (secrets.read("env:ERP"), secrets.read("env:OLD.One")) == ("one", "two")
    assert "env:ERP2 is not read" in refused(secrets, "env:ERP2")


def test_the_setting_that_the_operator_names_for_alarms_is_read() -> None:
    secrets = secrets_of({"TEAMS": "https://x.example.com", "TEAM": "s3cret-value"}, LEADS_NOTIFY_WEBHOOK="env:TEAMS")
    assert secrets.read("env:TEAMS") == "https://x.example.com"
    assert "env:TEAM is not read" in refused(secrets, "env:TEAM")


def test_a_list_of_settings_that_holds_something_else_is_refused_without_its_value() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"LEADS_ALLOWED_SETTINGS": "ERP;AccountKey=s3cret-value"})
    assert str(caught.value).startswith("LEADS_ALLOWED_SETTINGS: must be names of app settings")
    assert "s3cret-value" not in str(caught.value)


def test_a_key_vault_secret_is_read_with_the_apps_identity(vault: FakeVault) -> None:
    settings = Settings.model_validate({"LEADS_KEY_VAULT_URI": VAULT})
    assert Secrets(settings, {}).read("keyvault:crm") == "s3cret-value"
    assert vault.made_with == [(VAULT, settings.credential)]


def test_a_key_vault_secret_is_kept_for_five_minutes(vault: FakeVault, pass_time: Callable[[float], None]) -> None:
    secrets = secrets_of({}, LEADS_KEY_VAULT_URI=VAULT)
    assert KEY_VAULT_CACHE_SECONDS == 300
    secrets.read("keyvault:crm")
    vault.secrets["crm"] = "rotated"
    pass_time(299)
    assert secrets.read("keyvault:crm") == "s3cret-value"
    assert vault.asked == ["crm"]
    pass_time(1)
    assert secrets.read("keyvault:crm") == "rotated"
    assert vault.asked == ["crm", "crm"]


def test_key_vault_and_a_signature_say_when_a_secret_ends(vault: FakeVault) -> None:
    vault.expires["crm"] = datetime(2027, 3, 1, tzinfo=UTC)
    vault.secrets["crm"] = "https://x.example.com/?sv=1&se=2027-02-01T12%3A00%3A00Z&sig=s3cret"
    secrets = secrets_of(
        {"LEADS_SECRET_PLAIN": "base=1", "LEADS_SECRET_DAY": "a;se=2027-01-01", "LEADS_SECRET_ODD": "?se=2027-99-99"},
        LEADS_KEY_VAULT_URI=VAULT,
    )
    assert secrets.expiries("keyvault:crm") == [
        datetime(2027, 2, 1, 12, tzinfo=UTC),
        datetime(2027, 3, 1, tzinfo=UTC),
    ]
    assert vault.asked == ["crm"]
    assert secrets.expiries("env:LEADS_SECRET_PLAIN") == secrets.expiries("env:LEADS_SECRET_ODD") == []
    assert secrets.expiries("env:LEADS_SECRET_DAY") == [datetime(2027, 1, 1, tzinfo=UTC)]


def test_each_key_vault_secret_is_kept_by_its_own_name(vault: FakeVault, pass_time: Callable[[float], None]) -> None:
    vault.secrets["other"] = "another"
    secrets = secrets_of({}, LEADS_KEY_VAULT_URI=VAULT)
    assert [secrets.read(f"keyvault:{name}") for name in ("crm", "other", "crm")] == [
        "s3cret-value",
        "another",
        "s3cret-value",
    ]
    assert vault.asked == ["crm", "other"]


def test_after_a_refused_credential_key_vault_is_asked_again(vault: FakeVault) -> None:
    secrets = secrets_of({}, LEADS_KEY_VAULT_URI=VAULT)
    secrets.read("keyvault:crm")
    vault.secrets["crm"] = "rotated"
    secrets.forget()
    assert secrets.read("keyvault:crm") == "rotated"


def test_without_a_key_vault_the_setting_for_it_is_named(vault: FakeVault) -> None:
    assert "LEADS_KEY_VAULT_URI" in refused(secrets_of({}), "keyvault:crm")
    assert vault.asked == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (None, "has no secret named missing"),
        (ClientAuthenticationError("403 s3cret-value"), "ClientAuthenticationError"),
        (ServiceRequestError("no route to s3cret-value"), "ServiceRequestError"),
        (ValueError("the challenge s3cret-value is of another domain"), "ValueError"),
    ],
    ids=["not there", "no right", "unreachable", "not the address of a Key Vault"],
)
def test_what_key_vault_refuses_is_said_with_the_secrets_name(
    vault: FakeVault, error: Exception | None, says: str
) -> None:
    vault.error = error
    said = refused(secrets_of({}, LEADS_KEY_VAULT_URI=VAULT), "keyvault:missing")
    assert says in said
    assert "missing" in said


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_key_vault_secret_is_refused_and_not_kept(vault: FakeVault, value: str | None) -> None:
    vault.secrets["crm"] = value
    secrets = secrets_of({}, LEADS_KEY_VAULT_URI=VAULT)
    assert "secret crm is empty" in refused(secrets, "keyvault:crm")
    vault.secrets["crm"] = "filled"
    assert secrets.read("keyvault:crm") == "filled"


class Example(BaseModel):
    """The secrets in a destination's settings."""

    client_secret: SecretReference


@pytest.mark.parametrize("reference", ["env:LEADS_SECRET_CRM", "env:Crm__Secret.1", "keyvault:crm-secret"])
def test_a_reference_is_taken_as_it_is(reference: str) -> None:
    assert Example(client_secret=reference).client_secret == reference


@pytest.mark.parametrize(
    "text",
    [
        "s3cret-value",
        "env:",
        "env:CRM-SECRET",
        "env:CRM SECRET",
        "keyvault:",
        "keyvault:crm_secret",
        "keyvault:https://a.vault.azure.net/secrets/crm",
        "ENV:CRM",
        "vault:crm",
        "",
        ":x",
    ],
)
def test_a_secret_in_place_of_a_reference_is_refused(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Example(client_secret=text)
    problem = caught.value.errors()[0]
    assert problem["loc"] == ("client_secret",)
    assert "env:NAME" in problem["msg"]
    assert "keyvault:NAME" in problem["msg"]


@given(st.text())
def test_a_reference_names_its_kind_and_something(text: str) -> None:
    try:
        Example(client_secret=text)
    except ValidationError:
        return
    assert text.startswith(("env:", "keyvault:"))
    assert text.partition(":")[2]


def test_the_json_schema_shows_that_a_reference_is_wanted() -> None:
    shown = Example.model_json_schema()["properties"]["client_secret"]
    assert shown["format"] == "secret-reference"
    assert "env:LEADS_SECRET_NAME" in shown["description"]
    optional = AzureTableSettings.model_json_schema()["properties"]["connection_string"]
    assert "secret-reference" in [choice.get("format") for choice in optional["anyOf"]]


def test_what_is_right_is_usable_however_much_is_wrong() -> None:
    environ = {
        "LEADS_KEY_VAULT_URI": "s3cret",
        "LeadsStorage__credential": "s3cret",
        "LeadsStorage__accountName": "leads",
    }
    settings, problems = read_usable_settings(environ)
    assert settings.storage_account_name == "leads"
    assert [problem.partition(":")[0] for problem in problems] == ["LeadsStorage__credential", "LEADS_KEY_VAULT_URI"]


def test_variables_that_are_named_like_a_setting_and_are_none_are_found() -> None:
    environ = {
        "LEADS_KEYVAULT": "x",
        "LeadsStorage__queueUri": "x",
        "LEADS_APP_URL": "x",
        "PATH": "x",
        "leadsstorage": "x",
    }
    assert unread_variables(environ) == ["LEADS_KEYVAULT", "LeadsStorage__queueUri", "leadsstorage"]
