"""Sends one lead to its customer's person in Marketo, directly (Sync Leads) or by filling out a form (Submit Form)."""

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Final

from leads.core.outcomes import Delivered, Outcome, Retry, Skipped, Unknown
from leads.destinations.base import Customer, OutgoingLead
from leads.destinations.crm import LeadSending
from leads.destinations.http import NoAnswer
from leads.destinations.text import CONTACT_ASKED_FOR, NOT_PROVIDED
from leads.destinations.vendor_errors import FAILURES, ErrorKind, Problem, VendorError, outcome_of
from leads.destinations.vendors.marketo.client import Client
from leads.destinations.vendors.marketo.errors import (
    COMPANY_REFUSED,
    MAYBE_DONE,
    PERSON_GONE,
    SKIPPED,
    UNKNOWN_FIELD,
    WRONG_ADDRESS,
)
from leads.destinations.vendors.marketo.fields import Field, FieldCache, FormField
from leads.destinations.vendors.marketo.journey import as_text, with_stage
from leads.destinations.vendors.marketo.records import (
    COMPANY_FIELDS,
    DEFAULT_MAPPING,
    WHOLE_OR_NOT_AT_ALL,
    Person,
    cleared_flags,
    lead_fields,
    may_raise,
    newest,
    set_flags,
)
from leads.destinations.vendors.marketo.settings import MarketoSettings

_CODE_CHARACTERS: Final = 100
_COMPANY_KEPT: Final = "Marketo does not allow changes to the person's company. The lead's company is shown below."


class PersonDeleted(Exception):
    """The customer's person was deleted, and `deleted_records` is `skip`."""


class Sending(LeadSending):
    """Finds the person, and decides what to set or change and what the ledger remembers. Subclasses store the lead."""

    record_ids = "[0-9]+"

    repeatable: ClassVar[bool] = True
    """Whether storing the lead a second time changes nothing."""

    _settings: MarketoSettings
    _client: Client

    def __init__(
        self, destination: Any, client: Client, outgoing: OutgoingLead, customer: Customer, known: FieldCache
    ) -> None:
        super().__init__(destination, client, outgoing, customer)
        self._known = known
        self._email = outgoing.lead.email
        self._memory = customer.memory
        self._codes: list[str] = []
        self._lists = self._wanted_lists()
        self._offered = set(self._memory.get("offered", "").split())
        self._stages = with_stage(self._memory, outgoing) if self._settings.journey_field else {}
        self._without: frozenset[str] = frozenset()
        self._forget_plans()

    def _forget_plans(self) -> None:
        """Reset the rating and the flags to the ledger's memory of the customer."""
        self._rating = self._memory.get("rating", "")
        self._flagged = self._memory.get("flagged", "")

    def run(self) -> Outcome:
        if self._customer.stored:  # an earlier attempt has stored the person
            return self._added_to_lists(self._customer.record_id)
        try:
            person_id = self._store()
        except PersonDeleted:
            return Skipped("the customer's person was deleted in Marketo (setting deleted_records)", "deleted")
        except VendorError as refused:
            if refused.problem.kind is ErrorKind.ALREADY_THERE or refused.problem.code == PERSON_GONE:
                return Retry(
                    refused.problem.code
                )  # another user creates, merges or deletes the person at the same moment
            raise
        if isinstance(person_id, Unknown):
            return person_id
        if self._lists and not self.repeatable:
            self._customer.remember(self._delivered(person_id))
        return self._added_to_lists(person_id)

    def _delivered(self, person_id: str) -> Delivered:
        memory = {
            "rating": self._rating,
            "flagged": self._flagged,
            "offered": " ".join(sorted(self._offered)),
            "lists": " ".join(self._lists),
            **self._stages,
        }
        left_out = [f"left_out:{','.join(sorted(self._left_out))}"] if self._left_out else []
        code = " ".join([*left_out, *self._codes])[:_CODE_CHARACTERS]
        return Delivered(person_id, code, {name: value for name, value in memory.items() if value})

    @abstractmethod
    def _store(self) -> "str | Unknown":
        """Store the lead. Returns the person's ID."""

    # find

    @property
    def _unseen(self) -> bool:
        """Whether the lead overwrites everything, so that the person need not be read."""
        may_be_gone = self._customer.record_id and self._settings.deleted_records == "skip"
        flags = self._outgoing.set_do_not_contact or (self._outgoing.asks_for_contact and self._flagged)
        return self._outgoing.overwrite and not may_be_gone and not flags

    def _find_known(self) -> Person | None:
        """The person of the customer's earlier leads, or the person that it was merged into. Raises `PersonDeleted`."""
        found = newest(self._client.persons("id", self._customer.record_id, self._names))
        found = found or self._find_by_email()
        if found is None and self._settings.deleted_records == "skip":
            raise PersonDeleted
        return found

    def _find_by_email(self) -> Person | None:
        return newest(self._client.persons("email", self._email, self._names), self._email)

    @property
    def _names(self) -> list[str]:
        """The fields of a person's state."""
        flags = [name for flag in self._settings.do_not_contact for name in (flag, f"{flag}Reason")]
        rating = [self._settings.rating_field] if self._settings.rating_field else []
        mapped = self._mapping.keys() - self._left_out
        return list(dict.fromkeys(["id", "email", "updatedAt", *sorted(mapped), *rating, *flags]))

    # fields

    def _new(self, rating: str = "") -> dict[str, Any]:
        """The fields of a new person. `rating` is the last known rating. The mapping overrides every field."""
        self._forget_plans()
        flags = {}
        if self._outgoing.set_do_not_contact:
            flags, self._flagged = set_flags(filter(self._can_fill, self._settings.do_not_contact)), "yes"
        return flags | self._rated(rating) | self._journey([]) | self._fields()

    def _changes(self, found: Person) -> dict[str, Any]:
        """The lead's changes to a person. A value that someone may have edited stays, unless the policy is `overwrite`."""
        self._forget_plans()
        fields = self._fields()
        overwrite = self._outgoing.overwrite
        offered_before = set(self._memory.get("offered", "").split())
        changes = {
            name: value
            for name, value in fields.items()
            if (overwrite and self._may_replace(name))
            or (found.is_empty(name) and (overwrite or name not in offered_before))
        }
        rating_field = self._settings.rating_field
        if rating_field and rating_field not in fields:
            changes |= self._rated(str(found.row.get(rating_field) or ""))
        remarks = []
        if self._outgoing.asks_for_contact:
            changes |= cleared_flags(found.flags(self._settings.do_not_contact, ours=True))
            self._flagged = ""
            if found.flags(self._settings.do_not_contact, ours=False):
                remarks.append(CONTACT_ASKED_FOR)
        return changes | self._journey(remarks)

    def _fields(self) -> dict[str, Any]:
        rendered = lead_fields(self._mapping, self._outgoing, self._customer)
        fields = {
            name: fitted
            for name, value in rendered.items()
            if name not in self._without | self._left_out and (fitted := self._fitted(name, value)) is not None
        }
        self._offered |= fields.keys() | self._without
        return fields

    def _fitted(self, name: str, value: Any) -> Any:
        """The value, cut to the field's length. None for a value that would be wrong if it were cut."""
        if not isinstance(value, str):
            return value
        fitted = self._field(name).fit(value)
        return value if fitted == value else None if name in WHOLE_OR_NOT_AT_ALL else fitted

    def _field(self, name: str) -> Field:
        return self._known.fields(self._client).by_name.get(name) or Field(name, "string")

    def _can_be_set(self, name: str) -> bool:  # noqa: ARG002 - what is on a form can be
        return True

    def _may_replace(self, name: str) -> bool:  # noqa: ARG002 - a form replaces what it does on a website
        return True

    @cached_property
    def _left_out(self) -> frozenset[str]:
        return frozenset(name for name in self._mapping if not self._can_be_set(name))

    def _can_fill(self, name: str) -> bool:  # noqa: ARG002 - a form can't fill every field
        return True

    def _rated(self, current: str) -> dict[str, str]:
        rating, field = self._outgoing.follow_up.rating, self._settings.rating_field
        if not rating or not field or not self._can_fill(field):
            return {}
        if not may_raise(current, self._memory.get("rating", ""), rating, overwrite=self._outgoing.overwrite):
            return {}
        self._rating = rating.capitalize()
        return {field: self._rating}

    def _journey(self, remarks: list[str]) -> dict[str, str]:
        """The field with the whole journey: the stages in the ledger's memory, and this lead."""
        name = self._settings.journey_field
        if not name or not self._can_fill(name):
            return {}
        if (self._without | self._left_out) & COMPANY_FIELDS:
            remarks = [*remarks, _COMPANY_KEPT]
        return {name: self._field(name).fit(as_text(self._stages, self._outgoing, remarks))}

    def _drop_company(self, refused: VendorError, sent: Mapping[str, Any]) -> None:
        """Leave the company's fields out from now on. Raises the refusal if that would not help."""
        if refused.problem.code != COMPANY_REFUSED or not sent.keys() & COMPANY_FIELDS:
            raise refused
        self._without = COMPANY_FIELDS & self._mapping.keys()
        self._codes.append(COMPANY_REFUSED)

    # lists

    def _wanted_lists(self) -> list[str]:
        """The lists for the person, first those to which an earlier lead could not add the person."""
        wanted = [str(self._settings.static_list or ""), self._outgoing.follow_up.list]
        return list(dict.fromkeys([*self._memory.get("lists", "").split(), *filter(None, wanted)]))

    def _added_to_lists(self, person_id: str) -> Delivered:
        """Add the person to the lists. The lead counts as delivered also if that fails. The code names the failed lists."""
        for list_id in list(self._lists):
            problem = self._problem_with_list(list_id, person_id)
            if problem is not None:
                self._codes.append(f"list:{list_id}:{problem.code}")
            if problem is None or problem.kind is ErrorKind.GONE:  # the check reports a missing list
                self._lists.remove(list_id)
        return self._delivered(person_id)

    def _problem_with_list(self, list_id: str, person_id: str) -> Problem | None:
        """Add the person to the list. Returns why that failed, None if the person is on the list."""
        try:
            self._client.add_to_list(list_id, person_id)
        except VendorError as refused:
            return None if refused.problem.kind is ErrorKind.ALREADY_THERE else refused.problem
        except FAILURES as failure:
            return Problem(ErrorKind.TRANSIENT, getattr(outcome_of(failure, WRONG_ADDRESS), "code", ""))
        return None


class SyncLead(Sending):
    """Creates and updates the person directly. A repeated request changes nothing."""

    def _store(self) -> str:
        known = self._customer.record_id
        if self._unseen and known:
            person_id = self._create("createOrUpdate", self._memory.get("rating", ""))
            recreated = self._find_by_email() if person_id != known else None  # a new person, without a company
            return self._update(recreated) if recreated else person_id
        found = self._find_known() if known else None
        return self._update(found) if found else self._create("createOnly")

    def _can_be_set(self, name: str) -> bool:
        """Whether the instance has the field, if it is one of the defaults. The check reports fields that a person entered."""
        field = self._known.fields(self._client).by_name.get(name)
        return self._mapping[name] != DEFAULT_MAPPING.get(name) or (field is not None and not field.read_only)

    def _may_replace(self, name: str) -> bool:
        return name not in COMPANY_FIELDS

    def _create(self, action: str, rating: str = "") -> str:
        new = self._new(rating)
        if action != "createOnly":
            new = {name: value for name, value in new.items() if self._may_replace(name)}
        try:
            return self._client.sync(action, "email", {**new, "email": self._email}, self._settings.partition)
        except VendorError as refused:
            if refused.problem.kind is ErrorKind.ALREADY_THERE:
                return self._update_what_is_there(refused)
            self._drop_company(refused, new)
        return self._create(action, rating)

    def _update_what_is_there(self, refused: VendorError) -> str:
        """Update the person, or one of several, that another user or an earlier attempt without an answer has created."""
        found = self._find_by_email()
        if found is None:
            raise refused
        return self._update(found)

    def _update(self, found: Person) -> str:
        changes = self._changes(found)
        if not changes:
            return found.id
        try:
            return self._client.sync("updateOnly", "id", {**changes, "id": int(found.id)})
        except VendorError as refused:
            self._drop_company(refused, changes)
        return self._update(found)


class SubmitForm(Sending):
    """Fills out the form, which updates the person and adds an activity that can trigger campaigns."""

    repeatable = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        assert self._settings.form_id is not None  # noqa: S101
        self._form_id = self._settings.form_id
        self._whole_mapping = self._mapping
        self._form: Mapping[str, FormField] = {}

    def _store(self) -> "str | Unknown":
        self._read_form()
        if self._unseen:
            return self._submit(None)
        return self._submit(self._find_known() if self._customer.record_id else self._find_by_email())

    def _read_form(self) -> None:
        self._form = self._known.form(self._client, self._form_id)
        self._mapping = {name: value for name, value in self._whole_mapping.items() if name in self._form}

    def _submit(self, found: Person | None) -> "str | Unknown":
        fields = self._on_form(found)
        try:
            return self._client.submit(self._form_id, self._settings.program_id, fields)
        except NoAnswer as lost:
            if not lost.sent:
                raise
            return Unknown(lost.failure)
        except VendorError as refused:
            if refused.problem.code in MAYBE_DONE:
                return Unknown(refused.problem.code)
            self._leave_out_refused(refused, fields, found)
        return self._submit(found)

    def _leave_out_refused(self, refused: VendorError, fields: Mapping[str, Any], found: Person | None) -> None:
        """Leave out what Marketo refused of the submission. Raises the refusal if nothing can be left out."""
        if refused.problem.code not in {UNKNOWN_FIELD, SKIPPED}:
            self._drop_company(refused, fields)
            return
        # Marketo skips the whole submission because of one field that is no longer on the form.
        self._known.forget_form(self._form_id)
        self._read_form()
        if self._on_form(found) == fields:
            raise refused

    def _on_form(self, found: Person | None) -> dict[str, Any]:
        """The fields to fill in: only fields of the form, and all its required fields."""
        wanted = self._changes(found) if found else self._new(self._memory.get("rating", "") if self._unseen else "")
        fields = {name: value for name, value in wanted.items() if self._can_fill(name)}
        for name, item in self._form.items():
            if item.required and fields.get(name) in (None, ""):
                fields[name] = self._required(item.field, found)
        return {name: value for name, value in fields.items() if value is not None} | {"email": self._address(found)}

    def _required(self, field: Field, found: Person | None) -> Any:
        """The person's value, else the lead's value, else a visible placeholder in a text field, else None."""
        if found and not found.is_empty(field.name):
            return found.row[field.name]
        return self._fields().get(field.name) or (NOT_PROVIDED if field.is_text else None)

    def _address(self, found: Person | None) -> str:
        """The form's key: the person's address, which may differ from the lead's, else the lead's address."""
        return found.email if found and found.email else self._email

    @property
    def _names(self) -> list[str]:
        required = [name for name, item in self._form.items() if item.required]
        return list(dict.fromkeys([*super()._names, *required]))

    def _field(self, name: str) -> Field:
        return self._form[name].field

    def _can_fill(self, name: str) -> bool:
        return name in self._form
