"""A storage account whose ledger holds many leads, within seconds.

Azurite takes about a millisecond for each row, so 200,000 leads would take many minutes over HTTP. Its files are LokiJS's
JSON instead: the tables are made by Azurite, and the rows, which the app's own code makes, are written between two starts.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.side import prepare
from benchmarks.typical import DESTINATION, OFFER, delivered
from leads.core.identity import customer_hash, customer_identity, fingerprint, new_lead_id
from leads.core.states import State
from leads.ledger.customer_rows import CustomerRow, RecentLead, customer_key
from leads.ledger.rows import LeadRecord, lead_entity, listing_entity
from leads.ledger.todo_rows import todo_entity
from leads.ledger.transactions import LEDGER_TABLE
from tools.azurite import Azurite

PARKED_CONNECTION = "fedcba9876543210"
OFFERS = 20
LEADS_OF_A_CUSTOMER = 10
_TABLES_FILE = "__azurite_db_table__.json"
_TIME = "2026-01-01T00:00:00.0000000Z"
_NEWEST = datetime(2026, 1, 1, tzinfo=UTC)
_APART = timedelta(seconds=30)


@contextmanager
def filled(sizes: list[int], parked: int) -> Iterator[list[str]]:
    """An Azurite with one account for each size, whose ledger holds so many leads; gives their connection strings."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        azurite = Azurite(folder, accounts=len(sizes))
        for storage in azurite.account_connection_strings:
            prepare(storage)
        azurite.stop()
        _fill(folder / _TABLES_FILE, sizes, parked)
        azurite.restart()
        try:
            yield azurite.account_connection_strings
        finally:
            azurite.stop()


def _fill(path: Path, sizes: list[int], parked: int) -> None:
    database = json.loads(path.read_text("utf-8"))
    collections = {collection["name"]: collection for collection in database["collections"]}
    for number, size in enumerate(sizes):
        collection = collections[f"account{number:04d}${LEDGER_TABLE}"]
        collection["data"] = [_document(row, place) for place, row in enumerate(ledger_rows(size, parked), 1)]
        collection["maxId"] = len(collection["data"])
        for key, index in collection["binaryIndices"].items():
            values = [document[key] for document in collection["data"]]
            index |= {"dirty": False, "values": sorted(range(len(values)), key=values.__getitem__)}
    path.write_text(json.dumps(database, separators=(",", ":")), "utf-8")


def ledger_rows(leads: int, parked: int) -> Iterator[dict[str, Any]]:
    """The rows of so many leads, of which `parked` wait for `PARKED_CONNECTION`, spread over all of them."""
    template = delivered(0)
    every = max(1, leads // parked)
    customers = range(0, leads, LEADS_OF_A_CUSTOMER)
    for number in range(leads):
        record = _record(template, number, is_parked=number % every == 0 and number // every < parked)
        yield lead_entity(record, whole=True)
        yield listing_entity(record)
        delivery = record.deliveries[DESTINATION]
        if delivery.state is State.PARKED:
            yield todo_entity(record, delivery)
        if number in customers:
            yield _customer(record)


def _record(template: LeadRecord, number: int, *, is_parked: bool) -> LeadRecord:
    assert template.lead is not None
    email = f"customer.{number // LEADS_OF_A_CUSTOMER}@example.com"
    lead = template.lead.model_copy(update={"email": email})
    received_at = _NEWEST - number * _APART
    lead_id = new_lead_id(received_at, lead)
    state = State.PARKED if is_parked else State.DELIVERED
    connection = PARKED_CONNECTION if is_parked else "0123456789abcdef"
    delivery = replace(template.deliveries[DESTINATION], state=state, connection=connection, updated_at=received_at)
    offer = OFFER if number % OFFERS == 0 else f"contoso.offer{number % OFFERS}"
    return replace(
        template,
        lead_id=lead_id,
        received_at=received_at,
        lead=lead,
        offer=offer,
        deliveries={DESTINATION: delivery},
    )


def _customer(record: LeadRecord) -> dict[str, Any]:
    assert record.lead is not None
    key = customer_hash(customer_identity(record.lead, record.lead_id))
    seen = RecentLead(fingerprint(record.lead, record.offer), record.lead_id, record.received_at, claim="0" * 16)
    return CustomerRow(*customer_key(key, f"{OFFER}|{DESTINATION}"), record_id=record.lead_id, recent=(seen,)).entity()


def _document(row: dict[str, Any], number: int) -> dict[str, Any]:
    """A row as Azurite keeps it: OData's JSON, and what LokiJS adds."""
    properties = dict(itertools.chain.from_iterable(_typed(name, value) for name, value in row.items()))
    return {
        "PartitionKey": row["PartitionKey"],
        "RowKey": row["RowKey"],
        "properties": properties | {"Timestamp": _TIME, "Timestamp@odata.type": "Edm.DateTime"},
        "lastModifiedTime": _TIME,
        "eTag": f"W/\"datetime'{_TIME.replace(':', '%3A')}'\"",
        "meta": {"revision": 0, "created": 0, "version": 0},
        "$loki": number,
    }


def _typed(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, datetime):
        yield name, value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        yield f"{name}@odata.type", "Edm.DateTime"
    else:
        yield name, value
