"""A Key Vault over HTTPS, and the token endpoint of the identity that may read it.

Microsoft Learn: "Authentication, requests and responses" (Key Vault: the challenge that a request without a token gets),
"Get Secret" (REST), "How to use managed identities for App Service and Azure Functions", section "REST endpoint reference".
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from leads.platform import network
from tests.fakes.https_server import Request, Response, VendorServer
from tests.fakes.tls import Authority

NAME = "contoso.vault.azure.net"
TOKEN = "the identity's token"


@dataclass(frozen=True)
class Kept:
    """A secret, and when it expires, if that is set."""

    value: str
    expires_on: datetime | None = None


class KeyVault(VendorServer):
    """Gives its secrets to a client with the identity's token. `read` are the names of the secrets that were read."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self._context = authority.server_context(NAME)
        self.secrets: dict[str, Kept] = {}
        self.read: list[str] = []

    def answer(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            where = 'authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"'
            return Response(401, {"error": {"code": "Unauthorized"}}, {"WWW-Authenticate": f"Bearer {where}"})
        name = request.path.split("/")[2]
        self.read.append(name)
        if name not in self.secrets:
            return Response(404, {"error": {"code": "SecretNotFound", "message": f"{name} was not found."}})
        kept = self.secrets[name]
        attributes: dict[str, Any] = {"enabled": True}
        if kept.expires_on:
            attributes["exp"] = int(kept.expires_on.timestamp())
        return Response(
            200, {"value": kept.value, "id": f"https://{NAME}/secrets/{name}/version", "attributes": attributes}
        )


class Identity(VendorServer):
    """Gives the app its token."""

    def __init__(self) -> None:
        super().__init__(None)

    def answer(self, request: Request) -> Response:
        token = {"access_token": TOKEN, "expires_on": str(int(time.time()) + 86_400), "token_type": "Bearer"}
        return Response(200, token | {"resource": request.query["resource"]})


def reach(vault: KeyVault, identity: Identity, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's settings for both; the vault's address leads to the one on this machine."""
    dial = network.dial

    def redirected(host: str, port: int, *limits: Any) -> socket.socket:
        return dial("127.0.0.1", vault.port, *limits) if host == NAME else dial(host, port, *limits)

    monkeypatch.setattr(network, "dial", redirected)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", authority.bundle)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identity.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    monkeypatch.setenv("LeadsStorage__credential", "managedidentity")
    monkeypatch.setenv("LEADS_KEY_VAULT_URI", f"https://{NAME}")
