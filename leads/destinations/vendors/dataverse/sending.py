"""Sends one lead to its customer's record in Dynamics 365."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from leads.core.outcomes import Delivered, Outcome, Retry
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.changes import REFUSES_CHANGES, Existing, WithoutChanges, changes_to
from leads.destinations.crm import CrmSending
from leads.destinations.follow_up import FollowUp, is_hotter
from leads.destinations.mapping import render, render_mapping
from leads.destinations.text import fit_fields
from leads.destinations.vendor_errors import UNREADABLE, ErrorKind, Problem, VendorError, unless_gone
from leads.destinations.vendors.dataverse.client import Client, Write
from leads.destinations.vendors.dataverse.columns import Lengths
from leads.destinations.vendors.dataverse.errors import ABOUT_QUEUES, IN_A_QUEUE
from leads.destinations.vendors.dataverse.records import (
    BIND,
    RATING_COLUMN,
    VOCABULARY,
    WHOLE_OR_NOT_AT_ALL,
    LeadRow,
    NoteParent,
    computed_id,
    new_lead,
    stage_writes,
    state_columns,
)
from leads.destinations.vendors.dataverse.settings import GUID, DataverseSettings

_MERGES_FOLLOWED: Final = 5
_CONDITIONAL: Final = "If-Match"
_CHANGES: Final = "changes"
_TARGETS: Final = "targets"
_REFUSES_TARGETS: Final = frozenset({ErrorKind.GONE, ErrorKind.SETTINGS, ErrorKind.LEAD})


class Sending(CrmSending[LeadRow]):
    """The steps of `CrmSending` for Dynamics 365."""

    vendor = "Dynamics"
    vocabulary = VOCABULARY
    record_ids = GUID

    _settings: DataverseSettings
    _client: Client

    def __init__(self, destination: Any, client: Client, outgoing: OutgoingLead, customer: Customer) -> None:
        super().__init__(destination, client, outgoing, customer)
        self._lengths: Lengths = destination.lengths
        self._without_changes = WithoutChanges()
        self._without_targets = False
        self._without_queue = ""
        self._to_leave_out: list[set[str]] | None = None
        self._code = ""
        self._lengths_read = False
        self._found_id = ""
        self._sent: Sequence[Write] = ()
        self._merges_followed = 0
        self._first_id = computed_id("lead", self._scope, customer.key)

    def _begin(self) -> None:
        self._found_id, self._sent = "", ()

    # after a refusal

    def _learn(self, refused: VendorError) -> None:
        if not self._changes_next_try(refused.problem):
            raise refused

    def _changes_next_try(self, problem: Problem) -> bool:
        """Whether this refusal of the last try changes what the next try does."""
        if problem.kind is ErrorKind.CHANGED_MEANWHILE:
            if self._without_changes.decide(problem.kind):
                self._code = problem.code
            return True
        if problem.kind is ErrorKind.TOO_LONG and not self._lengths_read:
            self._lengths.read(self._client, self._mapping)
            self._lengths_read = True
            return True
        if not self._sent:
            return False
        if problem.code in ABOUT_QUEUES and self._follow_up.queue:
            self._without_queue = problem.code
            return True
        if problem.kind is ErrorKind.GONE and self._found_id and self._read(self._found_id) is None:
            return True  # the record itself is gone: the next try searches for the record or creates it
        return self._leave_out_more(problem)

    def _leave_out_more(self, problem: Problem) -> bool:
        """Leave out the next optional parts that may have been refused. Returns False if there are no more such parts."""
        if problem.kind not in REFUSES_CHANGES | _REFUSES_TARGETS:
            return False
        if self._to_leave_out is None:
            parts = self._optional_parts(problem.kind)
            self._to_leave_out = [*({part} for part in parts), *([set(parts)] if len(parts) > 1 else [])]
        if not self._to_leave_out:
            return False
        without = self._to_leave_out.pop(0)
        self._without_changes.decided, self._without_targets = _CHANGES in without, _TARGETS in without
        self._code = problem.code
        return True

    def _optional_parts(self, refusal: ErrorKind) -> list[str]:
        """The optional parts of the last try that may have been refused, the likelier first."""
        has_changes = any(_CONDITIONAL in write.headers for write in self._sent) and refusal in REFUSES_CHANGES
        follow_up = self._follow_up
        has_targets = any((follow_up.owner, follow_up.queue, follow_up.campaign, *map(_is_lookup, self._mapping)))
        parts = [_CHANGES] * has_changes + [_TARGETS] * (has_targets and refusal in _REFUSES_TARGETS)
        return parts[::-1] if refusal in {ErrorKind.GONE, ErrorKind.SETTINGS} else parts

    @property
    def _follow_up(self) -> FollowUp:
        left_out = {"owner": "", "queue": "", "campaign": ""} if self._without_targets else {}
        return self._outgoing.follow_up.model_copy(update=left_out | ({"queue": ""} if self._without_queue else {}))

    @property
    def _remarks(self) -> list[str]:
        """Remarks for a person about what was left out."""
        queue_refused = self._without_queue and self._without_queue not in IN_A_QUEUE
        refused = [
            *(["the changes of this lead to the record itself"] if self._without_changes.decided else []),
            *(["the owner, queue or campaign that the offer names"] if self._without_targets else []),
            *(["the queue that the offer names"] if queue_refused and not self._without_targets else []),
        ]
        return [f"Dynamics did not accept {part}." for part in refused]

    def _outcome_code(self) -> str:
        return self._code

    # find

    def _search(self) -> LeadRow | None:
        if not (lookup := self._lookup()):
            return None
        rows = self._client.query("leads", lookup)
        found = [LeadRow(row) for row in rows if row.get("leadid")]
        chosen = next((row for row in found if row.id == self._first_id), found[0] if found else None)
        return self._survivor(chosen)

    def _lookup(self) -> dict[str, str]:
        """The query options that find a record of another user. Empty if the settings or the lead allow no search."""
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
        path = f"leads({lead_id})?$select={state_columns(self._mapping)}"
        row = unless_gone(lambda: self._client.get(path))
        if row is None:
            return None
        if not row.get("leadid"):
            raise VendorError(UNREADABLE)
        return self._survivor(LeadRow(row))

    def _survivor(self, found: LeadRow | None) -> LeadRow | None:
        if found is None or not found.survivor or self._merges_followed == _MERGES_FOLLOWED:
            return found
        self._merges_followed += 1
        return self._read(found.survivor)

    # create

    def _create(self, instead_of: str) -> Outcome:
        lead_id = computed_id("lead again", instead_of) if instead_of else self._first_id
        try:
            self._write(self._creation(lead_id))
        except VendorError as refused:
            if refused.problem.kind is ErrorKind.ALREADY_THERE:
                return self._created_before(lead_id)
            if refused.problem.kind is not ErrorKind.DUPLICATE_RULE:
                raise
            if self._settings.duplicate_detection == "delivered":
                return Delivered(instead_of, "duplicate_rule")
            self._write(self._creation(lead_id, detect=False))
            self._code = "duplicate_rule"
        return self._delivered(lead_id, self._follow_up.rating or "", made=lead_id)

    def _creation(self, lead_id: str, *, detect: bool = True) -> list[Write]:
        """The writes of the record and its first stage. `detect`: apply duplicate rules if the settings ask for it."""
        body = new_lead(self._fields(), self._outgoing, self._follow_up)
        asked = detect and self._settings.duplicate_detection != "off"
        return [_create_only(lead_id, body, detect=asked), *self._stage_writes(NoteParent("leads", "lead", lead_id))]

    def _created_before(self, lead_id: str) -> Outcome:
        """Add the stage to the record that an earlier try for this or another lead of the customer has made."""
        found = self._read(lead_id)
        return self._add_stage(found) if found else Retry("conflict")

    # add a stage

    def _add_stage(self, found: LeadRow) -> Outcome:
        self._found_id = found.id
        ours = found.id in {self._first_id, self._customer.memory.get("made")}
        edited = found.touched_by_others or self._customer.memory.get("edited") == "yes"
        existing = Existing(found.row, ours, edited, self._last_rating)
        may_change = found.is_open and not self._without_changes.decided
        changes = changes_to(existing, self._fields(), self._outgoing, VOCABULARY) if may_change else {}
        update = [Write("leads", found.id, changes, {_CONDITIONAL: found.etag})] if changes else []
        remarks = [*self._remarks, *self._contact_remark({**found.row, **changes})]
        rating = self._follow_up.rating or ""
        if self._write_to_first_parent(found, remarks, update):
            raised = RATING_COLUMN in changes and update[0] in self._sent
        else:
            # An earlier try has stored the stage. Its change may hide that a person had changed the record before.
            raised = VOCABULARY.rating_in(found.row) == rating and is_hotter(rating, existing.last_rating)
            edited = edited or bool(self._customer.record_id)
        return self._delivered(
            found.id, rating if raised else existing.last_rating, made=found.id if ours else "", edited=edited
        )

    def _write_to_first_parent(self, found: LeadRow, remarks: list[str], update: list[Write]) -> bool:
        """Returns whether this try stored the stage. False if an earlier try stored it."""
        *became, itself = found.parents
        for parent in became:
            try:
                return self._write_stage(parent, remarks, update)
            except VendorError as refused:
                # The app may have no right to this record, or the record is gone. The lead itself still exists.
                if refused.problem.kind not in {ErrorKind.SETTINGS, ErrorKind.GONE, ErrorKind.LEAD}:
                    raise
        return self._write_stage(itself, remarks, update)

    def _write_stage(self, parent: NoteParent, remarks: list[str], update: list[Write]) -> bool:
        try:
            self._write([*self._stage_writes(parent, remarks), *update])
        except VendorError as refused:
            if refused.problem.kind is not ErrorKind.ALREADY_THERE:
                raise
            if not update:
                return False
            # The update may have collided with another record's key. A try without the update shows whether the stage exists.
            self._without_changes.decided = True
            if not self._write_stage(parent, [*self._remarks, *remarks], []):
                return False
            self._code = refused.problem.code
        return True

    def _write(self, writes: Sequence[Write]) -> None:
        self._sent = writes
        self._client.write(writes)

    # parts

    def _fields(self) -> dict[str, Any]:
        mapping = {
            name: value for name, value in self._mapping.items() if not (self._without_targets and _is_lookup(name))
        }
        rendered = render_mapping(mapping, self._outgoing, self._customer)
        return fit_fields(rendered, self._lengths.known, WHOLE_OR_NOT_AT_ALL)

    def _stage_writes(self, parent: NoteParent, remarks: list[str] | None = None) -> list[Write]:
        task = self._follow_up.task
        subject = render(task.subject, self._outgoing, self._customer) if task else ""
        return stage_writes(parent, self._outgoing, self._follow_up, subject, remarks or self._remarks)


def _is_lookup(name: str) -> bool:
    return name.endswith(BIND)


def _create_only(lead_id: str, body: Mapping[str, Any], *, detect: bool) -> Write:
    suppress = "false" if detect else "true"
    return Write("leads", lead_id, body, {"If-None-Match": "*", "MSCRM.SuppressDuplicateDetection": suppress})
