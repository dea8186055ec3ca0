"""The ledger: leads, customers and to-do rows in one table.

The rows of a lead and of its customer share a partition, so that one transaction can change them together.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from leads.core.identity import partition_of
from leads.core.lead_parsing import UnreadableLead, parse_kept
from leads.core.outcomes import Delivered
from leads.core.states import State
from leads.ledger.abandoned_claims import GivenUp
from leads.ledger.customer_rows import CustomerRow, RecentLead, customer_key, read_customer
from leads.ledger.operations import (
    Change,
    creating,
    customer_operation,
    emptying_operations,
    lead_operations,
    merging,
    new_customer,
    stored_as,
    with_change,
    with_delivered,
    with_recent_lead,
)
from leads.ledger.rows import LeadRecord, body_entity, body_key, keys, lead_entity, lead_key, read_body, read_lead
from leads.platform.storage import (
    OPERATIONS_IN_A_TRANSACTION,
    AnswerTime,
    Conflict,
    Operation,
    Table,
    if_unchanged,
    replacing,
)
from leads.platform.table_format import keys_beginning

LEDGER_TABLE = "LeadLedger"
CLAIM_LEASE_SECONDS = 240
"""The lease of a claim: longer than any send (150 s), shorter than `functionTimeout` (300 s)."""
LEADS_IN_A_TRANSACTION = 40
"""A transaction holds 4 MiB. A lead with ten destinations and all their attempts may take 60 KB."""
TRIES = 8
"""Tries of a write that conflicts with other writers."""


class LeadKnown(Exception):
    """The lead's row exists already, or has changed since it was read. `record`: the stored record."""

    def __init__(self, record: LeadRecord) -> None:
        super().__init__(record.lead_id)
        self.record = record


class LedgerBusy(Exception):
    """Each try conflicted with other writers. A later try may succeed."""


@dataclass(slots=True)
class Claim:
    """The right to send one lead of a customer to one destination, until the lead is settled or the lease ends."""

    customer: CustomerRow
    token: str


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A change of a lead, and the operations that write it."""

    record: LeadRecord
    change: Change
    operations: list[Operation]


class Ledger:
    """Reads and writes lead records."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._given_up = GivenUp()

    def read(self, lead_id: str) -> LeadRecord | None:
        """A lead by its id, None if unknown. A lead with its own body row costs a second request."""
        entity = self.table.get(*lead_key(lead_id))
        if entity is None:
            return None
        record = read_lead(entity, _etag(entity))
        if record.has_body and record.state is not State.UNREADABLE:
            body = self.body(lead_id)
            with suppress(UnreadableLead):  # the body was unreadable, and a person has corrected the lead since
                record.lead = parse_kept(body) if body else None
        return record

    def body(self, lead_id: str) -> bytes | None:
        """The body as it was received; None if the ledger does not keep it."""
        entity = self.table.get(*body_key(lead_id))
        return read_body(entity) if entity else None

    def keep_body(self, lead_id: str, body: bytes) -> None:
        """Keep a body that is too large for a queue message."""
        self.table.write([("upsert", body_entity(lead_id, body), replacing())])

    def drop_body(self, lead_id: str) -> None:
        self.table.write([("delete", keys(body_key(lead_id)), {})])

    def drop_todos(self, lead_id: str) -> None:
        """Remove the to-do rows of a lead whose own row somebody has removed. They would keep alarms on."""
        condition = (
            f"PartitionKey eq '{partition_of(lead_id)}' and {keys_beginning('todo;')} and lead_id eq '{lead_id}'"
        )
        found = self.table.query(condition, select=["PartitionKey", "RowKey"])
        self.table.write_all([("delete", row, {}) for row in found])

    def keep_unreadable(self, record: LeadRecord, body: bytes) -> None:
        """Keep a body that can't be read, and its record. Does nothing if the body is kept already."""
        operations = [*lead_operations(record), creating(body_entity(record.lead_id, body))]
        try:
            self.table.write(operations)
        except Conflict:
            if self.table.get(*lead_key(record.lead_id)) is None:
                raise

    def empty(self, record: LeadRecord, at: datetime, reason: str) -> LeadRecord:
        """Remove a lead's personal data from its row, its body and its to-do rows. Safe to repeat.

        A `record` that is not stored yet is written without personal data. Simultaneous changes by others are kept. Raises
        `LedgerBusy`.
        """
        for _ in range(TRIES):
            gone = record.emptied(at, reason)
            if record.emptied_at is not None:
                return gone
            operations = emptying_operations(record, gone)
            while True:
                try:
                    gone.etag = self.table.write(operations)[0]
                except Conflict as conflict:
                    if conflict.index == 0:
                        break
                    operations.pop(conflict.index)  # the row to delete is gone already
                    continue
                gone.stored = stored_as(gone)
                return gone
            record = self._must_read(record.lead_id)
        raise LedgerBusy(record.lead_id)

    def empty_all(self, records: Sequence[LeadRecord], at: datetime, reason: str) -> None:
        """As `empty`, for leads of one partition, many in each transaction."""
        emptying = [(record, emptying_operations(record, record.emptied(at, reason))) for record in records]
        for first in range(0, len(emptying), LEADS_IN_A_TRANSACTION):
            part = emptying[first : first + LEADS_IN_A_TRANSACTION]
            operations = [operation for _, own in part for operation in own]
            if len(operations) > OPERATIONS_IN_A_TRANSACTION or not self._written(operations):
                for record, _ in part:
                    self.empty(record, at, reason)

    def _written(self, operations: list[Operation]) -> bool:
        """Carry out the operations. Returns False on a conflict."""
        try:
            self.table.write(operations)
        except Conflict:
            return False
        return True

    def customers(self, customer_hash: str) -> list[CustomerRow]:
        """A customer's rows in all record scopes."""
        partition, first = customer_key(customer_hash, "")
        found = self.table.query(f"PartitionKey eq '{partition}' and {keys_beginning(first)}")
        return [read_customer(entity, etag=_etag(entity), held=bool(entity.get("claim"))) for entity in found]

    def forget_customer(
        self, customer: CustomerRow, unwritten: Sequence[LeadRecord], at: datetime, reason: str
    ) -> None:
        """Remove a customer's row. Raises `Conflict` if the row has changed since it was read.

        `unwritten`: leads that the row names and the ledger does not know. They are written without personal data, so that a
        worker that has such a lead does not send it.
        """
        operations: list[Operation] = [
            ("delete", {"PartitionKey": customer.partition, "RowKey": customer.row}, if_unchanged(customer.etag))
        ]
        for record in unwritten:
            operations += emptying_operations(record, record.emptied(at, reason))
        self.table.write(operations)

    def customer(self, customer_hash: str, scope: str) -> CustomerRow | None:
        """A customer's row in a record scope, or None. `held` is judged by storage's clock."""
        answered = AnswerTime()
        entity = self.table.get(*customer_key(customer_hash, scope), raw_response_hook=answered)
        if entity is None:
            return None
        written_at: datetime = entity.metadata["timestamp"]  # type: ignore[attr-defined]
        age = (answered.at - written_at).total_seconds()
        token = str(entity.get("claim", ""))
        held = token != "" and age < CLAIM_LEASE_SECONDS and not self._given_up.has(token)
        return read_customer(entity, etag=_etag(entity), held=held)

    def claim(
        self, record: LeadRecord, customer_hash: str, scope: str, known: CustomerRow | None, seen: RecentLead
    ) -> Claim:
        """Claim the customer for one attempt to send this lead. `seen.claim`: the attempt's unique token.

        `known`: the customer's row as just read, None if it was not read. A customer's first lead costs one request.
        Raises `LeadKnown` if the stored lead is not `record`, and `CustomerChanged` if the customer's row is not `known`. The row
        may have this claim already, if the answer to an earlier try of the request was lost.
        """
        token = seen.claim
        customer = with_recent_lead(known or new_customer(customer_hash, scope), seen)
        if known is None:
            return self._first_claim(customer, token)
        operations = [("update", customer.entity(), replacing(known.etag)), self._touch(record)]
        try:
            etags = self.table.write(operations)
        except Conflict as conflict:
            if conflict.index == 1:
                raise LeadKnown(self._must_read(record.lead_id)) from None
            raise CustomerChanged from None
        record.etag = etags[1]
        return Claim(replace(customer, etag=etags[0]), token)

    def remember(self, claim: Claim, lead_id: str, destination: str, done: Delivered) -> None:
        """Write that a destination has stored a lead, before the destination's further steps. The claim stays."""
        customer = claim.customer
        for _ in range(TRIES):
            learnt = with_delivered(
                customer, done, lead_id, stored_by=destination, overlapped=customer is not claim.customer
            )
            try:
                etags = self.table.write([("update", learnt.entity(), replacing(customer.etag))])
            except Conflict:
                found, _ = self._customer_again(customer, claim.token)
                if found is None:
                    return
                customer = found
                continue
            if customer is claim.customer:
                claim.customer = replace(learnt, etag=etags[0])
            return

    def give_up(self, token: str, *, may_have_sent: bool) -> None:
        """End a claim of this process without a request. No attempt sends under it after this.

        Without this, an attempt that failed because of storage would block its own lead until the lease ends.
        """
        self._given_up.add(token, may_have_sent=may_have_sent)

    def never_sent(self, token: str) -> bool:
        """Whether this process gave up the claim before sending anything."""
        return self._given_up.has(token, may_have_sent=False)

    def _first_claim(self, customer: CustomerRow, token: str) -> Claim:
        try:
            etags = self.table.write([creating(customer.entity())])
        except Conflict:
            raise CustomerChanged from None
        return Claim(replace(customer, etag=etags[0]), token)

    def _touch(self, record: LeadRecord) -> Operation:
        """The operation that ties a claim to the lead's row: it creates a new row, or requires an unchanged one."""
        if not record.etag:
            return creating(lead_entity(record, whole=True) | {"listed": ""})
        return ("update", keys(lead_key(record.lead_id)), merging(record.etag))

    def settle(
        self,
        record: LeadRecord,
        change: Change,
        claim: Claim | None = None,
        delivered: Delivered | None = None,
        *,
        key_refused: bool = False,
    ) -> LeadRecord:
        """Change a lead's record, its listing, its to-do rows and, with a claim, its customer, in one transaction.

        `change` changes the record in place. If others have changed the lead, `change` is called again with the stored record, so
        that their changes stay. `delivered` is added to the customer's row. With `key_refused` the row gets a new idempotency
        key. If the claim was lost, the result of the attempt is merged into the row, its memory name by name. Without a claim,
        raises `LeadKnown` if a new record is stored already. Raises `LedgerBusy`.
        """
        customer = begun = claim.customer if claim else None
        ours = claim is not None
        exact = True
        for _ in range(TRIES):
            changed = with_change(record, change)
            operations = lead_operations(changed, delete_todos=exact)
            if customer is not None:
                # Another attempt may have the claim now. It has sent under the same key, and its answer may be lost.
                known = replace(customer, idempotency_key=str(uuid4())) if key_refused and ours else customer
                operations.insert(
                    0,
                    customer_operation(
                        known, record.lead_id, delivered, release=ours, overlapped=customer is not begun
                    ),
                )
            try:
                etags = self.table.write(operations)
            except Conflict as conflict:
                place = conflict.index - (1 if customer is not None else 0)
                if place == -1 and claim is not None and customer is not None:
                    customer, ours = self._customer_again(customer, claim.token)
                elif place == 0:
                    stored = self._must_read(record.lead_id)
                    if claim is None and not record.etag:
                        raise LeadKnown(stored) from None
                    record = stored
                else:
                    exact = (
                        False  # a to-do or listing row to delete is missing: write the other rows without the deletions
                    )
                continue
            changed.etag = etags[0 if customer is None else 1]
            changed.stored = stored_as(changed)
            return changed
        raise LedgerBusy(record.lead_id)

    def settle_all(self, changes: Sequence[tuple[LeadRecord, Change]]) -> None:
        """As `settle` without a claim, for leads of one partition, many in each transaction."""
        together: list[_Prepared] = []
        operations = 0
        for record, change in changes:
            own = lead_operations(with_change(record, change))
            operations += len(own)
            if operations > OPERATIONS_IN_A_TRANSACTION:
                self._settle_together(together)
                together, operations = [], len(own)
            together.append(_Prepared(record, change, own))
        self._settle_together(together)

    def _settle_together(self, together: "list[_Prepared]") -> None:
        """Settle leads in one transaction. A lead whose row has changed since it was read is settled alone."""
        while together:
            owners = [one for one in together for _ in one.operations]
            try:
                self.table.write([operation for one in together for operation in one.operations])
            except Conflict as conflict:
                alone = owners[conflict.index]
                together.remove(alone)
                self.settle(alone.record, alone.change)
            else:
                return

    def _customer_again(self, customer: CustomerRow, token: str) -> tuple[CustomerRow | None, bool]:
        entity = self.table.get(customer.partition, customer.row)
        if entity is None:
            return None, False
        found = read_customer(entity, etag=_etag(entity), held=True)
        return found, found.claim == token

    def _must_read(self, lead_id: str) -> LeadRecord:
        record = self.read(lead_id)
        if record is None:
            raise LedgerBusy(lead_id)
        return record


class CustomerChanged(Exception):
    """The customer's row has changed since it was read. Read it again before the next claim."""


def _etag(entity: Any) -> str:
    return str(entity.metadata["etag"])
