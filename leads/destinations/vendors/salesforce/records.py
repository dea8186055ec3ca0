"""Records in Salesforce: a lead as it is read, and the tasks that record a stage.

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
"""A shortened address or number would be a wrong one: it is left to the text, which has everything."""

DO_NOT_CONTACT: Final = ("HasOptedOutOfEmail", "DoNotCall", "HasOptedOutOfFax")
"""Often hidden by field-level security."""

RATING_FIELD: Final = "Rating"
VOCABULARY: Final = Vocabulary(RATING_FIELD, {"hot": "Hot", "warm": "Warm", "cold": "Cold"}, DO_NOT_CONTACT)

EMAIL_CHARACTERS: Final = 80
"""No lead can have a longer address, so a search would find nothing."""
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
    """The external id of what these parts name: 32 hex digits, the same at every try."""
    return sha256("\n".join(parts).encode()).hexdigest()[:32]


def computed_key(*parts: str) -> str:
    """An idempotency key that can be computed again: an UUID in the form of version 4, as Salesforce wants it."""
    return str(UUID(bytes=sha256("\n".join(parts).encode()).digest()[:16], version=4))


# --- Queries ------------------------------------------------------------------------------------------------------------


def lead_columns(names: Iterable[str]) -> list[str]:
    """What is asked of a lead: its state, and which of the mapped fields are empty."""
    return list(dict.fromkeys((*_STATE_FIELDS, *_OPTIONAL_STATE_FIELDS, *names)))


def selection(table: str, columns: Iterable[str], outgoing: OutgoingLead, condition: str) -> str:
    """A query for records, with their tasks since the lead came in and their membership of its campaign."""
    since = f"{outgoing.received_at.astimezone(UTC) - _CLOCKS_APART:%Y-%m-%dT%H:%M:%SZ}"
    tasks = select("Tasks", ["Description"], f"CreatedDate >= {since} ORDER BY CreatedDate ASC LIMIT {_TASKS_READ}")
    related = [tasks]
    if outgoing.follow_up.campaign and table != "Account":
        related.append(select("CampaignMembers", ["Id"], equals("CampaignId", outgoing.follow_up.campaign)))
    return select(table, [*columns, *(f"({query})" for query in related)], condition)


@dataclass(frozen=True, slots=True)
class Record:
    """A lead, contact or account as a query shows it."""

    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.row.get("Id") or "")

    @property
    def is_in_campaign(self) -> bool:
        return bool(self._related("CampaignMembers"))

    def has_task_of(self, outgoing: OutgoingLead) -> bool:
        return any(marker(outgoing) in str(task.get("Description") or "") for task in self._related("Tasks"))

    def tells_of(self, outgoing: OutgoingLead) -> bool:
        """Whether its own text holds the lead's story."""
        return marker(outgoing) in str(self.row.get("Description") or "")

    def _related(self, name: str) -> list[dict[str, Any]]:
        return json_objects(as_object(self.row.get(name)).get("records"))


@dataclass(frozen=True, slots=True)
class LeadRecord(Record):
    """A lead."""

    @property
    def is_deleted(self) -> bool:
        return bool(self.row.get("IsDeleted"))

    @property
    def survivor(self) -> str:
        """The id of the lead that it was merged into, "" if it was not."""
        return str(self.row.get("MasterRecordId") or "")

    @property
    def is_open(self) -> bool:
        return not self.row.get("IsConverted")

    @property
    def touched_by_others(self) -> bool:
        return self.row.get("LastModifiedById") != self.row.get("CreatedById")

    @property
    def unmodified_since(self) -> Mapping[str, str]:
        """The header by which a change is refused if somebody else has been quicker, to the second."""
        try:
            at = datetime.fromisoformat(str(self.row.get("LastModifiedDate")))
        except ValueError:
            return {}
        return {"If-Unmodified-Since": format_datetime(at.astimezone(UTC), usegmt=True)}

    @property
    def parents(self) -> list["TaskParent"]:
        """Where a stage is added: the lead itself, or what it became."""
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
    """A record to which tasks are added, and for a contact what else they are about."""

    table: str
    id: str
    about: str = ""

    @property
    def links(self) -> dict[str, str]:
        """The fields of a task that belongs here."""
        if self.table == "Account":
            return {"WhatId": self.id}
        return {"WhoId": self.id, **({"WhatId": self.about} if self.about else {})}


# --- What is written ----------------------------------------------------------------------------------------------------


def stage_tasks(
    parent: TaskParent, outgoing: OutgoingLead, text: str, owner: str, subject: str
) -> Iterator[dict[str, Any]]:
    """The task of a stage: open, with a due date, where the follow-up has one, else done. A long text goes on in more of them.

    `subject` is the follow-up's; `owner` the id of a user, "" for the app's own.
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
    """The text as tasks can hold it; each of them names the lead."""
    if fits(text):
        yield text
        return
    head = f"{marker(outgoing)}\n\n"
    for piece in chunk(text, _TEXT_CHARACTERS - len(head)):
        yield head + piece


def fits(text: str) -> bool:
    """Whether a lead's or a task's description holds all of it, and some remarks."""
    return truncate(text, _TEXT_CHARACTERS - _ROOM_FOR_REMARKS) == text


def owner_id(follow_up: FollowUp) -> str:
    """The id of `user:ID` or `queue:ID`, or ""."""
    return follow_up.owner.partition(":")[2]


def is_user(identifier: str) -> bool:
    """Whether an id is a user's: queues own leads, but not always tasks."""
    return identifier.startswith("005")


def is_lead(identifier: str) -> bool:
    return identifier.startswith("00Q")


def is_contact(identifier: str) -> bool:
    return identifier.startswith("003")
