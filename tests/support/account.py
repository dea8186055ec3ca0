"""The content of a storage account.

All rows and messages are read by plain HTTP, because the SDK's clients take several times as long, and this runs after each
test. One table is read by the SDK.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

import requests
from azure.data.tables import TableClient
from azure.storage.queue import generate_account_sas

_CONTINUES: Final = ("NextTableName", "NextPartitionKey", "NextRowKey")


def rows(connection_string: str, table: str = "MarketplaceLeads") -> list[dict[str, Any]]:
    """The rows of a table, by default of the Azure Table destination's."""
    with TableClient.from_connection_string(connection_string, table) as client:
        return [dict(entity) for entity in client.list_entities()]


def named_parts(connection_string: str) -> dict[str, str]:
    """The parts of a connection string by their names."""
    return dict(part.split("=", 1) for part in connection_string.split(";") if part)


class Account:
    """All content of an account. Raises `requests.HTTPError` if storage refuses."""

    _session = requests.Session()
    _session.trust_env = False

    def __init__(self, connection_string: str) -> None:
        self._named = named_parts(connection_string)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        name, key = self._named["AccountName"], self._named["AccountKey"]
        signature = generate_account_sas(name, key, "sco", "rwdlacup", tomorrow, services="qt")
        self._signed = dict(parse_qsl(signature))

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each row of each table, with the table's name; binary values in base64."""
        for table in self._pages("Tables"):
            for row in self._pages(f"{table['TableName']}()"):
                yield table["TableName"], row

    def messages(self) -> Iterator[tuple[str, str]]:
        """Each message that is visible, the first 32 of a queue, with the queue's name."""
        for queue in self._queues():
            peeked = self._ask("GET", "Queue", f"{queue}/messages", {"peekonly": "true", "numofmessages": "32"})
            for text in ET.fromstring(peeked.content).iterfind("QueueMessage/MessageText"):
                yield queue, text.text or ""

    def delete_queues(self) -> None:
        for queue in self._queues():
            self._ask("DELETE", "Queue", queue, {})

    def _queues(self) -> list[str]:
        listed = ET.fromstring(self._ask("GET", "Queue", "", {"comp": "list"}).content)
        return [str(name.text) for name in listed.iterfind("Queues/Queue/Name")]

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        while True:
            answer = self._ask("GET", "Table", path, more)
            yield from answer.json()["value"]
            more = {name: value for name in _CONTINUES if (value := answer.headers.get(f"x-ms-continuation-{name}"))}
            if not more:
                return

    def _ask(self, verb: str, service: str, path: str, parameters: dict[str, str]) -> requests.Response:
        address = f"{self._named[f'{service}Endpoint'].rstrip('/')}/{path}"
        headers = {"Accept": "application/json;odata=nometadata"}
        answer = self._session.request(verb, address, params=self._signed | parameters, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer
