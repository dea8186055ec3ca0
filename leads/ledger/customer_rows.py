"""A customer's row: the claim, the destination's memory, and the customer's recent leads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from leads.platform.row_reading import reads
from leads.platform.table_format import key_part

REDELIVERY_WINDOW: Final = timedelta(minutes=15)
"""Within this time, the same lead of a customer is a redelivery. Later it is a repeat."""


@dataclass(frozen=True, slots=True)
class RecentLead:
    """A lead in its customer's row, by which redeliveries and repeats are recognised. `claim`: the newest attempt's token.

    `action_fingerprint` (column `journey`): the same for each lead with this action and offer; an import finds leads by it.
    `stored_by`: the destination that has stored the lead, until the attempt is settled.
    """

    fingerprint: str
    lead_id: str
    at: datetime
    claim: str = ""
    action_fingerprint: Annotated[str, Field(alias="journey")] = ""
    imported: bool = False
    stored_by: str = ""


_RECENT_LEADS = TypeAdapter(tuple[RecentLead, ...])


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A customer in one record scope. `claim`: the token of the present attempt, "" without one. `held`: the claim still runs.

    `idempotency_key`: a random UUID since the first claim, replaced if the vendor refuses it. `memory`: the destination's data.
    """

    partition: str
    row: str
    claim: str = ""
    record_id: str = ""
    idempotency_key: str = ""
    memory: Mapping[str, str] = field(default_factory=dict)
    recent: tuple[RecentLead, ...] = ()
    etag: str = ""
    held: bool = False

    def entity(self) -> dict[str, Any]:
        return {
            "PartitionKey": self.partition,
            "RowKey": self.row,
            "claim": self.claim,
            "record_id": self.record_id,
            "idempotency_key": self.idempotency_key,
            "memory": json.dumps(dict(self.memory)),
            "recent": _RECENT_LEADS.dump_json(self.recent, by_alias=True).decode(),
        }


def customer_key(customer_hash: str, scope: str) -> tuple[str, str]:
    """PartitionKey and RowKey of a customer within a record scope."""
    return customer_hash[0], f"cust;{customer_hash};{key_part(scope)}"


@reads("customer")
def read_customer(entity: Mapping[str, Any], *, etag: str, held: bool) -> CustomerRow:
    """The customer of a row. `held`: whether the claim still runs."""
    return CustomerRow(
        partition=entity["PartitionKey"],
        row=entity["RowKey"],
        claim=entity.get("claim", ""),
        record_id=entity.get("record_id", ""),
        idempotency_key=entity.get("idempotency_key", ""),
        memory=json.loads(entity.get("memory") or "{}"),
        recent=_RECENT_LEADS.validate_json(entity.get("recent") or "[]"),
        etag=etag,
        held=held,
    )
