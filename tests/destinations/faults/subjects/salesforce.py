"""Salesforce over its API."""

from __future__ import annotations

import re

from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.https_server import Request
from tests.fakes.salesforce import Salesforce


class SalesforceSubject(CrmSubject):
    type_name = "salesforce"
    stand_in = Salesforce

    def records(self) -> list[str]:
        assert len(self.vendor.leads) <= 1, "one customer, one record"
        return [row["Description"] for row in [*self.vendor.leads, *self.vendor.tasks()]]

    def is_write(self, request: Request) -> bool:
        return request.path.endswith("/ui-api/records") or b"sobjects/Task" in request.body

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb"00Q\w{15}", b"00Q000000000000AAA", body)


subject = SalesforceSubject
