"""Records in Salesforce: the queries for a lead, its state, and the tasks of a stage.

Fields: "Object Reference for the Salesforce Platform", "Lead", "Task" and "CampaignMember".
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from leads.destinations.base import MappingValue, OutgoingLead
from leads.destinations.changes import Vocabulary
from leads.destinations.follow_up import FollowUp
from leads.destinations.rest import as_object, json_objects
from leads.destinations.text import chunk, headline, marker, truncate
from leads.destinations.vendors.salesforce.client import equals, inert, select

DEFAULT_MAPPING: Final[Mapping[str, MappingValue]] = {
    "FirstName": "{first_name}",
    "LastName": "{last_name_or_placeholder}",
    "Company": "{company_or_domain}",
    "Email": "{email}",
    "Phone": "{phone}",
    "Title": "{title}",
    "Country": "{country}",
    "LeadSource": "Web",
    "Description": "{headline}\n\n{story}",
}
WHOLE_OR_NOT_AT_ALL: Final = frozenset({"Email", "Phone", "MobilePhone", "Fax", "Website"})
"""A shortened address or number would be wrong. Such a field is left out, and the description has the complete value."""

DO_NOT_CONTACT: Final = ("HasOptedOutOfEmail", "DoNotCall", "HasOptedOutOfFax")
"""Often hidden by field-level security."""

RATING_FIELD: Final = "Rating"
VOCABULARY: Final = Vocabulary(RATING_FIELD, {"hot": "Hot", "warm": "Warm", "cold": "Cold"}, DO_NOT_CONTACT)

EMAIL_CHARACTERS: Final = 80
"""The length of `Email`. A search for a longer address would find nothing."""
_SUBJECT_CHARACTERS: Final = 255
_TEXT_CHARACTERS: Final = 32_000
_ROOM_FOR_REMARKS: Final = 1000
_TASKS_READ: Final = 50
_CLOCKS_APART: Final = timedelta(hours=1)

_STATE_FIELDS: Final = (
    "Id",
    "IsDeleted",
    "MasterRecordId",
    "IsConverted",
    "ConvertedContactId",
    "ConvertedAccountId",
    "OwnerId",
    "CreatedById",
    "LastModifiedById",
    "LastModifiedDate",
)
_OPTIONAL_STATE_FIELDS: Final = ("ConvertedOpportunityId", "Description", RATING_FIELD, *DO_NOT_CONTACT)


def computed_id(*parts: str) -> str:
    """The external ID for these parts: 32 hexadecimal digits, the same at every try."""
    return sha256("\n".join(parts).encode()).hexdigest()[:32]


def computed_key(*parts: str) -> str:
    """The idempotency key for these parts: a UUID of version 4, which Salesforce requires, the same at every try."""
    return str(UUID(bytes=sha256("\n".join(parts).encode()).digest()[:16], version=4))


# --- Queries ------------------------------------------------------------------------------------------------------------


def lead_columns(names: Iterable[str]) -> list[str]:
    """The columns of a query for leads: the state, and the mapped fields."""
    return list(dict.fromkeys((*_STATE_FIELDS, *_OPTIONAL_STATE_FIELDS, *names)))


def selection(table: str, columns: Iterable[str], outgoing: OutgoingLead, condition: str) -> str:
    """A query for records, with their tasks since the lead's arrival and their membership of its campaign."""
    since = f"{outgoing.received_at.astimezone(UTC) - _CLOCKS_APART:%Y-%m-%dT%H:%M:%SZ}"
    tasks = select("Tasks", ["Description"], f"CreatedDate >= {since} ORDER BY CreatedDate ASC LIMIT {_TASKS_READ}")
    related = [tasks]
    if outgoing.follow_up.campaign and table != "Account":
        related.append(select("CampaignMembers", ["Id"], equals("CampaignId", outgoing.follow_up.campaign)))
    return select(table, [*columns, *(f"({query})" for query in related)], condition)


@dataclass(frozen=True, slots=True)
class Record:
    """A lead, contact or account in the answer to a query."""

    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.row.get("Id") or "")

    @property
    def is_in_campaign(self) -> bool:
        return bool(self._related("CampaignMembers"))

    def has_task_of(self, outgoing: OutgoingLead) -> bool:
        return any(marker(outgoing) in str(task.get("Description") or "") for task in self._related("Tasks"))

    def describes(self, outgoing: OutgoingLead) -> bool:
        """Whether the record's description holds the lead's summary."""
        return marker(outgoing) in str(self.row.get("Description") or "")

    def _related(self, name: str) -> list[dict[str, Any]]:
        return json_objects(as_object(self.row.get(name)).get("records"))


@dataclass(frozen=True, slots=True)
class LeadRecord(Record):
    """A lead in the answer to a query."""

    @property
    def is_deleted(self) -> bool:
        return bool(self.row.get("IsDeleted"))

    @property
    def survivor(self) -> str:
        """The ID of the lead that this lead was merged into, "" if it was not merged."""
        return str(self.row.get("MasterRecordId") or "")

    @property
    def is_open(self) -> bool:
        return not self.row.get("IsConverted")

    @property
    def touched_by_others(self) -> bool:
        return self.row.get("LastModifiedById") != self.row.get("CreatedById")

    @property
    def unmodified_since(self) -> Mapping[str, str]:
        """The header with which Salesforce refuses a change if another user has changed the lead since, to the second."""
        try:
            at = datetime.fromisoformat(str(self.row.get("LastModifiedDate")))
        except ValueError:
            return {}
        return {"If-Unmodified-Since": format_datetime(at.astimezone(UTC), usegmt=True)}

    @property
    def parents(self) -> list["TaskParent"]:
        """The records to which a stage can be added: an open lead itself, or a converted lead's contact, then its account."""
        if self.is_open:
            return [TaskParent("Lead", self.id)]
        contact, account, opportunity = (
            str(self.row.get(f"Converted{name}Id") or "") for name in ("Contact", "Account", "Opportunity")
        )
        about = [name for name in (opportunity, account) if name]
        contacts = [TaskParent("Contact", contact, name) for name in (*about, "")] if contact else []
        return [*contacts, *([TaskParent("Account", account)] if account else [])]


@dataclass(frozen=True, slots=True)
class TaskParent:
    """A record to which tasks are added. A contact's tasks also refer to the record `about`."""

    table: str
    id: str
    about: str = ""

    @property
    def links(self) -> dict[str, str]:
        """The fields that link a task to the record."""
        if self.table == "Account":
            return {"WhatId": self.id}
        return {"WhoId": self.id, **({"WhatId": self.about} if self.about else {})}


# --- What is written ----------------------------------------------------------------------------------------------------


def stage_tasks(
    parent: TaskParent, outgoing: OutgoingLead, text: str, owner: str, subject: str
) -> Iterator[dict[str, Any]]:
    """The task of a stage: open with a due date if the follow-up has a task, else completed. A long text needs several tasks.

    `subject` is the subject of the follow-up's task. `owner` is a user's ID, "" for the app's user.
    """
    contents = list(_contents(inert(text), outgoing))
    task = outgoing.follow_up.task
    for number, content in enumerate(contents, 1):
        page = f" ({number}/{len(contents)})" if len(contents) > 1 else ""
        fields: dict[str, Any] = {**parent.links, "Description": content}
        if task and number == 1:
            due = task.due_at(outgoing.received_at)
            fields["Subject"] = truncate(subject, _SUBJECT_CHARACTERS)
            fields["Priority"] = "High" if outgoing.follow_up.rating == "hot" else "Normal"
            fields["ActivityDate"] = f"{due:%Y-%m-%d}"
            fields["IsReminderSet"] = True
            fields["ReminderDateTime"] = f"{due:%Y-%m-%dT%H:%M:%SZ}"
        else:
            fields["Subject"] = truncate(headline(outgoing), _SUBJECT_CHARACTERS - len(page)) + page
            fields["Status"] = "Completed"
            fields["ActivityDate"] = f"{outgoing.received_at.astimezone(UTC):%Y-%m-%d}"
        if owner:
            fields["OwnerId"] = owner
        yield fields


def _contents(text: str, outgoing: OutgoingLead) -> Iterator[str]:
    """The text in pieces that fit a task's description. Each piece names the lead."""
    if fits(text):
        yield text
        return
    head = f"{marker(outgoing)}\n\n"
    for piece in chunk(text, _TEXT_CHARACTERS - len(head)):
        yield head + piece


def fits(text: str) -> bool:
    """Whether a lead's or a task's description holds the whole text and some remarks."""
    return truncate(text, _TEXT_CHARACTERS - _ROOM_FOR_REMARKS) == text


def owner_id(follow_up: FollowUp) -> str:
    """The ID in `user:ID` or `queue:ID`, "" without an owner."""
    return follow_up.owner.partition(":")[2]


def is_user(identifier: str) -> bool:
    """Whether the ID belongs to a user. Queues own leads, but not always tasks."""
    return identifier.startswith("005")


def is_lead(identifier: str) -> bool:
    return identifier.startswith("00Q")


def is_contact(identifier: str) -> bool:
    return identifier.startswith("003")
