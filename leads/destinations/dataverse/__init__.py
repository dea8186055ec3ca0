"""Dynamics 365 / Dataverse: one lead record for each customer, and a note for each stage of the journey.

A record and the notes, tasks and queue items of a stage have ids that are computed from the customer and from the lead, and are
created only: whatever is sent twice is there once. What belongs to a stage is stored in one change set, whole or not at all.
"""

import re
from collections.abc import Mapping
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
    PreviewedRequest,
    Retry,
    Skipped,
)
from leads.destinations.changes import Existing, changes_to
from leads.destinations.dataverse.checks import first_problem
from leads.destinations.dataverse.client import Client, Write, query_call, write_call
from leads.destinations.dataverse.errors import WRONG_ADDRESS
from leads.destinations.dataverse.records import (
    BIND,
    COLUMNS_PATH,
    DEFAULT_LENGTHS,
    DEFAULT_MAPPING,
    RATING_COLUMN,
    VOCABULARY,
    WHOLE_OR_NOT_AT_ALL,
    LeadRow,
    Place,
    computed_id,
    new_lead,
    stage_writes,
    state_columns,
)
from leads.destinations.dataverse.settings import GUID, DataverseSettings
from leads.destinations.dataverse.sign_in import token_source
from leads.destinations.follow_up import REAL_INTEREST, FollowUp, is_hotter
from leads.destinations.mapping import names_in, render, render_mapping
from leads.destinations.refusals import FAILURES, UNREADABLE, Kind, Refused, check_result, outcome_of
from leads.destinations.words import CONTACT_ASKED_FOR, fitted

_FOLLOW_UP_IDS: Final = {
    "owner": (f"(user|team):{GUID}", "user:ID or team:ID with the ID as in Dynamics"),
    "queue": (GUID, "the queue's ID as in Dynamics"),
    "campaign": (GUID, "the campaign's ID as in Dynamics"),
}
_TRIES: Final = 4
_MERGES_FOLLOWED: Final = 5


class Dataverse(Destination):
    """See the module."""

    Settings: ClassVar[type[DestinationSettings]] = DataverseSettings
    sent_twice = (
        "Dynamics 365 has the record and its notes already: nothing is written twice, unless people have deleted them."
    )
    settings: DataverseSettings
    default_mapping: ClassVar[Mapping[str, MappingValue] | None] = DEFAULT_MAPPING
    follow_ups: ClassVar[frozenset[str]] = frozenset({"rating", "owner", "queue", "task", "campaign"})

    @classmethod
    def address(cls, settings: DestinationSettings) -> tuple[str, ...]:
        assert isinstance(settings, DataverseSettings)  # noqa: S101
        credential = (settings.tenant_id, settings.client_id, settings.client_secret)
        return (settings.base_url.lower(), settings.authority.rstrip("/").lower(), *(part or "" for part in credential))

    @classmethod
    def check_mapping(cls, name: str, value: MappingValue) -> None:
        if not name.endswith(BIND) or value is None:
            return
        # It is an address: what a customer wrote must have no part in it.
        if not isinstance(value, str) or not value.startswith("/") or names_in(value):
            words = "write the address of one record, such as /campaigns(ID), without fields of the lead"
            raise ValueError(f"is a lookup: {words}")

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
            problem = first_problem(self.client, self.mapping, self.follow_up)
        except FAILURES as error:
            outcome = outcome_of(error, WRONG_ADDRESS)
            return check_result(
                outcome, "the environment, or its sign-in, did not answer", "url, and authority if it is set"
            )
        return CheckResult(ok=not problem, problem=problem, code="check" if problem else "")

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        try:
            return _Sending(self, outgoing, customer).run()
        except FAILURES as error:
            return outcome_of(error, WRONG_ADDRESS)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        return _Sending(self, outgoing, customer).preview()


destination = Dataverse


class Lengths:
    """How long the texts of a lead's columns may be: as shipped, until the environment has been asked."""

    def __init__(self) -> None:
        self.known: Mapping[str, int] = DEFAULT_LENGTHS

    def read(self, client: Client) -> None:
        """Ask the environment, whose columns may be longer or shorter than shipped."""
        found: dict[str, int] = {}
        for kind in ("String", "Memo"):
            path = f"{COLUMNS_PATH}/Microsoft.Dynamics.CRM.{kind}AttributeMetadata?$select=LogicalName,MaxLength"
            for column in client.rows(path):
                if isinstance(column.get("MaxLength"), int):
                    found[str(column.get("LogicalName"))] = column["MaxLength"]
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
        self._merges_followed = 0
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

    def preview(self) -> list[PreviewedRequest]:
        """The requests for a customer who has no record yet."""
        created = self._client.previewed(write_call(self._creation(self._first_id)))
        if not (lookup := self._lookup()):
            return [created]
        note = "Looks for a record that others have made. What follows is sent if there is none."
        return [self._client.previewed(query_call("leads", lookup), note), created]

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
        if not (lookup := self._lookup()):
            return None
        rows = self._client.query("leads", lookup)
        found = [LeadRow(row) for row in rows if row.get("leadid")]
        chosen = next((row for row in found if row.id == self._first_id), found[0] if found else None)
        return self._survivor(chosen)

    def _lookup(self) -> dict[str, str]:
        """The query for a record that others have made; empty where none is looked for."""
        if self._settings.match_existing == "off" or not self._outgoing.lead.email:
            return {}
        email = self._outgoing.lead.email.replace("'", "''")
        return {
            "$filter": f"emailaddress1 eq '{email}'",
            "$select": state_columns(self._mapping),
            "$orderby": "statecode asc,modifiedon desc",
            "$top": "10",
        }

    def _read(self, lead_id: str) -> LeadRow | None:
        try:
            row = self._client.get(f"leads({lead_id})?$select={state_columns(self._mapping)}")
        except Refused as refused:
            if refused.problem.kind is Kind.GONE:
                return None
            raise
        if not row.get("leadid"):
            raise Refused(UNREADABLE)
        return self._survivor(LeadRow(row))

    def _survivor(self, found: LeadRow | None) -> LeadRow | None:
        if found is None or not found.survivor or self._merges_followed == _MERGES_FOLLOWED:
            return found
        self._merges_followed += 1
        return self._read(found.survivor)

    # create

    def _create(self) -> Outcome:
        before = self._customer.record_id
        lead_id = computed_id("lead again", before) if before else self._first_id
        try:
            self._client.write(self._creation(lead_id))
        except Refused as refused:
            if refused.problem.kind is Kind.ALREADY_THERE:
                return self._created_before(lead_id)
            if refused.problem.kind is not Kind.DUPLICATE_RULE:
                raise
            if self._settings.duplicate_detection == "delivered":
                return Delivered(before, "duplicate_rule")
            self._client.write(self._creation(lead_id, detect=False))
            self._code = "duplicate_rule"
        return self._delivered(lead_id, self._follow_up.rating or "", made=lead_id, edited=False)

    def _creation(self, lead_id: str, *, detect: bool = True) -> list[Write]:
        """The record with its first stage. `detect`: as far as the settings ask the environment's duplicate rules."""
        body = new_lead(self._fields(), self._outgoing, self._follow_up)
        asked = detect and self._settings.duplicate_detection != "off"
        return [_create_only(lead_id, body, detect=asked), *self._stage_writes(Place("leads", "lead", lead_id))]

    def _created_before(self, lead_id: str) -> Outcome:
        """An earlier try has made the record, for this lead or for another one of the customer's: its note will tell."""
        found = self._read(lead_id)
        return self._add_stage(found) if found else Retry("conflict")

    # add a stage

    def _add_stage(self, found: LeadRow) -> Outcome:
        ours = found.id in {self._first_id, self._customer.memory.get("made")}
        edited = found.touched_by_others or self._customer.memory.get("edited") == "yes"
        existing = Existing(found.row, ours, edited, self._customer.memory.get("rating", ""))
        changes = changes_to(existing, self._fields(), self._outgoing, VOCABULARY) if found.is_open else {}
        update = [Write("leads", found.id, changes, {"If-Match": found.etag})] if changes else []
        asked_for = self._outgoing.stage in REAL_INTEREST and VOCABULARY.says_do_not_contact({**found.row, **changes})
        remarks = [*self._remarks, *([CONTACT_ASKED_FOR] if asked_for else [])]
        rating = self._follow_up.rating or ""
        if self._write_to_first_place(found, remarks, update):
            raised = RATING_COLUMN in changes
        else:
            # An earlier try has stored it, and may have hidden behind its own change that a person was there before it.
            raised = VOCABULARY.rating_in(found.row) == rating and is_hotter(rating, existing.last_rating)
            edited = edited or bool(self._customer.record_id)
        return self._delivered(
            found.id, rating if raised else existing.last_rating, made=found.id if ours else "", edited=edited
        )

    def _write_to_first_place(self, found: LeadRow, remarks: list[str], update: list[Write]) -> bool:
        """Returns whether it was this try that has stored the stage."""
        *became, itself = found.places
        for place in became:
            try:
                return self._write_stage(place, remarks, update)
            except Refused as refused:
                # It may be closed to us, or be gone: the lead itself is still there.
                if refused.problem.kind not in {Kind.SETTINGS, Kind.GONE, Kind.LEAD}:
                    raise
        return self._write_stage(itself, remarks, update)

    def _write_stage(self, place: Place, remarks: list[str], update: list[Write]) -> bool:
        try:
            self._client.write([*self._stage_writes(place, remarks), *update])
        except Refused as refused:
            if refused.problem.kind is not Kind.ALREADY_THERE:
                raise
            if update and refused.problem.code == "412":
                # Without a code it may as well be the update that somebody else was quicker than: the stage counts for more.
                return self._write_stage(place, remarks, [])
            return False
        return True

    # parts

    def _fields(self) -> dict[str, Any]:
        rendered = render_mapping(self._mapping, self._outgoing, self._customer)
        return fitted(rendered, self._lengths.known, WHOLE_OR_NOT_AT_ALL)

    def _stage_writes(self, place: Place, remarks: list[str] | None = None) -> list[Write]:
        task = self._follow_up.task
        subject = render(task.subject, self._outgoing, self._customer) if task else ""
        return stage_writes(place, self._outgoing, self._follow_up, subject, remarks or self._remarks)

    def _delivered(self, lead_id: str, rating: str, *, made: str, edited: bool) -> Delivered:
        """What the next lead has to know: the rating that is ours, the record that is, and whether a person was ever in it."""
        return Delivered(lead_id, self._code, {"rating": rating, "made": made, "edited": "yes" if edited else ""})

    def _without_targets(self) -> FollowUp:
        return self._follow_up.model_copy(update={"owner": "", "queue": "", "campaign": ""})

    def _drop_targets(self, code: str) -> None:
        """The lead counts for more than whom it is assigned to: it is stored without, and says so."""
        self._follow_up = self._without_targets()
        self._code = code
        self._remarks.append("The owner, queue or campaign that the offer's follow-up names does not exist any more.")


def _create_only(lead_id: str, body: Mapping[str, Any], *, detect: bool) -> Write:
    suppress = "false" if detect else "true"
    return Write("leads", lead_id, body, {"If-None-Match": "*", "MSCRM.SuppressDuplicateDetection": suppress})
