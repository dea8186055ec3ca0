"""Dynamics 365, with Entra ID."""

from __future__ import annotations

from collections.abc import Mapping
from html import unescape
from typing import Any, ClassVar

from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Request, Response, VendorServer


class DataverseSubject(CrmSubject):
    dialogue: ClassVar[dict[str, list[str]]] = {
        "url": ["", "contoso.crm4.dynamics.com", "https://contoso.crm4.dynamics.com"],
        "tenant_id": ["a tenant", "contoso.example.com"],
        "client_id": ["not a GUID", "00000000-0000-0000-0000-000000000001"],
        "client_secret": ["s3cret", "keyvault:crm_secret", "keyvault:crm-secret"],
        "match_existing": ["name", "off"],
    }
    type_name = "dataverse"
    stand_in = Dataverse
    example: ClassVar[dict[str, Any]] = {"url": "https://contoso.crm4.dynamics.com", "duplicate_detection": "create"}
    busy = Response(429, {"error": {"code": "0x80072322", "message": "Too many requests"}}, {"Retry-After": "20"})
    without_search: ClassVar[dict[str, Any]] = {"match_existing": "off"}
    names: ClassVar[dict[str, str]] = {
        "first": "firstname",
        "last": "lastname",
        "email": "emailaddress1",
        "phone": "telephone1",
        "company": "companyname",
        "title": "jobtitle",
        "rating": "leadqualitycode",
    }
    ratings: ClassVar[dict[str, Any]] = {"hot": 1, "warm": 2, "cold": 3}

    @property
    def servers(self) -> list[VendorServer]:
        return [self.vendor, self.vendor.entra]

    def is_write(self, request: Request) -> bool:
        return request.method == "PATCH" or b"\r\nPATCH " in request.body

    def refusal(self, message: str) -> Response:
        return Response(400, {"error": {"code": "0x80040203", "message": message}})

    def keep_sessions(self) -> None:
        self.vendor.entra.lifetime = 100_000

    def tasks(self) -> int:
        return len(self.vendor.tasks)

    def rows(self) -> dict[str, Mapping[str, Any]]:
        return {record: row for record, row in self.vendor.leads.items() if not row.get("merged")}

    def stages(self, record: str = "") -> list[str]:
        return [unescape(note["notetext"].replace("<br>\n", "\n")) for note in self.vendor.notes(record)]

    def flags(self, row: Mapping[str, Any]) -> list[bool]:
        return [row[name] for name in ("donotemail", "donotphone", "donotsendmm")]

    def add(self, **values: Any) -> str:
        return str(self.vendor.add_lead(**self.in_its_names(values)))

    def edit(self, record: str, **values: Any) -> None:
        self.vendor.edit(record, **self.in_its_names(values))

    def delete(self, record: str) -> None:
        self.vendor.delete("leads", record)

    def merge(self, loser: str, survivor: str) -> None:
        self.vendor.merge(loser, survivor)


subject = DataverseSubject
