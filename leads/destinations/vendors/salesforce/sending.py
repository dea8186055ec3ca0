"""Sends one lead to its customer's record in Salesforce."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from leads.core.outcomes import Delivered, Misconfigured, Outcome, Rejected
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.changes import Existing, changes_to
from leads.destinations.crm import CrmSending
from leads.destinations.follow_up import is_hotter
from leads.destinations.mapping import render, render_mapping
from leads.destinations.text import fit_fields, marker, summary, truncate
from leads.destinations.vendor_errors import ErrorKind, VendorError
from leads.destinations.vendors.salesforce.client import Client, Write, equals
from leads.destinations.vendors.salesforce.errors import CHANGED_MEANWHILE, OWNER_REFUSED, Refusal
from leads.destinations.vendors.salesforce.fields import LeadFields
from leads.destinations.vendors.salesforce.lessons import LEAD, MEMBER, TASK, Lessons
from leads.destinations.vendors.salesforce.records import (
    DEFAULT_MAPPING,
    DO_NOT_CONTACT,
    EMAIL_CHARACTERS,
    RATING_FIELD,
    VOCABULARY,
    WHOLE_OR_NOT_AT_ALL,
    LeadRecord,
    Record,
    TaskParent,
    computed_id,
    computed_key,
    fits,
    is_contact,
    is_lead,
    is_user,
    lead_columns,
    owner_id,
    selection,
    stage_tasks,
)
from leads.destinations.vendors.salesforce.settings import SalesforceSettings

_MERGES_FOLLOWED: Final = 5
_FIRST_CHOICE: Final = "ORDER BY IsConverted ASC, LastModifiedDate DESC LIMIT 10"
_NOT_ASSIGNED: Final = {"Sforce-Auto-Assign": "FALSE"}
_DUPLICATE_ALLOWED: Final = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
_CLOSED_TO_US: Final = frozenset({ErrorKind.SETTINGS, ErrorKind.GONE, ErrorKind.LEAD, ErrorKind.FIELD})
_CODE_CHARACTERS: Final = 100

_NOT_VISIBLE: Final = Misconfigured(
    "The app's user can't see the leads that it has made: give it View All on leads, as the set-up guide says.",
    "not_visible",
)


class Sending(CrmSending[LeadRecord]):
    """The steps of `CrmSending` for Salesforce. `Lessons` decides what the next try does after a refusal."""

    vendor = "Salesforce"
    vocabulary = VOCABULARY
    record_ids = "00Q.*"
    code_of_last_try = CHANGED_MEANWHILE

    _settings: SalesforceSettings
    _client: Client

    def __init__(self, destination: Any, client: Client, outgoing: OutgoingLead, customer: Customer) -> None:
        super().__init__(destination, client, outgoing, customer)
        self._known: LeadFields = destination.fields
        self._first_id = computed_id("lead", self._scope, customer.key)
        self._lessons = Lessons(client, self._known, self._mapping, self._settings.external_id_field)
        self._made = ""
        self._duplicate = False
        self._closed: list[Refusal] = []
        """The refusals of the records to which the stage could not be added."""

    def _begin(self) -> None:
        self._lessons.begin()

    def _learn(self, refused: VendorError) -> None:
        if not isinstance(refused, Refusal):
            raise refused
        self._lessons.learn(refused)

    # find

    def _read(self, lead_id: str) -> LeadRecord | None:
        """The lead, or the lead that it was merged into. None if the lead was deleted."""
        for _ in range(_MERGES_FOLLOWED):
            rows = self._client.query(self._selection(equals("Id", lead_id)), deleted=True)
            found = LeadRecord(rows[0]) if rows else None
            if found is None or not found.is_deleted:
                return found
            lead_id = found.survivor
            if not lead_id:
                break
        return None

    def _search(self) -> LeadRecord | None:
        email = self._outgoing.lead.email
        if self._settings.match_existing == "off" or not 0 < len(email) <= EMAIL_CHARACTERS:
            return None
        key = self._settings.external_id_field
        either = [equals("Email", email), *([equals(key, self._first_id)] if key else [])]
        rows = self._client.query(self._selection(f"{' OR '.join(either)} {_FIRST_CHOICE}"))
        found = [LeadRecord(row) for row in rows]
        return next((lead for lead in found if self._has_our_key(lead)), found[0] if found else None)

    def _instead_of_deleted(self) -> LeadRecord | None:
        return self._search()

    def _selection(self, condition: str) -> str:
        key = self._settings.external_id_field
        columns = lead_columns([*self._mapping, *([key] if key else [])])
        return selection("Lead", filter(self._known.can_be_read, columns), self._outgoing, condition)

    def _has_our_key(self, lead: LeadRecord) -> bool:
        key = self._settings.external_id_field
        return key is not None and lead.row.get(key) == self._first_id

    # make

    def _create(self, instead_of: str) -> Outcome:
        try:
            is_complete = self._make(instead_of)
        except Refusal as refusal:
            if refusal.problem.kind is ErrorKind.DUPLICATE_RULE:
                outcome = self._resolve_duplicate(instead_of, refusal)
            elif refusal.problem.kind is ErrorKind.ALREADY_THERE:
                outcome = self._made_before(instead_of, refusal)
            else:
                raise
            return replace(outcome, key_refused=refusal.of_key and not self._made)
        follow_up = self._outgoing.follow_up
        if is_complete and not follow_up.task and not follow_up.campaign:
            return self._delivered(self._made, follow_up.rating or "", made=self._made)
        found = self._read(self._made)
        return self._add_stage(found) if found else _NOT_VISIBLE

    def _make(self, instead_of: str) -> bool:
        """Create the record once. Returns whether its description holds this lead's whole summary."""
        fields = self._new_fields()
        is_complete = marker(self._outgoing) in str(fields.get("Description")) and self._fits
        if key := self._settings.external_id_field:
            value = self._external_id(instead_of)
            self._made = self._client.create("Lead", {**fields, key: value}, self._create_headers())
            return is_complete
        key = self._idempotency_key(instead_of)
        self._made, stored = self._client.create_once("Lead", fields, self._create_options(), key)
        # Another lead of the customer may have created the record under this key, and the answer was lost.
        return is_complete and marker(self._outgoing) in str(stored.get("Description"))

    def _external_id(self, instead_of: str) -> str:
        return computed_id("lead again", instead_of) if instead_of else self._first_id

    def _idempotency_key(self, instead_of: str) -> str:
        first = self._customer.idempotency_key or computed_key(self._first_id)
        key = computed_key("lead again", instead_of, first) if instead_of else first
        if self._lessons.duplicate_allowed:
            key = computed_key("duplicate allowed", key)
        return computed_key(f"another {self._lessons.other_keys}", key) if self._lessons.other_keys else key

    @property
    def _is_assigned(self) -> bool:
        """Whether an assignment rule of the organisation sets the owner. The offer's own owner has priority."""
        is_owned = bool(self._outgoing.follow_up.owner) or "OwnerId" in self._mapping
        return self._settings.assignment != "off" and not is_owned

    def _create_headers(self) -> dict[str, str]:
        rule = {"on": "TRUE", "off": "FALSE"}.get(self._settings.assignment, self._settings.assignment)
        assigned = {"Sforce-Auto-Assign": rule} if self._is_assigned else _NOT_ASSIGNED
        return {**assigned, **(_DUPLICATE_ALLOWED if self._lessons.duplicate_allowed else {})}

    def _create_options(self) -> dict[str, bool]:
        """The options of the UI API, which has them in the body instead of headers."""
        return {"useDefaultRule": self._is_assigned, "allowSaveOnDuplicate": self._lessons.duplicate_allowed}

    def _made_before(self, instead_of: str, refusal: Refusal) -> Outcome:
        """Add the stage to the record that an earlier try for this or another lead of the customer has created."""
        key = self._settings.external_id_field
        rows = self._client.query(self._selection(equals(key, self._external_id(instead_of)))) if key else []
        if not rows:
            return Rejected("Another record has a value of this lead that has to be unique.", refusal.problem.code)
        found = LeadRecord(rows[0])
        self._made = found.id
        return self._add_stage(found)

    def _resolve_duplicate(self, instead_of: str, refusal: Refusal) -> Outcome:
        self._duplicate = True
        if self._settings.duplicate_rules == "delivered":
            return Delivered(self._customer.record_id, self._outcome_code())
        if self._settings.duplicate_rules == "allow" and not self._lessons.duplicate_allowed:
            self._lessons.duplicate_allowed = True
            return self._create(instead_of)
        # The app can't override a rule that blocks. The lead is added to a record that the rule has found.
        for lead_id in filter(is_lead, refusal.duplicates):
            if found := self._read(lead_id):
                return self._add_stage(found)
        for contact_id in filter(is_contact, refusal.duplicates):
            if self._added_to(TaskParent("Contact", contact_id), None, {}):
                return Delivered(self._customer.record_id, self._outcome_code())
        return Rejected(refusal.problem.words, refusal.problem.code)

    # add a stage

    def _add_stage(self, found: LeadRecord) -> Outcome:
        memory, stored_before = self._customer.memory, found.has_task_of(self._outgoing)
        ours = (
            found.id in {self._made, memory.get("made")} or self._has_our_key(found) or found.describes(self._outgoing)
        )
        # The app's own changes, also by an attempt without an answer, hide an earlier edit by a person.
        hidden = bool(memory.get("edited")) or (stored_before and bool(self._customer.record_id))
        existing = Existing(found.row, ours, ours and (found.touched_by_others or hidden), self._last_rating)
        changes = self._changes(existing) if found.is_open and not self._lessons.without_changes.decided else {}
        self._closed.clear()
        if not any(self._added_to(parent, found, changes) for parent in found.parents):
            if refusal := next(filter(self._lessons.to_leave_out, self._closed), None):
                raise refusal
            # The lead was converted, and its contact and account are deleted or closed to the app's user.
            return self._skipped() if self._skips_deleted else self._create(found.id)
        rating = VOCABULARY.rating_in({**found.row, **changes})
        is_ours = (
            RATING_FIELD in changes
            or found.id == self._made
            or (stored_before and is_hotter(rating, existing.last_rating))
        )
        return self._delivered(
            found.id, rating if is_ours else existing.last_rating, made=found.id if ours else "", edited=existing.edited
        )

    def _changes(self, existing: Existing) -> dict[str, Any]:
        # The summary of the customer's first lead stays. Later leads are tasks.
        stories = {name for name, value in self._mapping.items() if isinstance(value, str) and "{story}" in value}
        fields = {name: value for name, value in self._fields().items() if name not in stories}
        return self._lessons.writable(LEAD, changes_to(existing, fields, self._outgoing, VOCABULARY))

    def _added_to(self, parent: TaskParent, lead: LeadRecord | None, changes: Mapping[str, Any]) -> bool:
        """Add the stage and the lead's changes in one transaction. False if the parent is gone or closed to the app's user."""
        try:
            record = lead if lead is not None and lead.id == parent.id else self._read_parent(parent)
            if record is None:
                return False
            writes = [
                *self._change_writes(lead, changes),
                *self._task_writes(parent, record, lead, changes),
                *self._member_writes(parent, record),
            ]
            if writes:
                self._client.write(writes)
        except Refusal as refusal:
            is_closed = refusal.problem.kind in _CLOSED_TO_US and refusal.problem.code not in OWNER_REFUSED
            if parent.table == "Lead" or refusal.part == MEMBER or not is_closed:
                raise
            self._closed.append(refusal)
            return False
        return True

    def _read_parent(self, parent: TaskParent) -> Record | None:
        rows = self._client.query(selection(parent.table, ("Id", "OwnerId"), self._outgoing, equals("Id", parent.id)))
        return Record(rows[0]) if rows else None

    def _change_writes(self, lead: LeadRecord | None, changes: Mapping[str, Any]) -> list[Write]:
        if lead is None or not changes:
            return []
        headers = {**lead.unmodified_since, **_NOT_ASSIGNED, **_DUPLICATE_ALLOWED}
        return [Write(LEAD, "PATCH", f"sobjects/Lead/{lead.id}", changes, headers)]

    def _task_writes(
        self, parent: TaskParent, record: Record, lead: LeadRecord | None, changes: Mapping[str, Any]
    ) -> list[Write]:
        task = self._outgoing.follow_up.task
        is_described = lead is not None and lead.describes(self._outgoing) and self._fits
        if record.has_task_of(self._outgoing) or (is_described and not task):
            return []
        values = {**lead.row, **changes} if lead is not None else {}
        text = "\n\n".join([*self._remarks(values), summary(self._outgoing)])
        subject = render(task.subject, self._outgoing, self._customer) if task else ""
        owners = [owner_id(self._outgoing.follow_up), str(record.row.get("OwnerId") or "")]
        owner = next(filter(is_user, owners), "") if task else ""
        tasks = stage_tasks(parent, self._outgoing, text, owner, subject)
        return [
            Write(f"{TASK}{number}", "POST", "sobjects/Task", self._lessons.writable(TASK, fields))
            for number, fields in enumerate(tasks, 1)
        ]

    def _member_writes(self, parent: TaskParent, record: Record) -> list[Write]:
        campaign = self._outgoing.follow_up.campaign
        is_one = record.is_in_campaign or parent.table == "Account"
        if not campaign or is_one or self._lessons.without_campaign:
            return []
        member = {"CampaignId": campaign, f"{parent.table}Id": parent.id}
        return [Write(MEMBER, "POST", "sobjects/CampaignMember", member)]

    # parts

    def _new_fields(self) -> dict[str, Any]:
        """The fields of a new record. The mapping overrides every field."""
        follow_up = self._outgoing.follow_up
        wanted: dict[str, Any] = dict.fromkeys(DO_NOT_CONTACT, True) if self._outgoing.set_do_not_contact else {}
        if follow_up.rating:
            wanted[RATING_FIELD] = VOCABULARY.ratings[follow_up.rating]
        if owner := owner_id(follow_up):
            wanted["OwnerId"] = owner
        fields = self._lessons.writable(LEAD, wanted | self._fields())
        remarks = self._remarks({})
        if remarks and "{story}" in str(self._mapping.get("Description")) and "Description" in fields:
            text = "\n\n".join([*remarks, str(fields["Description"])])
            fields["Description"] = truncate(text, self._known.lengths["Description"])
        return fields

    def _fields(self) -> dict[str, Any]:
        """The mapped fields as the organisation can hold them."""
        rendered: dict[str, Any] = render_mapping(self._mapping, self._outgoing, self._customer)
        if self._known.has_country_codes and self._mapping.get("Country") == DEFAULT_MAPPING["Country"]:
            rendered.pop("Country", None)
            if code := self._outgoing.lead.country_code:
                rendered.setdefault("CountryCode", code)
        return fit_fields(rendered, self._known.lengths, WHOLE_OR_NOT_AT_ALL)

    @cached_property
    def _fits(self) -> bool:
        """Whether the mapped description fits its field completely."""
        return fits(render(str(self._mapping.get("Description", "")), self._outgoing, self._customer))

    def _remarks(self, values: Mapping[str, Any]) -> Sequence[str]:
        """Remarks for a person beside the lead's summary. `values` are the record's future values."""
        remarks = self._contact_remark(values)
        if left_out := self._lessons.left_out:
            remarks.append(f"Salesforce did not accept these fields, so they were left out: {', '.join(left_out)}.")
        return remarks

    def _outcome_code(self) -> str:
        left_out = self._lessons.left_out
        parts = ["duplicate_rule"] * self._duplicate + ([f"left_out:{','.join(left_out)}"] if left_out else [])
        return " ".join(parts)[:_CODE_CHARACTERS]
