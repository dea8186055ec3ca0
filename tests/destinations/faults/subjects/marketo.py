"""Marketo, with a journey field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.https_server import Request, Response
from tests.fakes.marketo import Marketo

JOURNEY = "marketplaceJourney"


class MarketoSubject(CrmSubject):
    dialogue: ClassVar[dict[str, list[str]]] = {
        "munchkin_id": ["", "12", "123-ABC-456"],
        "client_id": ["", "12345678-1234-1234-1234-123456789012"],
        "client_secret": ["", "s3cret", "env:LEADS_SECRET_MARKETO"],
        "form_id": ["five", "0", "1005"],
        "do_not_contact": ["doNotCall", '["doNotWrite"]', '["doNotCall"]'],
    }
    type_name = "marketo"
    stand_in = Marketo
    example: ClassVar[dict[str, Any]] = {
        "munchkin_id": "123-ABC-456",
        "client_id": "1",
        "client_secret": "env:LEADS_SECRET_VENDOR",
    }
    address_setting = "munchkin_id"
    busy = Response(200, {"success": False, "errors": [{"code": "606", "message": "Max rate limit exceeded"}]})
    names: ClassVar[dict[str, str]] = {
        "first": "firstName",
        "last": "lastName",
        "email": "email",
        "phone": "phone",
        "company": "company",
        "title": "title",
        "rating": "rating",
    }
    ratings: ClassVar[dict[str, Any]] = {"hot": "Hot", "warm": "Warm", "cold": "Cold"}

    knows_its_own = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.more_settings = {"journey_field": JOURNEY}

    def records(self) -> list[str]:
        assert len(self.people()) <= 1, "one customer, one person"
        return [f"{line} {person}" for line in self.stages() for person in self.vendor.persons.values()]

    def is_write(self, request: Request) -> bool:
        return request.target == "/rest/v1/leads.json" and b'"input": []' not in request.body

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb'^{"input": \[{"id": \d+}\]}$', b'{"input": [{"id": 0}]}', body)

    def refusal(self, message: str) -> Response:
        return Response(200, {"success": False, "errors": [{"code": "1003", "message": message}]})

    def keep_sessions(self) -> None:
        self.vendor.lifetime = 100_000

    def tasks(self) -> int:
        return len(self.vendor.members())

    def rows(self) -> dict[str, Mapping[str, Any]]:
        return {str(person): row for person, row in self.vendor.persons.items()}

    def stages(self, record: str = "") -> list[str]:
        """The lines of the journey, the oldest first, and with the line of the lead at hand its text."""
        found = []
        for person, row in self.rows().items():
            lines, _, text = str(row.get(JOURNEY) or "").partition("\n\n")
            for line in lines.split("\n")[::-1] if lines and record in ("", person) else []:
                is_at_hand = f"Lead: {line.rpartition(' ')[2]}" in text
                found.append(f"{line}\n{text}" if is_at_hand else line)
        return found

    def flags(self, row: Mapping[str, Any]) -> list[bool]:
        return [bool(row.get("doNotCall"))]

    def add(self, **values: Any) -> str:
        return str(self.vendor.add_person(**self.in_its_names(values)))

    def edit(self, record: str, **values: Any) -> None:
        self.vendor.edit(int(record), **self.in_its_names(values))

    def delete(self, record: str) -> None:
        self.vendor.delete(int(record))

    def merge(self, loser: str, survivor: str) -> None:
        self.vendor.merge(int(survivor), int(loser))


subject = MarketoSubject
