"""Dynamics 365, with Entra ID."""

from __future__ import annotations

from html import unescape

from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.dataverse import Dataverse
from tests.fakes.https_server import Request, VendorServer


class DataverseSubject(CrmSubject):
    type_name = "dataverse"
    stand_in = Dataverse

    @property
    def servers(self) -> list[VendorServer]:
        return [self.vendor, self.vendor.entra]

    def records(self) -> list[str]:
        assert len(self.vendor.leads) <= 1, "one customer, one record"
        return [unescape(note["notetext"].replace("<br>\n", "\n")) for note in self.vendor.notes()]

    def is_write(self, request: Request) -> bool:
        return b"\r\nPATCH " in request.body


subject = DataverseSubject
