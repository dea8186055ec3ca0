"""Exports ledgers that are made up as they are read, and prints after each the most memory that the process has taken, in KiB:

python -m tests.support.made_up_ledger FOLDER LEADS …
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.data.tables import TableEntity

from leads import cli
from leads.core.identity import complement, new_lead_id
from leads.core.lead import Lead
from leads.core.states import State
from leads.ledger.rows import Delivery, LeadRecord, lead_entity
from leads.platform.storage import Table

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class MadeUpRows:
    """This number of leads in each partition, newest first."""

    def __init__(self, in_each: int) -> None:
        self._in_each = in_each
        lead = Lead(first_name="Ada", email="ada@example.com", description="Please call " * 20)
        deliveries = {"crm": Delivery("crm", State.DELIVERED)}
        record = LeadRecord(new_lead_id(NOW, lead), NOW, lead, offer="contoso.crm", deliveries=deliveries)
        self._row = lead_entity(record, whole=True)

    def pages(self, condition: str, *, page_size: int, **__: Any) -> Iterator[list[TableEntity]]:
        partition = re.search(r"PartitionKey eq '(.)'", condition)
        after = re.search(r"RowKey gt 'lead;(\S+)'", condition)
        assert partition
        begun = int(complement(after[1])[18:30]) + 1 if after else 0
        for first in range(begun, self._in_each, page_size):
            yield [self._at(partition[1], number) for number in range(first, min(first + page_size, self._in_each))]

    def _at(self, partition: str, number: int) -> TableEntity:
        at = NOW - timedelta(seconds=number)
        lead_id = f"{at:%Y%m%d%H%M%S}000-{number:012}-{partition}"
        keys = {"PartitionKey": partition, "RowKey": f"lead;{complement(lead_id)}", "received_at": at}
        entity = TableEntity(self._row | keys)
        entity._metadata = {"etag": "1", "timestamp": at}
        return entity


def main(folder: str, *sizes: str) -> None:
    Table.write = lambda *_, **__: [""]  # type: ignore[method-assign]  # who has exported is noted
    os.environ["LeadsStorage"] = "UseDevelopmentStorage=true"  # noqa: SIM112 - the host's name for it
    for size in sizes:
        rows = MadeUpRows(int(size) // 16)
        Table.pages = rows.pages  # type: ignore[method-assign, assignment]
        assert cli.main(["export", "--output", f"{folder}/{size}.csv"]) == 0
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main(*sys.argv[1:])
