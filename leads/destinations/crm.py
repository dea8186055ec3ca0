"""Sends a lead to a CRM: finds or creates the customer's record, adds the stage, and remembers what was done.

Each CRM's class implements these steps, and decides after a refusal what the next try does differently.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar

from leads.core.lead import Stage
from leads.core.outcomes import Delivered, Outcome, Rejected, Retry, Skipped
from leads.destinations.base import (
    CheckResult,
    Customer,
    Destination,
    MappingValue,
    NotSendable,
    OutgoingLead,
    PreviewedRequest,
)
from leads.destinations.changes import Vocabulary
from leads.destinations.follow_up import FollowUp
from leads.destinations.rest import PreviewingClient, RestClient
from leads.destinations.text import CONTACT_ASKED_FOR
from leads.destinations.tokens import RENEWED_BEFORE, Token, TokenSource
from leads.destinations.vendor_errors import FAILURES, UNREADABLE, VendorError, check_of, check_result, outcome_of
from leads.platform.once import once

TRIES: Final = 10

Record = TypeVar("Record")


class Checks(ABC):
    """The parts of a connection's check. Each part returns what to change, "" if nothing (`check_of`)."""

    def __init__(self, destination: Any, client: Any) -> None:
        self._settings = destination.settings
        self._mapping: Mapping[str, MappingValue] = destination.mapping
        self._follow_up: Mapping[Stage, FollowUp] = destination.follow_up
        self._client = client

    @property
    @abstractmethod
    def needed(self) -> Sequence[Callable[[], str]]:
        """Parts that check what leads need. The first part shows whether the vendor answers."""

    @property
    @abstractmethod
    def extras(self) -> Sequence[Callable[[], str]]:
        """Parts that check what leads can be stored without."""


class LeadSending(ABC):
    """Sends one lead to a CRM."""

    record_ids: ClassVar[str]
    """The pattern of the CRM's record IDs."""

    def __init__(self, destination: Any, client: Any, outgoing: OutgoingLead, customer: Customer) -> None:
        if customer.record_id and not re.fullmatch(self.record_ids, customer.record_id):
            # The destination had another type before. That type's record and memory say nothing about this CRM.
            customer = replace(customer, record_id="", memory={})
        self._settings = destination.settings
        self._mapping: Mapping[str, MappingValue] = destination.mapping
        self._scope: str = destination.record_scope(outgoing.offer, outgoing.destination)
        self._client = client
        self._outgoing = outgoing
        self._customer = customer

    @abstractmethod
    def run(self) -> Outcome:
        """Send the lead. Raises `FAILURES`."""


class CrmSending(LeadSending, Generic[Record]):
    """Finds the customer's record and adds the stage, or creates the record. Tries up to `TRIES` times."""

    vendor: ClassVar[str]
    """The CRM's name in texts for a person."""

    vocabulary: ClassVar[Vocabulary]

    code_of_last_try: ClassVar[str] = ""
    """The outcome's code after `TRIES` refusals. "" means the code of the last refusal."""

    def run(self) -> Outcome:
        code = ""
        for _ in range(TRIES):
            self._begin()
            try:
                return self._deliver()
            except VendorError as refused:
                self._learn(refused)
                code = refused.problem.code
        return Retry(self.code_of_last_try or code)

    def _deliver(self) -> Outcome:
        before = self._customer.record_id
        found = self._read(before) if before else self._search()
        if found is None and before:
            if self._skips_deleted:
                return self._skipped()
            found = self._instead_of_deleted()
        return self._add_stage(found) if found else self._create(before)

    # steps that each CRM implements

    @abstractmethod
    def _begin(self) -> None:
        """Reset what belongs to one try."""

    @abstractmethod
    def _learn(self, refused: VendorError) -> None:
        """Note what the next try does differently. Raises the refusal if another try would not help."""

    @abstractmethod
    def _read(self, record_id: str) -> Record | None:
        """The record, or the record that it was merged into. None if the record was deleted."""

    @abstractmethod
    def _search(self) -> Record | None:
        """The customer's record that someone else created, if the settings ask to look for one."""

    def _instead_of_deleted(self) -> Record | None:
        """Another record for a customer with a deleted record. By default, a new record."""
        return None

    @abstractmethod
    def _create(self, instead_of: str) -> Outcome:
        """Create the record under a key that the next try can compute again. `instead_of` is a deleted record's ID, or ""."""

    @abstractmethod
    def _add_stage(self, found: Record) -> Outcome:
        """Add the lead's stage to the record, unless an earlier try has added the stage."""

    @abstractmethod
    def _outcome_code(self) -> str:
        """The code for the attempt's history: what was left out or refused, "" if nothing."""

    # the same for all CRMs

    @property
    def _skips_deleted(self) -> bool:
        return bool(self._settings.deleted_records == "skip")

    @property
    def _last_rating(self) -> str:
        """The rating that the app gave the record last."""
        return self._customer.memory.get("rating", "")

    def _contact_remark(self, values: Mapping[str, Any]) -> list[str]:
        """A remark for a person if the customer asks for contact, but the record's values say not to contact the customer."""
        asks = self._outgoing.asks_for_contact
        return [CONTACT_ASKED_FOR] if asks and self.vocabulary.says_do_not_contact(values) else []

    def _delivered(self, record_id: str, rating: str, *, made: str, edited: bool = False) -> Delivered:
        """The outcome, with the memory for the next lead: the app's rating, the record that the app made, and `edited`.

        `edited`: a person has changed the record since the app made it.
        """
        memory = {"rating": rating, "made": made, "edited": "yes" if edited else ""}
        return Delivered(record_id, self._outcome_code(), memory)

    def _skipped(self) -> Skipped:
        return Skipped(f"the customer's record was deleted in {self.vendor} (setting deleted_records)", "deleted")


class Crm(Destination):
    """A destination that sends a lead to a CRM's REST API in several requests."""

    wrong_address: ClassVar[str]
    """The problem, for a person, if the address is not the vendor's. Names the setting to check."""

    out_of_reach: ClassVar[str]
    """The problem, for a person, if a check got no answer."""

    addresses: ClassVar[str] = "url"
    """The settings that name the vendor's addresses."""

    renewed_before: ClassVar[timedelta] = RENEWED_BEFORE
    """How long before its end a token is replaced; 0 if the vendor repeats its token until the token has ended."""

    client_class: ClassVar[type[RestClient]]
    preview_class: ClassVar[type[PreviewingClient]]
    checks_class: ClassVar[type[Checks]]
    sending_class: ClassVar[type[LeadSending]]

    @once
    def client(self) -> Any:
        """The connection's client."""
        return self.client_class(self.settings.url, self.http, self.tokens)

    @contextmanager
    def connected(self, *, checking: bool = False) -> Iterator[Any]:
        """The client for one lead or one check, usable within the block. Raises `FAILURES`."""
        del checking
        yield self.client

    def unfit(self, outgoing: OutgoingLead) -> Rejected | None:
        """The rejection of a lead that the vendor can't hold, else None. Makes no request."""
        del outgoing
        return None

    @once
    def tokens(self) -> TokenSource:
        """The tokens of the connection's credential, shared by all destinations that use the connection."""
        return self.context.shared(
            ("token", self.connection), lambda: TokenSource(self.fetch_token, self.renewed_before)
        )

    @abstractmethod
    def fetch_token(self) -> Token:
        """A new token. Raises `NoToken`, `NoAnswer`, `SettingsError`."""

    def check(self) -> CheckResult:
        """Sign in, and check the rights, fields and follow-up targets that leads need."""
        try:
            with self.connected(checking=True) as client:
                checks = self.checks_class(self, client)
                return check_of(checks.needed, checks.extras, self.result_of)
        except FAILURES as failure:
            return self.result_of(failure)

    def result_of(self, failure: Exception) -> CheckResult:
        """The check's result for one of `FAILURES`. An unreadable answer means that the host is not the vendor's."""
        found = check_result(self.outcome_of(failure), self.out_of_reach, self.addresses)
        if found.code == UNREADABLE.code:
            return CheckResult(ok=False, problem=self.wrong_address, code=found.code)
        return found

    def sending(self, client: Any, outgoing: OutgoingLead, customer: Customer) -> LeadSending:
        """The object that sends one lead over this client, or over a preview's client."""
        return self.sending_class(self, client, outgoing, customer)

    def send(self, outgoing: OutgoingLead, customer: Customer) -> Outcome:
        if refused := self.unfit(outgoing):
            return refused
        try:
            with self.connected() as client:
                return self.sending(client, outgoing, customer).run()
        except FAILURES as failure:
            return self.outcome_of(failure)

    def outcome_of(self, failure: Exception) -> Outcome:
        """The lead's outcome for one of `FAILURES`."""
        return outcome_of(failure, self.wrong_address)

    def preview(self, outgoing: OutgoingLead, customer: Customer) -> list[PreviewedRequest]:
        client = self.preview_class(self.settings.url, self.http)
        outcome = self.unfit(outgoing) or self.sending(client, outgoing, customer).run()
        if isinstance(outcome, Rejected):
            raise NotSendable(outcome.reason)
        return client.requests
