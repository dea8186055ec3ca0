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
