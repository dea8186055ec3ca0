"""HubSpot. Its token is the secret itself."""

from __future__ import annotations

import re

from tests.destinations.faults.subjects.base import SECRETS, CrmSubject
from tests.fakes.https_server import Request
from tests.fakes.hubspot import HubSpot, shown_note


class HubSpotSubject(CrmSubject):
    type_name = "hubspot"
    stand_in = HubSpot
    has_tokens = False

    def records(self) -> list[str]:
        assert len(self.vendor.living()) <= 1, "one customer, one contact"
        notes = self.vendor.notes.values()
        return [shown_note(note) for note in notes]

    def is_write(self, request: Request) -> bool:
        return request.path.endswith("/notes")

    def secret(self, which: str) -> str:
        return f"pat-na1-{SECRETS[which]}"

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb'"to": {"id": "\d+"}', b'"to": {"id": "<id of the contact>"}', body)

    def accept_secret(self, which: str) -> None:
        self.vendor.set_secret(self.secret(which))


subject = HubSpotSubject
