"""HubSpot. Its token is the secret itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.destinations.faults.subjects.base import SECRETS, CrmSubject
from tests.fakes.https_server import Request, Response
from tests.fakes.hubspot import HubSpot, error, shown_note, throttled


class HubSpotSubject(CrmSubject):
    dialogue: ClassVar[dict[str, list[str]]] = {
        "service_key": ["", "pat-na1-s3cret", "keyvault:hubspot-service-key"],
        "do_not_contact": ["on", "off"],
    }
    type_name = "hubspot"
    stand_in = HubSpot
    example: ClassVar[dict[str, Any]] = {"service_key": "env:LEADS_SECRET_VENDOR"}
    has_tokens = False
    busy = throttled("TEN_SECONDLY_ROLLING")

    names: ClassVar[dict[str, str]] = {
        "first": "firstname",
        "last": "lastname",
        "email": "email",
        "phone": "phone",
        "company": "company",
        "title": "jobtitle",
    }

    def is_write(self, request: Request) -> bool:
        return request.path.endswith("/notes")

    def secret(self, which: str) -> str:
        return f"pat-na1-{SECRETS[which]}"

    def as_previewed(self, body: bytes) -> bytes:
        return re.sub(rb'"to": {"id": "\d+"}', b'"to": {"id": "<id of the contact>"}', body)

    def accept_secret(self, which: str) -> None:
        self.vendor.set_secret(self.secret(which))

    def refusal(self, message: str) -> Response:
        return error(400, message, "VALIDATION_ERROR")

    def tasks(self) -> int:
        return len(self.vendor.tasks)

    def rows(self) -> dict[str, Mapping[str, Any]]:
        return {contact.id: contact.properties for contact in self.vendor.living()}

    def stages(self, record: str = "") -> list[str]:
        notes = [note for note in self.vendor.notes.values() if record in ("", note.contact)]
        return [shown_note(note) for note in notes]

    def flags(self, row: Mapping[str, Any]) -> list[bool]:
        del row
        return []

    def add(self, **values: Any) -> str:
        values["email"] = values.get("email", "other@example.com").lower()  # as HubSpot keeps it
        return str(self.vendor.add_contact(**self.in_its_names(values)).id)

    def edit(self, record: str, **values: Any) -> None:
        written = {name: value or "" for name, value in self.in_its_names(values).items()}
        self.vendor.contacts[record].write(written, "CRM_UI")

    def delete(self, record: str) -> None:
        self.vendor.contacts[record].archived = True

    def merge(self, loser: str, survivor: str) -> None:
        self.vendor.merge(self.vendor.contacts[loser], self.vendor.contacts[survivor])


subject = HubSpotSubject
