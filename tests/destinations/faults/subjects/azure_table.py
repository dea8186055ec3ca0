"""Azurite behind a server that passes requests on."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import pytest
import requests
from azure.data.tables import TableClient

from tests.destinations.faults.subjects.base import SECRETS, Subject
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority
from tests.support.account import named_parts

_PASSED_ON = frozenset({"content-type", "etag", "date", "x-ms-version", "x-ms-request-id", "preference-applied"})


class AzureTableSubject(Subject):
    """Azurite behind a server that passes requests on. The faults happen in this server."""

    dialogue: ClassVar[dict[str, list[str]]] = {
        "connection_string": ["AccountKey=s3cret", "env:LEADS_SECRET_CRM_STORAGE"],
        "table_service_uri": ["http://x", ""],
    }

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        self._parts = named_parts(storage)
        self._key = self._parts["AccountKey"]
        self.vendor: VendorServer = _Forwarding(authority, self._parts["TableEndpoint"])
        self._storage = storage
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.bundle)  # makes the fake's certificate a public one
        with TableClient.from_connection_string(storage, "Vendor") as table:
            table.create_table()
        super().__init__(authority, monkeypatch, storage)

    @property
    def config(self) -> dict[str, Any]:
        settings = {"table": "Vendor", "connection_string": f"env:{self.secret_setting}"}
        return {"name": "crm", "type": "azure_table", "settings": settings}

    def records(self) -> list[str]:
        with TableClient.from_connection_string(self._storage, "Vendor") as table:
            return [str(row) for row in table.list_entities()]

    def is_write(self, request: Request) -> bool:
        return request.method == "POST" and not request.path.endswith("/Tables")

    def secret(self, which: str) -> str:
        key = self._key if which == self._accepted else base64.b64encode(SECRETS[which].encode()).decode()
        name = self._parts["AccountName"]
        endpoint = f"{self.vendor.url}/{name}"
        return f"AccountName={name};AccountKey={key};TableEndpoint={endpoint}"

    _accepted = "before"

    def accept_secret(self, which: str) -> None:
        # Azurite's key can't be changed: what the app holds becomes the wrong one instead.
        self._accepted = which
        self.set_secret("before")


class _Forwarding(VendorServer):
    def __init__(self, authority: Authority, endpoint: str) -> None:
        super().__init__(authority)
        self._endpoint = endpoint.rstrip("/").rpartition("/")[0]
        self._session = requests.Session()
        self._session.trust_env = False

    def answer(self, request: Request) -> Response:
        # The signature covers what the client has sent, so it all goes on as it is.
        headers = {name: value for name, value in request.headers.items() if name != "connection"}
        answer = self._session.request(
            request.method, self._endpoint + request.target, headers=headers, data=request.body, allow_redirects=False
        )
        kept = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED_ON}
        return Response(answer.status_code, answer.content, kept)


subject = AzureTableSubject
