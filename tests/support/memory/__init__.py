"""Storage accounts in memory: as much of Azure's queues and tables as the app uses, at the place of the SDK's clients.

    with installed(), memory_account() as connection_string:
        app = App(Settings.model_validate({"LeadsStorage": connection_string}))

A `TableClient` or `QueueClient` that is made from such a connection string works on the account in memory, whoever makes
it; another process can't reach it. `tests/platform/test_storage.py` holds the accounts to Azurite.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from tests.support.account import Account
from tests.support.memory.account import MemoryAccount
from tests.support.memory.queues import MemoryQueueClient
from tests.support.memory.tables import MemoryTableClient

_accounts: Final[dict[str, MemoryAccount]] = {}
_numbers: Final = count(1)


@contextmanager
def memory_account() -> Iterator[str]:
    """The connection string of an empty account."""
    name = f"memory{next(_numbers):06}"
    # No listener there: another process that gets the connection string is refused at once.
    url = f"http://127.0.0.1:9/{name}"
    endpoints = ";".join(f"{service}Endpoint={url}" for service in ("Blob", "Queue", "Table"))
    connection_string = f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey=bWVtb3J5;{endpoints};"
    _accounts[connection_string] = MemoryAccount(url)
    try:
        yield connection_string
    finally:
        del _accounts[connection_string]


def account_at(connection_string: str) -> MemoryAccount | Account:
    """The content of any account."""
    return _accounts.get(connection_string) or Account(connection_string)


def require_reachable(connection_string: str) -> None:
    """Fail if a proxy or another process gets an account in memory."""
    assert connection_string not in _accounts, (
        "mark the test with storage('azurite'): only this process reaches its storage"
    )


@contextmanager
def installed() -> Iterator[None]:
    """Let the SDK's clients use memory accounts for their connection strings."""
    with _dispatching(TableClient, MemoryTableClient), _dispatching(QueueClient, MemoryQueueClient):
        yield


@contextmanager
def _dispatching(real: Any, double: Any) -> Iterator[None]:
    make_real = real.from_connection_string.__func__

    def make(kind: type[Any], /, conn_str: str, name: str, **options: Any) -> Any:
        account = _accounts.get(conn_str)
        return make_real(kind, conn_str, name, **options) if account is None else double(account, name, **options)

    with patch.object(real, "from_connection_string", classmethod(make)):
        yield
