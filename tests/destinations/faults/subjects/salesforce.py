"""Salesforce over its API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.https_server import Request, Response
from tests.fakes.salesforce import Field, Salesforce

KEY = "Marketplace_Key__c"


class SalesforceSubject(CrmSubject):
    dialogue: ClassVar[dict[str, list[str]]] = {
        "url": ["", "https://login.salesforce.com", "https://contoso.my.salesforce.com"],
        "client_id": ["", "3MVG", "3MVG9abcdefghijk"],
        "client_secret": ["s3cret", "env:SALESFORCE SECRET", "env:LEADS_SECRET_SALESFORCE"],
        "duplicate_rules": ["ignore", "existing"],
    }
    type_name = "salesforce"
    stand_in = Salesforce
    example: ClassVar[dict[str, Any]] = {
        "url": "https://contoso.my.salesforce.com",
        "client_id": "3MVG9abcdefghijk",
        "client_secret": "env:LEADS_SECRET_VENDOR",
    }
    busy = Response(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "ConcurrentRequests Limit exceeded."}])
    without_search: ClassVar[dict[str, Any]] = {"match_existing": "off"}
    variants: ClassVar[dict[str, dict[str, Any]]] = {"": {}, "key in a field": {"external_id_field": KEY}}
    names: ClassVar[dict[str, str]] = {
        "first": "FirstName",
        "last": "LastName",
        "email": "Email",
        "phone": "Phone",
        "company": "Company",
        "title": "Title",
        "rating": "Rating",
    }
    ratings: ClassVar[dict[str, Any]] = {"hot": "Hot", "warm": "Warm", "cold": "Cold"}

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.vendor.fields["Lead"][KEY] = Field("string", 32, external_id=True, unique=True)

    def is_write(self, request: Request) -> bool:
        return request.path.endswith(("/ui-api/records", "/sobjects/Lead")) or b"sobjects/Task" in request.body

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb"00Q\w{15}", b"00Q000000000000AAA", body)

    def refusal(self, message: str) -> Response:
        return Response(400, [{"errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": message, "fields": []}])

    def keep_sessions(self) -> None:
        self.vendor.session = timedelta(days=1)

    def tasks(self) -> int:
        return sum(task["Status"] == "Not Started" for task in self.vendor.tasks())

    def rows(self) -> dict[str, Mapping[str, Any]]:
        return {row["Id"]: row for row in self.vendor.leads}

    def stages(self, record: str = "") -> list[str]:
        leads = [row for row in self.vendor.leads if not record or row["Id"] == record]
        texts = [row.get("Description") or "" for row in [*leads, *self.vendor.tasks(record)]]
        return [text for text in texts if "Lead: " in text]

    def flags(self, row: Mapping[str, Any]) -> list[bool]:
        return [row[name] for name in ("HasOptedOutOfEmail", "DoNotCall", "HasOptedOutOfFax")]

    def add(self, **values: Any) -> str:
        return str(self.vendor.add_lead(**self.in_its_names(values)))

    def edit(self, record: str, **values: Any) -> None:
        self.vendor.edit(record, **self.in_its_names(values))

    def delete(self, record: str) -> None:
        self.vendor.delete("Lead", record)

    def merge(self, loser: str, survivor: str) -> None:
        self.vendor.merge(loser, survivor)


subject = SalesforceSubject
