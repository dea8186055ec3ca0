"""Records in Dataverse: a lead's columns, its state, and the writes of a stage, under computed IDs.

Columns and lengths: the Common Data Model's `Lead`, and Microsoft Learn, "lead table reference" and "annotation", "task",
"queueitem". A note's text is HTML (`notetext`: FormatName RichText), a task's is not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid5

from leads.destinations.base import MappingValue, OutgoingLead
from leads.destinations.changes import Vocabulary
from leads.destinations.follow_up import FollowUp
from leads.destinations.text import chunk_html, headline, summary, truncate
from leads.destinations.vendors.dataverse.client import Write

DEFAULT_MAPPING: Final[Mapping[str, MappingValue]] = {
    "subject": "{headline}",
    "firstname": "{first_name}",
    "lastname": "{last_name_or_placeholder}",
    "emailaddress1": "{email}",
    "telephone1": "{phone}",
    "companyname": "{company_or_domain}",
    "jobtitle": "{title}",
    "address1_country": "{country}",
    "description": "{note}",
    "leadsourcecode": 8,
}
"""8 is "Web"."""

DEFAULT_LENGTHS: Final[Mapping[str, int]] = {
    "subject": 300,
    "firstname": 50,
    "lastname": 50,
    "emailaddress1": 100,
    "telephone1": 50,
    "mobilephone": 20,
    "companyname": 100,
    "jobtitle": 100,
    "address1_country": 80,
    "description": 2000,
    "websiteurl": 200,
}
"""Microsoft's default lengths. An environment may have changed them, and then refuses a text as too long."""

BIND: Final = "@odata.bind"
"""The end of a lookup column's name. The value of a lookup is the address of a record."""

WHOLE_OR_NOT_AT_ALL: Final = frozenset({"emailaddress1", "telephone1", "mobilephone", "websiteurl"})
"""A shortened address or number would be wrong. Such a field is left out, and the note has the complete value."""

DO_NOT_CONTACT: Final = ("donotemail", "donotbulkemail", "donotphone", "donotpostalmail", "donotfax", "donotsendmm")
"""Always sent, because their defaults differ between environments."""

RATING_COLUMN: Final = "leadqualitycode"
RATING_CODES: Final[Mapping[str, int]] = {"hot": 1, "warm": 2, "cold": 3}
VOCABULARY: Final = Vocabulary(RATING_COLUMN, RATING_CODES, DO_NOT_CONTACT)

STATE_COLUMNS: Final = (
    "leadid",
    "statecode",
    RATING_COLUMN,
    "merged",
    "_masterid_value",
    "_parentcontactid_value",
    "_qualifyingopportunityid_value",
    "_createdby_value",
    "_modifiedby_value",
    *DO_NOT_CONTACT,
)

_NAMESPACE: Final = UUID("5e5b1d0a-6a4c-4b7e-9a57-3a1f0c7f2d11")
_SUBJECT_CHARACTERS: Final = 500
_NOTE_CHARACTERS: Final = 100_000
_TASK_SUBJECT_CHARACTERS: Final = 200
_TASK_TEXT_CHARACTERS: Final = 2000


def computed_id(*parts: str) -> str:
    """The ID for these parts, which is the same at every try."""
    return str(uuid5(_NAMESPACE, "\n".join(parts)))


@dataclass(frozen=True, slots=True)
class LeadRow:
    """A lead as stored in Dataverse."""

    row: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.row["leadid"])

    @property
    def etag(self) -> str:
        return str(self.row.get("@odata.etag", "*"))

    @property
    def is_open(self) -> bool:
        return self.row.get("statecode") == 0

    @property
    def survivor(self) -> str:
        """The ID of the record that the lead was merged into, "" if it was not merged."""
        return str(self.row.get("_masterid_value") or "") if self.row.get("merged") else ""

    @property
    def touched_by_others(self) -> bool:
        return self.row.get("_modifiedby_value") != self.row.get("_createdby_value")

    @property
    def parents(self) -> list["NoteParent"]:
        """The records to which a stage can be added: for a qualified lead its opportunity and contact, then the lead itself."""
        became = [
            NoteParent("opportunities", "opportunity", self.row.get("_qualifyingopportunityid_value") or ""),
            NoteParent("contacts", "contact", self.row.get("_parentcontactid_value") or ""),
        ]
        itself = NoteParent("leads", "lead", self.id)
        return [itself] if self.is_open else [*(parent for parent in became if parent.id), itself]


@dataclass(frozen=True, slots=True)
class NoteParent:
    """A record to which notes and tasks are added."""

    entity_set: str
    table: str
    id: str

    @property
    def path(self) -> str:
        return f"/{self.entity_set}({self.id})"


def state_columns(mapping: Mapping[str, MappingValue]) -> str:
    """The `$select` for a lead's state and its mapped columns."""
    return ",".join(dict.fromkeys((*STATE_COLUMNS, *(name for name in mapping if "@" not in name))))


def new_lead(fields: Mapping[str, Any], outgoing: OutgoingLead, follow_up: FollowUp) -> dict[str, Any]:
    """The body that creates a lead. The mapping overrides every column."""
    body: dict[str, Any] = dict.fromkeys(DO_NOT_CONTACT, outgoing.set_do_not_contact)
    if follow_up.rating:
        body[RATING_COLUMN] = RATING_CODES[follow_up.rating]
    if follow_up.owner:
        body["ownerid@odata.bind"] = owner_path(follow_up.owner)
    if follow_up.campaign:
        body["campaignid@odata.bind"] = f"/campaigns({follow_up.campaign})"
    return body | dict(fields)


def owner_path(owner: str) -> str:
    """The address of `user:ID` or `team:ID`."""
    kind, _, identifier = owner.partition(":")
    return f"/{'systemusers' if kind == 'user' else 'teams'}({identifier})"


def stage_writes(
    parent: NoteParent, outgoing: OutgoingLead, follow_up: FollowUp, subject: str, remarks: Iterable[str]
) -> list[Write]:
    """The note, task and queue item of a stage. `subject` is the task's subject."""
    key = (outgoing.lead_id, outgoing.destination)
    text = "\n\n".join([*remarks, summary(outgoing)])
    writes = _notes(parent, outgoing, key, text)
    task_id = computed_id("task", *key)
    if follow_up.task:
        task: dict[str, Any] = {
            "subject": truncate(subject, _TASK_SUBJECT_CHARACTERS),
            "description": truncate(text, _TASK_TEXT_CHARACTERS),
            "scheduledend": f"{follow_up.task.due_at(outgoing.received_at):%Y-%m-%dT%H:%M:%SZ}",
            "prioritycode": 2 if follow_up.rating == "hot" else 1,
            f"regardingobjectid_{parent.table}_task@odata.bind": parent.path,
        }
        if follow_up.owner:
            task["ownerid@odata.bind"] = owner_path(follow_up.owner)
        writes.append(Write("tasks", task_id, task))
    if follow_up.queue:
        queued = ("task", f"/tasks({task_id})") if follow_up.task else (parent.table, parent.path)
        item = {"queueid@odata.bind": f"/queues({follow_up.queue})", f"objectid_{queued[0]}@odata.bind": queued[1]}
        writes.append(Write("queueitems", computed_id("queueitem", *key), item))
    return writes


def _notes(parent: NoteParent, outgoing: OutgoingLead, key: tuple[str, ...], text: str) -> list[Write]:
    """One note, or several notes for a very long text."""
    parts = chunk_html(text, _NOTE_CHARACTERS)
    notes = []
    for number, part in enumerate(parts, 1):
        mark = f" ({number}/{len(parts)})" if len(parts) > 1 else ""
        body = {
            "subject": truncate(headline(outgoing), _SUBJECT_CHARACTERS - len(mark)) + mark,
            "notetext": part,
            f"objectid_{parent.table}@odata.bind": parent.path,
        }
        notes.append(Write("annotations", computed_id("note", *key, *([str(number)] if number > 1 else [])), body))
    return notes
