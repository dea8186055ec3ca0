"""The form of Salesforce."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from tests.destinations.faults.subjects.base import Subject
from tests.fakes.tls import Authority
from tests.fakes.web_to_lead import OID, WebToLead


class WebToLeadSubject(Subject):
    dialogue: ClassVar[dict[str, list[str]]] = {
        "oid": ["", "00X", "00D000000000001"],
        "daily_limit": ["many", "0", "1000"],
    }
    has_secret = False
    has_key = False

    def __init__(self, authority: Authority, monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
        super().__init__(authority, monkeypatch, storage)
        self.vendor: WebToLead = WebToLead(authority)

    @property
    def config(self) -> dict[str, Any]:
        settings = {"oid": OID, "url": self.vendor.url}
        return {"name": "crm", "type": "salesforce_web_to_lead", "settings": settings}

    def records(self) -> list[str]:
        return [str(lead) for lead in self.vendor.leads]

    def accept_secret(self, which: str) -> None:
        raise NotImplementedError


subject = WebToLeadSubject
