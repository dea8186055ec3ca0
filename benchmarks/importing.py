"""Importing a list of leads, beside as many bare writes to the queue by as many threads."""

import itertools
import time
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from azure.storage.queue import QueueClient, TextBase64EncodePolicy

from benchmarks.effort import Effort
from benchmarks.report import Result, Target, compared_result, result
from benchmarks.rounds import compare
from benchmarks.side import accounts, app_on
from leads.operations.imports import RowsToImport, import_rows
from leads.pipeline.importing import AT_ONCE
from leads.platform.storage import LEADS_QUEUE

FILE_ROWS: Final = 5_000
"""What Partner Center exports at most (Microsoft Learn, "Bulk operations for leads using comma-separated value (CSV) files")."""


def measure(effort: Effort, tell: Callable[[str], None]) -> list[Result]:
    """Two rows: rows a second beside the floor, and what a whole file takes."""
    with accounts(2) as (ours, floor):
        app = app_on(ours)
        numbers = itertools.count()
        began = datetime.now(UTC) - timedelta(days=40)

        def wanted(count: int) -> RowsToImport:
            rows = [{"number": number, "record": _record(number, began)} for number in itertools.islice(numbers, count)]
            return RowsToImport.model_validate({"rows": rows})

        def import_some() -> list[float]:
            request = wanted(effort.imported_rows)
            started = time.perf_counter()
            import_rows(app.ledger, app.offers, app.incoming, request)
            return [effort.imported_rows / (time.perf_counter() - started)]

        import_some()
        client = QueueClient.from_connection_string(ours, LEADS_QUEUE, message_encode_policy=TextBase64EncodePolicy())
        text = b64decode(client.peek_messages()[0].content).decode()
        bare = QueueClient.from_connection_string(floor, LEADS_QUEUE, message_encode_policy=TextBase64EncodePolicy())
        bare.create_queue()

        def write_some() -> list[float]:
            started = time.perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda _: bare.send_message(text, time_to_live=-1), range(effort.imported_rows)))
            return [effort.imported_rows / (time.perf_counter() - started)]

        [speed] = compare(import_some, write_some, effort, tell)
    seconds = FILE_ROWS / speed.ours
    return [
        compared_result("import, rows/s", speed, Target("≥", round(1 / 1.5, 3))),
        result(f"import of {FILE_ROWS:,} rows, s", seconds, Target("≤", 60, "ours"), floor=FILE_ROWS / speed.floor),
    ]


def _record(number: int, began: datetime) -> dict[str, str]:
    at = began + timedelta(minutes=number % 50_000)
    return {
        "First name": "Ada",
        "Last name": f"O'Neil {number}",
        "Email": f"ada+{number}@example.com",
        "Phone": "+1 425 555 0100",
        "Company name": "Example Works",
        "Country/Region": "US",
        "ActionCode": "INS",
        "Offer name": "Contoso CRM",
        "CreatedTime": f"{at:%m/%d/%Y %H:%M:%S}",
        "Status": "Open",
    }
