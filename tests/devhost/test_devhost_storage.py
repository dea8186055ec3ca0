"""The accounts that connection settings name, and the host's authentication."""

from __future__ import annotations

import asyncio
import base64

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from pytest_httpserver import HTTPServer

from devhost.errors import StartError
from devhost.storage import Account, Service, StorageError, find_account

KEY = base64.b64encode(b"secret").decode()


def account(service: str = "queue", **settings: str) -> Account | None:
    return find_account("LeadsStorage", service, settings)


AZURE = f"DefaultEndpointsProtocol=https;AccountName=leads;AccountKey={KEY};EndpointSuffix=core.windows.net"
OWN_ENDPOINT = f"AccountName=devstoreaccount1;AccountKey={KEY};QueueEndpoint=http://127.0.0.1:5001/devstoreaccount1/;"


@pytest.mark.parametrize(
    ("service", "settings", "found"),
    [
        ("queue", {"LeadsStorage": AZURE}, Account("leads", "https://leads.queue.core.windows.net", b"secret")),
        ("blob", {"LeadsStorage": AZURE}, Account("leads", "https://leads.blob.core.windows.net", b"secret")),
        (
            "queue",
            {"LeadsStorage": OWN_ENDPOINT},
            Account("devstoreaccount1", "http://127.0.0.1:5001/devstoreaccount1", b"secret"),
        ),
        ("blob", {"LeadsStorage": OWN_ENDPOINT}, None),
        (
            "queue",
            {"LeadsStorage__accountName": "leads", "LeadsStorage__clientId": "client"},
            Account("leads", "https://leads.queue.core.windows.net", client_id="client"),
        ),
        (
            "queue",
            {"LeadsStorage__queueServiceUri": "https://q.example.com/", "LeadsStorage__clientId": "client"},
            Account("q", "https://q.example.com", client_id="client"),
        ),
        (
            "blob",
            {"LeadsStorage__accountName": "leads"},
            Account("leads", "https://leads.blob.core.windows.net"),
        ),
        ("queue", {}, None),
    ],
)
def test_the_account_that_a_setting_names(service: str, settings: dict[str, str], found: Account | None) -> None:
    assert account(service, **settings) == found


def test_development_storage_is_azurite_on_its_default_ports() -> None:
    found = account(LeadsStorage="UseDevelopmentStorage=true")
    assert found is not None
    assert found.endpoint == "http://127.0.0.1:10001/devstoreaccount1"
    assert found.key is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"LeadsStorage": "AccountName=leads;EndpointSuffix=core.windows.net"},
        {"LeadsStorage": "AccountName=leads;AccountKey=?;EndpointSuffix=core.windows.net"},
        {"LeadsStorage": f"AccountKey={KEY};QueueEndpoint=http://127.0.0.1:1/x"},
        {"LeadsStorage__queueServiceUri": "http://q.example.com"},
    ],
)
def test_a_setting_that_cannot_work_is_named_without_its_secret(settings: dict[str, str]) -> None:
    with pytest.raises(StartError, match="LeadsStorage") as caught:
        account(**settings)
    assert KEY not in str(caught.value)


def test_an_identity_signs_in_with_one_token_for_all_calls(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, str]] = []

    class Credential:
        def __init__(self, client_id: str | None) -> None:
            self.client_id = client_id

        def get_token(self, scope: str) -> AccessToken:
            asked.append((self.client_id, scope))
            return AccessToken("a token", 4_000_000_000)

    monkeypatch.setattr("azure.identity.ManagedIdentityCredential", Credential)
    httpserver.expect_request("/leads").respond_with_data("", status=201)

    async def call_twice() -> None:
        identity = Account("leads", httpserver.url_for("").rstrip("/"), client_id="client")
        async with aiohttp.ClientSession() as session:
            service = Service(session, identity)
            await service.call("PUT", "/leads")
            await service.call("PUT", "/leads")

    asyncio.run(call_twice())
    assert asked == [("client", "https://storage.azure.com/.default")]
    assert {request.headers["Authorization"] for request, _ in httpserver.log} == {"Bearer a token"}


def test_an_error_names_status_and_code_but_neither_address_nor_content(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/leads").respond_with_data(
        "jane@example.com", status=403, headers={"x-ms-error-code": "AuthorizationFailure"}
    )

    async def call() -> None:
        async with aiohttp.ClientSession() as session:
            there = Account("leads", httpserver.url_for("").rstrip("/"), b"secret")
            await Service(session, there).call("GET", "/leads")

    with pytest.raises(StorageError) as caught:
        asyncio.run(call())
    assert str(caught.value) == "storage answered 403 AuthorizationFailure"
