"""A webhook's endpoint."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.destinations.faults.subjects.base import SECRETS, Subject
from tests.fakes.tls import Authority
from tests.fakes.webhook import Receiver


class WebhookSubject(Subject):
    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(monkeypatch)
        self.vendor: Receiver = Receiver(authority, [self.secret("before")], real_time=False)

    @property
    def config(self) -> dict[str, Any]:
        settings = {"url": self.vendor.url, "secret": f"env:{self.secret_setting}"}
        return {"name": "crm", "type": "webhook", "settings": settings}

    def records(self) -> list[str]:
        return [str(record) for record in self.vendor.records.values()]

    def secret(self, which: str) -> str:
        return "whsec_" + base64.b64encode(SECRETS[which].encode()).decode()

    def accept_secret(self, which: str) -> None:
        self.vendor.secrets = [self.secret(which)]


subject = WebhookSubject
