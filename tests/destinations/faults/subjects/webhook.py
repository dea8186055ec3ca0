"""A webhook's endpoint."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import pytest

from tests.destinations.faults.subjects.base import SECRETS, Subject
from tests.fakes.tls import Authority
from tests.fakes.webhook import Receiver


class WebhookSubject(Subject):
    dialogue: ClassVar[dict[str, list[str]]] = {
        "url": ["", "http://hooks.example.com", "https://hooks.example.com/leads"],
        "secret": ["", "s3cret", "keyvault:hook"],
        "headers": [
            "Authorization: x",
            '{"Authorization": "s3cret"}',
            '{"Authorization": "env:LEADS_SECRET_HOOK_TOKEN"}',
        ],
        "body": ['{"text": ', '{"text": "{no_such_field}"}', '{"text": "{headline}"}'],
    }

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(authority, monkeypatch, storage)
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
