"""Marketo, with a journey field."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.destinations.faults.subjects.base import CrmSubject
from tests.fakes.https_server import Request
from tests.fakes.marketo import Marketo


class MarketoSubject(CrmSubject):
    type_name = "marketo"
    stand_in = Marketo
    more_settings: ClassVar[dict[str, Any]] = {"journey_field": "marketplaceJourney"}

    def records(self) -> list[str]:
        assert len(self.vendor.persons) <= 1, "one customer, one person"
        return [f"{line} {person}" for person in self.vendor.persons.values() for line in self._stages(person)]

    def _stages(self, person: dict[str, Any]) -> list[str]:
        return str(person["marketplaceJourney"]).partition("\n\n")[0].split("\n")

    def is_write(self, request: Request) -> bool:
        return request.target == "/rest/v1/leads.json" and b'"input": []' not in request.body

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb'^{"input": \[{"id": \d+}\]}$', b'{"input": [{"id": 0}]}', body)


subject = MarketoSubject
