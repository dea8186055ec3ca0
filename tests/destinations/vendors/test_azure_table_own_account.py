"""An erasure removes rows in the app's own storage account, by whichever setting the account is named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from leads.destinations import make
from leads.destinations.base import Context
from leads.platform.secrets import Secrets
from leads.platform.settings import read_settings
from leads.platform.storage import Storage
from leads.platform.storage_accounts import account_of

KEY = "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
BY_KEY = f"DefaultEndpointsProtocol=https;AccountName=contoso;{KEY};EndpointSuffix=core.windows.net"
BY_IDENTITY = {"LeadsStorage__accountName": "contoso", "LeadsStorage__credential": "managedidentity"}
BY_ADDRESS = {
    "LeadsStorage__queueServiceUri": "https://contoso.queue.core.windows.net",
    "LeadsStorage__tableServiceUri": "https://contoso.table.core.windows.net/",
}
EMULATOR = (
    f"AccountName=devstoreaccount1;{KEY};TableEndpoint=http://localhost:10002/devstoreaccount1;"
    "QueueEndpoint=http://localhost:10001/devstoreaccount1"
)
SIGNATURE = "SharedAccessSignature=sv=2024-11-04&ss=t&sig=c2lnbmF0dXJl"


def is_own(own: dict[str, str], *, secret: str = "", uri: str = "", reference: str = "env:LEADS_SECRET_TABLE") -> bool:
    """Whether a row of a destination with this account would be erased."""
    settings = read_settings(own)
    context = Context(settings, Secrets(settings, own | {"LEADS_SECRET_TABLE": secret}), Storage(settings))
    account = {"table_service_uri": uri} if uri else {"connection_string": reference}
    table = make("azure_table", account, context, {}, {})
    return table.remove_own_record("20260131235959999-0123456789ab-c", datetime(2026, 1, 31, tzinfo=UTC), dry_run=True)


@pytest.mark.parametrize(
    "own", [{"LeadsStorage": BY_KEY}, BY_IDENTITY, BY_ADDRESS], ids=["connection string", "identity", "address"]
)
@pytest.mark.parametrize(
    "secret",
    [
        BY_KEY,
        f"EndpointSuffix=core.windows.net;{KEY};AccountName=Contoso;DefaultEndpointsProtocol=http",
        f"AccountName=contoso;{SIGNATURE}",
        f"TableEndpoint=https://contoso.table.core.windows.net/;{SIGNATURE}",
        f"AccountName=contoso;{KEY};TableEndpoint=https://contoso-secondary.table.core.windows.net",
        f"TableEndpoint=https://contoso.privatelink.table.core.windows.net:443;{SIGNATURE}",
        f'{{"connectionString": "{BY_KEY}"}}',
    ],
    ids=["as it is", "another order", "signature", "endpoint", "secondary", "private link", "in JSON"],
)
def test_the_own_account_is_known_by_any_connection_string(own: dict[str, str], secret: str) -> None:
    assert is_own(own, secret=secret)


@pytest.mark.parametrize("own", [{"LeadsStorage": BY_KEY}, BY_IDENTITY, BY_ADDRESS], ids=str)
@pytest.mark.parametrize(
    "uri", ["https://contoso.table.core.windows.net", "https://CONTOSO-secondary.table.core.windows.net/"]
)
def test_the_own_account_is_known_by_its_address(own: dict[str, str], uri: str) -> None:
    assert is_own(own, uri=uri)


def test_the_own_emulator_is_known_by_any_name() -> None:
    assert is_own({"LeadsStorage": EMULATOR}, secret="UseDevelopmentStorage=true")
    assert is_own({"LeadsStorage": "UseDevelopmentStorage=true"}, secret=EMULATOR)
    assert account_of("http://127.0.0.1:10002/devstoreaccount1-secondary/T") == account_of(
        "http://localhost:10002/devstoreaccount1"
    )


@pytest.mark.parametrize("own", [{"LeadsStorage": BY_KEY}, BY_IDENTITY, BY_ADDRESS], ids=str)
def test_a_destination_that_names_the_apps_own_setting_is_in_the_own_account(own: dict[str, str]) -> None:
    assert is_own(own, reference="env:LeadsStorage")


@pytest.mark.parametrize(
    "secret",
    [
        BY_KEY.replace("contoso", "contoso2"),
        BY_KEY.replace("core.windows.net", "core.chinacloudapi.cn"),
        f"TableEndpoint=https://contoso.table.cosmos.azure.com:443;AccountName=contoso;{KEY}",
        EMULATOR,
        "no connection string",
        "",
    ],
    ids=["another name", "another cloud", "Cosmos DB", "an emulator", "nonsense", "no secret"],
)
def test_another_account_or_an_unknown_one_is_not_the_apps_own(secret: str) -> None:
    assert not is_own({"LeadsStorage": BY_KEY}, secret=secret)


def test_another_emulators_account_is_not_the_own() -> None:
    for other in (EMULATOR.replace("1000", "2000"), EMULATOR.replace("devstoreaccount1", "other")):
        assert not is_own({"LeadsStorage": EMULATOR}, secret=other)
