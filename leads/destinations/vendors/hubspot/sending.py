"""Sends one lead to its customer's contact in HubSpot."""

from collections.abc import Mapping
from typing import Any, Final

from leads.core.outcomes import Outcome, Retry
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.changes import Existing, Vocabulary, changes_to
from leads.destinations.crm import CrmSending
from leads.destinations.mapping import render, render_mapping
from leads.destinations.rest import as_object
from leads.destinations.text import chunk_html, fit_fields, marker, summary, truncate
from leads.destinations.vendor_errors import ErrorKind, VendorError, unless_gone
from leads.destinations.vendors.hubspot.client import CONTACTS, Client, EmailTaken
from leads.destinations.vendors.hubspot.errors import OWNER
from leads.destinations.vendors.hubspot.lessons import Lessons
from leads.destinations.vendors.hubspot.settings import HubSpotSettings

_TEXT_CHARACTERS: Final = 65_536
_PRIORITIES: Final = {"hot": "HIGH", "warm": "MEDIUM", "cold": "LOW"}
_NEWEST_ACTIVITIES: Final = 300
"""The number of a contact's newest notes or tasks in which the app looks for the lead."""

Contact = Mapping[str, Any]
"""A contact as `Client.contact` reads it."""


class Sending(CrmSending[Contact]):
    """The steps of `CrmSending` for HubSpot."""

    vendor = "HubSpot"
    record_ids = "[0-9]+"
    vocabulary = Vocabulary()

    _settings: HubSpotSettings
    _client: Client

    def __init__(self, destination: Any, client: Client, outgoing: OutgoingLead, customer: Customer) -> None:
        super().__init__(destination, client, outgoing, customer)
        self._unsubscribes = outgoing.set_do_not_contact and self._settings.do_not_contact == "unsubscribe"
        self._lessons = Lessons(self._mapping)
        self._begin()

    def _begin(self) -> None:
        self._is_changing = False
        self._adding_to = ""

    def _learn(self, refused: VendorError) -> None:
        is_about_target = self._adding_to and refused.problem.kind is ErrorKind.LEAD
        was_deleted = is_about_target and self._read(self._adding_to) is None
        if not was_deleted:  # else the next try finds that out
            self._lessons.learn(refused, changes_record=self._is_changing)

    def _read(self, record_id: str) -> Contact | None:
        return unless_gone(lambda: self._client.contact(record_id, sorted(self._mapping)))

    def _search(self) -> None:
        """None, because HubSpot's search lags behind. `_create` finds an existing contact by HubSpot's refusal."""

    def _create(self, instead_of: str) -> Outcome:  # noqa: ARG002 - a deleted contact's e-mail address can be used again
        try:
            made = self._client.create({**self._owner(), **self._fields()})
        except EmailTaken as taken:
            existing = taken.contact or self._client.with_email(self._outgoing.lead.email)
            found = self._read(existing) if existing else None
            return self._add_stage(found) if found else Retry(taken.problem.code)
        return self._add_activities({"id": made})

    def _add_stage(self, found: Contact) -> Outcome:
        history, fields = as_object(found.get("propertiesWithHistory")), self._fields()
        if not self._outgoing.overwrite:  # a property that someone has emptied stays empty
            fields = {name: value for name, value in fields.items() if not history.get(name)}
        existing = Existing(as_object(found.get("properties")), ours=False, edited=True, last_rating="")
        fields.pop("email", None)  # it may be an additional address, and must not replace the primary address
        if changes := self._lessons.changes(changes_to(existing, fields, self._outgoing, self.vocabulary)):
            self._is_changing = True
            self._client.send_json("PATCH", f"{CONTACTS}/{found['id']}", {"properties": changes})
            self._is_changing = False
        return self._add_activities(found)

    def _add_activities(self, contact: Contact) -> Outcome:
        """Add the lead's note and task once each, then the repeatable steps: the list and the opt-out."""
        follow_up, contact_id = self._outgoing.follow_up, str(contact["id"])
        self._adding_to = contact_id
        if not self._customer.stored:
            self._add("notes", contact, {"hs_timestamp": self._outgoing.received_at.isoformat()}, may_be_there=True)
        if follow_up.task:
            if not self._customer.stored:
                self._customer.remember(self._delivered(contact_id, "", made=""))
            self._add("tasks", contact, self._task(), may_be_there=self._customer.stored)
        if follow_up.list:
            self._lessons.try_extra("list", lambda: self._client.add_to_list(follow_up.list, contact_id))
        if self._unsubscribes:
            self._lessons.try_extra("do_not_contact", lambda: self._client.unsubscribe(self._outgoing.lead.email))
        return self._delivered(contact_id, "", made="")

    def _add(self, kind: str, contact: Contact, properties: Mapping[str, str], *, may_be_there: bool) -> None:
        """Add the lead's summary as notes or tasks, several for a long text, except those that an earlier try has added."""
        there = list(self._client.activities(kind, contact, _NEWEST_ACTIVITIES)) if may_be_there else []
        pieces = chunk_html("\n\n".join([*self._lessons.remarks, summary(self._outgoing)]), _TEXT_CHARACTERS - 100)
        for number, piece in enumerate(pieces, 1):
            mark = marker(self._outgoing) + (f" ({number}/{len(pieces)})" if len(pieces) > 1 else "")
            if not any(mark in text for text in there):
                text = piece if mark in piece else f"{piece}<br>\n{mark}"
                self._client.add_activity(kind, str(contact["id"]), text, properties)

    def _task(self) -> dict[str, Any]:
        follow_up = self._outgoing.follow_up
        assert follow_up.task is not None  # noqa: S101
        return {
            "hs_timestamp": follow_up.task.due_at(self._outgoing.received_at).isoformat(),
            "hs_task_subject": truncate(render(follow_up.task.subject, self._outgoing, self._customer), 500),
            "hs_task_status": "NOT_STARTED",
            "hs_task_type": "TODO",
            "hs_task_priority": _PRIORITIES.get(follow_up.rating or "", "NONE"),
            **self._owner(),
        }

    def _owner(self) -> dict[str, Any]:
        owner = self._outgoing.follow_up.owner
        return self._lessons.writable({OWNER: owner}) if owner else {}

    def _fields(self) -> dict[str, Any]:
        fields = self._lessons.writable(render_mapping(self._mapping, self._outgoing, self._customer))
        return fit_fields(fields, dict.fromkeys(fields, _TEXT_CHARACTERS), frozenset({"email"}))

    def _outcome_code(self) -> str:
        return self._lessons.code
