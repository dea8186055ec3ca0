"""Where an offer may have a table written: the token of the app's identity goes to Azure's own hosts alone, and nothing goes to a
private network or without TLS unless the operator's settings say so."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from leads.core.lead import Lead, Stage
from leads.core.outcomes import Delivered, Misconfigured
from leads.destinations import make
from leads.destinations.azure_hosts import is_azure_table_address
from leads.destinations.base import Context, Customer, Destination, OutgoingLead
from leads.platform.secrets import Secrets
from leads.platform.settings import Settings, read_settings
from leads.platform.storage import Storage

KEY = "AccountKey=c2VjcmV0"
BY_IDENTITY = {"LeadsStorage__accountName": "contoso", "LeadsStorage__credential": "managedidentity"}
SECRET = "LEADS_SECRET_TABLE"
OUTGOING = OutgoingLead("1-a", Lead(email="ada@example.com"), "a.b", "table", Stage.UNKNOWN, datetime.now(UTC))


@pytest.mark.parametrize(
    "address",
    [
        "https://contoso.table.core.windows.net",
        "https://CONTOSO-secondary.Table.core.windows.net/",
        "https://contoso.table.core.windows.net:443",
        "https://contoso.privatelink.table.core.windows.net",
        "https://contoso.z12.table.storage.azure.net",
        "https://contoso.table.core.usgovcloudapi.net",
        "https://contoso.privatelink.table.core.chinacloudapi.cn",
        "https://contoso.table.core.sovcloud-api.fr",
    ],
)
def test_azures_own_table_hosts(address: str) -> None:
    assert is_azure_table_address(address)


HOSTILE = [
    "https://localhost:8443",
    "https://attacker.example.com",
    "http://contoso.table.core.windows.net",
    "https://table.core.windows.net",
    "https://contosotable.core.windows.net",
    "https://contoso.table.core.windows.net.example.com",
    "https://contoso.table.core.windows.net:8443",
    "https://contoso.table.core.windows.net@example.com",
    "https://example.com\\.table.core.windows.net",
    "https://example.com?.table.core.windows.net",
    "https://example.com#.table.core.windows.net",
    "https://example.com;.table.core.windows.net",
    "https://example.com%2f.table.core.windows.net",
    "https://a b.table.core.windows.net",
    "https://contoso.table.core.windows.net\n",
    "https://contoso.table.core.wındows.net",
    "https://contoso.table.cosmos.azure.com",
    "https://contoso.blob.core.windows.net",
]


@pytest.mark.parametrize("address", HOSTILE)
def test_other_hosts_and_hosts_that_only_look_like_azures(address: str) -> None:
    assert not is_azure_table_address(address)


@given(
    st.from_regex(r"https://[a-z0-9.@:?#\\/%;\-]{0,12}(\.table\.core\.windows\.net|evil\.example)[/:@.a-z0-9]{0,12}")
)
def test_the_sending_library_agrees_which_hosts_are_azures(address: str) -> None:
    if is_azure_table_address(address):
        parts = parse_url(address)
        assert (parts.host or "").endswith(".table.core.windows.net")
        assert (parts.scheme, parts.auth, parts.port or 443) == ("https", None, 443)


class Identity:
    """The app's identity. It keeps the scopes of the tokens that were requested."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> Any:
        self.asked += scopes
        raise AssertionError("no token may be asked for")


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Identity:
    made = Identity()
    monkeypatch.setattr(Settings, "credential", made)
    return made


@pytest.fixture
def outsider() -> Iterator[socket.socket]:
    """A server that must get no connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def nobody_came(listening: socket.socket) -> bool:
    try:
        listening.accept()
    except BlockingIOError:
        return True
    return False


def table_of(environ: dict[str, str], secret: str = "", **chosen: str) -> Destination:
    settings = read_settings(environ)
    return make(
        "azure_table", chosen, Context(settings, Secrets(settings, {SECRET: secret}), Storage(settings)), {}, {}
    )


def refused(table: Destination) -> Misconfigured:
    """The reason why neither a lead nor a check is sent. The leads wait."""
    outcome = table.send(OUTGOING, Customer("c" * 32))
    checked = table.check()
    assert isinstance(outcome, Misconfigured)
    assert (checked.ok, checked.transient, checked.problem) == (False, False, outcome.reason)
    return outcome


def test_only_azures_hosts_get_the_token_of_the_apps_identity(identity: Identity, outsider: socket.socket) -> None:
    for address in (f"https://localhost:{outsider.getsockname()[1]}", "https://example.com\\.table.core.windows.net"):
        said = refused(table_of(BY_IDENTITY, table_service_uri=address))
        assert "only to Azure's own table hosts" in said.reason
    assert identity.asked == []
    assert nobody_came(outsider)


def test_the_operators_own_address_may_be_of_any_host(identity: Identity) -> None:
    own = {"LeadsStorage__tableServiceUri": "https://tables.contoso.example/"}
    own |= {"LeadsStorage__queueServiceUri": "https://queues.contoso.example"}
    table = table_of(own, table_service_uri="https://TABLES.contoso.example")
    with pytest.raises(AssertionError):
        table.check()
    assert identity.asked, "it is asked for the token"


def at(listening: socket.socket, scheme: str) -> str:
    return f"AccountName=other;{KEY};TableEndpoint={scheme}://127.0.0.1:{listening.getsockname()[1]}/other"


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_connection_string_leads_neither_into_a_private_network_nor_to_http(
    scheme: str, outsider: socket.socket
) -> None:
    own = f"AccountName=contoso;{KEY}"
    said = refused(table_of({"LeadsStorage": own}, at(outsider, scheme), connection_string=f"env:{SECRET}"))
    assert said.code == "address_refused"
    assert "LEADS_ALLOWED_NETWORKS" in said.reason
    assert nobody_came(outsider)


def test_a_private_network_that_the_operator_allows_is_reached_but_only_by_tls(outsider: socket.socket) -> None:
    allowed = {"LeadsStorage": f"AccountName=contoso;{KEY}", "LEADS_ALLOWED_NETWORKS": "127.0.0.0/8"}
    assert refused(table_of(allowed, at(outsider, "http"), connection_string=f"env:{SECRET}")).code == "address_refused"
    assert nobody_came(outsider)


@pytest.mark.parametrize("reference", ["", f"env:{SECRET}"], ids=["its own account", "another account of it"])
def test_in_development_the_operators_own_emulator_is_reached_without_tls(fresh_storage: str, reference: str) -> None:
    chosen = {"connection_string": reference} if reference else {}
    table = table_of({"LeadsStorage": fresh_storage}, fresh_storage, **chosen)
    assert isinstance(table.send(OUTGOING, Customer("c" * 32)), Delivered)
