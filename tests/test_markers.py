"""The search for people and secrets in all tables of a test finds them where they don't belong, and nowhere else."""

from __future__ import annotations

import pytest

from tests.support.markers import misplaced
from tests.support.pipeline import Pipeline

TABLE = {"name": "table", "type": "azure_table"}


@pytest.mark.parametrize(
    ("table", "key", "text", "is_misplaced"),
    [
        ("LeadAlarms", "alarm", "for ada@example.com", True),
        ("LeadLedger", "a", "Example Works", True),
        ("LeadLedger", "a", "O'Neil", True),
        ("MarketplaceLeads", "a", "s3cret", True),
        ("MarketplaceLeads", "a", "ada@example.com", False),
    ],
)
def test_a_marker_is_found_where_it_does_not_belong(
    pipeline: Pipeline, fresh_storage: str, table: str, key: str, text: str, is_misplaced: bool
) -> None:
    pipeline.offer(TABLE)
    pipeline.post()
    pipeline.run()
    assert list(misplaced(fresh_storage)) == [], "a lead in the ledger and in a destination is where it belongs"
    put = pipeline.app.storage.table(table)
    row = {"PartitionKey": key, "RowKey": "todo;x", "text": text}
    put.write([("upsert", row, {})])
    assert bool(list(misplaced(fresh_storage))) is is_misplaced
    put.write([("delete", row, {})])


def test_the_last_of_many_rows_is_looked_at_too(pipeline: Pipeline, fresh_storage: str) -> None:
    table = pipeline.app.storage.table("LeadAlarms")
    for first in range(0, 1100, 100):
        table.write([("create", row(number), {}) for number in range(first, first + 100)])
    assert list(misplaced(fresh_storage)) == []
    table.write([("upsert", row(1099) | {"text": "for ada@example.com"}, {})])
    assert list(misplaced(fresh_storage)) == ["ada@example.com in LeadAlarms, 1099"]
    table.write([("delete", row(1099), {})])


def row(number: int) -> dict[str, str]:
    return {"PartitionKey": "alarm", "RowKey": f"{number:04}"}
