"""Dynamics 365 / Dataverse: one lead record for each customer, and a note for each stage of the journey.

A record and the notes, tasks and queue items of a stage have ids that are computed from the customer and from the lead, and are
created only: whatever is sent twice is there once. What belongs to a stage is stored in one change set, whole or not at all.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Final

from leads.destinations.base import (
    CheckResult,
    Customer,
    Delivered,
    Destination,
    DestinationSettings,
    MappingValue,
    Outcome,
    OutgoingLead,
    Retry,
    Skipped,
)
from leads.destinations.dataverse.client import Client, Write
from leads.destinations.dataverse.errors import WRONG_ADDRESS
from leads.destinations.dataverse.records import (
    DEFAULT_LENGTHS,
    DEFAULT_MAPPING,
    RATING_COLUMN,
    LeadRow,
    Place,
    changes_to,
    computed_id,
    fitted,
    new_lead,
    owner_path,
    stage_writes,
    state_columns,
)
from leads.destinations.dataverse.settings import GUID, DataverseSettings
from leads.destinations.dataverse.sign_in import token_source
from leads.destinations.follow_up import REAL_INTEREST, FollowUp
from leads.destinations.http import Failure
from leads.destinations.mapping import render, render_mapping
from leads.destinations.refusals import FAILURES, UNREADABLE, Kind, Refused, check_result, outcome_of

_FOLLOW_UP_IDS: Final = {
    "owner": (f"(user|team):{GUID}", "user:ID or team:ID with the ID as in Dynamics"),
    "queue": (GUID, "the queue's ID as in Dynamics"),
    "campaign": (GUID, "the campaign's ID as in Dynamics"),
}
_RIGHTS: Final = (
    "prvCreateLead",
    "prvReadLead",
    "prvWriteLead",
    "prvAppendLead",
    "prvAppendToLead",
    "prvCreateNote",
    "prvAppendNote",
)
_TASK_RIGHTS: Final = ("prvCreateActivity", "prvAppendActivity")
_METADATA: Final = "EntityDefinitions(LogicalName='lead')/Attributes"
_TRIES: Final = 4
_MERGES_FOLLOWED: Final = 5


class Dataverse(Destination):
    """See the module."""

    Settings: ClassVar[type[DestinationSettings]] = DataverseSettings
    settings: DataverseSettings
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "owner", "queue", "task", "campaign"})

    @classmethod
    def address(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, DataverseSettings)  # noqa: S101
        credential = (settings.tenant_id, settings.client_id, settings.client_secret)
        return (settings.base_url.lower(), *(part or "" for part in credential))

    @classmethod
    def check_follow_up(cls, follow_up: FollowUp) -> None:
        super().check_follow_up(follow_up)
        for name, (pattern, wanted) in _FOLLOW_UP_IDS.items():
            value = getattr(follow_up, name)
            if value and not re.fullmatch(pattern, value):
                raise ValueError(f"{name}: must be {wanted}")

    @cached_property
    def client(self) -> Client:
        return Client(self.settings.base_url, self.http, token_source(self.settings, self.context, self.http))

    @property
    def lengths(self) -> "Lengths":
        """What the environment's columns hold, as far as this instance has learnt it."""
        return self.context.shared(("dataverse lengths", self.connection), Lengths)

    def record_link(self, record_id: str) -> str:
        return f"{self.settings.base_url}/main.aspx?pagetype=entityrecord&etn=lead&id={record_id}"

    def check(self) -> CheckResult:
        """Sign in, and look whether the rights, columns and follow-up targets that leads need are there."""
        try:
            client = self.client
            problem = self._missing_rights(client) or self._missing_columns(client) or self._missing_targets(client)
        except FAILURES as error:
            found = check_result(outcome_of(error, WRONG_ADDRESS), "the environment did not answer")
            # Whether the name is wrong or only the name service out of order can't be told apart.
            return replace(found, problem=WRONG_ADDRESS) if found.code == Failure.NO_SUCH_HOST else found
        return CheckResult(ok=not problem, problem=problem, code="check" if problem else "")

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        try:
            return _Sending(self, outgoing, customer).run()
        except FAILURES as error:
            return outcome_of(error, WRONG_ADDRESS)

    def _missing_rights(self, client: Client) -> str:
        try:
            user = client.get("WhoAmI").get("UserId")
        except Refused as refused:
            if refused.problem is UNREADABLE:
                return WRONG_ADDRESS
            raise
        if not user:
            return WRONG_ADDRESS
        held = client.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges")
        names = {right.get("PrivilegeName") for right in held.get("RolePrivileges") or []}
        needed = (*_RIGHTS, *(_TASK_RIGHTS if any(wanted.task for wanted in self.follow_up.values()) else ()))
        missing = [right for right in needed if right not in names]
        if not missing:
            return ""
        return f"The application user lacks the rights {', '.join(missing)}: give it the security role of the set-up guide."

    def _missing_columns(self, client: Client) -> str:
        found = client.get(f"{_METADATA}?$select=LogicalName,IsValidForCreate")
        columns = {column["LogicalName"]: column.get("IsValidForCreate", True) for column in found.get("value") or []}
        for name in self.mapping:
            column = name.partition("@")[0].lower()
            if column not in columns:
                return f"mapping.{name}: the lead table has no such column; take it out of the mapping, or make it."
            if not columns[column]:
                return f"mapping.{name}: Dynamics sets this column itself; take it out of the mapping."
        return ""

    def _missing_targets(self, client: Client) -> str:
        for stage, wanted in self.follow_up.items():
            targets = {
                "owner": owner_path(wanted.owner) if wanted.owner else "",
                "queue": f"/queues({wanted.queue})" if wanted.queue else "",
                "campaign": f"/campaigns({wanted.campaign})" if wanted.campaign else "",
            }
            for name, path in targets.items():
                if path and not _exists(client, path.removeprefix("/")):
                    return f"follow_up.{stage}.{name}: Dynamics has none with this ID."
        return ""


destination = Dataverse


class Lengths:
    """How long the texts of a lead's columns may be: as shipped, until the environment has been asked."""

    def __init__(self) -> None:
        self.known: Mapping[str, int] = DEFAULT_LENGTHS

    def read(self, client: Client) -> None:
        """Ask the environment, whose columns may be longer or shorter than shipped."""
        found: dict[str, int] = {}
        for kind in ("String", "Memo"):
            path = f"{_METADATA}/Microsoft.Dynamics.CRM.{kind}AttributeMetadata?$select=LogicalName,MaxLength"
            for column in client.get(path).get("value") or []:
                if isinstance(column.get("MaxLength"), int):
                    found[column["LogicalName"]] = column["MaxLength"]
        self.known = {**DEFAULT_LENGTHS, **found}


class _Sending:
    """One lead on its way to its customer's record."""

    def __init__(self, destination: Dataverse, outgoing: OutgoingLead, customer: Customer) -> None:
        self._settings = destination.settings
        self._mapping = destination.mapping
        self._lengths = destination.lengths
        self._client = destination.client
        self._outgoing = outgoing
        self._customer = customer
        self._follow_up = outgoing.follow_up
        self._remarks: list[str] = []
        self._code = ""
        scope = destination.record_scope(outgoing.offer, outgoing.destination)
        self._first_id = computed_id("lead", scope, customer.key)

    def run(self) -> Outcome:
        lengths_read = False
        for _ in range(_TRIES):
            try:
                return self._deliver()
            except Refused as refused:
                problem = refused.problem
                if problem.kind is Kind.TOO_LONG and not lengths_read:
                    self._lengths.read(self._client)
                    lengths_read = True
                elif problem.kind is Kind.GONE and self._follow_up != self._without_targets():
                    self._drop_targets(problem.code)
                elif problem.kind is not Kind.CHANGED_MEANWHILE:
                    raise
        return Retry("changed_meanwhile")

    def _deliver(self) -> Outcome:
        found = self._find()
        if found is not None:
            return self._add_stage(found)
        if self._customer.record_id and self._settings.deleted_records == "skip":
            return Skipped("the customer's record was deleted in Dynamics (setting deleted_records)", "deleted")
        return self._create()

    # find

    def _find(self) -> LeadRow | None:
        if self._customer.record_id:
            return self._read(self._customer.record_id)
        if self._settings.match_existing == "off" or not self._outgoing.lead.email:
            return None
        email = self._outgoing.lead.email.replace("'", "''")
        rows = self._client.query(
            "leads",
            {
                "$filter": f"emailaddress1 eq '{email}'",
                "$select": state_columns(self._mapping),
                "$orderby": "statecode asc,modifiedon desc",
                "$top": "10",
            },
        )
        found = [LeadRow(row) for row in rows if row.get("leadid")]
        chosen = next((row for row in found if row.id == self._first_id), found[0] if found else None)
        return self._survivor(chosen)

    def _read(self, lead_id: str) -> LeadRow | None:
        try:
            row = self._client.get(f"leads({lead_id})?$select={state_columns(self._mapping)}")
        except Refused as refused:
            if refused.problem.kind is Kind.GONE:
                return None
            raise
        return self._survivor(LeadRow(row))

    def _survivor(self, found: LeadRow | None) -> LeadRow | None:
        for _ in range(_MERGES_FOLLOWED):
            if found is None or not found.survivor:
                break
            found = LeadRow(self._client.get(f"leads({found.survivor})?$select={state_columns(self._mapping)}"))
        return found

    # create

    def _create(self) -> Outcome:
        before = self._customer.record_id
        lead_id = computed_id("lead again", before) if before else self._first_id
        body = new_lead(self._fields(), self._outgoing, self._follow_up)
        stage = self._stage_writes(Place("leads", "lead", lead_id))
        asked = self._settings.duplicate_detection != "off"
        try:
            self._client.write([_create_only(lead_id, body, detect=asked), *stage])
        except Refused as refused:
            if refused.problem.kind is Kind.ALREADY_THERE:
                return self._created_before(lead_id)
            if refused.problem.kind is not Kind.DUPLICATE_RULE:
                raise
            if self._settings.duplicate_detection == "delivered":
                return Delivered(before, "duplicate_rule")
            self._client.write([_create_only(lead_id, body, detect=False), *stage])
            self._code = "duplicate_rule"
        return self._delivered(lead_id, self._follow_up.rating or "", made=lead_id)

    def _created_before(self, lead_id: str) -> Outcome:
        """An earlier try has made the record, for this lead or for another one of the customer's: its note will tell."""
        found = self._read(lead_id)
        return self._add_stage(found) if found else Retry("conflict")

    # add a stage

    def _add_stage(self, found: LeadRow) -> Outcome:
        ours = found.id in {self._first_id, self._customer.memory.get("made")}
        last_rating = self._customer.memory.get("rating", "")
        changes = (
            changes_to(found, self._fields(), self._outgoing, ours=ours, last_rating=last_rating)
            if found.is_open
            else {}
        )
        update = [Write("leads", found.id, changes, {"If-Match": found.etag})] if changes else []
        contact_asked_for = self._outgoing.stage in REAL_INTEREST and found.says_do_not_contact
        remarks = [_CONTACT_ASKED_FOR] if contact_asked_for and "donotemail" not in changes else []
        self._write_to_first_place(found, [*self._remarks, *remarks], update)
        rating = self._follow_up.rating or "" if RATING_COLUMN in changes else last_rating
        return self._delivered(found.id, rating, made=found.id if ours else "")

    def _write_to_first_place(self, found: LeadRow, remarks: list[str], update: list[Write]) -> None:
        *became, itself = found.places
        for place in became:
            try:
                self._write_stage(place, remarks, update)
            except Refused as refused:
                # It may be closed to us, or be gone: the lead itself is still there.
                if refused.problem.kind not in {Kind.SETTINGS, Kind.GONE, Kind.LEAD}:
                    raise
            else:
                return
        self._write_stage(itself, remarks, update)

    def _write_stage(self, place: Place, remarks: list[str], update: list[Write]) -> None:
        try:
            self._client.write([*self._stage_writes(place, remarks), *update])
        except Refused as refused:
            if refused.problem.kind is not Kind.ALREADY_THERE:
                raise

    # parts

    def _fields(self) -> dict[str, Any]:
        return fitted(render_mapping(self._mapping, self._outgoing, self._customer), self._lengths.known)

    def _stage_writes(self, place: Place, remarks: list[str] | None = None) -> list[Write]:
        task = self._follow_up.task
        subject = render(task.subject, self._outgoing, self._customer) if task else ""
        return stage_writes(place, self._outgoing, self._follow_up, subject, remarks or self._remarks)

    def _delivered(self, lead_id: str, rating: str, made: str) -> Delivered:
        return Delivered(lead_id, self._code, {"rating": rating, "made": made})

    def _without_targets(self) -> FollowUp:
        return self._follow_up.model_copy(update={"owner": "", "queue": "", "campaign": ""})

    def _drop_targets(self, code: str) -> None:
        """The lead counts for more than whom it is assigned to: it is stored without, and says so."""
        self._follow_up = self._without_targets()
        self._code = code
        self._remarks.append("The owner, queue or campaign that the offer's follow-up names does not exist any more.")


_CONTACT_ASKED_FOR: Final = (
    "The customer has now asked for this, but the record says not to contact them: look whether that still holds."
)


def _create_only(lead_id: str, body: Mapping[str, Any], *, detect: bool) -> Write:
    suppress = "false" if detect else "true"
    return Write("leads", lead_id, body, {"If-None-Match": "*", "MSCRM.SuppressDuplicateDetection": suppress})


def _exists(client: Client, path: str) -> bool:
    try:
        client.get(f"{path}?$select=createdon")
    except Refused as refused:
        if refused.problem.kind is Kind.GONE:
            return False
        raise
    return True
