"""Storage by the app's identity alone: with the settings that the Functions host reads, and without any key.

Azurite takes the tokens over https and checks their audience, issuer and times; a token endpoint of the tests' own stands
for the one that App Service gives an app (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`; Microsoft Learn, "How to use managed
identities for App Service and Azure Functions", section "REST endpoint reference").
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from leads.app import App
from leads.core.lead import Lead, Stage
from leads.core.messages import decode
from leads.core.outcomes import Delivered, Misconfigured
from leads.core.states import State
from leads.destinations import make
from leads.destinations.base import Customer, Destination, OutgoingLead
from leads.offers.model import read_offer
from leads.pipeline.delivery import deliver
from leads.pipeline.intake import accept
from leads.platform import network
from leads.platform.settings import read_settings
from leads.platform.storage import StorageError
from tests.support.account import named_parts, rows
from tests.support.in_time import in_time
from tests.support.pipeline import a_lead, text_of
from tools.azurite import Azurite

CLIENT_ID = "11111111-2222-3333-4444-555555555555"
HEADER = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"
STORAGE = "https://storage.azure.com"
ACCOUNTS = 20
OUTGOING = OutgoingLead(
    "20260131235959999-0123456789ab-c",
    Lead(email="ada@example.com"),
    "contoso.crm",
    "table",
    Stage.UNKNOWN,
    datetime(2026, 1, 31, tzinfo=UTC),
)


@dataclass
class TokenEndpoint:
    """Gives tokens as the test says, and records its requests."""

    server: HTTPServer
    audience: str = STORAGE
    status: int = 200
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, request: Request) -> Response:
        self.asked.append({**request.args, "header": request.headers.get("X-IDENTITY-HEADER", "")})
        if self.status != 200:
            body = {"statusCode": self.status, "message": "No User Assigned or Delegated Managed Identity found."}
            return Response(json.dumps(body), self.status, content_type="application/json")
        expires_on = int(time.time()) + 86_400
        token = jwt.encode(
            {
                "aud": self.audience,
                "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
                "iat": expires_on - 86_500,
                "nbf": expires_on - 86_500,
                "exp": expires_on,
            },
            "signed by nobody whom Azurite asks",
        )
        body = {
            "access_token": token,
            "expires_on": str(expires_on),
            "resource": request.args.get("resource", ""),
            "token_type": "Bearer",
            "client_id": request.args.get("client_id", ""),
        }
        return Response(json.dumps(body), 200, content_type="application/json")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An Azurite that serves https under the names of Azure Storage."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate = authority.issue_cert("127.0.0.1", "*.queue.core.windows.net", "*.table.core.windows.net")
    chain, key = folder / "certificate.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    with Azurite(accounts=ACCOUNTS, certificate=(chain, key)) as running:
        yield running


@pytest.fixture(scope="module")
def _unused(secured: Azurite) -> Iterator[str]:
    return iter(secured.account_connection_strings)


@pytest.fixture
def account(_unused: Iterator[str], authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection string of an empty account; the tests' own certificate authority is trusted."""
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    return next(_unused)


@pytest.fixture
def tokens(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> TokenEndpoint:
    endpoint = TokenEndpoint(httpserver)
    httpserver.expect_request("/msi/token").respond_with_handler(endpoint.answer)
    monkeypatch.setenv("IDENTITY_ENDPOINT", httpserver.url_for("/msi/token"))
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)
    return endpoint


@pytest.fixture
def azures_names(secured: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to the addresses of Azure's storage reach Azurite."""
    dial = network.dial

    def redirected(host: str, port: int, seconds: float, options: Any, admits: Any) -> socket.socket:
        for service, real_port in (("queue", secured.ports["queue"]), ("table", secured.ports["table"])):
            if host.endswith(f".{service}.core.windows.net"):
                return dial("127.0.0.1", real_port, seconds)  # it replaces a public address
        return dial(host, port, seconds, options, admits)

    monkeypatch.setattr(network, "dial", redirected)


def part(connection_string: str, name: str) -> str:
    return named_parts(connection_string)[name]


def by_address(account: str) -> dict[str, str]:
    return {
        "LeadsStorage__queueServiceUri": part(account, "QueueEndpoint"),
        "LeadsStorage__tableServiceUri": part(account, "TableEndpoint"),
        "LeadsStorage__credential": "managedidentity",
        "LeadsStorage__clientId": CLIENT_ID,
    }


def by_name(account: str) -> dict[str, str]:
    return {
        "LeadsStorage__accountName": part(account, "AccountName"),
        "LeadsStorage__credential": "managedidentity",
        "LeadsStorage__clientId": CLIENT_ID,
    }


def app_with(environ: dict[str, str], **table: str) -> App:
    app = App(read_settings(environ))
    destination = {"name": "table", "type": "azure_table", "settings": table}
    app.offers.save(read_offer({"id": "contoso.crm", "titles": ["Contoso CRM"], "destinations": [destination]}))
    return app


def handled(app: App) -> str:
    """Accept a lead and deliver it. Returns its id."""
    lead_id = accept(app.incoming, json.dumps(a_lead()).encode()).lead_id
    for message in app.queue.receive(32, 30):
        deliver(app, text_of(message))
        app.queue.delete(message)
    return lead_id


def table_of(app: App, **table: str) -> Destination:
    return make("azure_table", table, app.context)


def test_a_lead_is_taken_in_and_delivered_by_identity_alone(account: str, tokens: TokenEndpoint) -> None:
    app = app_with(by_address(account))
    lead_id = handled(app)
    record = app.ledger.read(lead_id)
    assert record is not None
    assert record.state is State.DELIVERED
    assert [(row["RowKey"], row["Email"]) for row in rows(account)] == [(lead_id, "ada@example.com")]
    assert {request["resource"] for request in tokens.asked} == {STORAGE}
    assert {request["client_id"] for request in tokens.asked} == {CLIENT_ID}
    assert {request["header"] for request in tokens.asked} == {HEADER}


@pytest.mark.usefixtures("azures_names")
def test_the_account_name_alone_leads_to_azures_addresses(account: str, tokens: TokenEndpoint) -> None:
    # Not through the ledger: Azurite carries out no transactions under these names.
    app = App(read_settings(by_name(account)))
    lead_id = accept(app.incoming, json.dumps(a_lead()).encode()).lead_id
    assert [decode(text_of(message)).lead_id for message in app.queue.receive(32, 30)] == [lead_id]
    assert table_of(app).send(OUTGOING, Customer("key")) == Delivered(OUTGOING.lead_id, "created")
    assert [row["RowKey"] for row in rows(account)] == [OUTGOING.lead_id]
    assert {(request["resource"], request["client_id"]) for request in tokens.asked} == {(STORAGE, CLIENT_ID)}


def test_one_token_serves_queue_and_tables_until_it_expires(account: str, tokens: TokenEndpoint) -> None:
    app = app_with(by_address(account))
    for _ in range(3):
        handled(app)
    assert len(tokens.asked) == 1


def test_without_a_client_id_the_apps_own_identity_is_asked_for(account: str, tokens: TokenEndpoint) -> None:
    environ = by_address(account)
    del environ["LeadsStorage__clientId"]
    handled(app_with(environ))
    assert len(rows(account)) == 1
    assert all("client_id" not in request for request in tokens.asked)


@pytest.mark.usefixtures("azures_names")
def test_a_destination_can_be_another_account_by_the_same_identity(
    account: str, tokens: TokenEndpoint, _unused: Iterator[str]
) -> None:
    other = next(_unused)
    address = f"https://{part(other, 'AccountName')}.table.core.windows.net"
    lead_id = handled(app_with(by_address(account), table="Elsewhere", table_service_uri=address))
    assert [row["RowKey"] for row in rows(other, "Elsewhere")] == [lead_id]
    assert len(tokens.asked) == 1


def test_storage_refuses_a_token_for_another_audience_so_the_lead_is_not_accepted(
    account: str, tokens: TokenEndpoint
) -> None:
    tokens.audience = "https://vault.azure.net"
    with pytest.raises(StorageError):
        accept(App(read_settings(by_address(account))).incoming, json.dumps(a_lead()).encode())


@pytest.mark.parametrize("status", [400, 500])
def test_without_a_token_the_lead_is_refused(status: int, account: str, tokens: TokenEndpoint) -> None:
    tokens.status = status
    with in_time(), pytest.raises(StorageError):
        accept(App(read_settings(by_address(account))).incoming, json.dumps(a_lead()).encode())


def test_a_token_endpoint_that_does_not_answer_is_given_up_on(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        with in_time(), pytest.raises(StorageError):
            accept(App(read_settings(by_address(account))).incoming, json.dumps(a_lead()).encode())


@pytest.mark.usefixtures("azures_names")
def test_a_destination_without_a_token_is_misconfigured_and_says_what_to_check(
    account: str, tokens: TokenEndpoint
) -> None:
    tokens.status = 400
    address = f"https://{part(account, 'AccountName')}.table.core.windows.net"
    destination = table_of(App(read_settings(by_address(account))), table_service_uri=address)
    outcome = destination.send(OUTGOING, Customer("key"))
    assert isinstance(outcome, Misconfigured)
    checked = destination.check()
    assert not checked.ok
    assert not checked.transient
    for words in (outcome.reason, checked.problem):
        assert "identity" in words
        assert "client id" in words
        assert "\n" not in words
