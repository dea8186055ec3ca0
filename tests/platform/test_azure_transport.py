"""Requests of the Azure SDK end at the deadline, including name lookup and connecting."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from azure.core.exceptions import AzureError
from azure.core.rest import HttpRequest

from leads.destinations.http import Failure, HttpClient, NoAnswer
from leads.platform import deadline, network
from leads.platform.azure_transport import LONGEST_PAUSE_SECONDS, BoundedTransport, NotAllowed
from leads.platform.secrets import Secrets
from leads.platform.settings import SettingsError, read_settings
from leads.platform.storage import Storage, StorageError
from tests.support.in_time import in_time
from tests.support.tcp import never_answer, tcp_server

SHORT = 0.3
PATIENT = {"connection_timeout": 600, "read_timeout": 600}


@contextmanager
def server(behave: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of a plain server that calls this for each connection."""
    with tcp_server(behave) as port:
        yield f"127.0.0.1:{port}"


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b".")
        time.sleep(0.02)


def busy_for_an_hour(connection: socket.socket) -> None:
    while connection.recv(65_536):
        connection.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")


def soon(work: Callable[[], object]) -> None:
    """Only the deadline ends the block."""
    with in_time(), deadline.within(SHORT):
        work()


def trusting(address: str) -> BoundedTransport:
    made = BoundedTransport(1, PATIENT)
    made.trust(f"http://{address}")
    return made


@pytest.mark.parametrize("behave", [never_answer, drip])
def test_a_request_ends_at_the_deadline(behave: Callable[[socket.socket], None]) -> None:
    def ask() -> None:
        with pytest.raises(AzureError):
            trusting(address).send(HttpRequest("GET", f"http://{address}/"))

    with server(behave) as address:
        soon(ask)


def test_after_the_deadline_nothing_is_sent() -> None:
    seen: list[bytes] = []
    take = lambda connection: seen.append(connection.recv(100))  # noqa: E731
    with server(take) as address, deadline.within(0), pytest.raises(AzureError):
        trusting(address).send(HttpRequest("GET", f"http://{address}/"))
    assert seen == []


@pytest.mark.parametrize(
    "untrusted",
    ["http://{0}/", "https://{0}/", "http://localhost:{1}/", "http://user@{0}/"],
)
def test_only_what_is_trusted_is_reached_in_a_private_network_or_without_tls(untrusted: str) -> None:
    came: list[object] = []
    with server(came.append) as address, server(came.append) as other:
        transport = trusting(other)
        with pytest.raises(NotAllowed):
            transport.send(HttpRequest("GET", untrusted.format(address, address.partition(":")[2])))
    assert came == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_storage_that_redirects_is_not_followed(status: int, pauses: list[float]) -> None:
    came: list[object] = []

    def redirect(connection: socket.socket) -> None:
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: http://{elsewhere}/x\r\nContent-Length: 0\r\n\r\n"
        while connection.recv(65_536):
            connection.sendall(moved.encode())

    with server(came.append) as elsewhere, server(redirect) as address:
        storage = account_at(address)
        for ask in (lambda: storage.table("LeadLedger").get("a", "b"), lambda: storage.queue("leads").count()):
            with pytest.raises(StorageError):
                ask()
    assert came == []


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    asked: list[float] = []
    monkeypatch.setattr("azure.core.pipeline.transport._base.time.sleep", asked.append)
    return asked


def account_at(address: str) -> Storage:
    endpoints = f"QueueEndpoint=http://{address}/a;TableEndpoint=http://{address}/a"
    return Storage(read_settings({"LeadsStorage": f"AccountName=a;AccountKey=c2VjcmV0;{endpoints}"}))


def test_storage_that_asks_for_an_hours_pause_is_not_waited_for(pauses: list[float]) -> None:
    with server(busy_for_an_hour) as address, pytest.raises(StorageError):
        account_at(address).table("LeadLedger").get("a", "b")
    assert pauses and max(pauses) <= LONGEST_PAUSE_SECONDS


def test_a_call_to_storage_ends_at_the_deadline_with_all_its_tries() -> None:
    def ask(storage: Storage) -> None:
        with pytest.raises(StorageError):
            storage.table("LeadLedger").get("a", "b")

    with server(never_answer) as address:
        soon(lambda: ask(account_at(address)))


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The app has an identity with a hanging token endpoint."""
    with server(never_answer) as address:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://{address}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        yield


IDENTITY = {"LeadsStorage__credential": "managedidentity", "LeadsStorage__accountName": "contosoleads"}


@pytest.mark.usefixtures("identity")
def test_a_token_endpoint_that_hangs_does_not_hang_storage() -> None:
    def ask() -> None:
        with pytest.raises(StorageError):
            Storage(read_settings(IDENTITY)).queue("leads").put("x")

    soon(ask)


@pytest.mark.usefixtures("identity")
def test_a_key_vault_behind_a_token_endpoint_that_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = Secrets(read_settings(IDENTITY | {"LEADS_KEY_VAULT_URI": "https://contoso.vault.azure.net"}), {})

    def ask() -> None:
        with pytest.raises(SettingsError, match="Key Vault did not give the secret crm"):
            secrets.read("keyvault:crm")

    with server(never_answer) as address:
        reach(address, monkeypatch)
        soon(ask)


def reach(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host name means this server."""
    dial, (host, _, port) = network.dial, address.partition(":")
    monkeypatch.setattr(network, "dial", lambda _host, _port, *limits: dial(host, int(port), *limits))


# --- Names and addresses ------------------------------------------------------------------------------------------------


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names that are looked up. The name service hangs until the test ends."""
    asked: list[str] = []
    ended = threading.Event()

    def hang(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        ended.wait(600)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    ended.set()


def test_a_name_service_that_hangs_is_a_connection_that_can_not_be_made(names: list[str]) -> None:
    def ask() -> None:
        with pytest.raises(NoAnswer) as no:
            HttpClient(1).request("GET", "https://vendor.example.com/")
        assert (no.value.failure, no.value.sent) == (Failure.CONNECT_TIMEOUT, False)

    soon(ask)
    assert names == ["vendor.example.com"]


def test_one_thread_waits_for_the_name_service_however_many_ask_for_the_name(names: list[str]) -> None:
    def ask(_: int) -> None:
        with pytest.raises(TimeoutError):
            network.dial("storage.example.com", 443, SHORT)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert names == ["storage.example.com"]


def test_addresses_that_do_not_answer_share_the_time_and_the_one_that_does_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = socket.getaddrinfo

    def three(host: str, port: int, *rest: Any, **more: Any) -> Any:
        hosts = ("192.0.2.1", "192.0.2.2", "127.0.0.1") if host == "vendor.example.com" else (host,)
        return [found for address in hosts for found in real(address, port, *rest, **more)]

    connect = socket.socket.connect
    waited: list[float] = []

    def connect_or_wait(self: socket.socket, address: Any) -> None:
        if address[0].startswith("192.0.2."):
            waited.append(self.gettimeout() or 0)
            raise TimeoutError
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", three)
    monkeypatch.setattr(socket.socket, "connect", connect_or_wait)
    with server(never_answer) as address:
        network.dial("vendor.example.com", int(address.rpartition(":")[2]), 9.0).close()
    first, second = waited
    assert 0 < first <= 3.0 < second <= 4.5, "a third of the time, then half of what is left"
